"""A model never gets worse silently: what is held back, and which weights are kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.learning.config import ModelConfig
from napari_unet.learning.events import Comparison, RoundDone, StepDone
from napari_unet.learning.model_card import ModelCard, Provenance
from napari_unet.learning.training.holdout import HoldoutSplit, n_held_back
from napari_unet.learning.training.loop import train
from napari_unet.learning.training.model_selection import TOLERANCE, compare, pooled_dice


def card(*learned: int, held_back=(), trained_on=("ball",), classes=("ball",)) -> ModelCard:
    """Card of a model that has learned from these slices of the ball."""
    history = Provenance(
        trained_on=trained_on,
        learned_slices=tuple(("ball", index) for index in learned),
        held_back=tuple(("ball", index) for index in held_back),
    )
    return ModelCard(ModelConfig(n_classes=1 + len(classes)), classes, provenance=history)


def split(scene, known: ModelCard | None, *annotations: LabelledSlice) -> HoldoutSplit:
    return HoldoutSplit.begin([scene.scan], known).given(annotations)


def held_back(division: HoldoutSplit) -> list[int]:
    return [each.index for each in division.test]


def learned(division: HoldoutSplit) -> list[int]:
    return [each.index for each in division.training]


# -- what is held back -----------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "held_back"), [(0, 0), (2, 0), (3, 1), (7, 1), (8, 2), (20, 4), (200, 4)]
)
def test_one_in_five_new_slices_is_held_back_and_four_at_most(new, held_back):
    assert n_held_back(new) == held_back


def test_a_first_round_learns_from_everything(scene):
    division = split(scene, None, *scene.annotated(1, 3, 4, 5, 6, 7, 9))
    assert held_back(division) == []
    assert learned(division) == [1, 3, 4, 5, 6, 7, 9]
    history = division.remember(Provenance(), learned=True)
    assert history.learned_slices == tuple(("ball", i) for i in (1, 3, 4, 5, 6, 7, 9))


def test_only_what_the_model_has_not_learned_from_is_held_back(scene):
    division = split(scene, card(1, 4, 6, 9), *scene.annotated(1, 3, 4, 5, 6, 7, 9))
    assert held_back(division) == [5]
    assert learned(division) == [1, 3, 4, 6, 7, 9]


def test_slices_that_show_a_structure_are_held_back_first(scene):
    division = split(scene, card(6), *scene.annotated(0, 1, 2, 4, 5, 6, 10, 11))
    assert [bool(each.labels.any()) for each in division.test] == [True]
    only_empty = split(scene, card(5, 6), *scene.annotated(0, 1, 5, 6, 10, 11))
    assert held_back(only_empty) == []  # Dice needs a structure


def test_an_incomplete_slice_is_never_held_back(scene):
    def partial(each):
        labels = each.labels.copy()
        labels[:5] = IGNORE_LABEL
        return dataclasses.replace(each, labels=labels)

    painted = [partial(each) for each in scene.annotated(3, 4, 5, 6, 7)]
    assert held_back(split(scene, card(), *painted)) == []


def test_the_last_slice_that_shows_a_structure_is_learned_from(scene):
    annotations = scene.annotated(4, 5, 6)
    ring = annotations[1].labels.copy()
    ring[:3, :3] = 2
    annotations[1] = LabelledSlice(0, 5, ring)
    division = split(scene, card(classes=("ball", "ring")), *annotations)
    assert 5 in learned(division)


def test_a_slice_once_held_back_stays_so_as_long_as_it_is_annotated(scene):
    first = split(scene, card(6), *scene.annotated(3, 4, 5, 6))
    assert held_back(first) == [4]
    history = first.remember(card(6).provenance, learned=True)
    assert history.held_back == (("ball", 4),)
    assert history.learned_slices == (("ball", 3), ("ball", 5), ("ball", 6))
    after = dataclasses.replace(card(), provenance=history)
    second = split(scene, after, *scene.annotated(2, 3, 4, 5, 6, 7, 8))
    assert held_back(second) == [4]
    third = split(scene, after, *scene.annotated(3, 5, 6))
    assert held_back(third) == []
    assert third.remember(history, learned=True).held_back == ()


def test_slices_of_a_round_that_was_turned_down_do_not_add_to_the_test(scene):
    indices = (1, 2, 3, 4, 5, 6, 7, 8, 9)
    history = card(6).provenance
    for _ in range(4):
        known = dataclasses.replace(card(6), provenance=history)
        division = split(scene, known, *scene.annotated(*indices))
        history = division.remember(history, learned=False)
        assert history.learned_slices == (("ball", 6),)
        assert len(history.held_back) == 2


def test_slices_held_back_on_another_scan_are_remembered(scene):
    elsewhere = Provenance(trained_on=("other",), held_back=(("other", 7),))
    known = dataclasses.replace(card(), provenance=elsewhere)
    division = split(scene, known, *scene.annotated(4, 5, 6))
    assert division.remember(elsewhere, learned=True).held_back == (("ball", 5), ("other", 7))


def test_slices_that_arrive_meanwhile_may_be_held_back_and_what_was_learned_stays(scene):
    division = split(scene, card(6), *scene.annotated(4, 6))
    division = division.given(scene.annotated(4, 5, 6))
    assert held_back(division) == []
    division = division.given(scene.annotated(3, 4, 5, 6))
    assert held_back(division) == [3]
    division = division.given(scene.annotated(3, 4, 5, 6, 7))
    assert held_back(division) == [3]
    assert learned(division) == [4, 5, 6, 7]
    division = division.given(scene.annotated(3, 6))
    assert division.learned == {("ball", index) for index in (4, 5, 6, 7)}


def test_a_model_that_does_not_say_what_it_knows_is_not_tested_on_that_scan(scene):
    old_card = card(trained_on=("ball",))
    assert held_back(split(scene, old_card, *scene.annotated(3, 4, 5, 6))) == []
    other_scan = card(trained_on=("other",))
    assert held_back(split(scene, other_scan, *scene.annotated(3, 4, 5))) == [4]


# -- old against new -------------------------------------------------------------


def test_dice_is_pooled_over_slices_and_averaged_over_structures():
    truth = np.array([[1, 1, 0, 2]], np.uint8)
    empty = np.zeros((1, 4), np.uint8)
    assert pooled_dice([truth, empty], [truth, empty]) == 1
    false_alarm = np.array([[1, 1, 0, 0]], np.uint8)
    dice = pooled_dice([truth, false_alarm], [truth, empty])
    assert dice == pytest.approx((4 / 6 + 1) / 2)
    assert pooled_dice([false_alarm], [empty]) is None
    assert compare([false_alarm], [empty], [empty]) is None
    assert compare([], [], []) is None


def square(size: int, at: int = 4) -> np.ndarray:
    labels = np.zeros((24, 24), np.uint8)
    labels[at : at + size, at : at + size] = 1
    return labels


def test_an_edge_a_pixel_off_is_nothing_to_turn_a_model_down_for():
    # The label is what the old model predicted: nobody corrected its edges.
    label = square(6)
    result = compare([square(8, at=3)], [label], [label])
    assert result.new < 0.75
    assert not result.worse
    assert "about as good on 1 held-back slice, edges within a pixel aside" in result.verdict


def test_more_slices_tell_smaller_differences():
    label = square(10)
    spot = label + square(4, at=18)
    one, many = (compare([spot] * n, [label] * n, [label] * n) for n in (1, 16))
    assert one.new == many.new < 0.95
    assert not one.worse
    assert many.worse


def test_a_dozen_stray_pixels_are_too_few_to_tell_two_models_apart():
    strays = square(3) + square(2, at=18)
    result = compare([np.zeros_like(strays)], [strays], [strays])
    assert not result.tells
    assert result.verdict == (
        "Which model is better cannot be told: on 1 slice held back as a test only 13 pixels of "
        "structures are painted."
    )
    assert compare([square(5)], [square(5)], [square(5)]).tells


@pytest.mark.parametrize(
    ("kept", "end"), [("new", "The new one is kept."), ("old", "earlier one, which is kept.")]
)
def test_a_round_with_too_small_a_test_says_so_and_which_model_is_kept(kept, end):
    comparison = Comparison(0, 0, 1, n_pixels=12)
    verdict = RoundDone(None, stopped=False, seconds=1, kept=kept, comparison=comparison).verdict
    assert "only 12 pixels" in verdict
    assert "Dice" not in verdict
    assert verdict.endswith(end)


def test_losing_more_than_the_edge_is_worse():
    label = square(8)
    result = compare([square(4), label], [label, label], [label, label])
    assert result.worse
    assert result.verdict == (
        "The new model is worse on 2 held-back slices (Dice 0.77 against 1.00): the earlier one "
        "is kept."
    )
    false_alarm = label + square(4, at=18)
    assert compare([false_alarm], [label], [label]).worse
    assert not compare([label], [false_alarm], [label]).worse


def test_a_little_worse_is_within_chance():
    label = square(12)
    spot = label.copy()
    spot[20:22, 20:22] = 1
    result = compare([spot], [label], [label])
    assert 1 - TOLERANCE < result.new < 1
    assert not result.worse
    assert "about as good on 1 held-back slice (Dice 0.99 against 1.00)" in result.verdict


def retrain(scene, config, annotations, init, **kwargs) -> RoundDone:
    *_, done = train([scene.scan], annotations, config, class_names=["ball"], init=init, **kwargs)
    assert isinstance(done, RoundDone)
    return done


def same_weights(a, b) -> bool:
    return all(torch.equal(a.state[name], b.state[name]) for name in a.state)


@pytest.mark.slow
def test_a_round_on_wrong_labels_keeps_the_old_model_and_hands_out_the_new_one(
    scene, trained, quick
):
    poisoned = [
        LabelledSlice(0, each.index, np.roll(each.labels, 20, axis=0))
        for each in scene.annotated(1, 3, 4, 6, 7, 9)
    ]
    done = retrain(
        scene,
        dataclasses.replace(quick, max_steps=30),
        [*poisoned, *scene.annotated(5)],
        trained.checkpoint,
    )
    assert done.kept == "old"
    assert done.comparison.new < done.comparison.old - TOLERANCE
    assert done.comparison.n_slices == 1
    assert same_weights(done.checkpoint, trained.checkpoint)
    assert not same_weights(done.rejected, trained.checkpoint)
    assert done.verdict.startswith("The new model is worse on 1 held-back slice (Dice 0.")
    before = trained.checkpoint.card.provenance
    kept = done.checkpoint.card.provenance
    assert kept.held_back == (("ball", 5),)
    assert dataclasses.replace(kept, held_back=()) == before
    assert ("ball", 3) in done.rejected.card.provenance.learned_slices


@pytest.mark.slow
def test_a_better_model_replaces_the_old_one(scene, quick):
    first = retrain(scene, quick, scene.annotated(4, 6), None)
    assert first.comparison is None
    assert first.verdict == ""
    config = dataclasses.replace(quick, max_steps=40)
    second = retrain(scene, config, scene.annotated(1, 3, 4, 5, 6, 7, 9), first.checkpoint)
    assert second.kept == "new"
    assert second.rejected is None
    assert second.comparison.new > second.comparison.old
    assert "better on 1 held-back slice" in second.verdict
    history = second.checkpoint.card.provenance
    (test,) = history.held_back
    assert test not in history.learned_slices
    assert {index for _, index in (test, *history.learned_slices)} == {1, 3, 4, 5, 6, 7, 9}
    assert history.annotated_slices == 6
    third = retrain(scene, quick, scene.annotated(1, 3, 4, 5, 6, 7, 9, 2), second.checkpoint)
    assert third.comparison.n_slices == 1
    assert test in third.checkpoint.card.provenance.held_back


def test_a_held_back_slice_never_influences_the_new_weights(scene, trained, quick):
    def weights(labels):
        annotations = [*scene.annotated(1, 3, 4, 6, 7, 9), LabelledSlice(0, 5, labels)]
        events = train(
            [scene.scan], annotations, quick, class_names=["ball"], init=trained.checkpoint
        )
        *steps, done = events
        assert all(isinstance(step, StepDone) for step in steps)
        assert {(step.n_slices, step.n_held_back) for step in steps} == {(6, 1)}
        return done.rejected or done.checkpoint

    right = scene.truth[5]
    assert same_weights(weights(right), weights(np.roll(right, 15, axis=1)))


def test_a_slice_painted_during_the_round_can_become_a_test(scene, trained, quick):
    answers = iter([scene.annotated(1, 4, 6, 9), None, scene.annotated(1, 3, 4, 5, 6, 7, 9)])
    events = list(
        train(
            [scene.scan],
            lambda: next(answers, None),
            dataclasses.replace(quick, max_steps=5),
            class_names=["ball"],
            init=trained.checkpoint,
        )
    )
    assert [each.n_slices for each in events[:-1]] == [4, 6, 6, 6, 6]
    assert events[-1].comparison.n_slices == 1


# -- what becomes of the old weights ------------------------------------------------


def test_a_shrunk_model_knows_less_than_a_warm_one_and_more_than_a_fresh_one(scene, trained, quick):
    def first_loss(how, init=trained.checkpoint):
        config = dataclasses.replace(quick, max_steps=1, restart=how)
        annotations = scene.annotated(1, 4, 6, 9)
        step, *_ = train([scene.scan], annotations, config, class_names=["ball"], init=init)
        return step.loss

    fresh = first_loss("warm", init=None)
    assert first_loss("scratch") == fresh
    assert first_loss("warm") < first_loss("shrink") < 0.9 * fresh


def test_an_unknown_restart_is_named(trained):
    from napari_unet.learning.network.unet import UNet
    from napari_unet.learning.training.weight_updater import restart

    with pytest.raises(ValueError, match="Unknown restart 'cold'"):
        restart(UNet(trained.checkpoint.card.model), trained.checkpoint.state, "cold")
