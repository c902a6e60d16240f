"""What the user is told when a graphics card runs out of memory, at each door."""

from __future__ import annotations

import pytest

import napari_unet
from napari_unet.api import SlowerThanExpected
from napari_unet.cli import main
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import Notice
from napari_unet.synthetic import make_phantom

TEXT = "The graphics card ran out of memory."
QUICK = TrainConfig(max_steps=2, threads=1, device="cpu")


@pytest.fixture
def full_card(monkeypatch):
    """Training and predicting both have a notice to give, once."""
    from napari_unet.learning.inference import Predictor
    from napari_unet.learning.trainer import Trainer

    for owner in (Predictor, Trainer):
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
