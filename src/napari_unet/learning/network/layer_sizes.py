"""How large a U-Net's layers are for an image of a given size, and which sizes fit. No torch here.

A valid convolution with a kernel of k pixels has no result for the k - 1 outermost
pixels; pooling halves a side, which therefore has to be even. Counting from the bridge up and
down, a side of b pixels at the end of the bridge belongs to one size of the input and one
of the output. With levels L, c = 2 (k - 1) pixels lost in the two convolutions of a level,
and u = 1 lost where the 2x2 convolution behind nearest-neighbour upsampling is valid too::

    input  = 2**(L-1) b + c (2**L - 1)
    output = 2**(L-1) b - (c + u) (2**(L-1) - 1)

The paper's network (L = 5, k = 3): input 16 b + 124, output 16 b - 60; b = 28 makes 572
and 388. Padded convolutions (c = u = 0) take multiples of 2**(L-1). Where the input
folds `stride` x `stride` pixels into one, all of this counts folded pixels.
"""

from __future__ import annotations

import math

from napari_unet.learning.config import ModelConfig


def size_divisor(config: ModelConfig) -> int:
    """Pixels of the image that make one of the bridge: strides and poolings together."""
    return int(config.stride * 2 ** (config.levels - 1))


def input_margin(config: ModelConfig) -> int:
    """Pixels of the input before (above, left of) the first one that is scored."""
    shrinking = _lost_in_level(config) // 2
    return int(config.stride * shrinking * (3 * 2 ** (config.levels - 1) - 2))


def receptive_radius(config: ModelConfig) -> int:
    """How far around it, in pixels, a pixel's score can depend on the image.

    Four convolutions at each level above the bridge and two at the bridge see half a
    kernel further each; a 2x2 convolution behind nearest-neighbour upsampling sees a pixel
    further; pooling adds up to one pixel of the bridge.
    """
    coarsest = 2 ** (config.levels - 1)
    half = config.kernel // 2
    upsampling = coarsest - 1 if config.upsampling == "nearest" else 0
    convolutions = half * (4 * (coarsest - 1) + 2 * coarsest)
    return int(config.stride * (convolutions + coarsest + upsampling))


def crop_starts(config: ModelConfig) -> tuple[int, ...]:
    """Pixel of each skip connection where the decoder's features of that level begin."""
    lost = _lost_in_level(config)
    starts = [0] * config.levels
    starts[-1] = -lost // 2  # the bridge itself crops nothing
    for level in reversed(range(config.levels - 1)):
        starts[level] = 2 * (starts[level + 1] + lost)
    return tuple(starts[:-1])


def output_size(config: ModelConfig, size: int) -> int:
    """Pixels of a side that are scored, of a valid input size.

    Raises
    ------
    ValueError
        If the size is not valid; the message says which are.
    """
    if fitting_size(config, size) != size:
        raise ValueError(f"{size} pixels is not a valid input size. {explain_sizes(config)}")
    return size - _lost(config)


def fitting_size(config: ModelConfig, size: int) -> int:
    """Find the smallest valid input size that is not smaller than `size`."""
    step = size_divisor(config)
    least = _smallest(config)
    return least + step * max(0, math.ceil((size - least) / step))


def input_size(config: ModelConfig, size: int) -> int:
    """Find the smallest valid input size whose output covers a side of `size` pixels."""
    return fitting_size(config, size + _lost(config))


def valid_sizes(config: ModelConfig, longest: int) -> range:
    """List all valid input sizes up to `longest` pixels."""
    return range(_smallest(config), longest + 1, size_divisor(config))


def explain_sizes(config: ModelConfig) -> str:
    """Say which input sizes are valid, why, and what happens to others."""
    step, least, lost = size_divisor(config), _smallest(config), _lost(config)
    rule = f"{step} k + {least % step}" if least % step else f"{step} k"
    first = ", ".join(map(str, valid_sizes(config, least + 2 * step)))
    why = f"each of the {config.levels - 1} poolings halves a side that has to be even"
    if config.stride > 1:
        why = f"{config.stride} pixels are folded into one, and {why}"
    if config.padding != "valid":
        return (
            f"Valid input sizes are multiples of {step} ({first}, ...): {why}. "
            "The output is as large. Other images are filled up to the next such size, "
            "and the result is cropped again."
        )
    return (
        f"Valid input sizes are {rule}, from {least} on ({first}, ...): {why}, "
        f"and convolutions without padding take {lost} pixels away between input and output. "
        "Images of any size are surrounded by their mirror image up to the next such size whose "
        "output covers them, and the result is cropped again."
    )


def _lost_in_level(config: ModelConfig) -> int:
    """Pixels of a side that the two convolutions of a level lose."""
    return 2 * (config.kernel - 1) if config.padding == "valid" else 0


def _lost_in_upsampling(config: ModelConfig) -> int:
    """Pixels of a side that are lost where the decoder doubles it."""
    return int(config.padding == "valid" and config.upsampling == "nearest")


def _lost(config: ModelConfig) -> int:
    """Pixels by which the output is smaller than the input."""
    coarsest = 2 ** (config.levels - 1)
    level, upsampling = _lost_in_level(config), _lost_in_upsampling(config)
    return int(config.stride * (level * (3 * coarsest - 2) + upsampling * (coarsest - 1)))


def _smallest(config: ModelConfig) -> int:
    """Smallest valid input size: at least a pixel at the bridge, and one of the output."""
    coarsest = 2 ** (config.levels - 1)
    decoder = (_lost_in_level(config) + _lost_in_upsampling(config)) * (coarsest - 1)
    bridge = decoder // coarsest + 1
    return int(config.stride * (coarsest * bridge + _lost_in_level(config) * (2 * coarsest - 1)))
