"""What a trained network computes for a slice: its input, features, probabilities, uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet.learning.inspection.levels import Level, Place, levels, place_of
from napari_unet.learning.preparation import PreparedScan
from napari_unet.learning.runtime import choose_device, load_torch

load_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

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
    separability : ndarray of float, shape (c,)
        See `separability`.
    n_classes : int
        How many classes the network sees in the slice.
    """

    level: Level
    values: NDArray[np.float32]
    place: Place
    separability: NDArray[np.float64]
    n_classes: int

    @property
    def ranking(self) -> list[int]:
        """Numbers of the channels, those that separate the classes best first."""
        return [int(channel) for channel in np.argsort(-self.separability, kind="stable")]


@dataclass(frozen=True, slots=True, eq=False)
class SliceActivations:
    """What the network computes for one slice.

    Parameters
    ----------
    network_input : ndarray of float32, shape (c, h', w')
        Exactly what entered the network: cropped, normalised, resampled and padded.
        (That a network at half resolution takes 2 x 2 pixels as channels is undone.)
    input_place : Place
        Where that lies.
    probabilities : ndarray of float32, shape (k, h, w)
        Of each class, background first, at the pixels of the scan's window: what the
        network says of this slice alone, neighbours and annotation aside.
    uncertainty : ndarray of float32, shape (h, w)
        Their entropy, from 0 (certain) to 1 (all classes as likely).
    window_place : Place
        Where `probabilities` and `uncertainty` lie.
    features : FeatureMaps or None
        Of the level asked for.
    """

    network_input: NDArray[np.float32]
    input_place: Place
    probabilities: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    window_place: Place
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
        If whole slices, which are not cut into tiles here, do not fit into memory.
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

    @torch.inference_mode()
    def activations(self, index: int, level: str | None = None) -> SliceActivations:
        """Run the network on a slice once.

        Parameters
        ----------
        index : int
            Slice number.
        level : str, optional
            Name of the level whose features to keep.

        Raises
        ------
        ValueError
            If there is no level of that name; the message lists those there are.
        """
        kept: list[Tensor] = []
        chosen = None if level is None else self._level(level)
        hook = None if chosen is None else self._keep_next(chosen, kept)
        try:
            network_input = self.net.surround(self.images(index))
            rows, columns = self.size
            logits = self.net.scores(network_input)[..., :rows, :columns]
        finally:
            if hook is not None:
                hook.remove()
        probabilities = resample_images(logits.float().softmax(dim=1), self.scan.shape)
        entropy = torch.special.entr(probabilities).sum(dim=1)
        margin = -input_margin(self.config)
        return SliceActivations(
            network_input=_array(network_input),
            input_place=place_of(self.scan, self.size, start=(margin, margin)),
            probabilities=_array(probabilities),
            uncertainty=_array(entropy / math.log(self.config.n_classes)),
            window_place=place_of(self.scan, self.scan.shape),
            features=None if chosen is None else self._features(chosen, kept[0], logits),
        )

    def _level(self, name: str) -> Level:
        for level in self.levels:
            if level.name == name:
                return level
        known = ", ".join(level.name for level in self.levels)
        raise ValueError(f"This network has no level {name!r}; it has {known}.")

    def _keep_next(self, level: Level, kept: list[Tensor]) -> torch.utils.hooks.RemovableHandle:
        """Keep the features of a level when they are computed next."""
        module = self.net.get_submodule(level.module)
        if level.stage == "after skip":
            return module.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        return module.register_forward_hook(lambda _, __, output: kept.append(output))

    def _features(self, level: Level, features: Tensor, logits: Tensor) -> FeatureMaps:
        values, classes = _array(features), _array(logits.argmax(dim=1))
        at_pixels = (
            np.clip(np.rint(level.start + np.arange(n) * level.step), 0, side - 1).astype(int)
            for n, side in zip(level.size, self.size, strict=True)
        )
        return FeatureMaps(
            level=level,
            values=values,
            place=place_of(self.scan, self.size, level.step, (level.start, level.start)),
            separability=separability(values, classes[np.ix_(*at_pixels)]),
            n_classes=len(np.unique(classes)),
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
    flat, classes = values.reshape(len(values), -1).astype(np.float64), classes.ravel()
    variance = flat.var(axis=1)
    masks = [classes == each for each in np.unique(classes)]
    if len(masks) == 1:
        explained, whole = variance, np.full_like(variance, variance.max())
    else:
        within = sum(mask.mean() * flat[:, mask].var(axis=1) for mask in masks)
        explained, whole = np.maximum(variance - within, 0), variance
    share: NDArray[np.float64] = np.divide(
        explained, whole, out=np.zeros_like(variance), where=whole > 1e-12
    )
    return share


def _array(tensor: Tensor) -> NDArray:  # type: ignore[type-arg]
    """Copy the only item of a batch to the CPU."""
    return np.ascontiguousarray(tensor[0].cpu().numpy())
