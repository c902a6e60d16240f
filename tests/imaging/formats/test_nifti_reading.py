"""Every header that NIfTI allows has a known outcome, and what is unusual is said."""

import gzip
import struct
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_unet.errors import VolumeError
from napari_unet.imaging.formats.registry import open_scan
from napari_unet.imaging.loading import load_labels, load_volume

AFFINE = np.array([[-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 3, 40], [0, 0, 0, 1.0]])
"""File axes L, A, S."""

MARKED = (1, 4, 2)
"""The voxel of `marked_voxels` that stands out."""

TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


def write(path: Path, voxels, affine=AFFINE, *, sform=1, qform=0, change=()) -> Path:
    """Write an image, then overwrite header fields: pairs of name and value."""
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    header = image.header
    image.to_filename(path)
    raw = bytearray(path.read_bytes())
    for name, value in change:
        fields = header.template_dtype.fields[name]
        raw[fields[1] : fields[1] + fields[0].itemsize] = np.asarray(
            value, fields[0].base
        ).tobytes()
    path.write_bytes(raw)
    return path


def notes(path: Path) -> str:
    return " ".join(load_volume(path).notes)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", TYPES)
def test_every_number_type_in_either_byte_order_is_read_where_it_is(
    tmp_path, kind, order, marked_voxels, mark_at, tilted
):
    voxels = np.minimum(marked_voxels, 100).astype(order + kind)
    header = nib.Nifti1Header(endianness=order)
    image = nib.Nifti1Image(voxels, tilted, header, dtype=voxels.dtype)
    image.to_filename(tmp_path / "scan.nii")
    volume = load_volume(tmp_path / "scan.nii")
    where = np.argwhere(volume.data[0] == 100)
    assert len(where) == 1
    expected = nib.load(tmp_path / "scan.nii").affine @ [*MARKED, 1]
    np.testing.assert_allclose(volume.grid.affine_zyx @ [*where[0], 1], expected, atol=1e-9)
    assert open_scan(tmp_path / "scan.nii").dtype.itemsize == voxels.dtype.itemsize


def test_numbers_of_128_bits_are_read_or_refused_by_name(tmp_path, marked_voxels, refusal):
    path = write(tmp_path / "scan.nii", marked_voxels, change=[("datatype", 1536), ("bitpix", 128)])
    path.write_bytes(path.read_bytes() + bytes(16 * marked_voxels.size))
    if nib.nifti1.data_type_codes.dtype[1536].kind == "f":
        assert load_volume(path).shape_zyx == (7, 6, 5)
    else:
        assert "such as 128-bit floats" in refusal(path)


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_either_half_of_a_pair_opens_it(tmp_path, suffix, marked_voxels, mark_at):
    nib.Nifti1Pair(marked_voxels, AFFINE).to_filename(tmp_path / "scan.img")
    found = mark_at(tmp_path / f"scan{suffix}")
    np.testing.assert_allclose(found, (AFFINE @ [*MARKED, 1])[:3], atol=1e-5)
    (tmp_path / {".hdr": "scan.img", ".img": "scan.hdr"}[suffix]).unlink()
    with pytest.raises(VolumeError, match="half of a pair"):
        open_scan(tmp_path / f"scan{suffix}")


def test_analyze_is_read_with_a_warning_about_left_and_right(tmp_path, marked_voxels, mark_at):
    nib.Spm99AnalyzeImage(marked_voxels, AFFINE).to_filename(tmp_path / "spm.img")
    np.testing.assert_allclose(mark_at(tmp_path / "spm.img"), (AFFINE @ [*MARKED, 1])[:3])
    assert notes(tmp_path / "spm.img") == ""  # SPM's .mat file beside it tells the orientation
    (tmp_path / "spm.mat").unlink()
    assert "L, A, S. Left and right may be swapped" in notes(tmp_path / "spm.hdr")
    assert open_scan(tmp_path / "spm.hdr").format == "Analyze 7.5"
    (tmp_path / "spm.mat").write_bytes(b"MATLAB 5.0 nothing of the kind")
    with pytest.raises(VolumeError, match=r"spm\.img"):
        load_volume(tmp_path / "spm.img")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_series_gives_the_volume_that_is_chosen(
    tmp_path, suffix, marked_voxels, mark_at, refusal
):
    series = np.stack([0 * marked_voxels, marked_voxels, 2 * marked_voxels], axis=-1)
    path = write(tmp_path / f"scan{suffix}", series[..., None])  # a trailing one as well
    assert "3 volumes" in refusal(path)
    assert "no volume 3" in refusal(path, volumes=[3])
    np.testing.assert_allclose(mark_at(path, volumes=[1]), (AFFINE @ [*MARKED, 1])[:3], atol=1e-5)
    two = load_volume(path, volumes=[2, 1])
    np.testing.assert_array_equal(two.data[0], 2 * two.data[1])
    assert two.channel_names == ("scan volume 2", "scan volume 1")
    assert two.grid.trailing_ones == 0
    with pytest.raises(VolumeError, match="3 volumes: a mask is one"):
        load_labels(path)


@pytest.mark.parametrize(
    ("shape", "intent"), [((5, 6, 7, 3), 1007), ((5, 6, 7, 6), 1005), ((5, 6, 7, 2, 3), 0)]
)
def test_vectors_are_refused(tmp_path, refusal, shape, intent):
    path = write(
        tmp_path / "warp.nii",
        np.zeros(shape, np.float32),
        change=[("intent_code", intent)],
    )
    assert "values per voxel that belong together" in refusal(path)


def test_without_any_orientation_the_guess_is_said(tmp_path, marked_voxels):
    path = write(tmp_path / "scan.nii", marked_voxels, sform=0, qform=0)
    assert "no orientation (both codes are 0)" in notes(path)
    assert f"towards {', '.join(nib.aff2axcodes(nib.load(path).affine))}" in notes(path)


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (1, 1), (4, 1)])
def test_one_form_or_two_that_agree_need_no_words(tmp_path, marked_voxels, sform, qform, mark_at):
    path = write(tmp_path / "scan.nii", marked_voxels, sform=sform, qform=qform)
    assert notes(path) == ""
    np.testing.assert_allclose(mark_at(path), (AFFINE @ [*MARKED, 1])[:3], atol=1e-5)


def test_of_two_forms_that_disagree_the_sform_is_used_and_the_distance_said(
    tmp_path, marked_voxels, mark_at
):
    path = write(
        tmp_path / "scan.nii", marked_voxels, qform=1, change=[("qoffset_x", AFFINE[0, 3] + 7.25)]
    )
    assert notes(path) == "Its two transforms disagree (by up to 7.25 mm); the sform is used."
    np.testing.assert_allclose(mark_at(path), (AFFINE @ [*MARKED, 1])[:3], atol=1e-5)


def test_a_quaternion_that_is_no_rotation_matters_only_without_sform(
    tmp_path, marked_voxels, refusal
):
    change = [("quatern_b", 1.0), ("quatern_c", 1.0)]
    path = write(tmp_path / "scan.nii", marked_voxels, qform=1, change=change)
    assert "its qform is no rotation" in notes(path)
    refusal(write(tmp_path / "scan.nii", marked_voxels, qform=1, sform=0, change=change))


@pytest.mark.parametrize("size", [0.0, -2.0])
def test_zero_and_negative_voxel_sizes_are_said_without_a_word_on_the_console(
    tmp_path, marked_voxels, mark_at, capfd, size
):
    change = [("pixdim", [1, 1.5, size, 3, 0, 0, 0, 0])]
    path = write(tmp_path / "scan.nii", marked_voxels, change=change)
    assert "not used, its sform says" in notes(path)
    np.testing.assert_allclose(mark_at(path), (AFFINE @ [*MARKED, 1])[:3], atol=1e-5)

    path = write(tmp_path / "scan.nii", marked_voxels, sform=0, qform=1, change=change)
    assert "zero was taken as 1 mm, a negative size as positive" in notes(path)
    assert load_volume(path).spacing_mm == pytest.approx((3, abs(size) or 1, 1.5))
    assert capfd.readouterr() == ("", "")


def test_sheared_voxels_keep_their_grid_and_are_said(tmp_path, marked_voxels, mark_at):
    affine = AFFINE.copy()
    affine[0, 2] = 3 * np.tan(np.radians(12))
    path = write(tmp_path / "scan.nii", marked_voxels, affine)
    assert "sheared (edges 12.0 degrees off a right angle)" in notes(path)
    np.testing.assert_allclose(mark_at(path), (affine @ [*MARKED, 1])[:3], atol=1e-5)


@pytest.mark.parametrize(("unit", "word"), [("meter", "metres"), ("micron", "micrometres")])
def test_another_unit_of_length_is_said(tmp_path, marked_voxels, unit, word):
    image = nib.Nifti1Image(marked_voxels, AFFINE)
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "scan.nii")
    assert f"lengths in {word}; they are taken as millimetres" in notes(tmp_path / "scan.nii")


def test_values_that_are_no_numbers_are_counted(tmp_path):
    voxels = np.ones((4, 5, 6), np.float32)
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    assert "3 voxels are NaN or infinite" in notes(write(tmp_path / "scan.nii", voxels))
    large = np.full((4, 5, 6), 1.0)
    large[0, 0, 0] = 1e300  # infinite as float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "1 voxel is NaN or infinite" in notes(write(tmp_path / "scan.nii", large))


def test_several_files_say_which_of_them_a_note_is_about(tmp_path, marked_voxels):
    good = write(tmp_path / "t1.nii", marked_voxels)
    affine = nib.load(write(tmp_path / "flair.nii", marked_voxels, sform=0)).affine
    good = write(tmp_path / "t1.nii", marked_voxels, affine)
    volume = load_volume([good, tmp_path / "flair.nii"])
    assert [note.partition(":")[0] for note in volume.notes] == ["flair"]
    assert volume.channel_names == ("t1", "flair")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img"])
def test_a_header_that_announces_more_than_its_file_can_hold_is_refused_first(
    tmp_path, suffix, marked_voxels, refusal
):
    kind = nib.Nifti1Pair if suffix == ".img" else nib.Nifti1Image
    image = kind(marked_voxels, AFFINE)
    image.to_filename(tmp_path / "full.nii" if kind is nib.Nifti1Image else tmp_path / "scan.img")
    header = tmp_path / ("scan.hdr" if suffix == ".img" else "full.nii")
    raw = bytearray(header.read_bytes())
    raw[40:56] = struct.pack("<8h", 4, 30000, 30000, 30000, 9, 1, 1, 1)
    if suffix == ".img":
        header.write_bytes(raw)
    elif suffix == ".nii":
        (tmp_path / "scan.nii").write_bytes(raw)
    else:
        (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(raw))
    message = refusal(tmp_path / f"scan{suffix}", volumes=[0])
    assert "announces 486,000,000,000,352 bytes" in message or "486,000,000,000,000" in message


def test_a_surface_file_is_named_for_what_it_is(tmp_path, refusal):
    axes = (nib.cifti2.SeriesAxis(0, 1, 2), nib.cifti2.ScalarAxis(["a", "b", "c"]))
    image = nib.Cifti2Image(np.zeros((2, 3), np.float32), nib.Cifti2Header.from_axes(axes))
    image.to_filename(tmp_path / "surface.dscalar.nii")
    assert "Cifti2Image" in refusal(tmp_path / "surface.dscalar.nii")
