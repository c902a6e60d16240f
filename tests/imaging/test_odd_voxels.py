"""Padding, damage and burnt-in marks are found; what a scan may well hold is not."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_unet.imaging.loading import load_volume
from napari_unet.imaging.odd_voxels import find_odd

SHAPE = (20, 48, 44)


def head(seed=0):
    """A head of two tissues in the noise of air."""
    rng = np.random.default_rng(seed)
    _, y, x = np.indices(SHAPE)
    tissue = 400 * (((y - 24) / 18) ** 2 + ((x - 22) / 16) ** 2 < 1)
    tissue += 300 * (((y - 24) / 9) ** 2 + ((x - 22) / 8) ** 2 < 1)
    noise = rng.normal(0, 12, (2, *SHAPE))
    return np.hypot(tissue + noise[0], noise[1]).astype(np.float32)


def stripped():
    """The same head in a background of exactly zero."""
    data = head()
    data[data < 150] = 0
    return data


@pytest.mark.parametrize("value", [-32767, -3024, -1000, 4095, 65535, 1e7, 1e30, -1e30])
@pytest.mark.parametrize("scan", [head, stripped])
def test_one_odd_voxel_is_found_whatever_its_value(scan, value):
    clean = scan()
    data = clean.copy()
    data[9, 20, 20] = value
    odd = find_odd(data)
    assert (odd.count, odd.lowest, odd.highest) == (1, np.float32(value), np.float32(value))
    others = np.delete(clean.ravel(), np.ravel_multi_index((9, 20, 20), SHAPE))
    assert (odd.darkest, odd.brightest) == (others.min(), others.max())


@pytest.mark.parametrize("value", [-32768, -3024, 4095, 65535])
@pytest.mark.parametrize("columns", [2, 12, 26])
def test_padding_is_found_however_much_there_is(value, columns):
    data = head()
    data[:, :, :columns] = value
    odd = find_odd(data)
    assert odd.count == 20 * 48 * columns
    assert odd.darkest >= 0
    assert odd.brightest < 800
    assert odd.unpadded(data).max() == odd.brightest


def test_padding_that_was_resampled_is_found_too():
    data = head()
    data[:, :, :10] = -32768
    data[:, :, 10] = np.linspace(-32000, 0, data[:, :, 10].size).reshape(20, 48)
    odd = find_odd(data)
    assert odd.count > 20 * 48 * 10.9
    assert odd.darkest > -100


@pytest.mark.parametrize("mark", ["line", "marker", "hot voxels"])
def test_marks_and_hot_voxels_are_found_and_stay_in_sight(mark):
    data = head()
    rng = np.random.default_rng(1)
    where = np.zeros(SHAPE, dtype=bool)
    if mark == "line":
        where[10, 24] = True
    elif mark == "marker":
        where[8:12, 30:34, 20:24] = True
    else:
        where.ravel()[rng.choice(data.size, 200, replace=False)] = True
    data[where] = rng.uniform(3000, 30000, np.count_nonzero(where)) if mark != "line" else 4095
    odd = find_odd(data)
    np.testing.assert_array_equal(odd.left_out(data) != data, where)
    np.testing.assert_array_equal(odd.unpadded(data), data)


def _vessels():
    """Bright tails that thin out, as vessels after contrast medium."""
    data = head()
    data.ravel()[::500] *= np.geomspace(1, 5, data.ravel()[::500].size, dtype=np.float32)
    return data


def _in_noise(share, low, high, sigma=8.0):
    """An ellipsoid of some share of the voxels, evenly bright between two values, in air."""
    rng = np.random.default_rng(3)
    z, y, x = np.indices(SHAPE)
    far = ((z - 10) / 20) ** 2 + ((y - 24) / 48) ** 2 + ((x - 22) / 44) ** 2
    signal = np.where(far < np.quantile(far, share), rng.uniform(low, high, SHAPE), 0)
    noise = rng.normal(0, sigma, (2, *SHAPE))
    return np.hypot(signal + noise[0], noise[1])


def _lesion():
    """The only bright spot of an otherwise even head, in air."""
    data = np.where(head() > 150, 100.0, 0.0) + np.random.default_rng(4).normal(0, 4, SHAPE)
    data[8:11, 20:23, 20:23] += 200
    return data


CLEAN = {
    "a head": head,
    "a head without skull": stripped,
    "bright vessels": _vessels,
    "a small object in noise": lambda: _in_noise(0.03, 70, 430),
    "a small object a step away from noise": lambda: _in_noise(0.03, 200, 300),
    "vessels in noise": lambda: _in_noise(0.02, 30, 600),
    "a lone lesion": _lesion,
    "Hounsfield units": lambda: head() * 2 - 1000,
    "z-scores": lambda: np.where(stripped() > 0, stripped() / 60 - 9, -9),
    "eight bits": lambda: np.rint(stripped() / 4),
    "a binary image": lambda: np.where(stripped() > 0, 4.0, 0.0),
    "a binary image, few voxels bright": lambda: np.where(head() > 760, 4.0, 0.0),
    "a noisy binary image": lambda: np.where(stripped() > 0, 200, 0) + head(1) % 7,
    "grey levels": lambda: np.digitize(head(), [100, 500, 650]) * 60.0,
    "a flat bright background": lambda: np.where(stripped() > 0, head(), 900.0),
    "a flat background of 50": lambda: np.where(stripped() > 0, head() / 40 + 70, 50.0),
    "few voxels": lambda: np.where(head() > 760, 9999, head())[8:12, 18:30, 16:28],
    "noise": lambda: np.random.default_rng(0).normal(size=SHAPE),
    "one value": lambda: np.full(SHAPE, 7.0),
    "NaN": lambda: np.where(stripped() > 0, head(), np.nan),
}


def test_an_odd_voxel_beside_a_small_object_in_noise_is_found_alone():
    data = _in_noise(0.03, 70, 430).astype(np.float32)
    data[9, 20, 20] = 1e6
    assert find_odd(data).count == 1
    data[:, :, :4] = 65535
    assert find_odd(data).count == 20 * 48 * 4 + 1


@pytest.mark.parametrize("name", CLEAN)
def test_pictures_of_all_kinds_hold_no_odd_voxels(name):
    assert find_odd(CLEAN[name]().astype(np.float32)) is None


def test_they_are_told_on_reading_with_their_count_and_values(tmp_path):
    data = head().T
    data[5, 5, 5:7] = (-32767, 30000)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "t1.nii.gz")
    nib.save(nib.Nifti1Image(head().T, np.eye(4)), tmp_path / "flair.nii.gz")
    [note] = load_volume(tmp_path / "t1.nii.gz").notes
    assert note.startswith("2 voxels lie far outside the range of all others (")
    assert "): -32767 to 30000. Taken for padding or damage, they are left out" in note
    [note] = load_volume([tmp_path / "flair.nii.gz", tmp_path / "t1.nii.gz"]).notes
    assert note.startswith("t1: 2 voxels lie far outside")
    assert load_volume(tmp_path / "flair.nii.gz").notes == ()
