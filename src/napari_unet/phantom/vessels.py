"""Vessels of a phantom that light up after contrast medium, and are no lesions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet.phantom.anatomy import Head
from napari_unet.phantom.shapes import Point, Space, mirrored, tube
from napari_unet.phantom.tissues import Tissue

ARTERIES: tuple[tuple[float, tuple[Point, ...]], ...] = (
    # radius in mm, path (z, y, x) of the left side; mirrored
    (2.0, ((80, -8, 20), (58, -10, 15), (44, -14, 11), (36, -20, 10), (28, -14, 9))),  # carotid
    (1.4, ((27, -13, 9), (22, -15, 20), (18, -12, 32), (8, -4, 38), (4, 12, 40), (-4, 26, 44))),
    (0.9, ((18, -12, 32), (14, -22, 40), (2, -28, 46))),
    (1.1, ((26, -15, 5), (18, -34, 1.5), (-8, -46, 1.5), (-28, -26, 1.5), (-32, 6, 1.5))),
    (1.1, ((26, -7, 2), (24, 4, 17), (20, 24, 18), (12, 46, 12), (6, 64, 8))),  # posterior
    (1.3, ((92, 10, 9), (76, 6, 6), (66, 0, 1))),  # vertebral
)
BASILAR: tuple[float, tuple[Point, ...]] = (1.6, ((66, 0, 1), (48, -9, 0), (28, -9, 0)))
DEEP_VEINS: tuple[tuple[float, tuple[Point, ...]], ...] = (
    (1.1, ((-6, -10, 2.5), (-7, 8, 2.5), (-3, 24, 2), (1, 30, 0))),
    (0.9, ((18, -4, 22), (20, 14, 18), (8, 28, 6), (1, 30, 0))),
    (1.7, ((-15, 14, 13), (-10, 26, 19), (0, 33, 23))),  # choroid plexus
)
STRAIGHT_SINUS: tuple[float, tuple[Point, ...]] = (2.0, ((1, 30, 0), (10, 52, 0), (22, 74, 0)))


def draw_vessels(rng: np.random.Generator, head: Head, space: Space) -> None:
    """Draw arteries, venous sinuses, cortical and small medullary veins, in place.

    Parameters
    ----------
    rng : numpy Generator
        Source of the course of the veins.
    head : Head
        Its canvas is painted on.
    space : Space
        Its voxels.
    """
    blood = np.zeros(space.shape, dtype=np.float32)
    for radius, path in (*ARTERIES, *DEEP_VEINS):
        for side in mirrored(path):
            tube(blood, space, _wander(rng, side), _taper(radius, 0.75, len(side) * 4 - 3))
    for radius, path in (BASILAR, STRAIGHT_SINUS):
        tube(blood, space, path, [radius] * len(path))
    _sinuses(blood, head, space)
    for _ in range(26):
        _cortical_vein(rng, blood, head, space)
    for _ in range(40):
        _medullary_vein(rng, blood, head, space)
    head.canvas.paint(np.minimum(blood, 1), Tissue.VESSEL)


def _sinuses(blood: NDArray[np.float32], head: Head, space: Space) -> None:
    """Superior sagittal, transverse and sigmoid sinuses, along the inner skull."""
    turn = np.radians(np.linspace(-60, 107, 60))  # from the forehead over the top to the back
    rays = np.stack([-np.cos(turn), np.sin(turn), np.zeros_like(turn)], axis=1)
    path = _on_skull(head, space, rays, below=2.0)
    tube(blood, space, path, list(np.linspace(1.2, 3.8, len(path))))
    around = np.radians(np.linspace(0, 78, 30))
    down = np.linspace(0.30, 0.52, 30)
    rays = np.stack([down, np.cos(around), np.sin(around)], axis=1)
    for side, radius in ((1, 3.0), (-1, 2.4)):  # one side is usually larger
        path = _on_skull(head, space, rays * (1, 1, side), below=1.5)
        tube(blood, space, path, [radius] * len(path))


def _cortical_vein(
    rng: np.random.Generator, blood: NDArray[np.float32], head: Head, space: Space
) -> None:
    """Draw a vein on the surface of the brain, rising towards the midline."""
    side = rng.choice((-1.0, 1.0))
    start = rng.uniform(35, 100)  # degrees from the vertex
    along = np.radians(np.linspace(start, rng.uniform(4, start - 25), 14))
    azimuth = np.radians(rng.uniform(-75, 80) + np.cumsum(rng.normal(0, 3.5, 14)))
    rays = np.stack(
        [-np.cos(along), np.sin(along) * np.sin(azimuth), side * np.sin(along) * np.cos(azimuth)],
        axis=1,
    )
    path = _on_skull(head, space, rays, below=rng.uniform(2.2, 3.6))
    tube(blood, space, path, _taper(rng.uniform(0.9, 1.5), 0.6, len(path))[::-1])


def _medullary_vein(
    rng: np.random.Generator, blood: NDArray[np.float32], head: Head, space: Space
) -> None:
    """Draw a hair-thin vein inside the brain: a bright dot on most slices."""
    ray = rng.normal(size=3)
    ray[0] = -abs(ray[0])
    end = np.asarray(_on_skull(head, space, ray[None], below=rng.uniform(4, 9))[0])
    start = end * rng.uniform(0.6, 0.8) + rng.normal(0, 3, 3)
    path = [_point(start), _point((start + end) / 2 + rng.normal(0, 2, 3)), _point(end)]
    tube(blood, space, path, [0.3, 0.5, rng.uniform(0.5, 0.8)])


def _on_skull(head: Head, space: Space, rays: NDArray[np.float64], *, below: float) -> list[Point]:
    """Points `below` mm under the inner skull, in the direction of each ray."""
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    steps = np.arange(25.0, 115.0, 0.5)
    first = space.voxel((0.0, 0.0, 0.0))
    voxels = first + rays[:, None] * steps[None, :, None] / np.asarray(space.spacing)
    depth = -ndimage.map_coordinates(
        head.cavity, np.moveaxis(voxels, -1, 0).reshape(3, -1), order=1, mode="nearest"
    ).reshape(len(rays), len(steps))
    reached = np.argmax(depth < below, axis=1)
    return [_point(ray * steps[n]) for ray, n in zip(rays, reached, strict=True)]


def _wander(rng: np.random.Generator, path: Sequence[Point]) -> list[Point]:
    """Bend a path a little between its corners."""
    corners = np.asarray(path, dtype=float)
    at = np.linspace(0, len(path) - 1, len(path) * 4 - 3)
    smooth = np.stack(
        [np.interp(at, np.arange(len(path)), corners[:, axis]) for axis in range(3)], axis=1
    )
    smooth[1:-1] += rng.normal(0, 0.7, (len(smooth) - 2, 3))
    return [_point(point) for point in smooth]


def _taper(radius: float, end: float, count: int) -> list[float]:
    """Radii from `radius` down to `end` times as much."""
    return [float(value) for value in np.linspace(radius, radius * end, count)]


def _point(values: NDArray[np.float64]) -> Point:
    z, y, x = (float(value) for value in values)
    return (z, y, x)
