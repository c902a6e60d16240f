from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.errors import CheckpointError, ResourceError
from napari_unet.learning.inference import predict_volume, segment
from napari_unet.learning.runtime import memory_errors_explained


def _dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_prediction_of_the_volume_finds_the_ball_where_it_is(scene, trained):
    predicted = predict_volume(scene.volume, trained.checkpoint)
    assert predicted.shape == scene.truth.shape
    assert predicted.dtype == np.uint8
    assert _dice(predicted, scene.truth) > 0.9


def test_slices_come_in_the_order_asked_for(scene, trained):
    order = [7, 0, 11, 3]
    events = list(segment(scene.scan, trained.checkpoint, order=order, scan_index=2))
    assert [event.index for event in events] == order
    assert {event.scan for event in events} == {2}
    assert all(event.labels.shape == scene.truth.shape[1:] for event in events)


def test_slices_do_not_depend_on_their_neighbours_in_the_batch(scene, trained):
    alone = next(segment(scene.scan, trained.checkpoint, order=[5]))
    together = {event.index: event for event in segment(scene.scan, trained.checkpoint)}
    assert np.mean(alone.labels != together[5].labels) < 1e-3
    assert alone.uncertainty == pytest.approx(together[5].uncertainty, rel=1e-3)


def test_doubt_lies_at_the_edge_and_is_bounded_by_the_area(scene, trained):
    for event in segment(scene.scan, trained.checkpoint):
        assert 0 <= event.edge_uncertainty <= event.uncertainty <= event.labels.size
        if not event.labels.any():
            assert event.edge_uncertainty == 0


def test_segmenting_stops_when_asked(scene, trained):
    seen = []
    for event in segment(scene.scan, trained.checkpoint, should_stop=lambda: len(seen) > 0):
        seen.append(event)
    assert len(seen) == 1


def test_a_scan_with_other_pixels_is_brought_to_the_model_s(make, trained):
    fine = make((12, 122, 150), spacing_mm=(1.0, 0.5, 0.5))
    predicted = predict_volume(fine.volume, trained.checkpoint)
    assert predicted.shape == fine.truth.shape
    assert _dice(predicted, fine.truth) > 0.85


def test_another_number_of_channels_is_refused(make, trained):
    with pytest.raises(CheckpointError, match="has 2"):
        predict_volume(make(channels=2).volume, trained.checkpoint)


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_is_explained(failure):
    with pytest.raises(ResourceError, match=r"out of memory\. Close it\."):  # noqa: SIM117
        with memory_errors_explained("Close it."):
            raise failure


def test_other_failures_are_not_called_memory():
    with pytest.raises(RuntimeError, match="shape"), memory_errors_explained("Close it."):
        raise RuntimeError("shape mismatch")
