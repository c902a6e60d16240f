"""Pictures that napari itself has opened, in 2D: scans of one slice."""

import numpy as np
import pytest
from PIL import Image

from napari_unet.annotation.states import SliceState
from napari_unet.learning.config import TrainConfig

from ..conftest import PLUGIN, bright_ball


@pytest.fixture
def picture(tmp_path):
    """A greyscale PNG of a bright disc, and the disc."""
    data, ball = bright_ball()
    path = tmp_path / "cells.png"
    Image.fromarray(np.clip(data[8], 0, 255).astype(np.uint8)).save(path)
    return path, ball[8]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_picture_is_painted_learned_segmented_and_saved(
    make_napari_viewer, qtbot, picture, tmp_path, suffix
):
    path, disc = picture
    viewer = make_napari_viewer()
    [flat] = viewer.open(path, plugin="napari")
    assert flat.ndim == 2
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
    annotator = widget.annotator
    session = annotator.session
    assert "“cells” is a flat picture" in widget.message.text
    assert not flat.visible
    assert session.images[0].name == "cells (one slice)"
    assert session.labels.data.shape == (1, *disc.shape)
    rows, columns = np.nonzero(disc)
    session.labels.data_setitem((np.zeros(len(rows), int), rows, columns), 1)
    qtbot.wait(1)
    annotator.config = TrainConfig(seconds=36_000, max_steps=5, threads=1)
    for work in (annotator.train, annotator.segment):
        work()
        qtbot.waitUntil(lambda: not annotator.work.running)
        assert not widget.message.failed, widget.message.text
    mask = tmp_path / f"mask{suffix}"
    annotator.save_mask(mask)
    np.testing.assert_array_equal(np.asarray(Image.open(mask)) == 1, disc)
    widget.disconnect_viewer()


def test_a_volume_is_rather_annotated_than_a_picture_beside_it(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((32, 24), np.float32), name="sketch")
    viewer.add_image(bright_ball()[0], name="scan")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net annotator")
    assert widget.annotator.session.images[0].name == "scan"
    assert viewer.layers["sketch"].visible
    widget.disconnect_viewer()


def test_flat_labels_are_taken_for_a_flat_picture(bench):
    flat = bench.viewer.add_image(bench.image.data[8], name="flat")
    drawn = bench.viewer.add_labels(bench.truth[8].astype(int), name="drawn")
    bench.annotator.choose([flat], labels=drawn)
    np.testing.assert_array_equal(bench.session.labels.data[0] == 1, bench.truth[8])
    assert bench.session.record.state(0) is SliceState.ANNOTATED


def test_a_picture_keeps_its_place_and_size_in_the_window(bench):
    values = np.random.default_rng(0).random((32, 24), np.float32)
    flat = bench.viewer.add_image(values, name="flat", scale=(0.5, 2), translate=(7, -3))
    bench.annotator.choose([flat])
    image = bench.session.images[0]
    np.testing.assert_array_equal(image.data[0], values)
    np.testing.assert_allclose(image.scale[1:], (0.5, 2))
    np.testing.assert_allclose(image.translate[1:], (7, -3))
    assert image.data_to_world((0, 4, 5))[1:] == flat.data_to_world((4, 5))
