"""Shapes in head millimetres, and how they are drawn into voxels with soft edges.

Coordinates are head millimetres towards inferior, posterior and left (the
display axes z, y, x), with the origin near the middle of the brain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Point = tuple[float, float, float]

FIELD_OF_VIEW_MM = (172.8, 208.0, 176.0)
"""Size of the volume that the head is drawn for; others get a scaled head."""

ORIGIN_MM = (86.0, 104.0, 88.0)
"""Middle of the brain, from the corner of that field of view."""

FAR = 1e3
"""A distance larger than any head."""


@dataclass(frozen=True, slots=True)
class Space:
    """Where the voxels of a phantom are.

    Parameters
    ----------
    shape : tuple of int
        Voxels (z, y, x).
    spacing : tuple of float
        Head millimetres per voxel (z, y, x).
    """

    shape: tuple[int, int, int]
    spacing: Point

    def axes(self) -> tuple[Array, Array, Array]:
        """Coordinates of the voxel centres along each axis, ready to broadcast."""
        return _axes(self.shape, self.spacing)

    def coarse(self, millimetres: float) -> Space:
        """Space of the same extent with voxels of about `millimetres`, never smaller ones."""
        extent = [n * s for n, s in zip(self.shape, self.spacing, strict=True)]
        counts = [
            min(n, max(4, round(length / millimetres)))
            for n, length in zip(self.shape, extent, strict=True)
        ]
        spacing = [length / count for length, count in zip(extent, counts, strict=True)]
        return Space((counts[0], counts[1], counts[2]), (spacing[0], spacing[1], spacing[2]))

    def voxel(self, point: Point) -> NDArray[np.float64]:
        """Fractional voxel index (z, y, x) of a point."""
        first = np.array([float(axis.flat[0]) for axis in self.axes()])
        return np.asarray((np.asarray(point) - first) / self.spacing, dtype=np.float64)

    def box(self, point: Point, radius: float | NDArray[np.float64]) -> tuple[slice, slice, slice]:
        """Voxels within `radius` (one for all, or one for each axis) of a point."""
        centre, reach = self.voxel(point), radius / np.asarray(self.spacing)
        low = np.clip(np.floor(centre - reach), 0, self.shape).astype(int)
        high = np.clip(np.ceil(centre + reach) + 1, 0, self.shape).astype(int)
        z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return z, y, x

    def offsets(self, point: Point, box: tuple[slice, slice, slice]) -> tuple[Array, Array, Array]:
        """Distances along each axis from a point to the voxels of a box."""
        z, y, x = self.axes()
        return z[box[0]] - point[0], y[:, box[1]] - point[1], x[:, :, box[2]] - point[2]


@lru_cache(maxsize=8)
def _axes(shape: tuple[int, int, int], spacing: Point) -> tuple[Array, Array, Array]:
    """See `Space.axes`; kept, because every small shape asks for it."""
    lines = [
        (np.arange(n) + 0.5 - n / 2) * s + f / 2 - o
        for n, s, f, o in zip(shape, spacing, FIELD_OF_VIEW_MM, ORIGIN_MM, strict=True)
    ]
    z, y, x = (line.astype(np.float32) for line in lines)
    return z[:, None, None], y[None, :, None], x[None, None, :]


def resample(coarse: NDArray[Any], shape: tuple[int, ...]) -> Array:
    """Interpolate linearly to more voxels over the same extent."""
    out = coarse.astype(np.float32)
    for axis in (2, 1, 0):
        n_in, n_out = out.shape[axis], shape[axis]
        at = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
        low = np.minimum(at.astype(int), n_in - 2)
        weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        lower = np.take(out, low, axis=axis)
        out = np.take(out, low + 1, axis=axis)
        out -= lower
        out *= weight
        out += lower
    return out


def noise(rng: np.random.Generator, space: Space, wavelength: float) -> Array:
    """Smooth random field with standard deviation one and about this wavelength."""
    field = rng.standard_normal(space.shape, dtype=np.float32)
    sigma = [wavelength / 5 / s for s in space.spacing]
    field = ndimage.gaussian_filter(field, sigma, truncate=3.0, mode="reflect")
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def ellipsoid(where: Sequence[Array], centre: Point, radii: Point) -> Array:
    """Signed distance (approximate, mm) to an ellipsoid; negative inside."""
    first: Array = np.zeros((), np.float32)
    second = first
    for axis, middle, radius in zip(where, centre, radii, strict=True):
        scaled = (axis - np.float32(middle)) / np.float32(radius)
        first = first + scaled**2
        second = second + (scaled / np.float32(radius)) ** 2
    first, second = np.sqrt(first), np.sqrt(second)
    return np.asarray(first * (first - 1) / np.maximum(second, 1e-4), dtype=np.float32)


def union(a: Array, b: Array, blend: float) -> Array:
    """Signed distance to two shapes, melted into each other over `blend` mm."""
    mix = np.clip(0.5 + 0.5 * (b - a) / blend, 0, 1)
    return np.asarray(b + mix * (a - b) - blend * mix * (1 - mix), dtype=np.float32)


def inside(distance: NDArray[Any], softness: float = 1.2) -> Array:
    """Fraction (0 to 1) of a voxel that lies inside a shape."""
    return np.asarray(np.clip(0.5 - distance / np.float32(softness), 0, 1), dtype=np.float32)


def tube(fraction: Array, space: Space, path: Sequence[Point], radii: Sequence[float]) -> None:
    """Draw a tube of changing radius along a path into `fraction` (maximum), in place."""
    for start, end, r_start, r_end in zip(path, path[1:], radii, radii[1:], strict=False):
        a, along = np.asarray(start), np.subtract(end, start)
        middle = a + along / 2
        reach = np.abs(along) / 2 + max(r_start, r_end) + 1.0
        box = space.box((middle[0], middle[1], middle[2]), reach)
        offsets = space.offsets(start, box)
        # Nearest point of the segment (0 start, 1 end), then the distance to it.
        dot = sum(o * np.float32(d) for o, d in zip(offsets, along, strict=True))
        t = np.clip(dot / np.float32(max(float(along @ along), 1e-6)), 0, 1)
        away = sum((o - t * np.float32(d)) ** 2 for o, d in zip(offsets, along, strict=True))
        radius = np.float32(r_start) + t * np.float32(r_end - r_start)
        part = fraction[box]
        np.maximum(part, inside(np.sqrt(away) - radius), out=part)


def mirrored(path: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Give a path and its mirror image on the other side of the head."""
    return list(path), [(z, y, -x) for z, y, x in path]
