from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_unet.errors import AnnotationError, VolumeError
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.preparation import prepare


def _volume(data):
    return Volume(data.astype(np.float32), Grid.from_spacing(data.shape[1:]), "scan 7")


def _head(shape=(20, 80, 90), noise=3.0):
    y, x = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    inside = ((y - 40) / 22) ** 2 + ((x - 50) / 18) ** 2 < 1
    data = np.abs(np.random.default_rng(0).normal(0, noise, shape)) + 200.0 * inside
    return data[None], inside


def test_air_is_cropped_with_a_margin_and_the_head_is_kept():
    data, inside = _head()
    scan = prepare(_volume(data), 0)
    outside = np.ones(inside.shape, dtype=bool)
    outside[scan.window] = False
    assert not (inside & outside).any()
    assert scan.shape[0] < 70
    assert scan.shape[1] < 65
    rows, columns = scan.window
    assert rows.start <= 40 - 22 - 7
    assert columns.stop >= 50 + 18 + 7


def test_foreground_has_zero_mean_and_unit_variance_whatever_the_scale():
    data, inside = _head()
    data = data + np.where(inside, np.random.default_rng(1).normal(0, 30, data.shape), 0)
    scan, scaled = prepare(_volume(data), 0), prepare(_volume(data * 7 + 1000), 0)
    tissue = scan.slices[:, 0][:, inside[scan.window]]
    assert abs(tissue.mean()) < 0.05
    assert abs(tissue.std() - 1) < 0.05
    np.testing.assert_allclose(scan.slices, scaled.slices, atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_cropped_and_pasted_land_where_they_were(axis):
    data, _ = _head((80, 80, 90))
    scan = prepare(_volume(data), axis)
    labels = np.zeros(scan.full_shape, dtype=np.uint8)
    labels[30:40, 45:50] = 3
    np.testing.assert_array_equal(scan.paste(scan.crop(labels)), labels)
    expected = np.moveaxis(data[0], axis, 0)[(7, *scan.window)]
    ranks = np.corrcoef(expected.ravel(), scan.slices[7, 0].ravel())[0, 1]
    assert ranks > 0.999


def test_labels_of_another_shape_are_refused():
    scan = prepare(_volume(_head()[0]), 0)
    with pytest.raises(AnnotationError, match=r"\(80, 91\).*\(80, 90\)"):
        scan.crop(np.zeros((80, 91), dtype=np.uint8))


def test_the_thickest_axis_is_sliced_along_by_default():
    data, _ = _head((80, 80, 90))
    volume = Volume(data.astype(np.float32), Grid.from_spacing((80, 80, 90), (1.0, 5.0, 1.0)))
    assert prepare(volume).axis == 1


def test_values_that_are_not_finite_are_counted():
    data, _ = _head()
    data[0, 3, 4, 5:8] = np.nan
    data[0, 3, 4, 8] = np.inf
    with pytest.raises(VolumeError, match=r"scan 7 has 4 of 144,000 voxels.*Replace"):
        prepare(_volume(data), 0)


def test_a_constant_channel_is_named():
    data, _ = _head()
    with pytest.raises(VolumeError, match=r"144,000 voxels of scan 7, channel 2 .*\(5\)"):
        prepare(_volume(np.concatenate([data, np.full_like(data, 5)])), 0)


def test_slices_too_small_to_learn_from_are_refused():
    data = np.random.default_rng(0).normal(size=(1, 30, 64, 9))
    with pytest.raises(VolumeError, match="64 x 9 pixels"):
        prepare(_volume(data), 0)


def test_a_binary_image_stays_finite():
    _, inside = _head()
    scan = prepare(_volume(np.broadcast_to(inside * 4.0, (1, 20, *inside.shape)).copy()), 0)
    assert np.isfinite(scan.slices).all()
    assert scan.slices.max() > scan.slices.min()


def test_torch_is_not_imported_before_it_is_needed():
    code = (
        "import sys, napari_unet.learning.config, napari_unet.learning.events, "
        "napari_unet.learning.preparation; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
