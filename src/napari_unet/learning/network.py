"""The U-Net: a network that looks at a slice at several scales.

The encoder (left side of the U) repeatedly halves the resolution while it
doubles the number of features: it learns *what* is there. The decoder (right
side) goes back up and, at each level, is handed the encoder's features of the
same size: it learns *where* exactly. (Ronneberger et al., 2015,
arXiv:1505.04597.)
"""

from __future__ import annotations

import copy
import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_unet.learning.config import ModelConfig

MAX_WIDTH = 256
"""Feature channels are doubled at each level down, but not beyond this."""


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each normalised over the batch and rectified.

    BatchNorm, because with a few hundred steps it learned where GroupNorm and
    InstanceNorm stalled, and because it costs nothing once folded.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in, h, w) to (n, n_out, h, w)."""
        x = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(x)), inplace=True)

    def fold(self) -> None:
        """Merge the normalisation into the convolutions (inference only)."""
        _fold(self.conv1, self.norm1)
        _fold(self.conv2, self.norm2)
        self.norm1 = self.norm2 = nn.Identity()


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
        raise TypeError("Only a convolution followed by BatchNorm2d can be folded.")
    scale = norm.weight / (norm.running_var + norm.eps) ** 0.5  # type: ignore[operator]
    conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)


class UNet(nn.Module):
    """U-Net for slices of any size.

    Parameters
    ----------
    config : ModelConfig
        Channels, classes, width, levels and stride.
    generator : torch.Generator, optional
        Source of the random initial weights.
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        widths = [min(MAX_WIDTH, config.width * 2**level) for level in range(config.levels)]
        n_in = config.in_channels * config.stride**2
        self.encoder = nn.ModuleList(
            ConvBlock(a, b) for a, b in zip([n_in, *widths[:-1]], widths, strict=True)
        )
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, 2, stride=2)
            for shallow, deep in itertools.pairwise(widths)
        )
        self.decoder = nn.ModuleList(ConvBlock(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], config.n_classes * config.stride**2, 1)
        self._initialise(generator)

    def _initialise(self, generator: torch.Generator | None) -> None:
        """Draw small uniform weights (torch's default), no biases.

        Normalisation makes the scale of a convolution's output irrelevant, but
        the smaller its weights the further each step of the same length moves
        it: learning starts several times faster than from He's larger weights
        (deep-grey structures after 200 steps: Dice .36 against .00).
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def multiple(self) -> int:
        """Sides are padded to a multiple of this."""
        return int(self.config.stride * 2 ** (self.config.levels - 1))

    @property
    def sight(self) -> int:
        """How far around it, in pixels, a pixel's score can depend on the image.

        Four 3x3 convolutions at each level above the bridge and two at the bridge
        see one of their pixels further each; pooling adds up to one of the bridge.
        """
        coarsest = 2 ** (self.config.levels - 1)
        return int(self.config.stride * (4 * (coarsest - 1) + 3 * coarsest))

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
        pad_rows, pad_columns = -height % self.multiple, -width % self.multiple
        x = functional.pad(images, (0, pad_columns, 0, pad_rows), mode="replicate")
        if self.config.stride > 1:
            x = functional.pixel_unshuffle(x, self.config.stride)
        x = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = torch.cat([skips[level], self.upsamplers[level](x)], dim=1)
            x = self.decoder[level](x)
        logits: Tensor = self.head(x)
        if self.config.stride > 1:
            logits = functional.pixel_shuffle(logits, self.config.stride)
        return logits[..., :height, :width]


def folded(net: UNet) -> UNet:
    """Copy a network for inference, with its normalisation merged into the convolutions."""
    result = copy.deepcopy(net).eval().requires_grad_(False)
    for module in result.modules():
        if isinstance(module, ConvBlock):
            module.fold()
    return result.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
