"""One synthetic head at several times: lesions grow, shrink, appear; the scanner forgets.

What differs from time to time is what differs between visits: the lesions, how the head lies
(a small rigid motion), the noise, the texture and the bias field. What stays is the head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_unet.imaging.volume import Grid, Volume
from napari_unet.phantom.anatomy import draw_head
from napari_unet.phantom.metastases import (
    acquire,
    grow_metastasis,
    metastasis_places,
    smallest_diameter,
)
from napari_unet.phantom.shapes import FIELD_OF_VIEW_MM, Array, Point, Space
from napari_unet.phantom.tissues import Canvas
from napari_unet.phantom.vessels import draw_vessels

COURSES = ("grows", "shrinks", "stays", "appears")
"""What becomes of a lesion over time."""

LOBED_FROM_MM = 8.0
"""Diameter from which every second lesion has lobes."""

LOBED_SIZE = 0.85
"""Radius of such a lesion without its lobes, so that it is about as large with them."""

TURN_DEGREES = 2.0
"""Standard deviation of the rotation about each axis."""

SHIFT_MM = 2.0
"""Standard deviation of the shift along each axis."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """A lesion and its course.

    Parameters
    ----------
    centre : tuple of float
        Head millimetres (z, y, x).
    radius : float
        The largest that it ever has, in head millimetres.
    course : str
        One of `COURSES`.
    starts : int
        Time from which it is there.
    lobes : tuple
        As of `grow_metastasis`.
    seed : int
        Of its shape and brightness, which it keeps.
    """

    centre: Point
    radius: float
    course: str
    starts: int
    lobes: tuple[tuple[Point, float], ...]
    seed: int

    def radius_at(self, time: int, n_times: int) -> float:
        """Radius at one of the times 0 to `n_times` - 1; 0 before it is there."""
        past = time / max(n_times - 1, 1)
        if time < self.starts:
            return 0.0
        if self.course == "grows":
            return self.radius * (0.55 + 0.45 * past)
        if self.course == "shrinks":
            return self.radius * (1 - 0.45 * past)
        if self.course == "appears":
            return self.radius * (0.6 + 0.4 * (time - self.starts + 1) / (n_times - self.starts))
        return self.radius


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One scan of a series: the volume and its truth (z, y, x), 1 in lesions."""

    volume: Volume
    truth: NDArray[np.uint8]


def make_series(
    seed: int,
    n_times: int = 4,
    shape_zyx: tuple[int, int, int] = (144, 208, 176),
    n_lesions: int = 14,
    diameters_mm: tuple[float, float] = (3.0, 25.0),
) -> Iterator[Visit]:
    """Make a head and scan it several times.

    Parameters
    ----------
    seed : int
        Seed of everything random.
    n_times : int
        How many scans.
    shape_zyx : tuple of int
        Voxels, over a head of normal size: 1.2 x 1 x 1 mm by default.
    n_lesions : int
        How many lesions there ever are; fewer if there is no room.
    diameters_mm : tuple of float
        Smallest and largest; never smaller than about three voxels.

    Yields
    ------
    Visit
        In the order of time.
    """
    z, y, x = (mm / n for mm, n in zip(FIELD_OF_VIEW_MM, shape_zyx, strict=True))
    space = Space(shape_zyx, (z, y, x))
    rng = np.random.default_rng([seed, 0])
    head = draw_head(rng, space)
    draw_vessels(rng, head, space)
    # A little more: random sizes, motion and voxels take something away.
    smallest = 1.15 * max(diameters_mm[0], smallest_diameter(space))
    diameters = np.geomspace(max(diameters_mm[1], smallest), smallest, n_lesions)
    lesions = [
        _course(rng, seed, number, centre, radius, n_times)
        for number, (centre, radius) in enumerate(metastasis_places(rng, head, space, diameters))
    ]
    for time in range(n_times):
        canvas = Canvas(head.canvas.image.copy(), head.canvas.tissue.copy())
        now = dataclasses.replace(head, canvas=canvas)
        truth = np.zeros(shape_zyx, np.uint8)
        for lesion in lesions:
            radius = lesion.radius_at(time, n_times)
            if radius:
                shape = np.random.default_rng(lesion.seed)
                radius = max(radius, smallest / 2)  # a lesion that shrinks does not vanish
                grow_metastasis(shape, now, space, truth, lesion.centre, radius, lesion.lobes)
        scanner = np.random.default_rng([seed, 1 + time])
        image, truth = (
            _moved(scanner, canvas.image, truth, space) if time else (canvas.image, truth)
        )
        volume = Volume(
            data=acquire(scanner, image, space)[None],
            grid=Grid.from_spacing(shape_zyx, space.spacing),
            name=f"phantom {seed} time {time + 1}",
        )
        yield Visit(volume, truth)


def _course(
    rng: np.random.Generator, seed: int, number: int, centre: Point, radius: float, n_times: int
) -> Lesion:
    """Decide what becomes of a lesion: courses take turns, so that all sizes have all of them."""
    course = COURSES[(number + seed) % len(COURSES)]
    late = course == "appears" and n_times > 1
    lobed = number % 2 == 0 and 2 * radius >= LOBED_FROM_MM
    return Lesion(
        centre=centre,
        radius=radius * (LOBED_SIZE if lobed else 1),
        course=course,
        starts=int(rng.integers(1, n_times)) if late else 0,
        lobes=_lobes(rng) if lobed else (),
        seed=int(rng.integers(2**31)),
    )


def _lobes(rng: np.random.Generator) -> tuple[tuple[Point, float], ...]:
    """Three or four balls that bulge out of a lesion."""
    lobes = []
    for _ in range(int(rng.integers(3, 5))):
        direction = rng.normal(size=3)
        z, y, x = direction / np.linalg.norm(direction) * rng.uniform(0.9, 1.2)
        lobes.append(((float(z), float(y), float(x)), float(rng.uniform(0.45, 0.65))))
    return tuple(lobes)


def _moved(
    rng: np.random.Generator, image: Array, truth: NDArray[np.uint8], space: Space
) -> tuple[Array, NDArray[np.uint8]]:
    """Turn and shift the head a little about the middle of the volume."""
    spacing = np.asarray(space.spacing)
    turn = Rotation.from_euler("zyx", rng.normal(0, TURN_DEGREES, 3), degrees=True).as_matrix()
    matrix = turn * spacing / spacing[:, None]  # millimetres to voxels
    middle = (np.asarray(space.shape) - 1) / 2
    offset = middle - matrix @ middle + rng.normal(0, SHIFT_MM, 3) / spacing
    moved = ndimage.affine_transform(image, matrix, offset, order=1, mode="nearest")
    share = ndimage.affine_transform(truth.astype(np.float32), matrix, offset, order=1)
    return moved, (share > 0.5).astype(np.uint8)
