"""Where the features of each level of a U-Net lie on the slice that it is given. No torch here.

Along a side, pixel i of a level is centred at ``start + i * step`` in pixels of the slice that
the network is given. Folding or pooling n pixels into one multiplies the step by n and moves the
centre of the first one by (n - 1) / 2 of the finer pixels; each valid convolution with a kernel
of k pixels moves it by (k - 1) / 2 of its own; a copied and cropped skip connection begins as many
of its pixels later as were cropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from napari_unet.learning.config import ModelConfig
from napari_unet.learning.network.layer_sizes import crop_starts, input_margin, input_size
from napari_unet.learning.network.layer_table import layer_table

if TYPE_CHECKING:
    from napari_unet.learning.preparation import PreparedScan

Stage: TypeAlias = Literal["encoder", "bridge", "before skip", "after skip", "decoder"]
"""Part of the U: going down, its bottom, and, going up, what comes from below, the same joined to
the skip connection, and the result."""


@dataclass(frozen=True, slots=True)
class Level:
    """Features at one place of the U, for one size of the slice.

    Parameters
    ----------
    stage : str
        See `Stage`.
    number : int
        1 at the top of the U; the bridge has the highest.
    module : str
        Module of the `UNet` that computes them; `after skip`: that takes them.
    channels : int
        How many features there are.
    size : tuple of int
        Rows and columns.
    step, start : float
        Distance and first centre of its pixels, in pixels of the slice.
    """

    stage: Stage
    number: int
    module: str
    channels: int
    size: tuple[int, int]
    step: float
    start: float

    @property
    def name(self) -> str:
        """Its name, such as ``encoder 2`` or ``decoder 1, before skip``."""
        if self.stage == "bridge":
            return "bridge"
        if self.stage in ("encoder", "decoder"):
            return f"{self.stage} {self.number}"
        return f"decoder {self.number}, {self.stage}"

    @property
    def title(self) -> str:
        """Name, channels and size: ``Encoder 2: 128 channels, 280 x 280``."""
        return (
            f"{self.name.capitalize()}: {self.channels} channels, {self.size[0]} x {self.size[1]}"
        )


def levels(config: ModelConfig, size: tuple[int, int]) -> tuple[Level, ...]:
    """List the levels of a network, in the order in which they are computed.

    Parameters
    ----------
    config : ModelConfig
        The network.
    size : tuple of int
        Rows and columns of the slice, of any size, at the network's pixel size.
    """
    rows, columns = (input_size(config, side) for side in size)
    table = {row.name: row for row in layer_table(config, (rows, columns))}
    lost = config.kernel - 1 if config.padding == "valid" else 0  # pixels at one end, in a block
    result: list[Level] = []

    def add(stage: Stage, number: int, layer: str, step: float, start: float) -> None:
        row, module = table[layer], ".".join(layer.split(".")[:2])
        result.append(Level(stage, number + 1, module, row.out_channels, row.size, step, start))

    step = float(config.stride)
    start = (config.stride - 1) / 2 - input_margin(config)
    skips: list[tuple[float, float]] = []
    for number in range(config.levels):
        if number:
            step, start = 2 * step, start + step / 2
        start += lost * step
        skips.append((step, start))
        stage: Stage = "encoder" if number < config.levels - 1 else "bridge"
        add(stage, number, f"encoder.{number}.conv2", step, start)
    for number, cropped in reversed(list(enumerate(crop_starts(config)))):
        step, start = skips[number]
        start += cropped * step
        add("before skip", number, f"upsamplers.{number}", step, start)
        add("after skip", number, f"decoder.{number}.skip", step, start)
        add("decoder", number, f"decoder.{number}.conv2", step, start + lost * step)
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture lies in the plane of a scan's slices.

    Parameters
    ----------
    scale_mm : tuple of float
        Height and width of a pixel in millimetres.
    translate_mm : tuple of float
        Centre of its first pixel, in millimetres from the centre of the first pixel of
        the whole slice, along rows and columns.
    """

    scale_mm: tuple[float, float]
    translate_mm: tuple[float, float]


def place_of(
    scan: PreparedScan,
    size: tuple[int, int],
    step: float = 1.0,
    start: tuple[float, float] = (0.0, 0.0),
) -> Place:
    """Find the place of a picture whose pixels lie at ``start + i * step`` of a slice.

    Parameters
    ----------
    scan : PreparedScan
        The scan.
    size : tuple of int
        Rows and columns to which the scan's (cropped) slices are resampled.
    step : float
        See `Level`.
    start : tuple of float
        The same along rows and columns.
    """
    sides = zip(scan.shape, size, scan.spacing_mm, scan.window, start, strict=True)
    (height, top), (width, left) = (
        (
            step * own / given * spacing,
            ((first + 0.5) * own / given - 0.5 + window.start) * spacing,
        )
        for own, given, spacing, window, first in sides
    )
    return Place((height, width), (top, left))


def receptive_field(
    config: ModelConfig, size: tuple[int, int], pixel: tuple[int, int]
) -> tuple[slice, slice]:
    """Find the pixels of a slice that the scores of one of its pixels can depend on.

    From the arithmetic of kernels, pooling and upsampling; borders included: where the
    network sees a mirror image beyond them, what is mirrored counts.

    Parameters
    ----------
    config : ModelConfig
        The network.
    size : tuple of int
        Rows and columns of the slice.
    pixel : tuple of int
        Row and column of the pixel.

    Returns
    -------
    tuple of slice
        Rows and columns.
    """
    rows, columns = (_field_along(config, *each) for each in zip(size, pixel, strict=True))
    return rows, columns


def _field_along(config: ModelConfig, side: int, at: int) -> slice:
    """`receptive_field` along one side: from the output back to the input."""
    around = config.kernel - 1  # pixels on either side that two convolutions see
    before, after = (0, 2 * around) if config.padding == "valid" else (around, around)
    low = high = at // config.stride
    skips: list[tuple[int, int]] = []
    for cropped in crop_starts(config):
        low, high = low - before, high + after
        skips.append((low + cropped, high + cropped))
        high += config.upsampling == "nearest"
        low, high = low // 2, high // 2
    for level in reversed(range(config.levels)):
        if level < len(skips):
            low, high = min(low, skips[level][0]), max(high, skips[level][1])
        low, high = low - before, high + after
        if level:
            low, high = 2 * low, 2 * high + 1
    first = input_margin(config)
    low, high = low * config.stride - first, high * config.stride + config.stride - 1 - first
    if config.padding == "valid":
        low, high = min(low, 2 * (side - 1) - high), max(high, -low)
    return slice(max(0, low), min(side, high + 1))
