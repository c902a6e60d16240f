"""Phantoms: synthetic contrast-enhanced T1 brains with metastases and their truth.

For the built-in sample, the tests and trying things out where no scan may be
used. They look like an MRI; they are no model of disease.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from napari_unet.imaging.volume import Grid, Volume
from napari_unet.phantom.anatomy import Head, draw_head
from napari_unet.phantom.shapes import (
    FIELD_OF_VIEW_MM,
    Array,
    Point,
    Space,
    inside,
    noise,
    resample,
    union,
)
from napari_unet.phantom.tissues import INTENSITY, Tissue
from napari_unet.phantom.vessels import draw_vessels

CLASS_NAME = "metastasis"
"""Name of truth label 1: the whole metastasis, rim and core."""

RING_FROM_MM = 10.0
"""Diameter from which a metastasis has a necrotic core and oedema around it."""


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A synthetic scan and its answer.

    Parameters
    ----------
    volume : Volume
        One channel, T1-weighted after contrast medium.
    truth : ndarray of uint8, shape (z, y, x)
        1 in metastases (rim and core), 0 elsewhere.
    tissue : ndarray of uint8, shape (z, y, x)
        The `Tissue` that fills most of each voxel.
    """

    volume: Volume
    truth: NDArray[np.uint8]
    tissue: NDArray[np.uint8]


def make_phantom(
    seed: int = 0,
    shape_zyx: tuple[int, int, int] = (144, 208, 176),
    spacing_mm: tuple[float, float, float] = (1.2, 1.0, 1.0),
    n_metastases: int = 10,
    diameters_mm: tuple[float, float] = (3.0, 30.0),
) -> Phantom:
    """Make a brain with metastases; the same seed gives the same brain.

    The head fills the field of view: a small volume holds a small head. Lesions
    are never smaller than about three voxels.

    Parameters
    ----------
    seed : int
        Seed of everything random.
    shape_zyx : tuple of int
        Voxels (z, y, x), display order.
    spacing_mm : tuple of float
        Voxel size in millimetres (z, y, x).
    n_metastases : int
        How many lesions; fewer if the brain is too small for all of them.
    diameters_mm : tuple of float
        Smallest and largest diameter, for a head of normal size.

    Returns
    -------
    Phantom
        The scan and its truth.
    """
    rng = np.random.default_rng(seed)
    extent = [n * s / f for n, s, f in zip(shape_zyx, spacing_mm, FIELD_OF_VIEW_MM, strict=True)]
    scale = min(extent)  # size of this head relative to a normal one
    space = Space(shape_zyx, (spacing_mm[0] / scale, spacing_mm[1] / scale, spacing_mm[2] / scale))
    head = draw_head(rng, space)
    draw_vessels(rng, head, space)
    truth = np.zeros(shape_zyx, dtype=np.uint8)
    smallest = max(diameters_mm[0], smallest_diameter(space))
    largest = max(diameters_mm[1], smallest)
    diameters = np.geomspace(largest, smallest, max(n_metastases, 1))[:n_metastases]
    for centre, radius in metastasis_places(rng, head, space, diameters):
        grow_metastasis(rng, head, space, truth, centre, radius)
    volume = Volume(
        data=acquire(rng, head.canvas.image, space)[None],
        grid=Grid.from_spacing(shape_zyx, spacing_mm),
        name=f"synthetic T1c {seed}",
    )
    return Phantom(volume=volume, truth=truth, tissue=head.canvas.tissue)


def annotated_example(
    phantom: Phantom, n_slices: int = 5
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Annotate a few axial slices as a careful reader would, one of them empty.

    Parameters
    ----------
    phantom : Phantom
        Scan with truth.
    n_slices : int
        Slices to annotate, the empty one included.

    Returns
    -------
    labels : ndarray of uint8, shape (z, y, x)
        The truth on the annotated slices, 0 elsewhere.
    indices : tuple of int
        The annotated slices along axis 0, ascending.
    """
    sizes = np.count_nonzero(phantom.truth, axis=(1, 2))
    chosen: list[int] = []
    for _ in range(max(0, n_slices - 1)):
        gain = _gain(phantom.truth, sizes, chosen)
        if gain.max() <= 0:
            break
        chosen.append(int(np.argmax(gain)))
    empty = _empty_slice(phantom, sizes)
    if n_slices > 0 and empty is not None:
        chosen.append(empty)
    indices = tuple(sorted(chosen))
    labels = np.zeros_like(phantom.truth)
    labels[list(indices)] = phantom.truth[list(indices)]
    return labels, indices


def smallest_diameter(space: Space) -> float:
    """Diameter (head mm) of the smallest lesion that voxels of this size show."""
    return 3.0 * float(np.cbrt(np.prod(space.spacing)))


def metastasis_places(
    rng: np.random.Generator, head: Head, space: Space, diameters: NDArray[np.float64]
) -> Iterator[tuple[Point, float]]:
    """Find places, apart from each other, for lesions of these diameters (head mm).

    Yields
    ------
    centre : tuple of float
        Head millimetres (z, y, x).
    radius : float
        Head millimetres. Lesions that the brain has no room for are left out.
    """
    placed: list[tuple[Point, float]] = []
    image = head.canvas.image
    fertile = np.argwhere((head.brain > 1.5) & (image > 300) & (image < 600))
    first = np.array([float(axis.flat[0]) for axis in space.axes()])
    for diameter in diameters:
        radius = float(diameter) / 2 * rng.uniform(0.93, 1.07)
        for voxel in rng.choice(fertile, size=400):
            z, y, x = (float(v) for v in first + voxel * np.asarray(space.spacing))
            apart = all(
                np.hypot(np.hypot(z - p[0], y - p[1]), x - p[2]) > radius + r + 4 for p, r in placed
            )
            # Near the border of grey and white matter, where blood carries them, and in one half.
            if abs(x) < radius + 2:
                continue
            if apart and 0.45 * radius + 2 < head.brain[tuple(voxel)] < 0.45 * radius + 16:
                placed.append(((z, y, x), radius))
                yield (z, y, x), radius
                break


def grow_metastasis(
    rng: np.random.Generator,
    head: Head,
    space: Space,
    truth: NDArray[np.uint8],
    centre: Point,
    radius: float,
    lobes: Sequence[tuple[Point, float]] = (),
) -> None:
    """Draw one lesion: oedema, enhancing rim or solid body, necrotic core.

    Parameters
    ----------
    rng : numpy Generator
        Source of its shape and brightness: the same seed gives the same shape at any radius.
    head, space
        What it is drawn into, in place.
    truth : ndarray of uint8, shape (z, y, x)
        Its voxels become 1.
    centre, radius
        Head millimetres.
    lobes : sequence of (offset, radius)
        Balls melted into the lesion, centre (z, y, x) and radius as multiples of its radius.
    """
    ring = 2 * radius >= RING_FROM_MM
    box = space.box(centre, 2.6 * radius + 3)
    canvas, depth = head.canvas[box], head.brain[box]
    offsets = space.offsets(centre, box)
    bumps, grain = _lumps(rng, depth.shape, 5), _lumps(rng, depth.shape, 9)
    stretch = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    distance = np.sqrt(sum((o * s) ** 2 for o, s in zip(offsets, stretch, strict=True)))
    for at, size in lobes:
        steps = (o - np.float32(radius * a) for o, a in zip(offsets, at, strict=True))
        away = np.sqrt(sum(step**2 for step in steps))
        lobe = np.asarray(away + radius * (1 - size), dtype=np.float32)
        distance = union(distance, lobe, 0.15 * radius)
    outline = distance - radius * (1 + 0.13 * bumps + 0.07 * grain)
    outline = _in_one_piece(np.maximum(outline, 0.5 - depth))  # stays within the brain
    if ring:
        spread = distance - radius * rng.uniform(1.5, 2.2) * (1 + 0.22 * bumps)
        wet = inside(spread.astype(np.float32), 4.0) * head.white[box]
        canvas.paint(0.85 * wet, Tissue.OEDEMA)
    body = INTENSITY[Tissue.LESION] * (rng.uniform(0.88, 1.1) if ring else rng.uniform(0.8, 1.05))
    canvas.paint(inside(outline), Tissue.LESION, (body * (1 + 0.05 * grain)).astype(np.float32))
    if ring:
        thickness = np.maximum(1.3, rng.uniform(1.9, 3.2) + 0.11 * radius * (bumps + grain))
        core = (outline + thickness).astype(np.float32)
        value = INTENSITY[Tissue.NECROSIS] * rng.uniform(0.85, 1.3) * (1 + 0.08 * grain)
        canvas.paint(inside(core, 1.8), Tissue.NECROSIS, value)
    truth[box][outline < 0] = 1


def _in_one_piece(outline: NDArray[Any]) -> Array:
    """Keep the largest part of a shape that the brain's surface cut apart."""
    pieces, n = label(outline < 0, return_num=True, connectivity=1)
    largest = int(np.argmax(np.bincount(pieces.ravel())[1:])) + 1 if n else 0
    kept = np.where((pieces > 0) & (pieces != largest), 1.0, outline)
    return np.asarray(kept, dtype=np.float32)


def _lumps(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> Array:
    """Smooth random field over a small box, with about `count` lumps along each axis."""
    field = rng.standard_normal((count, count, count), dtype=np.float32)
    return resample(ndimage.zoom(field, 2, order=3, mode="nearest"), shape)


def acquire(rng: np.random.Generator, image: Array, space: Space) -> Array:
    """Simulate the scanner: texture, blur, uneven sensitivity, Rician noise."""
    texture = resample(noise(rng, space.coarse(3.0), 9.0), space.shape)
    signal = ndimage.gaussian_filter(image * (1 + 0.02 * texture), 0.45, truncate=2.5)
    bias = resample(noise(rng, space.coarse(12.0), 160.0), space.shape)
    signal *= np.exp(0.09 * bias)
    real = signal + 13 * rng.standard_normal(space.shape, dtype=np.float32)
    imaginary = 13 * rng.standard_normal(space.shape, dtype=np.float32)
    return np.asarray(np.hypot(real, imaginary), dtype=np.float32)


def _gain(
    truth: NDArray[np.uint8], sizes: NDArray[np.int64], chosen: list[int]
) -> NDArray[np.float64]:
    """How much each slice would show of lesions that no chosen slice shows yet."""
    pieces, n = label(truth > 0, return_num=True)
    gain = np.zeros(len(sizes))
    for box, number in zip(ndimage.find_objects(pieces), range(1, n + 1), strict=True):
        area = np.count_nonzero(pieces[box] == number, axis=(1, 2))
        span = range(box[0].start, box[0].stop)
        seen = any(index in span for index in chosen)
        gain[box[0]] += area / area.max() * (0.2 if seen else 1.0)
    for index in chosen:  # neighbours of an annotated slice add little
        away = np.abs(np.arange(len(sizes)) - index)
        gain *= np.minimum(away / (0.08 * len(sizes)), 1.0)
    return gain


def _empty_slice(phantom: Phantom, sizes: NDArray[np.int64]) -> int | None:
    """Choose the slice without lesion that lies deepest in the head."""
    empty = np.flatnonzero(sizes == 0)
    if len(empty) == 0:
        return None
    brightness = phantom.volume.data[0].mean(axis=(1, 2))
    return int(empty[np.argmax(brightness[empty])])
