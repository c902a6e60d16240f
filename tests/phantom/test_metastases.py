"""Phantoms look like a scan with lesions, and their truth is true."""

import numpy as np
import pytest
from scipy import ndimage

from napari_unet.phantom.metastases import Phantom, annotated_example, make_phantom
from napari_unet.phantom.tissues import Tissue

TINY = {"shape_zyx": (24, 48, 40), "spacing_mm": (7.2, 4.3, 4.4), "n_metastases": 4}


@pytest.fixture(scope="module")
def tiny() -> Phantom:
    return make_phantom(3, **TINY)


@pytest.fixture(scope="module")
def full() -> Phantom:
    return make_phantom(0)


def test_the_same_seed_gives_the_same_brain_and_another_seed_another(tiny):
    again = make_phantom(3, **TINY)
    other = make_phantom(4, **TINY)
    np.testing.assert_array_equal(tiny.volume.data, again.volume.data)
    np.testing.assert_array_equal(tiny.truth, again.truth)
    assert not np.array_equal(tiny.truth, other.truth)


def test_a_tiny_phantom_is_a_scan_with_lesions(tiny):
    assert tiny.volume.data.shape == (1, 24, 48, 40)
    assert tiny.volume.data.dtype == np.float32
    assert np.isfinite(tiny.volume.data).all()
    assert tiny.volume.spacing_mm == pytest.approx((7.2, 4.3, 4.4))
    assert tiny.truth.dtype == np.uint8
    assert set(np.unique(tiny.truth)) == {0, 1}
    assert ndimage.label(tiny.truth, np.ones((3, 3, 3)))[1] == 4


def test_no_metastases_can_be_asked_for():
    phantom = make_phantom(0, (16, 24, 20), n_metastases=0)
    assert not phantom.truth.any()


def test_a_full_phantom_has_metastases_of_3_to_30_mm(full):
    pieces, n = ndimage.label(full.truth, np.ones((3, 3, 3)))
    volumes = np.bincount(pieces.ravel())[1:] * 1.2
    diameters = np.sort(np.cbrt(6 * volumes / np.pi))
    assert n == 10
    assert 2.5 < diameters[0] < 4.5
    assert 24 < diameters[-1] < 34


def test_large_metastases_are_dark_inside_a_bright_rim_and_small_ones_solid(full):
    pieces, _ = ndimage.label(full.truth, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    image = full.volume.data[0]
    large, small = pieces == sizes.argmax() + 1, pieces == sizes.argmin() + 1
    depth = ndimage.distance_transform_edt(large, sampling=full.volume.spacing_mm)
    rim, core = image[large & (depth < 2)].mean(), image[depth > 8].mean()
    assert rim > 2 * core
    assert image[small].mean() > 550


def test_vessels_are_as_bright_as_lesions_so_that_a_threshold_is_no_answer(full):
    image = full.volume.data[0]
    lesions = np.median(image[full.truth > 0])
    outside = ndimage.binary_dilation(full.truth, iterations=4) == 0
    brain = np.zeros(full.truth.shape, bool)
    brain[30:70, 60:150, 50:126] = True  # well inside the skull
    assert np.count_nonzero(image[outside & brain] > lesions) > 50


def test_air_around_the_head_is_noise_only(full):
    corner = full.volume.data[0][:20, :20, :20]
    assert 5 < corner.mean() < 40
    assert corner.std() > 3


def test_the_example_holds_the_truth_on_its_slices_and_one_is_empty(full):
    labels, indices = annotated_example(full)
    assert len(indices) == 5
    assert list(indices) == sorted(set(indices))
    np.testing.assert_array_equal(labels[list(indices)], full.truth[list(indices)])
    others = np.delete(labels, indices, axis=0)
    assert not others.any()
    empty = [index for index in indices if not full.truth[index].any()]
    assert len(empty) == 1
    assert full.volume.data[0][empty[0]].mean() > 0.5 * full.volume.data[0].mean()


def test_the_annotated_slices_are_spread_and_show_most_of_the_lesion_volume(full):
    _, indices = annotated_example(full)
    shown = [index for index in indices if full.truth[index].any()]
    assert np.diff(shown).min() >= 3
    pieces, _ = ndimage.label(full.truth, np.ones((3, 3, 3)))
    seen = np.isin(pieces, np.unique(pieces[shown])[1:])
    assert np.count_nonzero(seen) > 0.6 * np.count_nonzero(full.truth)


def test_a_phantom_without_lesions_gets_empty_slices_only():
    labels, indices = annotated_example(make_phantom(0, (16, 24, 20), n_metastases=0))
    assert not labels.any()
    assert len(indices) == 1


def test_the_tissue_map_shows_lesions_where_the_truth_does(full, tiny):
    for phantom in (full, tiny):
        assert phantom.tissue.shape == phantom.truth.shape
        assert phantom.tissue.dtype == np.uint8
        lesion = np.isin(phantom.tissue, (Tissue.LESION, Tissue.NECROSIS, Tissue.OEDEMA))
        assert lesion[phantom.truth > 0].all()
        enhancing = np.isin(phantom.tissue, (Tissue.LESION, Tissue.NECROSIS))
        assert phantom.truth[enhancing].all()


def test_the_tissue_map_has_all_tissues_and_nuclei_on_both_sides(full):
    assert set(np.unique(full.tissue)) == set(Tissue)
    middle = full.tissue.shape[2] // 2
    for nucleus in (
        Tissue.CAUDATE,
        Tissue.PUTAMEN,
        Tissue.PALLIDUS,
        Tissue.THALAMUS,
        Tissue.HIPPOCAMPUS,
    ):
        sides = full.tissue[:, :, :middle], full.tissue[:, :, middle:]
        right, left = (np.count_nonzero(side == nucleus) for side in sides)
        assert min(right, left) > 100
        assert 0.4 < right / left < 2.5


def test_tissues_are_as_bright_as_they_look(full):
    image = full.volume.data[0]
    brightness = {tissue: np.median(image[full.tissue == tissue]) for tissue in Tissue}
    order = (Tissue.AIR, Tissue.VENTRICLE, Tissue.GREY, Tissue.WHITE, Tissue.LESION)
    values = [brightness[tissue] for tissue in order]
    assert values == sorted(values)
