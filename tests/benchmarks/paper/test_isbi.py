"""The ISBI benchmark runs on a drawn stack and reports each slice once."""

import csv
import importlib.util

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.paper import isbi, micrographs
from benchmarks.paper.results import Gatherer
from napari_unet.learning.config import PRESETS


@pytest.fixture(scope="module")
def stack() -> micrographs.Stack:
    return micrographs.phantom((4, 48, 56))


def test_the_drawn_stack_has_bright_cells_that_dark_membranes_keep_apart(stack):
    for image, cells in zip(stack.image, stack.cells):
        assert ndimage.label(cells)[1] > 5
        assert 0.5 < cells.mean() < 0.95
        assert image[cells].mean() > image[~cells].mean() + 30


def test_slices_turned_and_turned_back_are_what_they_were(stack):
    scan = stack.scan()
    whole = scan.slices[:, 0]
    assert whole.shape == stack.image.shape  # nothing is cropped
    for turns in range(4):
        for mirrored in (False, True):
            twisted = isbi._twisted(scan, turns, mirrored)
            assert twisted.shape == twisted.full_shape
            back = isbi._untwist(twisted.slices[:, 0], turns, mirrored)
            np.testing.assert_array_equal(back, whole)


def test_a_perfect_prediction_has_no_error_and_a_blank_one_misses_every_cell(stack):
    perfect, blank = Gatherer(stack), Gatherer(stack)
    rows = list(perfect.add(range(4), stack.cells.astype(np.float32)))
    assert [row["slice"] for row in rows] == [0, 1, 2, 3]
    list(blank.add(range(4), np.zeros(stack.cells.shape, np.float32)))
    assert all(perfect.errors()[f"{name}_half"] == 0 for name in ("pixel", "rand", "warping"))
    assert blank.errors()["rand"] == blank.errors()["pixel"] == 1


def test_the_paper_network_is_as_narrow_as_asked_and_others_as_they_are():
    assert isbi.network("paper", 8).width == 8
    assert isbi.network("standard", 8) == PRESETS["standard"]


def test_the_benchmark_predicts_each_slice_once_by_a_network_that_has_not_seen_it(
    tmp_path, monkeypatch, stack
):
    monkeypatch.setattr(micrographs, "load", lambda data: stack)
    seen = []
    real = isbi.learn

    def learn(stack, held_back, *rest):
        seen.append(set(held_back.tolist()))
        return real(stack, held_back, *rest)

    monkeypatch.setattr(isbi, "learn", learn)
    isbi.main(
        f"--quick --steps 2 --threads 1 --methods fast unknown --ways whole tiles "
        f"--tile 32 --out {tmp_path}".split()
    )
    assert seen == [{0, 1}, {2, 3}]
    with (tmp_path / "isbi.csv").open() as file:
        rows = list(csv.DictReader(file))
    for way in ("whole", "tiles"):
        assert [int(row["slice"]) for row in rows if row["way"] == way] == [0, 1, 2, 3]
    assert {row["method"] for row in rows} == {"fast"}
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("pixel", "rand", "warping"))
    summary = (tmp_path / "isbi.md").read_text()
    assert "| 0.0611 | 0.0382 | 0.000353 |" in summary
    assert len(list(tmp_path.glob("*.png"))) == 2 * bool(importlib.util.find_spec("matplotlib"))
