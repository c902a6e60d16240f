from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from napari_unet.errors import CheckpointError, ResourceError, VolumeError
from napari_unet.learning.calibration import MATURE_STEPS
from napari_unet.learning.events import Notice, SlicePredicted, UnlikeTraining
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.prediction.fusion import sum_errors
from napari_unet.learning.prediction.scan_prediction import predict_volume, segment
from napari_unet.learning.preparation import ALL_VOXELS, prepare
from napari_unet.learning.runtime import memory_errors_explained


def _dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_prediction_of_the_volume_finds_the_ball_where_it_is(scene, trained):
    predicted = predict_volume(scene.volume, trained.checkpoint)
    assert predicted.shape == scene.truth.shape
    assert predicted.dtype == np.uint8
    assert _dice(predicted, scene.truth) > 0.9


@pytest.mark.parametrize("damage", [1e7, "padding"])
def test_odd_voxels_do_not_ruin_the_masks_of_a_scan(scene, trained, damage):
    data = scene.volume.data.copy()
    if damage == "padding":
        data[:, :, :, 70:] = 65535
    else:
        data[0, 2, 3, 4] = damage
    told = []
    damaged = dataclasses.replace(scene.volume, data=data)
    predicted = predict_volume(damaged, trained.checkpoint, progress=told.append)
    assert _dice(predicted, scene.truth) > 0.9
    assert told[0].about == "scan"
    assert "far outside" in told[0].text


def test_a_model_of_an_earlier_version_sees_a_scan_as_it_did(scene, trained):
    card = dataclasses.replace(trained.checkpoint.card, normalisation=ALL_VOXELS)
    earlier = Checkpoint(trained.checkpoint.state, card)
    scan = prepare(scene.volume, 0, ALL_VOXELS)  # without odd voxels, any model may see it
    np.testing.assert_array_equal(scan.slices, scene.scan.slices)
    assert scan.serves(trained.checkpoint.card.normalisation)
    data = scene.volume.data.copy()
    data[0, 2, 3, 4] = -32767
    damaged = dataclasses.replace(scene.volume, data=data)
    told = []
    seen = next(segment(prepare(damaged, 0, ALL_VOXELS), earlier, order=[5])).labels
    found = predict_volume(
        damaged, earlier, progress=told.append, should_stop=lambda: len(told) > 6
    )
    assert np.mean(found[5] != seen) < 1e-3
    assert "masks may be wrong" in told[0].text
    with pytest.raises(VolumeError, match="Prepare it with that normalisation"):
        next(segment(prepare(damaged, 0), earlier))


def test_slices_come_in_the_order_asked_for(scene, trained):
    order = [7, 0, 11, 3]
    events = list(segment(scene.scan, trained.checkpoint, order=order, scan_index=2))
    assert [event.index for event in events] == order
    assert {event.scan for event in events} == {2}
    assert all(event.labels.shape == scene.truth.shape[1:] for event in events)


@pytest.fixture(scope="module")
def grown(trained):
    """The same model, said to have made enough steps to know its errors."""
    card = trained.checkpoint.card
    provenance = dataclasses.replace(card.provenance, steps=MATURE_STEPS)
    return dataclasses.replace(
        trained.checkpoint, card=dataclasses.replace(card, provenance=provenance)
    )


def test_slices_do_not_depend_on_their_neighbours_in_the_batch(scene, grown):
    alone = next(segment(scene.scan, grown, order=[5]))
    together = {event.index: event for event in segment(scene.scan, grown)}
    assert np.mean(alone.labels != together[5].labels) < 1e-3
    for name in ("excess", "missing"):
        one, other = (getattr(e.error_estimate, name) for e in (alone, together[5]))
        np.testing.assert_allclose(one, other, rtol=1e-3)


def test_predictions_expect_the_errors_that_their_probabilities_stand_for():
    torch.manual_seed(0)
    probabilities = torch.randn(2, 3, 5, 4).softmax(dim=1)
    winners, labels = probabilities.max(dim=1)
    excess, missed = sum_errors(probabilities, winners, labels).unbind(dim=1)
    for value in range(3):
        of_it, here = probabilities[:, value], labels == value
        assert excess[:, value] == pytest.approx(((1 - of_it) * here).sum(dim=(1, 2)), rel=1e-4)
        assert missed[:, value] == pytest.approx((of_it * ~here).sum(dim=(1, 2)), rel=1e-4)


def test_what_one_class_has_too_much_another_lacks(scene, grown):
    for event in segment(scene.scan, grown):
        said = event.error_estimate
        excess, missed = np.nansum(said.excess), np.nansum(said.missing)
        assert excess == pytest.approx(missed, rel=1e-3, abs=0.05)
        assert 0 <= excess <= event.labels.size


def test_errors_of_a_large_and_certain_structure_are_not_rounded_away():
    certain = torch.full((1, 2, 512, 512), 1e-3)
    certain[:, 1] = 1 - 1e-3
    excess, missed = sum_errors(certain, *certain.max(dim=1))[0]
    assert excess[1] == pytest.approx(512 * 512 * 1e-3, rel=0.01)
    assert missed[1] == pytest.approx(0, abs=2)


def test_a_young_network_expects_nothing_of_itself(scene, trained):
    assert next(segment(scene.scan, trained.checkpoint, order=[5])).error_estimate is None


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


def _segmented(scene, trained):
    events = list(segment(scene.scan, trained.checkpoint))
    slices = [event for event in events if isinstance(event, SlicePredicted)]
    notices = [
        e.text for e in events if isinstance(e, Notice) and not isinstance(e, UnlikeTraining)
    ]
    assert [event.index for event in slices] == list(range(scene.scan.n_slices))
    return np.stack([event.labels for event in slices]), notices


def test_a_card_that_is_short_of_memory_gets_smaller_batches(scene, trained, card):
    expected, _ = _segmented(scene, trained)
    card.fits = lambda images: len(images) <= 2
    got, notices = _segmented(scene, trained)
    assert 1 <= card.refused <= 2  # once it is known how many fit, no more is tried
    assert notices == []
    assert np.mean(got != expected) < 1e-3


def test_a_slice_that_does_not_fit_is_tiled(make, trained, card):
    scene = make((3, 180, 200))
    expected, _ = _segmented(scene, trained)
    card.fits = lambda images: images.numel() <= 160 * 160
    got, notices = _segmented(scene, trained)
    assert notices == []
    assert card.refused > 0
    assert np.mean(got != expected) < 5e-3


def test_predicting_goes_on_on_the_cpu_when_the_card_is_full_and_says_so(scene, trained, card):
    expected, _ = _segmented(scene, trained)
    card.fits = lambda _images: card.refused == 3  # three, two and one slice did not fit
    events = list(segment(scene.scan, trained.checkpoint))
    assert isinstance(events[0], Notice)
    assert "graphics card ran out of memory" in events[0].text
    assert [event.index for event in events[1:]] == list(range(scene.scan.n_slices))
    assert np.array_equal(np.stack([event.labels for event in events[1:]]), expected)


def test_a_card_too_full_to_hold_the_network_is_left_with_a_notice(
    scene, trained, card, monkeypatch
):
    def full(_device):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    _, notices = _segmented(scene, trained)
    assert len(notices) == 1


def test_a_computer_without_memory_says_so_after_trying_with_less(scene, trained, card):
    card.fits = lambda _images: False
    with pytest.raises(ResourceError, match="ran out of memory"):
        list(segment(scene.scan, trained.checkpoint))
    assert card.refused == 4  # with less and less on the card, then on the CPU


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
