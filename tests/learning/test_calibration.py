"""How much painted slices, neighbours and a network count: none overrules another in vain."""

import numpy as np
import pytest
import torch

from benchmarks.common.peers import interpolate
from benchmarks.learning import shapes
from napari_unet.annotation.states import LabelledSlice
from napari_unet.imaging.measurement import dice
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.calibration import (
    NEVER,
    Calibration,
    Continuity,
    strengths,
)
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.prediction.annotation_prior import AnnotationPrior
from napari_unet.learning.prediction.fusion import SliceFusion
from napari_unet.learning.prediction.scan_prediction import predict_volume
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.training.loop import train


class Network:
    """Stands for a network: gives the probabilities (n, k, h, w) that it was made with."""

    device = torch.device("cpu")

    def __init__(self, probabilities):
        self._probabilities = torch.from_numpy(probabilities)

    def batch_size(self, scan):
        return 8

    def probabilities(self, scan, indices):
        return self._probabilities[list(indices)]


def timid(truth, rng, *, wrong=0.002):
    """Probabilities of a network early in training: right nearly everywhere, and hardly sure."""
    odds = np.where(truth > 0, rng.normal(2.0, 0.6, truth.shape), -5.0)
    odds[rng.random(truth.shape) < wrong] *= -0.3
    structure = 1 / (1 + np.exp(-odds))
    return np.stack([1 - structure, structure], axis=1).astype(np.float32)


def scan_of(case):
    return prepare(case.volume, case.axis)


def answer(scan, probabilities, painted, steps=150):
    prior = AnnotationPrior(scan, [LabelledSlice(0, i, each) for i, each in painted.items()], 1)
    known = [(probabilities[i], prior.truth(i)) for i in painted]
    calibration = Calibration(strengths(known, 1, steps), prior.continuity)
    fusion = SliceFusion(Network(probabilities), scan, prior, calibration=calibration, steps=steps)
    events = fusion.predict(range(scan.n_slices))
    return np.stack([scan.crop(event.labels) for event in events])


@pytest.mark.parametrize("name", list(shapes.SHAPES))
@pytest.mark.parametrize("k", [1, 3, 7])
def test_whatever_its_shape_painted_slices_do_not_overrule_a_network_that_is_right(name, k):
    case = shapes.make(name)
    scan, painted = scan_of(case), case.annotate(case.chosen(k))
    truth = np.stack([scan.crop(each) for each in case.truth])
    probabilities = timid(truth, np.random.default_rng(0))
    rest = case.rest(painted)
    filled = interpolate(painted, case.truth.shape, 1, case.spacing_mm)
    alone = dice(truth[rest], probabilities.argmax(axis=1)[rest], 1)
    between = dice(case.truth[rest], filled[rest], 1)
    assert dice(truth[rest], answer(scan, probabilities, painted)[rest], 1) > (
        max(alone, between) - 0.02
    )


def test_an_organ_still_gains_by_painted_slices_where_the_network_is_not_right():
    case = shapes.make("organ")
    scan, painted = scan_of(case), case.annotate(case.chosen(5))
    truth = np.stack([scan.crop(each) for each in case.truth])
    probabilities = timid(truth, np.random.default_rng(0), wrong=0.1)
    rest = case.rest(painted)
    alone = dice(truth[rest], probabilities.argmax(axis=1)[rest], 1)
    assert dice(truth[rest], answer(scan, probabilities, painted)[rest], 1) > alone + 0.1


@pytest.mark.slow
def test_dots_are_found_with_and_without_the_painted_slices_and_by_the_model_as_it_was_saved(
    tmp_path,
):
    rng = np.random.default_rng(3)
    truth = np.zeros((10, 32, 32), np.uint8)
    for plane in truth:
        for _ in range(4):
            y, x = rng.integers(6, 25, 2)
            plane[y : y + 2, x : x + 2] = 1
    values = 100 + rng.normal(0, 8, truth.shape) + 90 * truth
    volume = Volume(values[None].astype(np.float32), Grid.from_spacing(truth.shape))
    painted = [LabelledSlice(0, z, truth[z]) for z in (2, 5, 8)]
    config = TrainConfig(seconds=36_000, max_steps=140, threads=1, device="cpu")
    *_, done = train([prepare(volume, 0)], painted, config, class_names=["dot"])
    done.checkpoint.save(tmp_path / "dots.safetensors")
    model = Checkpoint.load(tmp_path / "dots.safetensors")
    rest = [0, 1, 3, 4, 6, 7, 9]
    for annotations in ((), painted):
        mask = predict_volume(volume, model, annotations=annotations)
        assert dice(truth[rest], mask[rest], 1) > 0.9


# -- what goes on ----------------------------------------------------------------------


def continuity(slices, n_structures=1):
    size = next(iter(slices.values())).shape[0]
    window = (slice(0, size), slice(0, size))
    pixels = np.zeros((1 + max(slices), 1, size, size), np.float32)
    scan = PreparedScan(pixels, window, (size, size), (1.0, 1.0), 1.0, 0)
    annotations = [LabelledSlice(0, index, labels) for index, labels in slices.items()]
    return AnnotationPrior(scan, annotations, n_structures).continuity


def squares(*corners, side=2, size=60):
    plane = np.zeros((size, size), np.uint8)
    for y, x in corners:
        plane[y : y + side, x : x + side] = 1
    return plane


def test_an_organ_goes_on_and_scattered_pieces_stand_alone():
    organ = continuity({0: squares((20, 20), side=20), 5: squares((22, 23), side=18)})
    assert organ.all_goes_on
    assert organ.alone(1, 20.0) < NEVER
    rng = np.random.default_rng(0)
    scattered = continuity({z: squares(*rng.integers(2, 56, (5, 2))) for z in range(0, 30, 6)})
    assert scattered.alone(1, 2.0) > 0.7


def test_sizes_are_told_apart_large_pieces_that_go_on_do_not_speak_for_small_ones():
    planes = {}
    for z, corners in ((0, [(5, 50)]), (6, [(50, 5)]), (12, [(5, 5)]), (18, [(50, 50)])):
        planes[z] = np.maximum(squares((20, 20), side=20), squares(*corners))
    found = continuity(planes)
    assert found.alone(1, 22.0) < 0.01
    assert found.alone(1, 2.0) > 0.4


def test_one_piece_that_stands_alone_may_be_the_end_of_an_organ():
    planes = {0: squares((20, 20), side=20), 9: squares((20, 20), side=20), 18: squares()}
    planes[27] = squares((40, 5), side=20)
    assert 0 < continuity(planes).alone(1, 22.0) < 0.3


def test_on_the_only_painted_slice_many_pieces_or_small_ones_are_many_objects_a_pair_is_not():
    pair = continuity({4: squares((5, 5), (40, 40), side=8)})
    small = continuity({4: squares((5, 5))})
    mixed = continuity({4: np.maximum(squares((5, 5)), squares((30, 30), side=20))})
    many = continuity({4: squares((5, 5), (40, 40), (5, 40), (40, 5), (20, 20))})
    assert pair.all_goes_on
    assert small.alone(1, 2.0) == many.alone(1, 2.0) == many.alone(1, 9.0) >= 0.5
    assert mixed.alone(1, 2.0) >= 0.5
    assert mixed.alone(1, 22.0) <= NEVER


def test_structures_and_scans_are_counted_together():
    alone = continuity({4: squares((5, 5), (40, 40), (5, 40), (40, 5))})
    both = alone + continuity({4: 2 * squares((5, 5), (40, 40), (5, 40), (40, 5))}, 2)
    assert both.alone(1, 2.0) == alone.alone(1, 2.0)
    assert both.alone(2, 2.0) == alone.alone(1, 2.0)
    assert Continuity().alone(1, 2.0) == NEVER


# -- how much the network counts -------------------------------------------------------


def test_a_network_that_draws_what_was_painted_counts_in_full_however_timid_it_is():
    painted = squares((20, 20), side=10)
    timidly = [(timid(painted[None], np.random.default_rng(0), wrong=0)[0], painted)]
    assert strengths(timidly, 1, 60)[0] > 3


def test_a_network_that_draws_something_else_counts_by_its_steps():
    painted = squares((20, 20), side=10)
    elsewhere = timid(squares((20, 24), side=10)[None], np.random.default_rng(0), wrong=0)[0]
    assert strengths([(elsewhere, painted)], 1, 100) == (0.4,)
    assert strengths([(elsewhere, painted)], 1, 1000) == (1.0,)
    assert strengths([], 1, 125) == (0.5,)


def test_structures_added_to_a_model_count_by_its_steps():
    scan = PreparedScan(
        np.zeros((3, 1, 20, 20), np.float32),
        (slice(0, 20), slice(0, 20)),
        (20, 20),
        (1.0, 1.0),
        3.0,
        0,
    )
    probabilities = np.full((3, 3, 20, 20), 0.1, np.float32)
    probabilities[:, 2] = 0.8
    calibration = Calibration(strengths=(1.0,))  # of a model with one structure
    fusion = SliceFusion(Network(probabilities), scan, calibration=calibration)
    assert (fusion.predict([1])[0].labels == 2).all()
