"""The simulated annotator draws and counts as he says, and the commands on learning run."""

import csv
import dataclasses
import importlib.util

import numpy as np

from benchmarks.common.scores import mean_dice
from benchmarks.learning import few_slices, rounds, shapes
from benchmarks.learning.masked_loss import paint
from benchmarks.learning.simulated_annotator import CLEAR_SECONDS, LOOK_SECONDS, SimulatedAnnotator
from napari_unet.annotation.error_estimate import ErrorEstimate


def disc(radius: float, size: int = 32) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return (np.hypot(y - 15.5, x - 15.5) < radius).astype(np.uint8)


# -- annotator ---------------------------------------------------------------------


def test_the_annotator_wanders_a_voxel_and_draws_the_same_again(cone):
    annotator = SimulatedAnnotator.of(cone, 0)
    drawn = annotator.draw(9)
    np.testing.assert_array_equal(drawn, SimulatedAnnotator.of(cone, 0).draw(9))
    assert 0.8 < mean_dice(cone.truth[9], drawn, 1) < 1
    assert not np.array_equal(drawn, SimulatedAnnotator.of(cone, 1).draw(9))


def test_the_annotator_overlooks_a_small_lesion_sometimes_and_a_large_one_never(cone):
    seen = [SimulatedAnnotator.of(cone, seed).whole() for seed in range(12)]
    small = [bool(labels[1].any()) for labels in seen]
    assert any(small)
    assert not all(small)
    assert all(labels[8].any() for labels in seen)


def test_a_correct_slice_costs_a_look_and_a_wrong_one_no_more_than_drawing_it_anew(cone):
    annotator = SimulatedAnnotator.of(cone, 0)
    drawn, nothing = disc(8), disc(0)
    speckles = (np.indices((32, 32)).sum(axis=0) % 4 == 0).astype(np.uint8)
    assert annotator.seconds(drawn, drawn) == LOOK_SECONDS
    assert annotator.seconds(drawn, disc(8.5)) == LOOK_SECONDS  # within a voxel
    anew = annotator.seconds(drawn, nothing)
    assert anew > LOOK_SECONDS
    assert annotator.seconds(drawn, speckles) <= anew + CLEAR_SECONDS


def test_correcting_interpolation_where_it_is_worst_brings_the_mask_to_the_full_annotation(cone):
    annotator = SimulatedAnnotator.of(cone, 0)
    states = rounds.simulate(cone, annotator, rounds.Interpolator(cone), rounds.oracle, 0)
    dice = [mean_dice(cone.truth, next(states).result, 1) for _ in range(8)]
    assert dice[0] < 0.9
    assert dice[-1] > 0.97 * rounds.full_annotation_dice(cone, annotator)


def test_a_prediction_corrected_later_gives_the_score_on_screen(cone):
    def in_doubt(annotated):
        filled = rounds.Interpolator(cone)(annotated)
        return [
            dataclasses.replace(each, error_estimate=ErrorEstimate.of(each.labels, [0, 9], [0, 9]))
            for each in filled
        ]

    annotator = SimulatedAnnotator.of(cone, 0)
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


def test_few_slices_runs_on_a_phantom_and_leaves_rows_and_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.common.cases._QUICK_PHANTOM_SHAPE", (24, 48, 40))
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
