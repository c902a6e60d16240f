"""The benchmarks measure what they say: their Dice, their peers, their annotator."""

import argparse
import csv
import dataclasses
import importlib.util

import numpy as np
import pytest

from benchmarks import few_slices, rounds, shapes
from benchmarks.annotator import CLEAR_SECONDS, LOOK_SECONDS, Annotator
from benchmarks.cases import Case
from benchmarks.masked_loss import paint
from benchmarks.methods import Budget, solve, usable
from benchmarks.peers import interpolate
from benchmarks.report import Report, summarise
from benchmarks.scores import mean_dice
from napari_unet.imaging.volume import Grid, Volume

SPACING = (2.0, 1.0, 1.0)


def disc(radius: float, size: int = 32) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return (np.hypot(y - 15.5, x - 15.5) < radius).astype(np.uint8)


@pytest.fixture(scope="module")
def cone() -> Case:
    """A structure that grows from slice to slice, and a small lesion, in a noisy head."""
    truth = np.zeros((13, 32, 32), np.uint8)
    for z in range(2, 11):
        truth[z] = disc(z)
    truth[1, 3, 3:5] = 1
    noise = np.random.default_rng(0).normal(100, 5, truth.shape)
    volume = Volume((noise + 60 * truth)[None].astype(np.float32), Grid.from_spacing(truth.shape))
    return Case("cone", "core", volume, truth, ("cone",))


# -- scores ------------------------------------------------------------------------


def test_the_dice_of_half_a_structure_is_two_thirds_and_absent_classes_do_not_count():
    truth, half = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    truth[0, :2], half[0, :1] = 1, 1
    assert mean_dice(truth, half, n_classes=2) == pytest.approx(2 / 3)
    assert mean_dice(truth, truth, n_classes=2) == 1


def test_a_false_alarm_counts_as_a_structure_that_is_missed_altogether():
    truth, alarm = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    truth[0, 0], alarm[0, 0], alarm[0, 1] = 1, 1, 2
    assert mean_dice(truth, alarm, n_classes=2) == pytest.approx(0.5)


def test_all_voxels_of_a_structure_count_together():
    truth, predicted = np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8)
    truth[0], truth[1, 0, 0], predicted[0] = 1, 1, 1
    assert mean_dice(truth, predicted, 1) == pytest.approx(32 / 33)


def test_the_test_slices_are_those_not_annotated_and_in_range_those_between(cone):
    annotated = cone.annotate([0, 3, 5, 8])
    assert cone.rest(annotated) == [1, 2, 4, 6, 7, 9, 10, 11, 12]
    assert cone.in_range(annotated) == [4, 6, 7]  # slice 0 shows nothing


# -- interpolation -----------------------------------------------------------------


def test_interpolation_halfway_between_two_discs_is_the_disc_of_the_middle_radius():
    labels = {2: disc(4), 6: disc(10)}
    filled = interpolate(labels, (9, 32, 32), 1, SPACING)
    assert np.count_nonzero(filled[4] != disc(7)) <= 12
    np.testing.assert_array_equal(filled[2], labels[2])


def test_interpolation_leaves_everything_beyond_the_annotated_slices_empty():
    filled = interpolate({2: disc(4), 6: disc(10)}, (9, 32, 32), 1, SPACING)
    assert not filled[[0, 1, 7, 8]].any()


def test_towards_an_empty_slice_a_structure_shrinks_to_nothing_halfway():
    filled = interpolate({0: disc(8), 8: disc(0)}, (9, 32, 32), 1, SPACING)
    areas = np.count_nonzero(filled, axis=(1, 2))
    assert (np.diff(areas[:5]) <= 0).all()
    assert areas[2] == pytest.approx(np.count_nonzero(disc(8 * 2 / 3)), rel=0.1)
    assert not areas[4:].any()


def test_interpolated_structures_do_not_mix():
    left, right = disc(6), disc(6)
    left[:, 16:], right[:, :16] = 0, 0
    both = left + 2 * right
    filled = interpolate({0: both, 4: both}, (5, 32, 32), 2, SPACING)
    np.testing.assert_array_equal(filled[2], both)


# -- annotator ---------------------------------------------------------------------


def test_the_annotator_wanders_a_voxel_and_draws_the_same_again(cone):
    annotator = Annotator.of(cone, 0)
    drawn = annotator.draw(9)
    np.testing.assert_array_equal(drawn, Annotator.of(cone, 0).draw(9))
    assert 0.8 < mean_dice(cone.truth[9], drawn, 1) < 1
    assert not np.array_equal(drawn, Annotator.of(cone, 1).draw(9))


def test_the_annotator_overlooks_a_small_lesion_sometimes_and_a_large_one_never(cone):
    seen = [Annotator.of(cone, seed).whole() for seed in range(12)]
    small = [bool(labels[1].any()) for labels in seen]
    assert any(small)
    assert not all(small)
    assert all(labels[8].any() for labels in seen)


def test_a_correct_slice_costs_a_look_and_a_wrong_one_no_more_than_drawing_it_anew(cone):
    annotator = Annotator.of(cone, 0)
    drawn, nothing = disc(8), disc(0)
    speckles = (np.indices((32, 32)).sum(axis=0) % 4 == 0).astype(np.uint8)
    assert annotator.seconds(drawn, drawn) == LOOK_SECONDS
    assert annotator.seconds(drawn, disc(8.5)) == LOOK_SECONDS  # within a voxel
    anew = annotator.seconds(drawn, nothing)
    assert anew > LOOK_SECONDS
    assert annotator.seconds(drawn, speckles) <= anew + CLEAR_SECONDS


def test_correcting_interpolation_where_it_is_worst_brings_the_mask_to_the_full_annotation(cone):
    annotator = Annotator.of(cone, 0)
    states = rounds.simulate(cone, annotator, rounds.Interpolator(cone), rounds.oracle, 0)
    dice = [mean_dice(cone.truth, next(states).result, 1) for _ in range(8)]
    assert dice[0] < 0.9
    assert dice[-1] > 0.97 * rounds.full_annotation_dice(cone, annotator)


def test_a_prediction_corrected_later_gives_the_score_on_screen(cone):
    def in_doubt(annotated):
        doubt = np.array([[0, 9], [0, 9]], np.float32)
        filled = rounds.Interpolator(cone)(annotated)
        return [dataclasses.replace(each, expected_errors=doubt) for each in filled]

    annotator = Annotator.of(cone, 0)
    states = rounds.simulate(cone, annotator, in_doubt, rounds.interval, 0)
    assert next(states).score is None
    assert next(states).score is None  # two slices that show it are the fewest
    assert next(states).score.n_slices == 2


# -- commands ----------------------------------------------------------------------


def test_strokes_cover_the_wanted_share_and_say_only_what_is_true():
    labels = disc(8)
    painted = paint(labels, 0.1, np.random.default_rng(0))
    known = painted != 255
    assert 0.1 <= known.mean() < 0.15
    np.testing.assert_array_equal(painted[known], labels[known])
    assert {0, 1} == set(np.unique(painted[known]))


def test_a_summary_says_median_range_and_how_often_there_was_no_result():
    rows = [{"who": "a", "s": value} for value in (3.0, 1.0, float("nan"))]
    assert (
        summarise(rows, ["who"], ["s"], 1).splitlines()[-1]
        == "| a | 3 | 2.0 (1.0 to 3.0) [1 never] |"
    )


def test_rows_are_on_disk_before_the_next_measurement(tmp_path):
    options = argparse.Namespace(out=tmp_path, threads=1, argv=[])
    report = Report("some", options)
    report.add(who="a", dice=0.5)
    with (tmp_path / "some.csv").open() as file:
        assert [row["dice"] for row in csv.DictReader(file)] == ["0.5"]


@pytest.mark.parametrize("name", ["ours", "forest", "monai"])
def test_every_learner_answers_on_the_grid_of_the_case(cone, name):
    if name != "ours":
        pytest.importorskip({"forest": "sklearn", "monai": "monai"}[name])
    annotated = cone.annotate([0, 4, 8])
    budget = Budget(seconds=0.1, steps=2, threads=1)
    found = solve(usable([name])[name], cone, annotated, budget, seed=0)
    assert found.labels.shape == cone.truth.shape
    assert set(np.unique(found.labels)) <= {0, 1}
    assert found.steps > 0


@pytest.mark.parametrize("name", ["ours", "interpolation", "forest", "monai"])
def test_a_case_of_sagittal_slices_is_learned_and_answered_in_sagittal_slices(name):
    if name in ("forest", "monai"):
        pytest.importorskip({"forest": "sklearn", "monai": "monai"}[name])
    spacing = (3.0, 2.0, 1.0)
    truth = np.zeros((20, 24, 40), np.uint8)
    truth[4:12, 10:20, 8:30] = 1
    volume = Volume(
        (100 + 60 * truth)[None].astype(np.float32), Grid.from_spacing(truth.shape, spacing)
    )
    case = Case("box", "core", volume, truth, ("box",)).sliced_along(2)
    assert case.spacing_mm == (1.0, 3.0, 2.0)
    assert case.extent == (8, 29)
    budget = Budget(seconds=10, steps=2, threads=1)
    found = solve(usable([name])[name], case, case.annotate([10, 20, 28]), budget, seed=0)
    assert found.labels.shape == (40, 20, 24)
    if name == "interpolation":
        np.testing.assert_array_equal(found.labels[10:29], case.truth[10:29])
    np.testing.assert_array_equal(case.sliced_along(0).truth, truth)


def test_few_slices_runs_on_a_phantom_and_leaves_rows_and_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.cases._QUICK_PHANTOM_SHAPE", (24, 48, 40))
    few_slices.main(
        f"--quick --steps 2 --threads 1 --cases core --methods ours interpolation "
        f"--out {tmp_path}".split()
    )
    with (tmp_path / "few_slices.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["ours", "interpolation"]
    assert all(0 <= float(row["dice_rest"]) <= 1 for row in rows)
    assert "interpolation" in (tmp_path / "few_slices.md").read_text()
    assert (tmp_path / "few_slices.png").exists() == bool(importlib.util.find_spec("matplotlib"))


def test_the_shapes_command_puts_the_network_alone_beside_the_answer_with_painted_slices(capsys):
    options = "--shapes organ -k 3 --lengths 2 --threads 1 --seeds 0"
    shapes.main(options.split())
    assert "| by_slice | alone | filled | painted | behind |" in capsys.readouterr().out
