"""A mask comes back onto exactly the voxels of its scan, whatever their order."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_unet.errors import GridMismatchError
from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.imaging.saving import save_mask
from napari_unet.imaging.volume import Grid

ORIENTATIONS = [
    "".join(letters[axis] for axis in order)
    for order in itertools.permutations(range(3))
    for letters in itertools.product("LR", "PA", "IS")
]


def affine_of(orientation: str, spacing=(1.5, 1.0, 2.0), origin=(-7.0, 11.0, 23.0)):
    """Affine of a scan stored in this axis order."""
    matrix = np.eye(4)
    for column, letter in enumerate(orientation):
        row = "LRPAIS".index(letter) // 2
        matrix[:3, column] = 0
        matrix[row, column] = spacing[column] * (1 if letter in "RAS" else -1)
    matrix[:3, 3] = origin
    return matrix


def write_scan(path: Path, data: np.ndarray, affine, *, sform=1, qform=1, units="mm") -> Path:
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    image.header.set_xyzt_units(units)
    image.to_filename(path)
    return path


def assert_same_space(saved: Path, scan: Path) -> None:
    """Every spatial field of two files agrees, as nibabel alone reads them."""
    mask, image = nib.load(saved), nib.load(scan)
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(mask.get_sform(), image.get_sform(), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(mask.get_qform(), image.get_qform(), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(mask.header.get_zooms()[:3], image.header.get_zooms()[:3])
    for field in ("sform_code", "qform_code", "xyzt_units"):
        assert mask.header[field] == image.header[field]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_axis_order_is_shown_upright(tmp_path, orientation):
    affine = affine_of(orientation)
    path = write_scan(tmp_path / "scan.nii", np.zeros((5, 6, 7), np.int16), affine)
    directions = load_volume(path).grid.affine_zyx[:3, :3]
    # z runs to inferior, y to posterior, x to the patient's left
    signs = np.sign(directions) * (np.abs(directions) > 1e-6)
    np.testing.assert_array_equal(signs, [[0, 0, -1], [0, -1, 0], [-1, 0, 0]])


def test_spacing_and_values_follow_the_axes(tmp_path):
    rng = np.random.default_rng(0)
    stored = rng.integers(-100, 900, (4, 5, 6)).astype(np.int16)
    path = write_scan(tmp_path / "scan.nii.gz", stored, affine_of("PIR", spacing=(3.0, 2.0, 1.0)))
    volume = load_volume(path)
    assert volume.shape_zyx == (5, 4, 6)
    assert volume.spacing_mm == pytest.approx((2.0, 3.0, 1.0))
    np.testing.assert_array_equal(volume.grid.to_source(volume.data[0]), stored)


def test_scaled_integers_are_read_in_their_real_units(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 100], [200, 1000]]], dtype=np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([0.5, -10], "<f4").tobytes()
    (tmp_path / "scan.nii").write_bytes(raw)
    volume = load_volume(tmp_path / "scan.nii")
    assert sorted(volume.data.ravel()) == [-10, 40, 90, 490]
    assert volume.data.dtype == np.float32


def test_big_endian_floats_keep_nan_and_infinity(tmp_path):
    data = np.ones((3, 4, 5), dtype=">f4")
    data[0, 0, 0], data[1, 1, 1] = np.nan, np.inf
    header = nib.Nifti1Header(endianness=">")
    nib.Nifti1Image(data, np.eye(4), header).to_filename(tmp_path / "scan.nii.gz")
    volume = load_volume(tmp_path / "scan.nii.gz")
    assert np.isnan(volume.data).sum() == 1
    assert np.isinf(volume.data).sum() == 1


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (0, 1), (2, 0), (4, 1), (3, 3), (0, 0)])
def test_tilt_transform_codes_and_units_survive(tmp_path, tilted, sform, qform):
    scan = tmp_path / "scan.nii.gz"
    affine = tilted if sform or qform else np.diag([-1.5, 1.0, 2.0, 1])
    write_scan(scan, np.zeros((4, 5, 6), np.int16), affine, sform=sform, qform=qform)
    volume = load_volume(scan)
    receipt = save_mask(np.ones(volume.shape_zyx, np.uint8), volume.grid, tmp_path / "m.nii.gz")
    assert receipt.ok
    assert_same_space(tmp_path / "m.nii.gz", scan)


@pytest.mark.parametrize("tilt", [0.5518384072467553, 2.1843559885235675, 2.129367661878403])
def test_the_quaternion_keeps_its_last_digit(tmp_path, tilt):
    """Recomputed from the matrix, these three would change; other readers then see a turn."""
    header = nib.Nifti1Header()
    header["quatern_c"], header["quatern_d"] = np.sin(tilt), np.cos(tilt)
    header["pixdim"][:4] = 1.0, 0.5, 0.5, 3.0
    header["qform_code"] = 1
    scan = tmp_path / "scan.nii"
    nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), None, header).to_filename(scan)
    volume = load_volume(scan)
    assert save_mask(np.ones(volume.shape_zyx, bool), volume.grid, tmp_path / "m.nii").ok
    before, after = nib.load(scan).header, nib.load(tmp_path / "m.nii").header
    for field in ("quatern_b", "quatern_c", "quatern_d"):
        assert abs(before[field]) == abs(after[field])


def test_trailing_axes_of_length_one_are_kept(tmp_path, tilted):
    scan = write_scan(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6, 1, 1), np.int16), tilted)
    volume = load_volume(scan)
    assert volume.data.shape[0] == 1
    assert save_mask(np.zeros(volume.shape_zyx, np.uint8), volume.grid, tmp_path / "m.nii").ok
    assert nib.load(tmp_path / "m.nii").shape == nib.load(scan).shape == (4, 5, 6, 1, 1)


def test_an_affine_that_no_code_can_carry_is_reported(tmp_path, tilted):
    grid = Grid(shape=(4, 5, 6), affine=tilted, qform_code=0, sform_code=0)
    receipt = save_mask(np.zeros(grid.shape_zyx, np.uint8), grid, tmp_path / "m.nii.gz")
    assert receipt.voxels_ok
    assert not receipt.affine_ok
    assert not receipt.ok
    assert "affine" in receipt.summary()
    header = nib.load(tmp_path / "m.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)
    np.testing.assert_allclose(header.get_sform(), tilted, rtol=1e-6)  # kept all the same


def test_only_very_long_axes_need_nifti2(tmp_path):
    for length, kind in ((32767, nib.Nifti1Image), (32768, nib.Nifti2Image)):
        grid = Grid.from_spacing((2, 1, length))
        path = tmp_path / f"{length}.nii.gz"
        assert save_mask(np.ones((2, 1, length), np.uint8), grid, path).ok
        assert type(nib.load(path)) is kind


def test_sequences_become_channels_even_when_stored_in_another_order(tmp_path):
    first = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
    image = nib.Nifti1Image(first, affine_of("LPS"))
    image.to_filename(tmp_path / "t1c.nii.gz")
    turned = nib.as_closest_canonical(image)
    turned.to_filename(tmp_path / "flair.nii.gz")
    volume = load_volume([tmp_path / "t1c.nii.gz", tmp_path / "flair.nii.gz"])
    assert volume.data.shape[0] == 2
    np.testing.assert_array_equal(volume.data[0], volume.data[1])
    assert volume.name == "t1c"
    assert volume.source == tmp_path / "t1c.nii.gz"


def test_masks_on_other_grids_are_refused_unless_resampling_is_asked_for(tmp_path):
    data = np.zeros((4, 5, 6), np.int16)
    grid = load_volume(write_scan(tmp_path / "a.nii.gz", data, affine_of("LPS"))).grid
    b = write_scan(tmp_path / "b.nii.gz", data, affine_of("LPS", origin=(0, 11, 23)))
    c = write_scan(tmp_path / "c.nii.gz", data[:, :, :3], affine_of("LPS"))
    with pytest.raises(GridMismatchError, match="7 mm away"):
        load_labels(b, grid)
    with pytest.raises(GridMismatchError, match="voxels"):
        load_labels(c, grid)


def test_labels_come_back_as_they_were_saved(tmp_path):
    grid = Grid.from_spacing((4, 5, 6), (3.0, 1.0, 1.0))
    for largest, dtype in ((3, np.uint8), (300, np.uint16), (70000, np.uint32)):
        labels = np.zeros((4, 5, 6), np.int64)
        labels[1, 2, 3] = largest
        save_mask(labels, grid, tmp_path / "m.nii.gz", overwrite=True)
        assert nib.load(tmp_path / "m.nii.gz").get_data_dtype() == dtype
        again, own = load_labels(tmp_path / "m.nii.gz", grid)
        np.testing.assert_array_equal(again, labels)
        assert again.dtype == dtype
        assert own.shape_zyx == (4, 5, 6)


def test_labels_on_another_grid_are_refused(tmp_path):
    save_mask(np.ones((4, 5, 6), np.uint8), Grid.from_spacing((4, 5, 6)), tmp_path / "m.nii.gz")
    with pytest.raises(GridMismatchError, match="away from the scan"):
        load_labels(tmp_path / "m.nii.gz", Grid.from_spacing((4, 5, 6), (2.0, 1.0, 1.0)))


def reorder(image: nib.Nifti1Image, how: str) -> nib.Nifti1Image:
    """Store the same scan flipped, or with permuted axes."""
    ornt = {"as-is": [[0, 1], [1, 1], [2, 1]], "flipped": [[0, -1], [1, 1], [2, -1]]}.get(
        how, [[2, 1], [0, -1], [1, 1]]
    )
    return image.as_reoriented(np.array(ornt))


@pytest.mark.parametrize("how", ["as-is", "flipped", "transposed"])
def test_a_real_scan_and_its_reordered_copies_get_their_mask_back(data_dir, tmp_path, how):
    original = nib.load(data_dir / "brats" / "pat0001_t1c.nii.gz")
    scan = tmp_path / f"{how}.nii"
    reorder(original, how).to_filename(scan)
    reorder(nib.load(data_dir / "brats" / "pat0001_label.nii.gz"), how).to_filename(
        tmp_path / "truth.nii"
    )
    volume = load_volume(scan)
    labels, _ = load_labels(tmp_path / "truth.nii", volume.grid)
    upright = load_volume(data_dir / "brats" / "pat0001_t1c.nii.gz")
    np.testing.assert_array_equal(volume.data, upright.data)

    assert save_mask(labels, volume.grid, tmp_path / "mask.nii.gz").ok
    assert_same_space(tmp_path / "mask.nii.gz", scan)
    np.testing.assert_array_equal(
        np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj),
        np.asarray(nib.load(tmp_path / "truth.nii").dataobj),
    )


@pytest.mark.parametrize("name", ["oblique_t2s", "stat_map", "trailing_axis"])
def test_awkward_real_files_get_their_mask_back(data_dir, tmp_path, name):
    scan = data_dir / "io" / f"{name}.nii.gz"
    volume = load_volume(scan)
    assert save_mask(volume.data[0] > 1, volume.grid, tmp_path / "mask.nii.gz").ok
    assert_same_space(tmp_path / "mask.nii.gz", scan)
