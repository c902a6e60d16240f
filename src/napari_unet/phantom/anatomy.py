"""The head of a phantom: scalp, skull, fluid and brain, without vessels or lesions.

Coordinates are head millimetres towards inferior, posterior and left (z, y, x),
see `phantom.shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_unet.phantom.shapes import (
    FAR,
    Array,
    Point,
    Space,
    ellipsoid,
    inside,
    mirrored,
    noise,
    resample,
    tube,
    union,
)
from napari_unet.phantom.tissues import INTENSITY, Canvas, Tissue

LATERAL_VENTRICLE: tuple[tuple[Point, float], ...] = (
    ((0, -37, 9), 3.5),
    ((-8, -26, 7), 5.0),
    ((-14, -8, 7), 5.0),
    ((-16, 10, 12), 6.0),
    ((-11, 26, 19), 7.5),
    ((-2, 34, 25), 7.0),
    ((10, 26, 31), 4.0),
    ((19, 8, 31), 2.6),
)
ROOF: tuple[tuple[Point, float], ...] = (
    ((-5, -31, 11), 3.0),
    ((-13, -14, 12), 4.0),
    ((-19, 4, 13), 4.5),
    ((-18, 22, 18), 4.5),
)
"""Widens the lateral ventricle upwards and outwards, to the shape of a comma."""

OCCIPITAL_HORN: tuple[tuple[Point, float], ...] = (((-3, 32, 24), 6.0), ((-1, 52, 21), 2.5))

DEEP_GREY: tuple[tuple[Point, Point, Tissue], ...] = (
    # centre (z, y, x), radii, what it is; mirrored
    ((-4, -23, 16.5), (8, 13, 5), Tissue.CAUDATE),  # its head
    ((-16, 0, 19), (4, 16, 3), Tissue.CAUDATE),  # its body
    ((4, -5, 27), (11, 18, 6), Tissue.PUTAMEN),
    ((5, -1, 19.5), (7, 10, 4), Tissue.PALLIDUS),
    ((1, 11, 11.5), (10, 15, 9), Tissue.THALAMUS),
    ((22, 12, 26), (5, 18, 6), Tissue.HIPPOCAMPUS),
)
"""Grey nuclei of one side."""

POOLS: tuple[tuple[Point, Point, Tissue], ...] = (
    ((6, 0, 0), (11, 15, 2.2), Tissue.VENTRICLE),  # third
    ((48, 23, 0), (10, 5, 7), Tissue.VENTRICLE),  # fourth
    ((24, -14, 0), (6, 9, 12), Tissue.CSF),  # suprasellar cistern
    ((14, 24, 0), (8, 5, 12), Tissue.CSF),  # quadrigeminal cistern
)
"""Fluid in the middle of the head."""


FACE: tuple[tuple[Point, Point, Tissue, str], ...] = (
    # centre (z, y, x), radii, what it is, style; mirrored unless in the middle
    ((44, -58, 30), (16, 24, 16), Tissue.FAT, "solid"),  # orbit
    ((43, -71, 31), (12, 12, 12), Tissue.EYE, "solid"),
    ((43, -55, 29), (9, 20, 9), Tissue.MUCOSA, "shell"),  # eye muscles, as bright as mucosa
    ((68, -62, 0), (26, 28, 13), Tissue.MUCOSA, "solid"),  # nose
    ((68, -62, 0), (24, 26, 11), Tissue.AIR, "cells"),
    ((74, -60, 29), (15, 16, 12), Tissue.AIR, "solid"),  # maxillary sinus
    ((42, -24, 7), (9, 11, 6), Tissue.AIR, "solid"),  # sphenoid sinus
    ((20, -89, 9), (9, 4, 8), Tissue.AIR, "solid"),  # frontal sinus
    ((58, 28, 58), (16, 16, 9), Tissue.AIR, "cells"),  # mastoid
)


@dataclass(frozen=True, slots=True)
class Head:
    """An empty head: image without lesions, and where lesions may grow.

    Parameters
    ----------
    canvas : Canvas
        Intensities and tissues.
    brain : ndarray of float32, shape (z, y, x)
        Depth below the brain's surface in mm; negative outside.
    white : ndarray of float32, shape (z, y, x)
        Fraction of white matter.
    cavity : ndarray of float32, shape (z, y, x)
        Signed distance to the inner skull; negative inside.
    """

    canvas: Canvas
    brain: Array
    white: Array
    cavity: Array


def draw_head(rng: np.random.Generator, space: Space) -> Head:
    """Draw scalp, skull, brain and fluid; vessels and lesions come later.

    Parameters
    ----------
    rng : numpy Generator
        Source of everything that differs between heads.
    space : Space
        Voxels to draw.
    """
    coarse = space.coarse(2.2)
    where = [
        axis + np.float32(2.0) * noise(rng, coarse, 90.0) for axis in coarse.axes()
    ]  # warped, so that no two heads have the same shape
    z, y, x = where
    cavity_c = _cavity(where)
    cavity = resample(cavity_c, space.shape)
    canvas = Canvas.blank(space)
    _draw_outside(rng, canvas, space, coarse, where, cavity_c, cavity)
    canvas.paint(inside(cavity + 1.0, 2.0), Tissue.DURA)
    canvas.paint(inside(cavity + 2.0, 1.5), Tissue.CSF)

    tentorium_c = np.where(y > 0, 10 + 0.28 * np.abs(x) + 0.20 * (y - 20) - z, FAR)
    tentorium_c = np.maximum(tentorium_c, 8 - y)
    tentorium = resample(tentorium_c, space.shape)  # < 0 below
    stem = resample(_stem(where), space.shape)
    cistern = ellipsoid(where, (34, -8, 0), (15, 14, 15))
    cistern = np.minimum(cistern, np.maximum(_stem(where) - 2.5, 24 - z))
    cistern_full = resample(cistern, space.shape)
    surface = cavity + 3.2 + np.float32(0.7) * resample(noise(rng, coarse, 25.0), space.shape)
    cerebrum = np.maximum(surface, np.maximum(1.5 - tentorium, 0.5 - cistern_full))
    grey, white = _fold_cortex(rng, space, coarse, where, cerebrum)
    canvas.paint(grey, Tissue.GREY)
    canvas.paint(white, Tissue.WHITE)
    cerebellum = np.maximum(np.maximum(surface, tentorium + 1.5), 2.0 - stem)
    _draw_cerebellum(rng, canvas, space, coarse, cerebellum)
    canvas.paint(inside(stem, 2.0), Tissue.BRAIN_STEM)
    _draw_deep(canvas, white, space)
    brain = -np.minimum(np.minimum(cerebrum, cerebellum), stem)
    return Head(canvas=canvas, brain=brain, white=white, cavity=cavity)


def _cavity(where: Sequence[Array]) -> Array:
    """Signed distance to the inner skull: vault, middle fossae, posterior fossa, canal."""
    z, y, x = where
    wide = x / (1 + np.float32(0.0011) * y)  # an egg, broader at the back
    vault = np.where(
        z < 0,
        ellipsoid((z, y, wide), (0, 0, 0), (64, 84, 67)),
        ellipsoid((z, y, wide), (0, 0, 0), (40, 84, 67)),
    )
    orbital_roof = 9 * np.exp(-(((np.abs(x) - 31) / 15) ** 2))  # bulges up over each eye
    frontal_floor = np.where(y < -25, z - 27 + orbital_roof - 0.15 * (y + 60), -FAR)
    cavity = np.maximum(vault, frontal_floor)
    for side in (-1, 1):
        cavity = union(cavity, ellipsoid(where, (27, -8, 38 * side), (24, 35, 24)), 8.0)
    cavity = union(cavity, ellipsoid(where, (42, 40, 0), (31, 38, 50)), 8.0)
    canal = np.maximum(np.hypot(x, y - 24) - 13, 50 - z)
    return union(cavity, canal.astype(np.float32), 8.0)


def _stem(where: Sequence[Array]) -> Array:
    """Signed distance to the brain stem."""
    z, y, x = where
    axis_y = 4 + 0.22 * (z - 20)
    radius = np.interp(z, [10, 25, 40, 55, 70, 95], [15, 13, 11, 10, 7.5, 6.5])
    column = np.maximum(np.hypot(x, (y - axis_y) * 1.15) - radius, 12 - z)
    return union(column.astype(np.float32), ellipsoid(where, (42, 4, 0), (13, 11, 16)), 5.0)


def _draw_outside(
    rng: np.random.Generator,
    canvas: Canvas,
    space: Space,
    coarse: Space,
    where: Sequence[Array],
    cavity_c: Array,
    cavity: Array,
) -> None:
    """Scalp, face, neck, skull with marrow, eyes and air-filled sinuses."""
    z, y, x = where
    face = ellipsoid(where, (62, -38, 0), (74, 56, 60))
    neck = np.maximum(np.hypot(x / 1.1, y - 12) - 56, 45 - z).astype(np.float32)
    head_c = union(union(cavity_c - 12.5, face, 25.0), neck, 30.0)
    blobs = noise(rng, coarse, 17.0)
    fatty = resample(blobs + 0.06 * np.clip(-cavity_c, -20, 0) + 0.45, space.shape)
    head = resample(head_c, space.shape)
    canvas.paint(inside(head, 1.5), Tissue.MUSCLE)
    canvas.paint(inside(head + 1.8) * inside(-fatty * 3, 3.0), Tissue.FAT)
    canvas.paint(inside(head + 1.8) * inside(cavity - 11.5), Tissue.FAT)
    base = 3.0 * np.clip((z - 8) / 20, 0, 1)  # the skull's base is thin
    thickness = resample(6.0 - base + 0.8 * noise(rng, coarse, 45.0), space.shape)
    canvas.paint(inside(cavity - thickness - 1.0, 2.0) * inside(head + 4.0), Tissue.BONE)
    marrow = np.abs(cavity - 0.55 * thickness) - 0.17 * thickness
    canvas.paint(inside(marrow, 2.0), Tissue.MARROW)
    _draw_face(canvas, space, cavity, resample(noise(rng, coarse, 9.0), space.shape))


def _draw_face(canvas: Canvas, space: Space, cavity: Array, cells: Array) -> None:
    """Eyes, nose and air-filled sinuses, outside the skull."""
    outside = inside(-cavity + 3.0)
    for centre, radii, tissue, style in FACE:
        for side in (1, -1) if centre[2] else (1,):
            point = (centre[0], centre[1], side * centre[2])
            box = space.box(point, max(radii) + 3)
            distance = ellipsoid(space.offsets(point, box), (0, 0, 0), radii)
            if style == "shell":
                distance = np.abs(distance) - np.float32(1.2)
            elif style == "cells":
                distance = np.maximum(distance, 3 - 5 * np.abs(cells[box]))
            canvas[box].paint(inside(distance) * outside[box], tissue)


def _fold_cortex(
    rng: np.random.Generator,
    space: Space,
    coarse: Space,
    where: Sequence[Array],
    cerebrum: Array,
) -> tuple[Array, Array]:
    """Fractions of brain and of white matter: sheets of fluid folded into the cerebrum.

    Sulci are the surfaces where a random field changes sign. Dividing the field by
    its slope turns it into a distance, so that cortex has an even thickness.
    """
    z, y, x = where
    field = noise(rng, coarse, 21.0) + 0.5 * noise(rng, coarse, 13.0)
    slope = np.sqrt(sum(g**2 for g in np.gradient(field, *coarse.spacing)))
    sulci = resample((field / np.maximum(slope, 0.06)), space.shape)
    reach = resample(21 + 5 * noise(rng, coarse, 40.0), space.shape)  # depth of the sulci
    sheet = np.hypot(sulci, np.maximum(0, -cerebrum - reach))
    callosum = (1 - np.sqrt((y / 44) ** 2 + ((z - 3) / 27) ** 2)) * 27
    falx = np.hypot(resample(x, space.shape), np.maximum(0, resample(callosum, space.shape)))
    plane = z - 8 + 0.28 * y + 2.0 * noise(rng, coarse, 35.0)
    end = np.maximum(34 - np.abs(x), np.abs(y + 4) - 34)
    sylvian = np.hypot(
        resample(plane, space.shape),
        np.maximum(0, resample(end, space.shape)),
    )
    fluid = np.minimum(np.minimum(sheet - 0.35, falx - 0.8), sylvian - 0.9)
    depth = np.minimum(fluid, -cerebrum)
    return inside(-depth, 1.4), inside(3.0 - depth, 1.6)


def _draw_cerebellum(
    rng: np.random.Generator, canvas: Canvas, space: Space, coarse: Space, cerebellum: Array
) -> None:
    """Leaf-like cortex around a core of white matter."""
    z, y, x = space.axes()
    wobble = resample(noise(rng, coarse, 22.0), space.shape)
    box = space.box((45, 45, 0), 60)
    angle = np.arctan2(z[box[0]] - 44, y[:, box[1]] - 24)
    leaves = np.cos(36 * angle + 1.5 * wobble[box] + 0.10 * np.abs(x[:, :, box[2]]))
    depth = -cerebellum[box]
    white = inside(8.0 - depth + 3.0 * leaves + 1.5 * wobble[box], 4.0)
    leaf = INTENSITY[Tissue.CEREBELLUM_GREY]
    core = INTENSITY[Tissue.CEREBELLUM_WHITE]
    value = leaf + (core - leaf) * white - 110 * inside(leaves + 0.7, 0.8) * (1 - white)
    tissue = np.where(white > 0.5, Tissue.CEREBELLUM_WHITE, Tissue.CEREBELLUM_GREY)
    canvas[box].paint(inside(-depth), tissue.astype(np.uint8), value)


def _draw_deep(canvas: Canvas, white: Array, space: Space) -> None:
    """Grey nuclei, ventricles and cisterns."""
    for centre, radii, tissue in DEEP_GREY:
        for side in (-1, 1):
            point = (centre[0], centre[1], side * centre[2])
            box = space.box(point, max(radii) + 2)
            fraction = inside(ellipsoid(space.offsets(point, box), (0, 0, 0), radii), 2.0)
            canvas[box].paint(fraction, tissue)
            white[box] *= 1 - fraction
    fluid = np.zeros(space.shape, dtype=np.float32)
    for shape in (LATERAL_VENTRICLE, ROOF, OCCIPITAL_HORN):
        for path in mirrored([point for point, _ in shape]):
            tube(fluid, space, path, [radius for _, radius in shape])
    kind = np.full(space.shape, Tissue.VENTRICLE, dtype=np.uint8)
    for centre, radii, tissue in POOLS:
        box = space.box(centre, max(radii) + 2)
        near = inside(ellipsoid(space.offsets(centre, box), (0, 0, 0), radii), 1.5)
        kind[box][near > fluid[box]] = tissue
        np.maximum(fluid[box], near, out=fluid[box])
    canvas.paint(fluid, kind, INTENSITY[Tissue.CSF])
    white *= 1 - fluid
