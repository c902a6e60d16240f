"""Sequences and masks on other grids: every millimetre shows what it showed before."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from napari_unet.errors import GridMismatchError
from napari_unet.imaging.loading import load_labels, load_volume
from napari_unet.imaging.orientation import edge_letters, is_oblique, slice_position
from napari_unet.imaging.regridding import labels_onto, overlap, resample, same_grid
from napari_unet.imaging.volume import Grid


def tilted(degrees: float, spacing=(1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0), shape=(24, 22, 20)):
    """A grid around a centre (RAS mm), turned about two axes; voxels (i, j, k)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape=shape, affine=affine, sform=affine)


def ramp(grid: Grid) -> np.ndarray:
    """An image that is a linear function of the RAS millimetre."""
    points = np.indices(grid.shape_zyx).reshape(3, -1)
    ras = grid.affine_zyx[:3, :3] @ points + grid.affine_zyx[:3, 3:]
    return (np.array([2.0, -3.0, 5.0]) @ ras + 400).reshape(grid.shape_zyx).astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_a_resampled_image_shows_the_same_at_every_millimetre(degrees):
    own = tilted(degrees, (0.9, 0.9, 2.0), shape=(60, 60, 30))
    onto = tilted(-10, (1.0, 1.5, 1.0), centre=(2, -1, 3), shape=(16, 14, 12))
    assert overlap(own, onto) == 1
    found = resample(ramp(own), own, onto, nearest=False)
    np.testing.assert_allclose(found, ramp(onto), atol=0.01)


def test_a_mask_keeps_its_values_and_its_place():
    own = tilted(30, (0.8, 0.8, 3.0), shape=(40, 40, 16))
    labels = np.zeros(own.shape_zyx, np.uint16)
    labels[6:10, 15:25, 15:25] = 1000
    onto = tilted(0, shape=(20, 18, 16))
    found = resample(labels, own, onto, nearest=True)
    assert found.dtype == np.uint16
    assert set(np.unique(found)) == {0, 1000}
    for zyx in np.argwhere(found == 1000)[::37]:
        ras = onto.affine_zyx @ [*zyx, 1]
        there = (np.linalg.inv(own.affine_zyx) @ ras)[:3].round().astype(int)
        assert labels[tuple(there)] == 1000


def test_the_outer_half_of_thick_slices_is_not_lost_and_air_lies_beyond():
    own = Grid.from_spacing((4, 8, 8), (6.0, 1.0, 1.0))
    onto = Grid.from_spacing((30, 8, 8), (1.0, 1.0, 1.0), (-5.5, 0.0, 0.0))
    image = np.full(own.shape_zyx, 7.0, np.float32)
    image[:, :2] = -1000  # air, as in a scan with an offset
    image[:, -2:] = -1000
    found = resample(image, own, onto, nearest=False)
    body = found[:, 4, 4]
    np.testing.assert_array_equal(np.flatnonzero(body == 7), np.arange(3, 27))
    np.testing.assert_array_equal(body[[0, 2, 27, 29]], -1000)
    assert overlap(own, onto) == pytest.approx(24 / 30, abs=0.05)


def test_two_sequences_on_two_grids_become_channels_and_it_is_said(tmp_path):
    t1c, flair = tilted(0, shape=(18, 20, 22)), tilted(12, (0.9, 0.9, 5.0), shape=(40, 40, 14))
    nib.save(nib.Nifti1Image(np.ones(t1c.shape, np.int16), t1c.affine), tmp_path / "T1c.nii")
    stored = flair.to_source(ramp(flair))
    nib.save(nib.Nifti1Image(stored, flair.affine), tmp_path / "FLAIR.nii.gz")
    volume = load_volume([tmp_path / "T1c.nii", tmp_path / "FLAIR.nii.gz"])
    assert volume.data.shape == (2, *t1c.shape_zyx)
    np.testing.assert_allclose(volume.data[1], ramp(t1c), atol=0.05)
    assert volume.notes == ("FLAIR was resampled from 0.9 x 0.9 x 5 mm onto the grid of T1c.",)


def test_sequences_of_another_place_are_refused(tmp_path):
    for name, centre in (("head", (0, 0, 0)), ("knee", (0, 0, -900))):
        grid = tilted(0, centre=centre)
        nib.save(nib.Nifti1Image(np.ones(grid.shape), grid.affine), tmp_path / f"{name}.nii")
    with pytest.raises(GridMismatchError, match="knee covers nothing of head"):
        load_volume([tmp_path / "head.nii", tmp_path / "knee.nii"])
    _, head = load_labels(tmp_path / "head.nii")
    labels, knee = load_labels(tmp_path / "knee.nii")
    with pytest.raises(GridMismatchError, match=r"No label of knee\.nii lies in the scan"):
        labels_onto(labels, knee, head, "knee.nii")


def test_the_same_voxels_in_another_axis_order_are_not_interpolated(tmp_path):
    rng = np.random.default_rng(0)
    grid = tilted(15, (0.4, 0.4, 6.0), shape=(5, 6, 7))
    first = nib.Nifti1Image(rng.normal(size=grid.shape).astype(np.float32), grid.affine)
    nib.save(first, tmp_path / "first.nii")
    for axes in itertools.permutations(range(3)):
        codes = nib.orientations.axcodes2ornt(("R", "A", "S"))[list(axes)] * [1, -1]
        nib.save(first.as_reoriented(codes), tmp_path / "second.nii")
        volume = load_volume([tmp_path / "first.nii", tmp_path / "second.nii"])
        np.testing.assert_array_equal(volume.data[0], volume.data[1])
        assert volume.notes == ()


def test_a_mask_on_another_grid_is_resampled_only_when_asked(tmp_path):
    fine, coarse = tilted(0, shape=(20, 20, 20)), tilted(0, (2.0, 2.0, 2.0), shape=(10, 10, 10))
    labels = np.zeros(coarse.shape, np.uint8)
    labels[3:6, 4:7, 5:8] = 3
    nib.save(nib.Nifti1Image(labels, coarse.affine), tmp_path / "mask.nii")
    with pytest.raises(GridMismatchError):
        load_labels(tmp_path / "mask.nii", fine)
    stored, own = load_labels(tmp_path / "mask.nii")
    assert not same_grid(own, fine)
    found, lost = labels_onto(stored, own, fine, "mask.nii")
    assert lost == "mask.nii was resampled from 2 x 2 x 2 mm onto the grid of the scan."
    np.testing.assert_array_equal(
        fine.to_source(found), labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    )


def test_structures_that_fall_between_the_slices_are_named_with_their_volume():
    fine = Grid.from_spacing((12, 10, 10))
    thick = Grid.from_spacing((3, 10, 10), (4.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    labels = np.zeros(fine.shape_zyx, np.uint8)
    labels[:, :5] = 1
    labels[2, 8, :] = 2  # between slices 0 and 4 of the scan
    labels[4, 7, :] = 3  # four times as thick in the scan
    found, lost = labels_onto(labels, fine, thick, "mask.nii")
    assert set(np.unique(found)) == {0, 1, 3}
    assert "Label 2 (0.01 mL) fell between the voxels of the scan" in lost
    assert "Label 3 had 0.01 mL and has 0.04 mL." in lost
    assert "Label 1" not in lost


def test_positions_and_letters_are_those_of_the_patient():
    grid = Grid.from_spacing((10, 12, 14), (4.0, 1.0, 2.0), (-20.0, -5.0, -9.0))
    assert slice_position(grid, 0, 0) == "S 20.0 mm"
    assert slice_position(grid, 0, 9) == "I 16.0 mm"
    assert slice_position(grid, 1, 0) == "A 5.0 mm"
    assert slice_position(grid, 2, 0) == "R 9.0 mm"
    assert slice_position(grid, 2, 13) == "L 17.0 mm"
    assert not is_oblique(grid)
    assert is_oblique(tilted(3))
    assert edge_letters(1, 2, flip_down=False, flip_right=False) == ("A", "P", "R", "L")
    assert edge_letters(1, 2, flip_down=False, flip_right=True) == ("A", "P", "L", "R")
    assert edge_letters(0, 1, flip_down=False, flip_right=False) == ("S", "I", "A", "P")
