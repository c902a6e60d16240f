"""Headers that name two places or none: masks of such scans keep their voxels, and it is said."""

import itertools

import nibabel as nib
import nrrd
import numpy as np
import pytest

from napari_unet.errors import GridMismatchError
from napari_unet.imaging.convert import convert
from napari_unet.imaging.loading import load_labels_onto, load_volume
from napari_unet.imaging.nifti_header import itk_affine
from napari_unet.imaging.saving import save_mask

SHAPE = (9, 10, 11)
CODES = tuple(itertools.product(range(5), range(5)))


def turned(degrees: float, origin) -> np.ndarray:
    """Voxels of 0.9 x 1 x 2 mm, turned about the third axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([-0.9, 1, 2])
    affine[:3, 3] = origin
    return affine


QFORM, SFORM = turned(0, (30, -40, 20)), turned(10, (35, -35, 25))


def save(path, voxels, codes, qform=QFORM, sform=SFORM):
    image = nib.Nifti1Image(voxels, None)
    image.header.set_qform(qform, 1)
    image.header.set_sform(sform, 1)
    image.header["qform_code"], image.header["sform_code"] = codes
    nib.save(image, path)
    return path


def voxels(value=1, dtype=np.uint8):
    """Voxels of a scan, or of a mask of it, that no turn or flip leaves as they are."""
    stored = np.zeros(SHAPE, dtype)
    stored[2:4, 3:5, 1:3] = value
    stored[6, 8, 9] = value
    return stored


@pytest.fixture
def itk():
    """What SimpleITK says: the affine of a file, in RAS millimetres."""
    sitk = pytest.importorskip("SimpleITK", reason="it judges where other programs place a file")
    sitk.ProcessObject.GlobalWarningDisplayOff()

    def affine_of(path):
        image = sitk.ReadImage(str(path))
        to_ras = np.diag([-1.0, -1.0, 1.0])
        affine = np.eye(4)
        directions = np.reshape(image.GetDirection(), (3, 3))
        affine[:3, :3] = to_ras @ directions @ np.diag(image.GetSpacing())
        affine[:3, 3] = to_ras @ image.GetOrigin()
        return affine

    return affine_of


@pytest.mark.parametrize("codes", CODES)
def test_masks_lie_on_their_scan_in_itk_whatever_the_codes_and_the_format(tmp_path, itk, codes):
    scan = load_volume(save(tmp_path / "scan.nii", voxels(dtype=np.float32), codes))
    np.testing.assert_allclose(itk_affine(scan.grid), itk(tmp_path / "scan.nii"), atol=1e-4)
    labels = scan.grid.to_display(voxels())
    for name in ("m.nii.gz", "m.nrrd", "m.seg.nrrd", "m.mha"):
        receipt = save_mask(labels, scan.grid, tmp_path / name, overwrite=True)
        np.testing.assert_allclose(itk(tmp_path / name), itk(tmp_path / "scan.nii"), atol=1e-4)
        moved = name != "m.nii.gz" and not np.allclose(itk_affine(scan.grid), scan.grid.affine)
        assert ("lies where ITK and 3D Slicer place the scan" in receipt.summary()) == moved
        again, note = load_labels_onto(tmp_path / name, scan.grid, "scan")
        np.testing.assert_array_equal(again, labels)
        assert bool(note) == moved


@pytest.mark.parametrize("codes", [(1, 2), (1, 3), (1, 4), (2, 4), (0, 0), (2, 1)])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_mask_that_itk_wrote_for_a_scan_is_taken_voxel_by_voxel(tmp_path, codes, suffix):
    sitk = pytest.importorskip("SimpleITK", reason="it writes the mask")
    grid = load_volume(save(tmp_path / "scan.nii", voxels(dtype=np.float32), codes)).grid
    drawn = sitk.ReadImage(str(tmp_path / "scan.nii")) > 0
    sitk.WriteImage(drawn, str(tmp_path / f"mask{suffix}"))
    labels, note = load_labels_onto(tmp_path / f"mask{suffix}", grid, "scan")
    np.testing.assert_array_equal(grid.to_source(labels), voxels())
    assert ("voxel by voxel" in note) == (codes != (2, 1))


def test_a_scan_of_two_places_says_where_other_programs_put_it(tmp_path):
    said = load_volume(save(tmp_path / "a.nii", voxels(), (1, 2))).notes
    assert any("the sform is used. ITK, 3D Slicer" in note for note in said)
    said = load_volume(save(tmp_path / "b.nii", voxels(), (2, 1))).notes
    assert any("the sform is used." in note for note in said)
    assert not any("ITK" in note for note in said)


def test_a_mask_on_the_other_matrix_may_store_its_voxels_in_another_order(tmp_path):
    grid = load_volume(save(tmp_path / "scan.nii", voxels(), (1, 4))).grid
    turned_mask = nib.as_closest_canonical(nib.Nifti1Image(voxels(), QFORM))
    nib.save(turned_mask, tmp_path / "mask.nii")
    labels, note = load_labels_onto(tmp_path / "mask.nii", grid, "scan")
    np.testing.assert_array_equal(grid.to_source(labels), voxels())
    assert note.startswith("mask.nii lies on the qform of scan (as placed here, they lie up to ")


def test_a_mask_with_two_places_fits_a_scan_at_either(tmp_path):
    scan = nib.Nifti1Image(voxels(), QFORM)
    nib.save(scan, tmp_path / "scan.nii")
    grid = load_volume(tmp_path / "scan.nii").grid
    save(tmp_path / "mask.nii", voxels(), (1, 2))
    labels, note = load_labels_onto(tmp_path / "mask.nii", grid, "scan")
    np.testing.assert_array_equal(grid.to_source(labels), voxels())
    assert note.startswith("The qform of mask.nii lies on scan")


@pytest.mark.parametrize(
    "header",
    [
        {"affine": np.eye(4)},  # as written by a script
        {"affine": np.diag([-1.0, -1.0, 1.0, 1.0])},  # as ITK writes an array
        {"affine": np.diag([-0.9, 1.0, 2.0, 1.0])},  # with the voxel size, but no place
        {"affine": None},  # no transform code
    ],
    ids=["ones", "itk", "sizes", "codes"],
)
def test_a_header_that_nobody_filled_in_leaves_the_order_of_the_voxels(tmp_path, header):
    nib.save(nib.Nifti1Image(voxels(), SFORM), tmp_path / "scan.nii")
    grid = load_volume(tmp_path / "scan.nii").grid
    nib.save(nib.Nifti1Image(voxels(3), header["affine"]), tmp_path / "mask.nii")
    labels, note = load_labels_onto(tmp_path / "mask.nii", grid, "scan")
    np.testing.assert_array_equal(grid.to_source(labels), voxels(3))
    assert "The header of mask.nii does not say where it lies" in note
    assert "check left and right" in note


def test_a_mask_of_another_shape_or_place_is_not_taken_voxel_by_voxel(tmp_path):
    nib.save(nib.Nifti1Image(voxels(), QFORM), tmp_path / "scan.nii")
    grid = load_volume(tmp_path / "scan.nii").grid
    nib.save(nib.Nifti1Image(voxels()[:-1], np.eye(4)), tmp_path / "mask.nii")
    with pytest.raises(GridMismatchError, match="show different places"):
        load_labels_onto(tmp_path / "mask.nii", grid, "scan")
    elsewhere = QFORM.copy()
    elsewhere[0, 3] += 4
    nib.save(nib.Nifti1Image(voxels(), elsewhere), tmp_path / "mask.nii")
    labels, note = load_labels_onto(tmp_path / "mask.nii", grid, "scan")
    assert "resampled" in note
    assert labels.sum() < voxels().sum()


def test_a_sequence_on_the_other_matrix_is_taken_voxel_by_voxel(tmp_path):
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    save(tmp_path / "t1.nii", data, (1, 4))
    nib.save(nib.as_closest_canonical(nib.Nifti1Image(2 * data, QFORM)), tmp_path / "flair.nii")
    volume = load_volume([tmp_path / "t1.nii", tmp_path / "flair.nii"])
    np.testing.assert_array_equal(volume.data[1], 2 * volume.data[0])
    assert any(note.startswith("flair lies on the qform of t1 (") for note in volume.notes)


def test_a_scan_converted_to_nrrd_lies_where_itk_had_it(tmp_path, itk):
    save(tmp_path / "scan.nii", voxels(dtype=np.int16), (1, 4))
    receipt = convert(tmp_path / "scan.nii", tmp_path / "scan.nrrd")
    np.testing.assert_allclose(itk(tmp_path / "scan.nrrd"), QFORM, atol=1e-4)
    assert "lies where ITK and 3D Slicer place the scan, up to" in receipt.summary()
    stored, _ = nrrd.read(str(tmp_path / "scan.nrrd"))
    np.testing.assert_array_equal(stored, voxels())
