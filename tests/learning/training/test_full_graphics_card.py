"""Training where the graphics card has too little memory."""

from __future__ import annotations

import pytest
import torch

from napari_unet.errors import ResourceError
from napari_unet.learning.events import Notice, RoundDone, SlicePredicted, StepDone
from napari_unet.learning.training.loop import train
from napari_unet.learning.training.weight_updater import WeightUpdater


def test_training_goes_on_on_the_cpu_and_says_so(scene, quick, card):
    forwards = iter(range(1000))
    card.fits = lambda _images: next(forwards) != 2  # the third step
    events = list(train([scene.scan], scene.annotated(4, 6), quick, class_names=["ball"]))
    assert [type(event) for event in events] == [
        *[StepDone, StepDone, Notice, StepDone, StepDone],
        RoundDone,
    ]
    assert "graphics card ran out of memory" in events[2].text
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4]
    assert not events[-1].stopped


def test_moving_changes_nothing_in_what_is_learned(scene, quick, monkeypatch):
    def weights():
        *_, done = train([scene.scan], scene.annotated(4, 6), quick, class_names=["ball"])
        return done.checkpoint.state

    expected = weights()
    step = WeightUpdater.step

    def moved_first(learner, examples, progress):
        learner.move_to(torch.device("cpu"))
        return step(learner, examples, progress)

    monkeypatch.setattr(WeightUpdater, "step", moved_first)
    moved = weights()
    assert all(torch.equal(moved[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_a_prediction_that_does_not_fit_does_not_end_training(scene, quick, card):
    card.fits = lambda images: torch.is_grad_enabled() or card.refused > 0
    events = list(
        train(
            [scene.scan],
            scene.annotated(4, 6),
            quick,
            class_names=["ball"],
            focus=lambda: (0, 5),
        )
    )
    assert sum(isinstance(event, SlicePredicted) for event in events) == scene.scan.n_slices
    assert isinstance(events[-1], RoundDone)
    assert not events[-1].stopped


def test_a_computer_without_memory_for_training_says_so(scene, quick, card):
    card.fits = lambda _images: False
    with pytest.raises(ResourceError, match="ran out of memory"):
        list(train([scene.scan], scene.annotated(4, 6), quick, class_names=["ball"]))
    assert card.refused == 2
