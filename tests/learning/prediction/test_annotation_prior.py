"""What annotated slices say about the others, and how it joins what the network says."""

import dataclasses

import numpy as np
import pytest

from napari_unet import fill_between
from napari_unet.annotation.states import IGNORE_LABEL, LabelledSlice
from napari_unet.imaging.measurement import dice
from napari_unet.learning.calibration import SIZES, Calibration, Continuity
from napari_unet.learning.config import ModelConfig, TrainConfig
from napari_unet.learning.model_card import ModelCard, Provenance
from napari_unet.learning.network.checkpoint import Checkpoint
from napari_unet.learning.network.unet import UNet
from napari_unet.learning.prediction.annotation_prior import (
    STRONGEST_AGAINST,
    AnnotationPrior,
    continuity_with,
    share_of_learned,
)
from napari_unet.learning.prediction.fusion import neighbour_weights
from napari_unet.learning.prediction.scan_prediction import predict_volume
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.training.loop import train
from napari_unet.learning.training.round import TrainingRound
from napari_unet.phantom.metastases import make_phantom


def _scan(n=20, side=40, slice_mm=1.0):
    slices = np.zeros((n, 1, side, side), np.float32)
    window = (slice(0, side), slice(0, side))
    return PreparedScan(slices, window, (side, side), (1.0, 1.0), slice_mm, 0)


def _disc(radius, side=40):
    y, x = np.mgrid[:side, :side] - side // 2
    return (np.hypot(y, x) < radius).astype(np.uint8)


def _annotated(scan, **slices):
    return [LabelledSlice(0, int(name[1:]), labels) for name, labels in slices.items()]


def test_between_annotated_slices_the_middle_is_structure_and_the_corner_is_not():
    scan = _scan()
    known = AnnotationPrior(scan, _annotated(scan, z4=_disc(10), z10=_disc(10)), 1)
    odds = known.log_odds(7)[0]
    assert odds[20, 20] > 2
    assert odds[0, 0] == -STRONGEST_AGAINST


def test_log_odds_fade_with_the_distance_to_annotated_slices():
    scan = _scan()
    known = AnnotationPrior(scan, _annotated(scan, z2=_disc(10), z18=_disc(10)), 1)
    assert known.log_odds(3)[0][20, 27] > known.log_odds(10)[0][20, 27] > 0


def test_beyond_the_last_slice_nothing_is_added_and_far_away_is_ruled_out():
    scan = _scan()
    known = AnnotationPrior(scan, _annotated(scan, z2=_disc(10), z5=_disc(10)), 1)
    odds = known.log_odds(15)[0]
    assert odds.max() <= 0
    assert odds[20, 20] > odds[0, 0]
    assert odds[0, 0] < -2


def test_a_network_that_learned_mostly_from_other_scans_decides_itself_where_structures_end():
    scan, annotations = _scan(), _annotated(_scan(), z2=_disc(10), z5=_disc(10))
    alone = AnnotationPrior(scan, annotations, 1)
    one_of_ten = AnnotationPrior(scan, annotations, 1, share=0.1)
    np.testing.assert_allclose(one_of_ten.log_odds(15), alone.log_odds(15) / 10, rtol=1e-6)
    np.testing.assert_array_equal(one_of_ten.log_odds(3), alone.log_odds(3))


def test_partial_and_only_empty_slices_say_nothing_about_others():
    scan = _scan()
    partial = _disc(10)
    partial[0] = IGNORE_LABEL
    assert AnnotationPrior(scan, _annotated(scan, z4=partial), 1).log_odds(5) is None
    assert AnnotationPrior(scan, _annotated(scan, z4=_disc(0)), 1).log_odds(5) is None
    assert AnnotationPrior(scan, (), 1).log_odds(5) is None


def test_a_structure_that_only_partial_slices_show_is_left_to_the_network():
    scan = _scan()
    partial = np.full((40, 40), IGNORE_LABEL, np.uint8)
    partial[20, 20] = 2
    annotations = _annotated(scan, z4=_disc(10), z12=_disc(10), z8=partial, z18=partial)
    known = AnnotationPrior(scan, annotations, 2)
    assert (known.log_odds(8)[1] == 0).all()
    assert (known.log_odds(18)[1] == 0).all()
    assert (known.log_odds(18)[0] < 0).any()


def test_thick_slices_are_not_averaged_and_thin_ones_are():
    assert len(neighbour_weights(3.0)) == 1
    weights = neighbour_weights(0.7)
    assert len(weights) == 3
    assert weights[0] == 1 > weights[1] > weights[2]
    assert len(neighbour_weights(0.1)) == 4


def test_annotated_slices_come_back_as_they_were_and_help_their_neighbours(scene, trained):
    alone = predict_volume(scene.volume, trained.checkpoint)
    # A structure that the network has never seen, on two slices six apart.
    first, last = 2, 8
    labels = np.zeros(scene.truth.shape[1:], np.uint8)
    labels[4:16, 4:16] = 1
    annotations = [LabelledSlice(0, first, labels), LabelledSlice(0, last, labels)]
    together = predict_volume(scene.volume, trained.checkpoint, annotations=annotations)
    assert (together[first] == labels).all()
    assert (together[last] == labels).all()
    assert alone[first + 1, 6:14, 6:14].mean() < 0.5 < together[first + 1, 6:14, 6:14].mean()


def test_voxels_of_partial_slices_are_kept(scene, trained):
    labels = np.full(scene.truth.shape[1:], IGNORE_LABEL, np.uint8)
    labels[0, 0] = 1
    result = predict_volume(
        scene.volume, trained.checkpoint, annotations=[LabelledSlice(0, 3, labels)]
    )
    assert result[3, 0, 0] == 1


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 0, 3, 1, 4, 2]])
def test_the_order_of_slices_does_not_change_the_answers(scene, trained, order):
    from napari_unet.learning.prediction.scan_prediction import segment

    scan = dataclasses.replace(scene.scan, slices=scene.scan.slices[:6])
    wanted = {e.index: e.labels for e in segment(scan, trained.checkpoint)}
    got = {e.index: e.labels for e in segment(scan, trained.checkpoint, order=order)}
    assert all(np.mean(wanted[index] != got[index]) < 1e-3 for index in range(6))


def test_a_round_and_a_prediction_agree_on_how_much_a_network_knows_of_other_scans(scene, quick):
    # Nine slices of others in all its rounds, and two of another in the last one.
    others = tuple((f"head {number}", 4) for number in range(9))
    model = ModelConfig(width=2, levels=2, normalisation="none")
    card = ModelCard(model, ("ball",), provenance=Provenance((), 2, learned_slices=others))
    init = Checkpoint(UNet(model).state_dict(), card)
    here = scene.annotated(5)
    one_of_ten = AnnotationPrior(scene.scan, here, 1, share=0.1).log_odds(11)
    this_round = TrainingRound([scene.scan], here, quick, card, init)
    np.testing.assert_allclose(this_round.priors[0].log_odds(11), one_of_ten, rtol=1e-5)
    names = [(scene.scan.name, 5)]
    assert share_of_learned(names, names, card.provenance) == pytest.approx(0.1)
    assert share_of_learned(names, names, Provenance(annotated_slices=4)) == 0.25
    assert share_of_learned(
        names, names, this_round.done(1, 1.0, stopped=False).checkpoint.card.provenance
    ) == pytest.approx(0.1)


def test_slices_that_are_still_annotated_are_not_counted_twice():
    pieces = Continuity((((1.0, 4.0),) * SIZES,))
    learned = tuple(("head", index) for index in range(4))
    card = ModelCard(
        ModelConfig(),
        ("ball",),
        calibration=Calibration(continuity=pieces),
        provenance=Provenance(learned_slices=learned),
    )
    assert continuity_with(pieces, learned, card) == pieces
    assert continuity_with(pieces, [("another", 1)], card) == pieces + pieces
    one_of_four = continuity_with(pieces, learned[1:], card)
    assert one_of_four.tallies[0][0] == (1.25, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 60])
def test_between_annotated_slices_an_answer_is_no_worse_than_interpolation(steps):
    phantom = make_phantom(3, (40, 96, 80), (3.6, 2.0, 2.2), 3, (20.0, 36.0))
    shown = np.flatnonzero(phantom.truth.any(axis=(1, 2)))
    slices = [int(z) for z in np.linspace(shown[0], shown[-1], 6)[1:-1]]
    annotations = [LabelledSlice(0, z, phantom.truth[z]) for z in slices]
    config = TrainConfig(seconds=36_000, max_steps=steps, threads=1, device="cpu")
    *_, done = train([prepare(phantom.volume, 0)], annotations, config, class_names=["metastasis"])
    answer = predict_volume(phantom.volume, done.checkpoint, annotations=annotations)
    filled = fill_between(phantom.truth, grid=phantom.volume.grid, slices=slices)
    rest = [z for z in range(slices[0], slices[-1]) if z not in slices]
    ours, alone = (dice(phantom.truth[rest], mask[rest], 1) for mask in (answer, filled))
    assert ours > alone - 0.01 > 0.7
