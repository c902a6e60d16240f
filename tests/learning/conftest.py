"""A scan that takes milliseconds to make: a bright ball inside a grey head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_unet.annotation.states import LabelledSlice
from napari_unet.imaging.volume import Grid, Volume
from napari_unet.learning.config import TrainConfig
from napari_unet.learning.events import RoundDone
from napari_unet.learning.preparation import PreparedScan, prepare


@dataclass(frozen=True)
class Scene:
    volume: Volume
    truth: NDArray[np.uint8]
    scan: PreparedScan

    def annotated(self, *indices: int) -> list[LabelledSlice]:
        return [LabelledSlice(0, index, self.truth[index]) for index in indices]


def make_scene(
    shape: tuple[int, int, int] = (12, 61, 107),
    *,
    channels: int = 1,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    seed: int = 0,
) -> Scene:
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(
        *(np.arange(n) * s for n, s in zip(shape, spacing_mm, strict=True)), indexing="ij"
    )
    middle = [(n - 1) * s / 2 for n, s in zip(shape, spacing_mm, strict=True)]
    head = ((y - middle[1]) / 26) ** 2 + ((x - middle[2]) / middle[2] / 0.93) ** 2 < 1
    ball = ((z - middle[0]) * 2) ** 2 + (y - middle[1] - 4) ** 2 + (x - middle[2] + 8) ** 2 < 81
    data = 100.0 * head + 80.0 * ball
    data = np.stack([data + rng.normal(0, 5, shape) for _ in range(channels)])
    grid = Grid.from_spacing(shape, spacing_mm)
    volume = Volume(data.astype(np.float32), grid, "ball")
    return Scene(volume, ball.astype(np.uint8), prepare(volume, 0))


@pytest.fixture(scope="session")
def scene() -> Scene:
    return make_scene()


@pytest.fixture(scope="session")
def make() -> Callable[..., Scene]:
    return make_scene


@pytest.fixture
def quick() -> TrainConfig:
    """A handful of steps, the same on every machine."""
    return TrainConfig(seconds=36_000, max_steps=4, threads=1, device="cpu")


@pytest.fixture(scope="session")
def trained(scene: Scene) -> RoundDone:
    """A model that has learned the ball."""
    from napari_unet.learning.training.loop import train

    config = TrainConfig(seconds=36_000, max_steps=80, threads=1, device="cpu")
    *_, done = train([scene.scan], scene.annotated(1, 4, 6, 9), config, class_names=["ball"])
    assert isinstance(done, RoundDone)
    return done


class GraphicsCard:
    """Stands in for a device that is not there; its tensors are the CPU's."""

    type = "cuda"

    def __init__(self) -> None:
        self.fits: Callable[[torch.Tensor], bool] = lambda images: True
        self.refused = 0


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> GraphicsCard:
    """A graphics card whose memory runs out as the test likes it."""
    from napari_unet.learning.network.unet import UNet
    from napari_unet.learning.prediction import scan_prediction
    from napari_unet.learning.training import loop, weight_updater

    card = GraphicsCard()
    for owner in (torch.Tensor, torch.nn.Module):

        def to(self, *arguments, original=owner.to, **options):
            arguments = [torch.device("cpu") if each is card else each for each in arguments]
            return original(self, *arguments, **options)

        monkeypatch.setattr(owner, "to", to)
    forward = UNet.forward

    def limited(net, images):
        if not card.fits(images):
            card.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(net, images)

    monkeypatch.setattr(UNet, "forward", limited)
    for module in (scan_prediction, loop, weight_updater):
        monkeypatch.setattr(module, "choose_device", lambda name="auto": card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**32, 2**32))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return card
