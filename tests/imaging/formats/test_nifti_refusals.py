"""Files that are no scan are refused in one sentence; failed writes harm nothing."""

import gzip
import re
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_unet.cli.main import main
from napari_unet.errors import GridMismatchError, SaveError, VolumeError
from napari_unet.imaging.atomic import atomic_path
from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.volume import Grid

GRID = Grid.from_spacing((4, 5, 6))
MASK = np.ones((4, 5, 6), np.uint8)


def write(path: Path, data: np.ndarray, affine=None) -> Path:
    nib.Nifti1Image(data, np.eye(4) if affine is None else affine).to_filename(path)
    return path


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((4, 5, 6, 9), np.int16), "9 volumes.*Choose one.*counted from 0"),
        (np.zeros((4, 5, 6, 1, 3), np.float32), "3 values per voxel.*vectors"),
        (np.zeros((4, 5), np.int16), "two-dimensional"),
        (np.zeros((7, 1, 1), np.int16), "not a volume"),
        (np.zeros((4, 5, 6), np.complex64), "complex.*magnitude"),
        (np.zeros((4, 5, 6), RGB), "colour.*grey-scale"),
    ],
    ids=["series", "vectors", "2d", "line", "complex", "rgb"],
)
def test_images_that_are_no_scan_are_named(tmp_path, data, says, refusal):
    path = write(tmp_path / "image.nii.gz", data)
    assert re.search(says, refusal(path))


def test_a_single_slice_with_three_axes_is_a_scan(tmp_path):
    volume = load_volume(write(tmp_path / "image.nii", np.zeros((4, 5, 1), np.int16)))
    assert volume.shape_zyx == (1, 5, 4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_files_are_refused(tmp_path, suffix, refusal):
    data = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    path = write(tmp_path / f"scan{suffix}", data)
    content = path.read_bytes()
    for length in (100, 400, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:length])
        assert "cannot be read" in refusal(path)


def test_missing_empty_and_foreign_files_are_refused(tmp_path, refusal):
    assert "no file" in refusal(tmp_path / "absent.nii.gz")
    for name, content, says in (
        ("empty.nii.gz", b"", "empty"),
        ("text.nii", b"no scan at all, but a long enough text " * 20, "cannot be read"),
        ("text.nii.gz", b"no scan at all, but a long enough text " * 20, "cannot be read"),
        ("zipped.nii.gz", gzip.compress(b"text " * 200), "cannot be read"),
        ("photo.webp", b"\x89PNG", "not named like an image"),
    ):
        (tmp_path / name).write_bytes(content)
        assert says in refusal(tmp_path / name)
    (tmp_path / "folder.nii").mkdir()
    assert "folder" in refusal(tmp_path / "folder.nii")
    with pytest.raises(VolumeError, match="No image"):
        load_volume([])


@pytest.mark.parametrize("broken", [np.nan, 0.0], ids=["nan", "flat"])
def test_an_affine_without_volume_is_refused(tmp_path, broken, refusal):
    path = write(tmp_path / "scan.nii", np.zeros((4, 5, 6), np.int16))
    raw = bytearray(path.read_bytes())
    raw[280:296] = np.array([broken, 0, 0, 0], "<f4").tobytes()  # srow_x
    path.write_bytes(raw)
    assert "affine" in refusal(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.full((4, 5, 6), 0.5, np.float32), "0.5.*whole numbers"),
        (np.full((4, 5, 6), np.nan, np.float32), "nan.*whole numbers"),
        (np.full((4, 5, 6), -1, np.int16), "negative value -1"),
        (np.full((4, 5, 6), 1e20, np.float32), "too large"),
    ],
)
def test_images_that_are_no_mask_are_named(tmp_path, data, says):
    with pytest.raises(VolumeError, match=says):
        load_labels(write(tmp_path / "labels.nii.gz", data))


def test_masks_stored_as_floats_are_masks(tmp_path):
    labels, _ = load_labels(write(tmp_path / "m.nii", np.full((4, 5, 6), 2.0, np.float64)))
    assert labels.dtype == np.uint8
    assert (labels == 2).all()


@pytest.mark.parametrize(
    ("stored", "highest"), [("uint8", 3), ("uint8", 4), ("int16", 3), ("int32", 2035)]
)
def test_labels_that_nibabel_stored_with_a_scaling_are_read_as_they_were(tmp_path, stored, highest):
    data = np.resize(np.array([0, 1, 2, highest], np.float64), (4, 5, 6))
    image = nib.Nifti1Image(data, np.eye(4))
    image.set_data_dtype(stored)  # of floats: nibabel spreads them over the whole range
    nib.save(image, tmp_path / "m.nii")
    assert nib.load(tmp_path / "m.nii").dataobj.slope != 1
    volume = load_volume(tmp_path / "m.nii")
    labels, _ = load_labels(tmp_path / "m.nii", volume.grid)
    assert (labels == np.rint(volume.data[0])).all()
    assert set(np.unique(labels)) == {0, 1, 2, highest}


def test_a_scaled_probability_map_is_no_mask_and_its_value_is_told_apart_from_a_whole_one(tmp_path):
    image = nib.Nifti1Image(np.linspace(0, 1, 120).reshape(4, 5, 6), np.eye(4))
    image.set_data_dtype("uint8")
    nib.save(image, tmp_path / "m.nii")
    with pytest.raises(VolumeError, match=r"value 0\.\d+: a mask has whole numbers"):
        load_labels(tmp_path / "m.nii")
    with pytest.raises(VolumeError, match=r"value 3\.0001: a mask has whole numbers"):
        load_labels(write(tmp_path / "f.nii", np.full((4, 5, 6), 3.0001)))


@pytest.mark.parametrize(
    "values", [(0, 0.99999994, 2.0000002), (0, 1 - 9e-7, 2 + 9e-7), (0, 1, 41.999996, 2034.9999)]
)
def test_labels_that_resampling_left_a_hair_off_are_whole(tmp_path, values, capsys):
    kind = np.float64 if 1 - 9e-7 in values else np.float32
    data = np.resize(np.array(values, kind), (4, 5, 6))
    labels, _ = load_labels(write(tmp_path / "m.nii", data))
    assert set(np.unique(labels)) == set(np.rint(values))
    if max(values) < 3:
        assert main(["info", str(tmp_path / "m.nii")]) == 0
        assert "label 2" in capsys.readouterr().out


@pytest.mark.parametrize("value", [0.999, 3.00001, 1e30])
def test_values_farther_from_whole_numbers_are_no_labels(tmp_path, value):
    with pytest.raises(VolumeError, match=r"holds the value"):
        load_labels(write(tmp_path / "f.nii", np.full((4, 5, 6), value)))


def test_a_mask_of_another_shape_is_refused_before_writing(tmp_path):
    with pytest.raises(GridMismatchError, match=r"\(6, 5, 4\).*\(4, 5, 6\)"):
        save_mask(np.ones((6, 5, 4), np.uint8), GRID, tmp_path / "m.nii.gz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [0.5, -1])
def test_masks_hold_whole_positive_numbers(tmp_path, values):
    with pytest.raises(SaveError):
        save_mask(np.full((4, 5, 6), values), GRID, tmp_path / "m.nii.gz")


def test_where_a_mask_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(SaveError, match="does not exist"):
        save_mask(MASK, GRID, tmp_path / "absent" / "m.nii.gz")
    with pytest.raises(SaveError, match="Cannot write"):
        save_mask(MASK, GRID, tmp_path / "file" / "m.nii.gz")
    with pytest.raises(SaveError, match="is a folder"):
        save_mask(MASK, GRID, tmp_path / "folder.nii.gz")
    with pytest.raises(SaveError, match=r"ending in \.nii\.gz"):
        save_mask(MASK, GRID, tmp_path / "m.webp")


def test_an_existing_mask_is_only_replaced_when_allowed(tmp_path):
    path = tmp_path / "m.nii.gz"
    save_mask(MASK, GRID, path)
    before = path.read_bytes()
    with pytest.raises(SaveError, match="exists already"):
        save_mask(MASK * 2, GRID, path)
    assert path.read_bytes() == before
    assert save_mask(MASK * 2, GRID, path, overwrite=True).ok
    assert load_labels(path)[0].max() == 2


def test_an_interrupted_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.bin"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_usual_permissions_and_links_stay_links(tmp_path):
    plain, target, link = tmp_path / "plain.txt", tmp_path / "a.nii.gz", tmp_path / "link.nii.gz"
    plain.write_text("x")
    target.write_text("old")
    link.symlink_to(target)
    with atomic_path(tmp_path / "new.txt") as temporary:
        temporary.write_text("new")
        assert temporary.suffixes == [".txt"]
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    assert save_mask(MASK, GRID, link, overwrite=True).ok
    assert link.is_symlink()
    assert load_labels(target)[0].all()


def test_the_receipt_says_in_a_sentence_what_was_verified(tmp_path):
    receipt = save_mask(MASK, GRID, tmp_path / "mask.nii.gz")
    assert receipt.ok
    assert receipt.path == tmp_path / "mask.nii.gz"
    assert receipt.shape == (6, 5, 4)
    assert receipt.summary() == (
        "Saved mask.nii.gz (6 x 5 x 4); re-read and identical to the scan's grid."
    )
