"""The Python door, on a scan of bright balls that a few steps suffice to learn."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_unet
from napari_unet.annotation.label_files import choose_slices
from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.api import LabelsMoved, ScanUnlikeTraining, TrainingCutShort, as_checkpoint
from napari_unet.errors import (
    AnnotationError,
    CheckpointError,
    GridMismatchError,
    NapariUnetError,
    VolumeError,
)
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import StepDone

pytestmark = pytest.mark.usefixtures("narrow_network")

SHAPE = (14, 40, 36)
QUICK = TrainConfig(seconds=36_000, max_steps=120, threads=1)
ONE_STEP = TrainConfig(max_steps=1, threads=1)


def ball(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    distance = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return distance <= radius**2


def scan_of(truth: np.ndarray, values: Sequence[int] = (1,), seed: int = 0) -> Volume:
    """A head with structures that get brighter with their label value."""
    rng = np.random.default_rng(seed)
    head = ball((7, 20, 18), 17).astype(np.float32) * 100
    for brightness, value in enumerate(values, start=1):
        head[truth == value] = 100 + 150 * brightness
    head += rng.normal(0, 5, SHAPE).astype(np.float32)
    return Volume(data=head[None], grid=Grid.from_spacing(SHAPE, (3.0, 1.0, 1.0)))


@pytest.fixture
def truth() -> np.ndarray:
    return ball((6, 16, 14), 6).astype(np.uint8)


@pytest.mark.slow
def test_training_on_three_slices_segments_the_others(truth):
    volume = scan_of(truth)
    seen: list[int] = []
    model = napari_unet.train(
        volume,
        truth,
        slices=[3, 6, 13],
        config=QUICK,
        progress=lambda event: seen.append(event.step) if isinstance(event, StepDone) else None,
    )
    found = napari_unet.segment(volume, model)

    others = [z for z in range(14) if z not in (3, 6, 13)]
    together = napari_unet.segment(volume, model, labels=truth, slices=[3, 6, 13])
    np.testing.assert_array_equal(together[[3, 6, 13]], truth[[3, 6, 13]])
    overlap = 2 * (found & truth)[others].sum() / (found[others].sum() + truth[others].sum())
    assert overlap > 0.75
    assert seen == list(range(1, 121))
    assert model.card.provenance.annotated_slices == 3


@pytest.mark.slow
def test_label_values_with_gaps_come_back_as_they_were(truth):
    labels = truth * 4
    labels[ball((9, 27, 24), 5)] = 17
    volume = scan_of(labels, (4, 17))
    model = napari_unet.train(volume, labels, config=QUICK)

    assert model.card.class_names == ("label 4", "label 17")
    assert set(np.unique(napari_unet.segment(volume, model))) == {0, 4, 17}


def test_a_model_is_trained_on_with_the_same_label_values(truth, tmp_path):
    volume = scan_of(truth)
    first = napari_unet.train(volume, truth * 4, config=ONE_STEP)
    first.save(tmp_path / "first.safetensors")
    second = napari_unet.train(
        volume, truth * 4, init=tmp_path / "first.safetensors", config=ONE_STEP
    )
    assert second.card.class_names == ("label 4",)
    assert second.card.provenance.steps > first.card.provenance.steps

    with pytest.raises(CheckpointError, match="value 3, but the model knows only 4"):
        napari_unet.train(volume, truth * 3, init=first, config=ONE_STEP)


@pytest.mark.slow
def test_named_structures_keep_their_label_values_and_can_be_renamed(truth):
    labels = truth * 2
    labels[ball((9, 27, 24), 5)] = 4
    volume = scan_of(labels, (2, 4))
    first = napari_unet.train(volume, labels, class_names=["core", "oedema"], config=QUICK)
    found = napari_unet.segment(volume, first)
    assert set(np.unique(found)) == {0, 2, 4}
    second = napari_unet.train(
        volume, found, class_names=["necrosis", "oedema"], init=first, config=ONE_STEP
    )
    assert second.card.class_names == ("necrosis", "oedema")
    assert second.card.label_values == (2, 4)
    assert second.card.provenance.steps > first.card.provenance.steps

    with pytest.raises(AnnotationError, match="1 class names were given for 2 structures"):
        napari_unet.train(volume, found, class_names=["core"], init=first, config=ONE_STEP)


@pytest.mark.parametrize("names", [("label 2", "label 1"), ("label 0", "label 9")])
def test_a_name_that_looks_like_a_label_value_is_only_a_name(truth, names, tmp_path):
    labels = truth * 1
    labels[ball((9, 27, 24), 5)] = 2
    model = napari_unet.train(scan_of(labels, (1, 2)), labels, class_names=names, config=ONE_STEP)
    model.save(tmp_path / "model.safetensors")
    card = as_checkpoint(tmp_path / "model.safetensors").card
    assert card.structure_rows()[0][:2] == (1, names[0])
    kept = napari_unet.segment(scan_of(labels, (1, 2)), model, labels=labels, slices=[6, 9])
    np.testing.assert_array_equal(kept[[6, 9]], labels[[6, 9]])


def test_a_model_is_not_used_along_another_plane_and_says_what_is_unlike_its_scans(truth):
    model = napari_unet.train(scan_of(truth), truth, axis="axial", config=ONE_STEP)
    with pytest.raises(CheckpointError, match=r"learned from axial slices, but these are sagittal"):
        napari_unet.train(scan_of(truth), truth, axis="sagittal", init=model, config=ONE_STEP)
    coarse = Volume(scan_of(truth).data, Grid.from_spacing(SHAPE, (6.0, 2.0, 2.0)), "coarse")
    with pytest.warns(ScanUnlikeTraining, match="coarse: it shows about"):
        napari_unet.segment(coarse, model)


def test_files_in_any_voxel_order_count_slices_as_stored(truth, tmp_path):
    """The same scan stored upside down: slice numbers turn round, the result does not."""
    labels = truth.copy()
    labels[4:] = 0  # shows the ball on few slices only
    up = np.diag([1.0, 1.0, 3.0, 1.0])  # file z runs upwards; display z downwards
    image = nib.Nifti1Image(scan_of(truth).data[0].transpose(2, 1, 0)[:, :, ::-1], up)
    image.to_filename(tmp_path / "image.nii.gz")
    mask = nib.Nifti1Image(labels.transpose(2, 1, 0)[:, :, ::-1], up)
    mask.to_filename(tmp_path / "labels.nii.gz")

    stored = sorted(np.flatnonzero(mask.get_fdata().any(axis=(0, 1))).tolist())
    by_default = napari_unet.train(
        tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz", config=ONE_STEP
    )
    by_number = napari_unet.train(
        tmp_path / "image.nii.gz",
        tmp_path / "labels.nii.gz",
        slices=stored,
        axis="z",
        config=ONE_STEP,
    )
    assert by_default.card.provenance.annotated_slices == len(stored) == 4
    for name, tensor in by_default.state.items():
        assert tensor.equal(by_number.state[name]), name


def test_a_mask_file_on_another_grid_is_brought_onto_the_scan_with_a_warning(truth, tmp_path):
    volume = scan_of(truth)
    coarse = Grid.from_spacing((14, 20, 18), (3.0, 2.0, 2.0), (0.0, 0.5, 0.5))
    napari_unet.save_mask(truth[:, ::2, ::2], coarse, tmp_path / "labels.nii.gz")
    with pytest.warns(LabelsMoved, match=r"resampled from 2 x 2 x 3 mm onto the grid of scan\."):
        model = napari_unet.train(volume, tmp_path / "labels.nii.gz", config=ONE_STEP)
    assert model.card.provenance.annotated_slices == truth.any(axis=(1, 2)).sum()
    with pytest.warns(LabelsMoved):
        filled = napari_unet.fill_between(
            tmp_path / "labels.nii.gz", grid=volume.grid, slices=[4, 8]
        )
    assert filled.shape == truth.shape
    elsewhere = Grid.from_spacing(SHAPE, (3.0, 1.0, 1.0), (900.0, 0.0, 0.0))
    napari_unet.save_mask(truth, elsewhere, tmp_path / "knee.nii.gz")
    with pytest.raises(GridMismatchError, match="show different places"):
        napari_unet.train(volume, tmp_path / "knee.nii.gz", config=ONE_STEP)


def test_slices_are_those_that_show_a_structure():
    grid = Grid.from_spacing(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 5, 5] = 1
    labels[4] = IGNORE_LABEL  # nobody annotated it
    labels[9, 5, 5] = IGNORE_LABEL
    assert choose_slices(labels, grid, 0) == [2]
    assert choose_slices(labels, grid, 0, [9, 2, 0, 2]) == [0, 2, 9]
    with pytest.raises(AnnotationError, match=r"Slice 4 along axial \(z\) is marked as not"):
        choose_slices(labels, grid, 0, [4])
    with pytest.raises(AnnotationError, match=r"no slice 14 .* count from 0 to 13"):
        choose_slices(labels, grid, 0, [14])


def test_voxels_that_nobody_annotated_are_no_structure(truth):
    volume = scan_of(truth)
    labels = truth.astype(np.uint16)
    labels[:, :, :5] = IGNORE_LABEL
    model = napari_unet.train(volume, labels, config=ONE_STEP)
    assert model.card.class_names == ("label 1",)


@pytest.mark.parametrize("beside", [(), (127,), (251, 253), (2, 254)])
def test_255_that_may_be_a_structure_is_asked_for(truth, beside):
    volume = scan_of(truth)
    labels = truth * np.uint8(255)
    for number, value in enumerate(beside):
        labels[6, 2, number] = value
    with pytest.raises(AnnotationError, match="is it a structure, or does it mark"):
        napari_unet.train(volume, labels, config=ONE_STEP)
    with pytest.raises(AnnotationError, match="ignore_label=None, or ignore_label=255"):
        napari_unet.fill_between(labels, grid=volume.grid)


def test_255_as_a_structure_is_learned_kept_and_filled(truth):
    volume = scan_of(truth)
    labels = truth * np.uint8(255)
    labels[6, 2, :3] = 127
    model = napari_unet.train(volume, labels, ignore_label=None, config=ONE_STEP)
    assert model.card.class_names == ("label 127", "label 255")
    found = napari_unet.segment(volume, model, labels=labels, slices=[6])
    np.testing.assert_array_equal(found[6], labels[6])
    filled = napari_unet.fill_between(labels, grid=volume.grid, slices=[3, 9], ignore_label=None)
    assert set(np.unique(filled)) == {0, 255}


def test_another_value_may_mark_what_nobody_annotated(truth):
    labels = truth.copy()
    labels[:, :, :5], labels[6, 2, 30] = 4, 255
    model = napari_unet.train(scan_of(truth), labels, ignore_label=4, config=ONE_STEP)
    assert model.card.class_names == ("label 1", "label 255")


def test_the_file_beside_a_mask_says_what_255_is(truth, tmp_path):
    volume = scan_of(truth)
    labels = truth * np.uint8(255)
    labels[6, 2, :3] = 251
    rows = [(251, "front", "#ff0000"), (255, "back", "#00ff00")]
    for listed, names in ((rows, ("label 251", "label 255")), (rows[:1], ("label 251",))):
        path = tmp_path / f"{len(listed)}.nii.gz"
        napari_unet.save_mask(labels, volume.grid, path, structures=listed)
        model = napari_unet.train(volume, path, config=ONE_STEP)
        assert model.card.class_names == names


def test_a_model_says_what_255_is_where_it_knows_the_values(truth):
    volume = scan_of(truth)
    model = napari_unet.train(volume, truth, config=ONE_STEP)
    labels = np.zeros_like(truth, np.uint8)
    labels[6, :, :5] = 255
    found = napari_unet.segment(volume, model, labels=labels, slices=[6])
    assert set(np.unique(found)) <= {0, 1}
    assert not found[6, :, 5:].any()


def test_a_segmentation_of_slicer_says_what_255_is(truth, tmp_path):
    grid, path = scan_of(truth).grid, tmp_path / "mask.seg.nrrd"
    labels = truth * np.uint8(255)
    napari_unet.save_mask(labels, grid, path, structures=[(255, "tumour", "#ff0000")])
    (tmp_path / "mask.json").unlink()
    filled = napari_unet.fill_between(path, grid=grid, slices=[3, 9])
    assert set(np.unique(filled)) == {0, 255}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t * 0, AnnotationError, "No slice of the labels shows a structure"),
        (lambda t: t[:-1], GridMismatchError, "painted on this scan"),
        (
            lambda t: np.arange(t.size, dtype=np.uint16).reshape(t.shape),
            AnnotationError,
            "Choose the mask, not an image",
        ),
        (lambda t: t.tolist(), VolumeError, "are a list, not a mask file or an array"),
    ],
)
def test_unusable_labels_are_explained(truth, change, error, words):
    with pytest.raises(error, match=words):
        napari_unet.train(scan_of(truth), change(truth), config=ONE_STEP)


def test_empty_slices_alone_are_refused(truth):
    with pytest.raises(AnnotationError, match="None of the chosen slices shows a structure"):
        napari_unet.train(scan_of(truth), truth, slices=[13], config=ONE_STEP)


def test_a_model_for_two_sequences_refuses_a_scan_with_one(truth):
    volume = scan_of(truth)
    double = Volume(data=np.repeat(volume.data, 2, axis=0), grid=volume.grid)
    model = napari_unet.train(double, truth, config=ONE_STEP)
    with pytest.raises(CheckpointError, match="2 image channel"):
        napari_unet.segment(volume, model)


def test_stopping_returns_what_was_learned(truth):
    steps: list[object] = []
    model = napari_unet.train(
        scan_of(truth),
        truth,
        config=QUICK,
        progress=steps.append,
        should_stop=lambda: len(steps) >= 2,
    )
    assert model.card.provenance.steps == 2


def test_stopping_before_training_began_is_said(truth):
    with pytest.raises(NapariUnetError, match=r"Stopped before training began\."):
        napari_unet.train(scan_of(truth), truth, should_stop=lambda: True)


def test_a_failure_in_mid_training_is_a_warning_and_the_model_is_kept(truth, monkeypatch):
    fail_at_step(monkeypatch, 3)
    with pytest.warns(TrainingCutShort, match="ran out of memory"):
        model = napari_unet.train(scan_of(truth), truth, config=QUICK)
    assert model.card.provenance.steps == 2


def fail_at_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let memory run out while training."""
    from napari_unet.learning.training.training_set import TrainingSet
    from napari_unet.learning.training.weight_updater import WeightUpdater

    real, steps = WeightUpdater.step, iter(range(1, 1000))

    def step(self: WeightUpdater, examples: TrainingSet, progress: float) -> float:
        if next(steps) == number:
            raise MemoryError
        return real(self, examples, progress)

    monkeypatch.setattr(WeightUpdater, "step", step)


def test_public_names_are_there(tmp_path: Path, truth):
    volume = scan_of(truth)
    napari_unet.save_mask(truth, volume.grid, tmp_path / "mask.nii.gz")
    assert napari_unet.load_volume(tmp_path / "mask.nii.gz").shape_zyx == SHAPE
    assert set(dir(napari_unet)) >= {"load_volume", "train", "segment", "save_mask"}


def test_slices_between_annotated_ones_are_filled_without_a_scan(truth):
    painted = np.zeros_like(truth, dtype=np.uint16)
    painted[[2, 5, 6, 10]] = truth[[2, 5, 6, 10]].astype(np.uint16) * 300
    painted[6, :, 10:] = IGNORE_LABEL  # partial: no source, filled in
    painted[12] = IGNORE_LABEL
    grid = Grid.from_spacing(SHAPE, (3.0, 1.0, 1.0))
    before = painted.copy()
    filled = napari_unet.fill_between(painted, grid=grid, axis="axial")
    overlap = 2 * ((filled == 300) & truth.astype(bool))[2:11].sum()
    assert overlap / ((filled == 300)[2:11].sum() + truth[2:11].sum()) > 0.85
    for index in (0, 1, 2, 5, 10, 11, 12):
        np.testing.assert_array_equal(filled[index], before[index])
    np.testing.assert_array_equal(filled[6, :, :10], before[6, :, :10])
    np.testing.assert_array_equal(painted, before)

    with pytest.raises(VolumeError, match="needs the grid of its scan"):
        napari_unet.fill_between(painted)
    with pytest.raises(AnnotationError, match="two completely annotated slices"):
        napari_unet.fill_between(painted, grid=grid, slices=[5, 6])
