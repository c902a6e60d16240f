from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_unet.errors import AnnotationError, VolumeError
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import NORMALISATION
from napari_unet.learning.preparation import ALL_VOXELS, prepare


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


def _tissue():
    """A head with texture: (1, z, y, x), and where it is."""
    data, inside = _head()
    rng = np.random.default_rng(1)
    return data + np.where(inside, rng.normal(0, 30, data.shape), 0), inside


def _damaged(data, damage):
    data = data.copy()
    if damage == "a line":
        data[0, 8, 41] = 4095
    elif damage == "a marker":
        data[0, 5:9, 10:15, 10:15] = 6000
    elif damage == "hot voxels":
        rng = np.random.default_rng(2)
        at = rng.choice(data.size, 100, replace=False)
        data.ravel()[at] = rng.uniform(-30000, 30000, 100)
    elif damage == "all at once":
        data[0, :, 76:] = -32768
        data[0, 0, 0, :2] = (1e30, -1e30)
    elif isinstance(damage, tuple):  # padding: value, rows of 80
        data[0, :, 80 - damage[1] :] = damage[0]
    else:
        data[0, 11, 40, 50] = damage
    return data


DAMAGES = [-32767, -3024, 1e7, 1e30, "a line", "a marker", "hot voxels", "all at once"]
PADDINGS = [(value, rows) for value in (-32768, -3024, 4095, 65535) for rows in (4, 17)]


@pytest.mark.parametrize("damage", DAMAGES + PADDINGS, ids=str)
def test_odd_voxels_change_nothing_of_what_is_seen_of_the_head(damage):
    clean, inside = _tissue()
    data = _damaged(clean, damage)
    scan, expected = prepare(_volume(data), 0), prepare(_volume(clean), 0)
    assert scan.window == expected.window
    same = (data == clean)[0][:, *scan.window]
    head = same & inside[scan.window]
    np.testing.assert_allclose(scan.slices[:, 0][head], expected.slices[:, 0][head], atol=0.02)
    np.testing.assert_allclose(scan.slices[:, 0][same], expected.slices[:, 0][same], atol=0.1)
    [note] = scan.notes
    assert "far outside the range of all others" in note


def test_padding_looks_like_air_and_a_marker_bright():
    clean, _ = _tissue()
    for value in (-32768, 65535):
        padded = prepare(_volume(_damaged(clean, (value, 17))), 0)
        assert padded.slices[:, 0, -1].max() < -3
    marked = prepare(_volume(_damaged(clean, "a marker")), 0)
    rows, columns = (10 - side.start for side in marked.window)
    if rows >= 0 and columns >= 0:
        assert marked.slices[6, 0, rows, columns] == 8


@pytest.mark.parametrize("channel", [0, 1])
def test_of_several_channels_the_odd_one_is_named_and_the_other_as_it_was(channel):
    clean = np.concatenate([_tissue()[0], _tissue()[0][:, ::-1] * 3])
    data = clean.copy()
    data[channel, 3, 3, 3] = -32767
    names = ("t1c", "flair")
    volume = Volume(
        data.astype(np.float32), Grid.from_spacing(data.shape[1:]), "scan", channel_names=names
    )
    scan = prepare(volume, 0)
    assert scan.notes[0].startswith(f"{names[channel]}: 1 voxel lies far outside")
    other = 1 - channel
    np.testing.assert_array_equal(
        scan.slices[:, other], prepare(_volume(clean), 0).slices[:, other]
    )


def test_without_odd_voxels_both_normalisations_are_the_same_bit_for_bit():
    data, _ = _tissue()
    scan, earlier = (prepare(_volume(data), 0, name) for name in (NORMALISATION, ALL_VOXELS))
    np.testing.assert_array_equal(scan.slices, earlier.slices)
    assert scan.notes == earlier.notes == ()
    assert scan.serves(ALL_VOXELS)


def test_the_normalisation_of_earlier_models_is_what_it_was():
    # Numbers of the version before odd voxels were left out.
    data = _damaged(_tissue()[0], -3024)
    scan = prepare(_volume(data), 0, ALL_VOXELS)
    assert scan.window == (slice(0, 80), slice(0, 90))
    found = [*scan.slices[5, 0, 20, 30:33].tolist(), float(scan.slices.std())]
    assert found == pytest.approx([-0.0878817, -0.0900236, -0.0890592, 0.2010885], abs=1e-5)
    assert "earlier version" in scan.notes[0]
    assert not scan.serves(NORMALISATION)
    with pytest.raises(VolumeError, match="normalised as 'foreground-zscore'"):
        scan.check_serves(NORMALISATION)


def test_torch_is_not_imported_before_it_is_needed():
    code = (
        "import sys, napari_unet.learning.config, napari_unet.learning.events, "
        "napari_unet.learning.preparation; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
