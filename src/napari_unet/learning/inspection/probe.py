"""A trained network looked at while it looks at a slice: its input, features and opinion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.learning.inspection.levels import Level, Place, levels, place
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.runtime import choose_device, load_torch

load_torch()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from napari_unet.learning.network.checkpoint import Checkpoint  # noqa: E402
from napari_unet.learning.network.layer_sizes import input_margin, input_size  # noqa: E402
from napari_unet.learning.network.resampling import network_size, resample_images  # noqa: E402
from napari_unet.learning.network.unet import folded  # noqa: E402
from napari_unet.learning.prediction.memory import check_fits_at_once  # noqa: E402


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMaps:
    """What one level of the network has found in a slice.

    Parameters
    ----------
    level : Level
        Where in the network.
    values : ndarray of float32, shape (c, h, w)
        The channels.
    place : Place
        Where they lie.
    telling : ndarray of float, shape (c,)
        How telling each channel is, see `separability`.
    classes : int
        How many classes the network sees in the slice.
    """

    level: Level
    values: NDArray[np.float32]
    place: Place
    telling: NDArray[np.float64]
    classes: int

    @property
    def ranking(self) -> list[int]:
        """Numbers of the channels, the most telling first."""
        return [int(channel) for channel in np.argsort(-self.telling, kind="stable")]


@dataclass(frozen=True, slots=True, eq=False)
class SliceActivations:
    """One slice, as the network saw it and what it made of it.

    Parameters
    ----------
    given : ndarray of float32, shape (c, h', w')
        Exactly what entered the network: cropped, normalised, resampled and padded.
        (That a network at half resolution takes 2 x 2 pixels as channels is undone.)
    given_place : Place
        Where that lies.
    probabilities : ndarray of float32, shape (k, h, w)
        Of each class, background first, at the pixels of the scan's window: what the
        network says of this slice alone, neighbours and annotation aside.
    uncertainty : ndarray of float32, shape (h, w)
        Their entropy, from 0 (certain) to 1 (all classes as likely).
    opinion_place : Place
        Where `probabilities` and `uncertainty` lie.
    features : FeatureMaps or None
        Of the level asked for.
    """

    given: NDArray[np.float32]
    given_place: Place
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    opinion_place: Place
    features: FeatureMaps | None


class NetworkProbe:
    """A network that shows what it computes for the slices of a scan.

    Parameters
    ----------
    checkpoint : Checkpoint
        The trained network.
    scan : PreparedScan
        The scan.
    device : str
        See `TrainConfig.device`.

    Raises
    ------
    CheckpointError
        If the model needs another number of channels.
    VolumeError
        If it needs another normalisation.
    ResourceError
        If whole slices, which are looked at without tiles, do not fit into memory.
    """

    def __init__(self, checkpoint: Checkpoint, scan: PreparedScan, device: str = "auto") -> None:
        checkpoint.check_fits(scan.n_channels)
        scan.check_serves(checkpoint.card.normalisation)
        self.scan = scan
        self.config = checkpoint.card.model
        self.size = network_size(scan, checkpoint.card.spacing_mm)
        self.levels = levels(self.config, self.size)
        self.device = choose_device(device)
        rows, columns = (input_size(self.config, side) for side in self.size)
        check_fits_at_once(self.config, (rows, columns), self.device)
        self.net = folded(checkpoint.network()).to(self.device)

    def images(self, index: int) -> Tensor:
        """Slice `index`, (1, c, h, w), at the network's pixel size."""
        images = torch.from_numpy(self.scan.slices[index][None]).to(self.device)
        return resample_images(images, self.size)

    def level(self, name: str) -> Level:
        """Find a level by its name.

        Raises
        ------
        ValueError
            If there is none of that name; the message lists those there are.
        """
        for level in self.levels:
            if level.name == name:
                return level
        known = ", ".join(level.name for level in self.levels)
        raise ValueError(f"This network has no level {name!r}; it has {known}.")

    def activations(self, index: int, name: str | None = None) -> SliceActivations:
        """Look at a slice once.

        Parameters
        ----------
        index : int
            Slice number.
        name : str, optional
            Name of the level whose features to keep.
        """
        level = None if name is None else self.level(name)
        kept: list[Tensor] = []
        hook = None if level is None else self._listen(level, kept)
        try:
            with torch.inference_mode():
                given = self.net.surround(self.images(index))
                rows, columns = self.size
                logits = self.net.scores(given)[..., :rows, :columns]
                probabilities = resample_images(logits.float().softmax(dim=1), self.scan.shape)
                uncertainty = torch.special.entr(probabilities).sum(dim=1) / math.log(
                    self.config.n_classes
                )
        finally:
            if hook is not None:
                hook.remove()
        features = None
        if level is not None:
            features = self._features(level, _array(kept[0]), _array(logits.argmax(dim=1)))
        return SliceActivations(
            given=_array(given),
            given_place=place(self.scan, self.size, start=-input_margin(self.config)),
            probabilities=_array(probabilities),
            uncertainty=_array(uncertainty),
            opinion_place=place(self.scan, self.scan.shape),
            features=features,
        )

    def _listen(self, level: Level, kept: list[Tensor]) -> torch.utils.hooks.RemovableHandle:
        """Keep the features of a level when they are computed next."""
        module: nn.Module
        if level.stage == "after skip":
            module = self.net.decoder[level.number - 1]
            return module.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        if level.stage in ("encoder", "bridge"):
            module = self.net.encoder[level.number - 1]
        elif level.stage == "before skip":
            module = self.net.upsamplers[level.number - 1]
        else:
            module = self.net.decoder[level.number - 1]
        return module.register_forward_hook(lambda _, __, found: kept.append(found))

    def _features(
        self, level: Level, values: NDArray[np.float32], classes: NDArray[np.int64]
    ) -> FeatureMaps:
        at_pixels = np.ix_(
            *(
                np.clip(np.rint(level.start + np.arange(n) * level.step), 0, side - 1).astype(int)
                for n, side in zip(level.size, self.size, strict=True)
            )
        )
        return FeatureMaps(
            level=level,
            values=values,
            place=place(self.scan, self.size, level.step, level.start),
            telling=separability(values, classes[at_pixels]),
            classes=len(np.unique(classes)),
        )


def separability(values: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measure how well each channel alone tells apart the classes that the network sees.

    The share, 0 to 1, of a channel's variance that lies between the means of the classes
    (eta squared). Where the network sees but one class: the variance itself, beside that
    of the most varied channel.

    Parameters
    ----------
    values : ndarray, shape (c, h, w)
        Features.
    classes : ndarray of int, shape (h, w)
        Class that the network sees at each pixel.
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    total = flat.var(axis=1)
    present, where = np.unique(classes, return_inverse=True)
    if len(present) == 1:
        explained, whole = total, np.full_like(total, total.max())
    else:
        member = np.eye(len(present))[where.ravel()]  # (pixels, classes)
        count = member.sum(axis=0)
        away = flat @ member / count - flat.mean(axis=1, keepdims=True)
        explained, whole = (away**2 * count).sum(axis=1) / flat.shape[1], total
    telling: NDArray[np.float64] = np.divide(
        explained, whole, out=np.zeros_like(total), where=whole > 1e-12
    )
    return telling


def _array(tensor: Tensor) -> NDArray:  # type: ignore[type-arg]
    """Copy the only item of a batch to the CPU."""
    return np.ascontiguousarray(tensor[0].cpu().numpy())
