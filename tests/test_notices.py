"""What the user is told at each door: full graphics cards, voxels that are no tissue."""

from __future__ import annotations

import dataclasses

import nibabel as nib
import pytest

import napari_unet
from napari_unet.api import OddVoxelsFound, SlowerThanExpected
from napari_unet.cli.main import main
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import Notice
from napari_unet.phantom.metastases import make_phantom

TEXT = "The graphics card ran out of memory."
QUICK = TrainConfig(max_steps=2, threads=1, device="cpu")


@pytest.fixture
def full_card(monkeypatch):
    """Training and predicting both have a notice to give, once."""
    from napari_unet.learning.prediction.scan_prediction import Predictor
    from napari_unet.learning.training.weight_updater import WeightUpdater

    for owner in (Predictor, WeightUpdater):
        notices = [[Notice(TEXT)]]
        monkeypatch.setattr(
            owner, "take_notices", lambda _self, notices=notices: notices.pop() if notices else []
        )


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(shape_zyx=(16, 64, 56), n_metastases=2)


def test_python_gets_events_or_else_warnings(full_card, phantom):
    events = []
    with pytest.warns(SlowerThanExpected, match=TEXT):
        model = napari_unet.train(phantom.volume, phantom.truth, config=QUICK)
    napari_unet.segment(phantom.volume, model, progress=events.append)
    assert Notice(TEXT) in events


def test_the_command_line_prints_them(full_card, phantom, tmp_path, capsys):
    image, labels, model = (
        str(tmp_path / name) for name in ("image.nii.gz", "labels.nii.gz", "model.safetensors")
    )
    napari_unet.save_mask(phantom.volume.data[0].astype("uint16"), phantom.volume.grid, image)
    napari_unet.save_mask(phantom.truth, phantom.volume.grid, labels)
    assert (
        main(["train", "--image", image, "--labels", labels, "--out", model, "--seconds", "0.1"])
        == 0
    )
    assert capsys.readouterr().err == f"{TEXT}\n"
    assert main(["segment", image, "--model", model, "--out", str(tmp_path / "out.nii.gz")]) == 0
    assert capsys.readouterr().err == f"{TEXT}\n"


@pytest.fixture(scope="module")
def damaged(phantom):
    """The phantom with one voxel that no scanner measured."""
    data = phantom.volume.data.copy()
    data[0, 3, 20, 20] = -32767
    return dataclasses.replace(phantom.volume, data=data)


def test_odd_voxels_are_a_warning_in_python_or_an_event(damaged, phantom):
    events = []
    with pytest.warns(OddVoxelsFound, match="1 voxel lies far outside .*: -32767"):
        model = napari_unet.train(damaged, phantom.truth, config=QUICK)
    napari_unet.segment(damaged, model, progress=events.append)
    assert [event.about for event in events if isinstance(event, Notice)] == ["scan"]
    events.clear()
    napari_unet.segment(phantom.volume, model, progress=events.append)
    assert not [event for event in events if isinstance(event, Notice)]


def test_the_command_line_says_odd_voxels_once(damaged, phantom, tmp_path, capsys):
    image, labels, model = (
        str(tmp_path / name) for name in ("image.nii.gz", "labels.nii.gz", "model.safetensors")
    )
    nib.save(nib.Nifti1Image(damaged.grid.to_source(damaged.data[0]), damaged.grid.affine), image)
    napari_unet.save_mask(phantom.truth, phantom.volume.grid, labels)
    given = ["--image", image, "--labels", labels, "--out", model, "--seconds", "0.1"]
    for command in (
        ["train", *given],
        ["segment", image, "--model", model, "--out", str(tmp_path / "out.nii.gz")],
    ):
        assert main(command) == 0
        said = capsys.readouterr()
        assert (said.out + said.err).count("1 voxel lies far outside") == 1
