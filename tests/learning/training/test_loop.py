from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest
import torch

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.errors import AnnotationError, CheckpointError, ResourceError
from napari_unet.learning.config import Recipe, TrainConfig
from napari_unet.learning.events import RoundDone, SlicePredicted, StepDone
from napari_unet.learning.prediction.scan_prediction import segment
from napari_unet.learning.training.loop import Budget, train


def _train(scene, config, annotations=None, **kwargs):
    if annotations is None:
        annotations = scene.annotated(1, 4, 6, 9)
    return list(train([scene.scan], annotations, config, class_names=["ball"], **kwargs))


def _same_weights(a, b):
    return all(torch.equal(a.state[name], b.state[name]) for name in a.state)


def test_a_ball_is_learned_from_four_slices_in_eighty_steps(scene, trained):
    overlap = total = 0
    for event in segment(scene.scan, trained.checkpoint):
        if event.index not in (1, 4, 6, 9):
            truth = scene.truth[event.index]
            overlap += 2 * np.count_nonzero(event.labels & truth)
            total += np.count_nonzero(event.labels) + np.count_nonzero(truth)
    assert overlap / total > 0.9


def test_every_step_is_reported_and_the_model_comes_last(scene, quick):
    *steps, done = _train(scene, quick)
    assert [event.step for event in steps] == [1, 2, 3, 4]
    assert [event.progress for event in steps] == [0.25, 0.5, 0.75, 1.0]
    assert {event.n_slices for event in steps} == {4}
    assert isinstance(done, RoundDone)
    assert not done.stopped


def test_the_same_seed_gives_the_same_model(scene, quick):
    first, second = (_train(scene, quick)[-1].checkpoint for _ in range(2))
    other = _train(scene, dataclasses.replace(quick, seed=1))[-1].checkpoint
    assert _same_weights(first, second)
    assert not _same_weights(first, other)


def test_ignored_pixels_never_influence_the_model(scene, quick):
    def partly(hidden):
        labels = np.full_like(scene.truth[5], IGNORE_LABEL)
        labels[:, 20:50] = scene.truth[5][:, 20:50]
        return [LabelledSlice(0, 5, labels), *hidden]

    nothing = LabelledSlice(0, 8, np.full_like(scene.truth[8], IGNORE_LABEL))
    first = _train(scene, quick, partly([]))[-1].checkpoint
    second = _train(scene, quick, partly([nothing]))[-1].checkpoint
    assert _same_weights(first, second)
    assert second.card.provenance.annotated_slices == 1


def test_stop_keeps_what_was_learned_and_answers_at_once(scene, quick):
    events = []
    config = dataclasses.replace(quick, max_steps=500)
    stop_after = 3
    for event in train(
        [scene.scan],
        scene.annotated(4, 6),
        config,
        class_names=["ball"],
        should_stop=lambda: len(events) >= stop_after,
        focus=lambda: (0, 5),
    ):
        events.append(event)
    assert [type(event) for event in events] == [StepDone] * 3 + [RoundDone]
    assert events[-1].stopped
    assert events[-1].checkpoint.card.provenance.steps == 3
    assert all(torch.isfinite(t).all() for t in events[-1].checkpoint.state.values())


def test_stop_before_the_first_step_gives_no_model(scene, quick, trained):
    assert _train(scene, quick, should_stop=lambda: True) == []
    assert _train(scene, quick, should_stop=lambda: True, init=trained.checkpoint) == []


def test_the_smallest_budget_is_one_step(scene, quick):
    config = dataclasses.replace(quick, seconds=1e-9, max_steps=None)
    step, done = _train(scene, config)
    assert isinstance(step, StepDone)
    assert done.checkpoint.card.provenance.steps == 1
    assert not done.stopped


def test_an_update_that_cannot_be_learned_from_is_passed_over(scene, quick):
    answers = iter(
        [
            scene.annotated(4, 6),
            [LabelledSlice(0, 4, scene.truth[4] * 3)],
            [LabelledSlice(0, 99, scene.truth[4])],
            scene.annotated(4, 6, 9),
        ]
    )
    events = _train(scene, quick, lambda: next(answers, None))
    assert [event.n_slices for event in events[:-1]] == [2, 2, 3, 3]
    assert events[-1].checkpoint.card.provenance.annotated_slices == 3


def _break(monkeypatch, at_step, error):
    """Let one step fail."""
    from napari_unet.learning.training import weight_updater

    real, calls = weight_updater.segmentation_loss, []

    def fails(*args):
        calls.append(None)
        if len(calls) == at_step:
            raise error
        return real(*args)

    monkeypatch.setattr(weight_updater, "segmentation_loss", fails)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("CUDA error: out of memory"), ResourceError),
        (ZeroDivisionError("odd"), ZeroDivisionError),
    ],
)
def test_a_failure_in_mid_round_does_not_cost_what_was_learned(
    scene, quick, monkeypatch, error, raised
):
    three_steps = _train(
        scene, dataclasses.replace(quick, max_steps=3, recipe=Recipe(learning_rate=1e-9))
    )
    _break(monkeypatch, 4, error)
    events = []
    config = dataclasses.replace(quick, max_steps=8, recipe=Recipe(learning_rate=1e-9))
    running = train([scene.scan], scene.annotated(1, 4, 6, 9), config, class_names=["ball"])
    with pytest.raises(raised):
        events.extend(running)
    *steps, done = events
    assert len(steps) == 3
    assert isinstance(done, RoundDone)
    assert done.stopped
    assert done.checkpoint.card.provenance.steps == 3
    for name, tensor in three_steps[-1].checkpoint.state.items():
        torch.testing.assert_close(done.checkpoint.state[name], tensor)


def test_a_failing_prediction_after_training_does_not_cost_the_model(scene, quick, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no")

    monkeypatch.setattr("napari_unet.learning.prediction.fusion.SliceFusion.predict", fails)
    events = []
    running = train(
        [scene.scan], scene.annotated(4), quick, class_names=["ball"], focus=lambda: (0, 5)
    )
    with pytest.raises(RuntimeError, match="no"):
        events.extend(running)
    assert [type(event) for event in events] == [StepDone] * 4 + [RoundDone]


@pytest.mark.slow
def test_training_goes_on_after_a_structure_was_added(scene, trained, quick):
    wider = trained.checkpoint.with_classes(["ball", "air"])
    truth = scene.truth.copy()
    truth[:, :12] = 2  # dark rows above the head
    annotations = [LabelledSlice(0, index, truth[index]) for index in (1, 4, 6, 9)]
    *_, done = train(
        [scene.scan],
        annotations,
        dataclasses.replace(quick, max_steps=40),
        class_names=["ball", "air"],
        init=wider,
    )
    middle = next(segment(scene.scan, done.checkpoint, order=[5])).labels
    window = np.zeros(middle.shape, dtype=bool)
    window[scene.scan.window] = True
    for value in (1, 2):
        found, wanted = middle[window] == value, truth[5][window] == value
        assert 2 * np.count_nonzero(found & wanted) > 0.8 * (found.sum() + wanted.sum())


def test_only_air_painted_is_explained(scene, quick):
    cropped = dataclasses.replace(
        scene.scan, slices=scene.scan.slices[..., :50, :], window=(slice(0, 50), slice(None))
    )
    labels = np.zeros_like(scene.truth[5])
    labels[55:] = 1
    with pytest.raises(AnnotationError, match="air around the head"):
        list(train([cropped], [LabelledSlice(0, 5, labels)], quick, class_names=["ball"]))


def test_new_slices_join_the_running_training(scene, quick):
    answers = iter([scene.annotated(4), None, scene.annotated(4, 6, 9)])
    events = _train(
        scene,
        dataclasses.replace(quick, max_steps=5),
        lambda: next(answers, None),
        focus=lambda: (0, 5),
    )
    steps = [event.n_slices for event in events if isinstance(event, StepDone)]
    assert steps == [1, 3, 3, 3, 3]
    assert all(e.learned_from == {4, 6, 9} for e in events if isinstance(e, SlicePredicted))
    assert events[-1].checkpoint.card.provenance.annotated_slices == 3


def test_erasing_everything_meanwhile_does_not_end_training(scene, quick):
    nothing = LabelledSlice(0, 8, np.full_like(scene.truth[8], IGNORE_LABEL))
    answers = iter([scene.annotated(4), [], scene.annotated(0), [nothing]])
    events = _train(scene, quick, lambda: next(answers, None))
    assert [event.n_slices for event in events[:-1]] == [1, 1, 1, 1]


def test_after_training_the_scan_in_view_is_predicted_outwards(scene, quick):
    events = _train(scene, quick, focus=lambda: (0, 9))
    predicted = [event for event in events if isinstance(event, SlicePredicted)]
    assert [event.index for event in predicted] == [9, 8, 10, 7, 11, 6, 5, 4, 3, 2, 1, 0]
    assert {event.learned_from for event in predicted} == {frozenset({1, 4, 6, 9})}
    model, known = events[-1].checkpoint, scene.annotated(1, 4, 6, 9)
    final = {e.index: e.labels for e in segment(scene.scan, model, annotations=known)}
    assert all(np.mean(event.labels != final[event.index]) < 1e-3 for event in predicted)


def test_the_slice_in_view_is_predicted_while_training_goes_on(scene, quick, monkeypatch):
    monkeypatch.setattr("napari_unet.learning.training.preview.FIRST_AFTER_STEPS", 2)
    monkeypatch.setattr("napari_unet.learning.training.preview.TIME_SHARE", 1.0)
    views = iter([(0, 3)] + [(0, 7)] * 100)
    events = _train(scene, quick, focus=lambda: next(views))
    last_step = max(i for i, event in enumerate(events) if isinstance(event, StepDone))
    during = [event.index for event in events[:last_step] if isinstance(event, SlicePredicted)]
    assert during[0] == 7
    assert not set(during[1:]) & {1, 4, 6, 9}  # the human's own slices are left out


def test_a_view_of_no_scan_is_no_reason_to_fail(scene, quick):
    views = iter([None, (5, 0), (0, 400)])
    events = _train(scene, quick, focus=lambda: next(views, None))
    assert isinstance(events[-1], RoundDone)


def test_fine_tuning_starts_from_the_model_and_continues_its_history(scene, trained, quick):
    config = dataclasses.replace(quick, max_steps=1)
    _, done = _train(scene, config, init=trained.checkpoint)
    assert done.checkpoint.card.provenance.steps == 81
    fresh = _train(scene, config)[0]
    assert _train(scene, config, init=trained.checkpoint)[0].loss < 0.8 * fresh.loss


def _misses(scene, checkpoint):
    """Wrong pixels on the annotated slices."""
    found = segment(scene.scan, checkpoint, order=[1, 4, 6, 9])
    return sum(np.count_nonzero(each.labels != scene.truth[each.index]) for each in found)


@pytest.mark.parametrize("fails", [False, True])
def test_fine_tuning_gone_wrong_keeps_the_model_it_started_from(
    scene, trained, quick, monkeypatch, fails
):
    config = dataclasses.replace(quick, recipe=Recipe(learning_rate=1e4))
    if fails:
        _break(monkeypatch, 2, ZeroDivisionError("odd"))
    events = []
    running = train(
        [scene.scan],
        scene.annotated(1, 4, 6, 9),
        config,
        class_names=["ball"],
        init=trained.checkpoint,
        should_stop=lambda: len(events) >= 1 and not fails,
        focus=lambda: (0, 5),
    )
    with contextlib.suppress(ZeroDivisionError):
        for event in running:
            events.append(event)
    done = events[-1]
    assert isinstance(done, RoundDone)
    assert done.checkpoint.card.provenance.steps == 81
    assert _misses(scene, done.checkpoint) <= _misses(scene, trained.checkpoint)
    assert _same_weights(done.checkpoint, trained.checkpoint)


@pytest.mark.slow
def test_fine_tuning_that_helps_is_kept(scene, trained, quick):
    config = dataclasses.replace(quick, max_steps=20)
    grown = [
        LabelledSlice(0, each.index, np.roll(each.labels, 12, axis=0))
        for each in scene.annotated(1, 4, 6, 9)
    ]
    done = _train(scene, config, grown, init=trained.checkpoint)[-1]
    assert not _same_weights(done.checkpoint, trained.checkpoint)


def test_a_model_for_other_classes_or_channels_is_refused(scene, make, trained, quick):
    with pytest.raises(CheckpointError, match="structures here.*not those of this model"):
        list(
            train(
                [scene.scan],
                scene.annotated(4),
                quick,
                class_names=["ball", "ring"],
                init=trained.checkpoint,
            )
        )
    with pytest.raises(CheckpointError, match="channel"):
        _train(make(channels=2), quick, init=trained.checkpoint)


def test_several_scans_of_different_size_and_channels_train_together(make, quick):
    scenes = [make(channels=2), make((10, 80, 64), channels=2, seed=1)]
    annotations = [
        LabelledSlice(number, index, each.truth[index])
        for number, each in enumerate(scenes)
        for index in (4, 6)
    ]
    *_, done = train([each.scan for each in scenes], annotations, quick, class_names=["ball"])
    assert done.checkpoint.card.model.in_channels == 2
    assert done.checkpoint.card.provenance.annotated_slices == 4


def test_slices_larger_than_a_patch_are_learned_in_patches(make, quick):
    scene = make()
    events = _train(
        scene, dataclasses.replace(quick, recipe=Recipe(tile=32)), scene.annotated(4, 6)
    )
    assert all(np.isfinite(event.loss) for event in events[:-1])


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (lambda scene: [], "Paint at least one slice"),
        (lambda scene: scene.annotated(0, 11), "only background on 2 annotated slices"),
        (
            lambda scene: [LabelledSlice(0, 4, scene.truth[4] * 3)],
            r"label 3.*only 1 structure\.",
        ),
        (lambda scene: [LabelledSlice(0, 99, scene.truth[4])], "slices 0 to 11"),
        (lambda scene: [LabelledSlice(1, 4, scene.truth[4])], "scan 2"),
        (lambda scene: [LabelledSlice(0, 4, scene.truth[4][1:])], "painted on this scan"),
    ],
)
def test_annotations_that_cannot_be_learned_from_are_explained(scene, quick, annotations, message):
    with pytest.raises(AnnotationError, match=message):
        _train(scene, quick, annotations(scene))


def test_a_broken_step_leaves_the_model_whole(scene, quick, monkeypatch):
    from napari_unet.learning.training import weight_updater

    real, calls = weight_updater.segmentation_loss, []

    def sometimes_broken(*args):
        calls.append(None)
        return real(*args) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(weight_updater, "segmentation_loss", sometimes_broken)
    events = _train(scene, dataclasses.replace(quick, max_steps=6))
    assert [np.isfinite(event.loss) for event in events[:-1]] == [True, True, False] + [True] * 3
    assert all(torch.isfinite(t).all() for t in events[-1].checkpoint.state.values())


def test_running_out_of_memory_says_what_to_do(scene, quick, monkeypatch):
    def too_large(*args):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr("napari_unet.learning.training.weight_updater.segmentation_loss", too_large)
    with pytest.raises(ResourceError, match="Close other programs and train again"):
        _train(scene, quick)
    with pytest.raises(ResourceError, match="with the fast network"):
        _train(scene, dataclasses.replace(quick, preset="standard"))


def test_time_spent_outside_does_not_count(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    budget = Budget(TrainConfig(seconds=10))
    now[0] += 4
    budget.pause()
    now[0] += 1000
    budget.resume()
    assert budget.seconds == 4
    assert budget.progress == 0.4
    budget.extend()
    assert budget.progress == 0.4  # half of the budget is left as it is
    now[0] += 4
    budget.extend()
    assert budget.progress == pytest.approx(8 / 13)


def test_a_number_of_steps_may_take_as_long_as_it_takes():
    budget = Budget(TrainConfig(seconds=math.inf, max_steps=4))
    budget.steps = 1
    budget.extend()
    assert budget.progress == 0.25


def test_the_interpreter_is_left_as_it_was(scene, quick):
    before = torch.get_num_threads()
    events = train([scene.scan], scene.annotated(4), quick, class_names=["ball"])
    next(events)
    events.close()
    assert torch.get_num_threads() == before
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
