"""A U-Net layer by layer: what each does, its channels, size and parameters. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network.layer_sizes import output_size


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer, for one size of the input.

    Parameters
    ----------
    name : str
        Where it is: ``encoder.0.conv1`` is a module of that name in `UNet`; layers
        without weights (``encoder.1.pool``, ``decoder.0.skip``) are no modules.
    kind : str
        What it does.
    in_channels, out_channels : int
        Feature channels it takes and gives.
    size : tuple of int
        Rows and columns of what it gives.
    parameters : int
        Learned numbers, those of its normalisation included.
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    size: tuple[int, int]
    parameters: int = 0

    @property
    def is_convolution(self) -> bool:
        """Whether it is one of the convolutions (up-convolutions count)."""
        return "convolution" in self.kind


def layer_table(config: ModelConfig, size: tuple[int, int]) -> list[LayerRow]:
    """List the layers in the order in which they work.

    Parameters
    ----------
    config : ModelConfig
        The network.
    size : tuple of int
        Rows and columns of its input; valid ones, see `layer_sizes.fitting_size`.

    Raises
    ------
    ValueError
        If the size is not valid; the message says which are.
    """
    for side in size:
        output_size(config, side)
    return _Table(config, size).rows


class _Table:
    """Writes the rows; remembers channels and size of the last one."""

    def __init__(self, config: ModelConfig, size: tuple[int, int]) -> None:
        self.rows: list[LayerRow] = []
        self._config = config
        self._channels, self._size = config.in_channels, size
        self._row("input", "input", self._channels, size)
        if config.stride > 1:
            folded = f"{config.stride}x{config.stride} pixels to channels"
            self._row(
                "fold", folded, self._channels * config.stride**2, self._reduced(config.stride)
            )
        widths = config.widths
        skips = [self._down(level, width) for level, width in enumerate(widths)]
        for level in reversed(range(config.levels - 1)):
            self._up(level, widths[level], skips[level])
        self._convolution("head", "1x1 convolution", 1, config.n_classes * config.stride**2, 0)
        if config.stride > 1:
            self._row(
                "unfold", "channels to pixels", config.n_classes, self._enlarged(config.stride)
            )

    def _down(self, level: int, width: int) -> int:
        """Write a level of the encoder; return the channels of its skip connection."""
        at = f"encoder.{level}"
        if level:
            self._row(f"{at}.pool", "2x2 max pooling", self._channels, self._reduced(2))
        self._block(at, width)
        if self._config.dropout and level >= self._config.levels - 2:
            self._row(f"{at}.dropout", f"dropout {self._config.dropout:g}", width, self._size)
        return width

    def _up(self, level: int, width: int, skip: int) -> None:
        lost = int(self._config.padding == "valid" and self._config.upsampling == "nearest")
        kind = "2x2 up-convolution"
        if self._config.upsampling == "nearest":
            kind = "nearest-neighbour doubling, 2x2 convolution"
        self._size = self._enlarged(2)
        self._convolution(f"upsamplers.{level}", kind, 2, width, lost)
        copied = "copy and crop" if self._config.padding == "valid" else "copy"
        self._row(f"decoder.{level}.skip", copied, skip + width, self._size)
        self._block(f"decoder.{level}", width)

    def _block(self, at: str, width: int) -> None:
        kernel = self._config.kernel
        lost = kernel - 1 if self._config.padding == "valid" else 0
        normalised = self._config.normalisation == "batch"
        kind = f"{kernel}x{kernel} convolution, {'normalised, ' if normalised else ''}ReLU"
        for name in ("conv1", "conv2"):
            self._convolution(f"{at}.{name}", kind, kernel, width, lost, normalised=normalised)

    def _convolution(
        self, name: str, kind: str, kernel: int, n_out: int, lost: int, *, normalised: bool = False
    ) -> None:
        """Write a convolution with a bias, or with the scale and shift of a normalisation."""
        parameters = kernel**2 * self._channels * n_out + (2 if normalised else 1) * n_out
        rows, columns = self._size
        self._row(name, kind, n_out, (rows - lost, columns - lost), parameters)

    def _reduced(self, factor: int) -> tuple[int, int]:
        return self._size[0] // factor, self._size[1] // factor

    def _enlarged(self, factor: int) -> tuple[int, int]:
        return self._size[0] * factor, self._size[1] * factor

    def _row(
        self, name: str, kind: str, channels: int, size: tuple[int, int], parameters: int = 0
    ) -> None:
        self.rows.append(LayerRow(name, kind, self._channels, channels, size, parameters))
        self._channels, self._size = channels, size
