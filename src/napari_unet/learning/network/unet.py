"""The U-Net: a network that looks at a slice at several scales.

The encoder (left side of the U) repeatedly halves the resolution while it
doubles the number of features: it learns *what* is there. The decoder (right
side) goes back up and, at each level, is handed the encoder's features of the
same size: it learns *where* exactly. (Ronneberger et al., 2015,
arXiv:1505.04597.) One class makes them all, from the paper's own to the fast ones here.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterator

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network import layer_sizes
from napari_unet.learning.runtime import load_torch

load_torch()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

DROPPED_LEVELS = 2
"""Levels at the end of the contracting path, bridge included, that dropout acts on."""


def mirrored(images: Tensor, above: int, below: int, left: int, right: int) -> Tensor:
    """Surround images (n, c, h, w) by their mirror image, again and again where it is short."""
    height, width = images.shape[-2:]
    if max(above, below) < height and max(left, right) < width:
        return functional.pad(images, (left, right, above, below), mode="reflect")
    rows = _mirrored_places(height, above, below, images.device)
    columns = _mirrored_places(width, left, right, images.device)
    return images.index_select(2, rows).index_select(3, columns)


def _mirrored_places(side: int, before: int, after: int, device: torch.device) -> Tensor:
    """Where in a mirrored side of pixels each pixel of a longer one comes from."""
    if side == 1:
        return torch.zeros(before + 1 + after, dtype=torch.long, device=device)
    places = torch.arange(-before, side + after, device=device) % (2 * side - 2)
    return torch.minimum(places, 2 * side - 2 - places)


class ConvBlock(nn.Module):
    """Two convolutions, each perhaps normalised over the batch, and rectified.

    BatchNorm, because with a few hundred steps it learned where GroupNorm and
    InstanceNorm stalled, and because it costs nothing once folded.
    """

    def __init__(self, n_in: int, n_out: int, config: ModelConfig) -> None:
        super().__init__()
        normalised = config.normalisation == "batch"
        half = config.kernel // 2
        zeros = half if config.padding == "zero" else 0

        def convolution(n: int) -> nn.Conv2d:
            return nn.Conv2d(n, n_out, config.kernel, padding=zeros, bias=not normalised)

        def norm() -> nn.Module:
            return nn.BatchNorm2d(n_out) if normalised else nn.Identity()

        self._mirror = half if config.padding == "mirror" else 0
        self.conv1 = convolution(n_in)
        self.norm1 = norm()
        self.conv2 = convolution(n_out)
        self.norm2 = norm()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in, h, w) to (n, n_out, h, w), or smaller for valid convolutions."""
        x = functional.relu(self.norm1(self.conv1(self._padded(x))), inplace=True)
        return functional.relu(self.norm2(self.conv2(self._padded(x))), inplace=True)

    def _padded(self, x: Tensor) -> Tensor:
        return mirrored(x, *[self._mirror] * 4) if self._mirror else x

    def fold(self) -> None:
        """Merge the normalisation, if any, into the convolutions (inference only)."""
        _fold(self.conv1, self.norm1)
        _fold(self.conv2, self.norm2)
        self.norm1, self.norm2 = nn.Identity(), nn.Identity()


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    if isinstance(norm, nn.Identity):
        return
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
        raise TypeError("Only a convolution followed by BatchNorm2d can be folded.")
    scale = norm.weight / (norm.running_var + norm.eps) ** 0.5  # type: ignore[operator]
    conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)


class NearestUpsampler(nn.Conv2d):
    """Repeat each pixel, then a 2x2 convolution of it and those below and to the right."""

    def __init__(self, n_in: int, n_out: int, config: ModelConfig) -> None:
        super().__init__(n_in, n_out, 2)
        self._padding = config.padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in, h, w) to (n, n_out, 2 h, 2 w); to one pixel less if it is valid."""
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        if self._padding == "zero":
            x = functional.pad(x, (0, 1, 0, 1))
        elif self._padding == "mirror":
            x = mirrored(x, 0, 1, 0, 1)
        return super().forward(x)


def _upsampler(n_in: int, n_out: int, config: ModelConfig) -> nn.Module:
    if config.upsampling == "nearest":
        return NearestUpsampler(n_in, n_out, config)
    return nn.ConvTranspose2d(n_in, n_out, 2, stride=2)


class UNet(nn.Module):
    """U-Net for slices of any size.

    Parameters
    ----------
    config : ModelConfig
        Channels, classes, width, levels, kind of convolutions and so on.
    generator : torch.Generator, optional
        Source of the random initial weights.
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        n_in = config.in_channels * config.stride**2
        self.encoder = nn.ModuleList(
            ConvBlock(a, b, config) for a, b in zip([n_in, *widths[:-1]], widths, strict=True)
        )
        self.upsamplers = nn.ModuleList(
            _upsampler(deep, shallow, config) for shallow, deep in itertools.pairwise(widths)
        )
        self.decoder = nn.ModuleList(ConvBlock(2 * width, width, config) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], config.n_classes * config.stride**2, 1)
        self._crops = layer_sizes.crop_starts(config)
        self._initialise(generator)

    def _initialise(self, generator: torch.Generator | None) -> None:
        """Draw the weights; no biases.

        Small uniform ones (torch's default) where normalisation makes the scale of
        a convolution's output irrelevant: the smaller its weights the further each
        step of the same length moves it, and learning starts several times faster than
        from He's larger weights (deep-grey structures after 200 steps: Dice .36
        against .00). Without normalisation He's keep the signal from fading.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                if self.config.initialisation == "he":
                    # Pixels of a 2x2 transposed convolution of stride 2 have one tap each.
                    taps = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
                    deviation = math.sqrt(2 / (module.in_channels * taps))
                    nn.init.normal_(module.weight, std=deviation, generator=generator)
                else:
                    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def size_divisor(self) -> int:
        """Pixels that make one of the coarsest, see `layer_sizes.size_divisor`."""
        return layer_sizes.size_divisor(self.config)

    @property
    def receptive_radius(self) -> int:
        """How far around it a pixel's score can depend on the image, in pixels."""
        return layer_sizes.receptive_radius(self.config)

    @contextlib.contextmanager
    def dropping(self, generator: torch.Generator) -> Iterator[None]:
        """Let dropout, if any, draw from a generator, and leave torch's own randomness alone."""
        if not self.config.dropout:
            yield
            return
        device = self.head.weight.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            yield

    def forward(self, images: Tensor) -> Tensor:
        """Score every pixel for every class.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w)
            Normalised slices of any height and width.

        Returns
        -------
        Tensor, shape (n, k, h, w)
            Logits.
        """
        height, width = images.shape[-2:]
        return self.scores(self.surround(images))[..., :height, :width]

    def surround(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Enlarge images (n, c, h, w) to a valid input size.

        Valid convolutions see the mirror image of a slice on all sides; otherwise it
        is filled up to the right and below.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w)
            Slices.
        size : tuple of int, optional
            Rows and columns to score at least; default: those of the images.
        """
        height, width = images.shape[-2:]
        rows, columns = (
            layer_sizes.input_size(self.config, side) for side in size or (height, width)
        )
        before = layer_sizes.input_margin(self.config)
        below, right = rows - height - before, columns - width - before
        if self.config.padding == "valid":
            return mirrored(images, before, below, before, right)
        return functional.pad(images, (0, right, 0, below), mode="replicate")

    def scores(self, images: Tensor) -> Tensor:
        """Run the network itself.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w)
            Images of a valid input size (see `layer_sizes`), as `surround` makes them.

        Returns
        -------
        Tensor, shape (n, k, h', w')
            Logits, of as many pixels as `layer_sizes.output_size` says.
        """
        for side in images.shape[-2:]:
            layer_sizes.output_size(self.config, side)  # refuses what is no valid size
        x = functional.pixel_unshuffle(images, self.config.stride)
        x = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            if self.config.dropout and level >= len(self.encoder) - DROPPED_LEVELS:
                x = functional.dropout(x, self.config.dropout, self.training)
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.upsamplers[level](x)
            start = self._crops[level]
            rows, columns = (slice(start, start + side) for side in x.shape[-2:])
            x = self.decoder[level](torch.cat([skips[level][..., rows, columns], x], dim=1))
        return functional.pixel_shuffle(self.head(x), self.config.stride)


def folded(net: UNet) -> UNet:
    """Copy a network for inference, with its normalisation merged into the convolutions."""
    result = copy.deepcopy(net).eval().requires_grad_(False)
    for module in result.modules():
        if isinstance(module, ConvBlock):
            module.fold()
    return result.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
