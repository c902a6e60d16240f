"""What phantoms are painted with: tissues, their brightness, and the canvas itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from napari_unet.phantom.shapes import Array, Space


class Tissue(IntEnum):
    """What a voxel of a phantom shows; air is 0."""

    AIR = 0
    BONE = 1
    MARROW = 2
    FAT = 3
    MUSCLE = 4
    MUCOSA = 5
    EYE = 6
    DURA = 7
    CSF = 8
    VENTRICLE = 9
    GREY = 10
    WHITE = 11
    CAUDATE = 12
    PUTAMEN = 13
    PALLIDUS = 14
    THALAMUS = 15
    HIPPOCAMPUS = 16
    CEREBELLUM_GREY = 17
    CEREBELLUM_WHITE = 18
    BRAIN_STEM = 19
    VESSEL = 20
    LESION = 21
    NECROSIS = 22
    OEDEMA = 23


INTENSITY: dict[Tissue, float] = {
    Tissue.AIR: 4.0,
    Tissue.BONE: 45.0,
    Tissue.MARROW: 330.0,
    Tissue.FAT: 740.0,
    Tissue.MUSCLE: 300.0,
    Tissue.MUCOSA: 560.0,
    Tissue.EYE: 170.0,
    Tissue.DURA: 380.0,
    Tissue.CSF: 130.0,
    Tissue.VENTRICLE: 130.0,
    Tissue.GREY: 380.0,
    Tissue.WHITE: 545.0,
    Tissue.CAUDATE: 400.0,
    Tissue.PUTAMEN: 415.0,
    Tissue.PALLIDUS: 470.0,
    Tissue.THALAMUS: 430.0,
    Tissue.HIPPOCAMPUS: 395.0,
    Tissue.CEREBELLUM_GREY: 400.0,
    Tissue.CEREBELLUM_WHITE: 495.0,
    Tissue.BRAIN_STEM: 520.0,
    Tissue.VESSEL: 960.0,
    Tissue.LESION: 880.0,
    Tissue.NECROSIS: 215.0,
    Tissue.OEDEMA: 360.0,
}
"""Brightness in a T1-weighted image after contrast medium, in scanner units."""


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """An image and, voxel by voxel, the tissue that it shows.

    Parameters
    ----------
    image : ndarray of float32, shape (z, y, x)
        Intensities in scanner units.
    tissue : ndarray of uint8, shape (z, y, x)
        The `Tissue` that fills more than half of the voxel.
    """

    image: Array
    tissue: NDArray[np.uint8]

    @classmethod
    def blank(cls, space: Space) -> Canvas:
        """Air everywhere."""
        return cls(
            image=np.full(space.shape, INTENSITY[Tissue.AIR], dtype=np.float32),
            tissue=np.full(space.shape, Tissue.AIR, dtype=np.uint8),
        )

    def __getitem__(self, box: tuple[slice, slice, slice]) -> Canvas:
        """Part of the canvas; painting on it paints on the whole."""
        return Canvas(self.image[box], self.tissue[box])

    def paint(
        self,
        fraction: Array,
        tissue: Tissue | NDArray[np.uint8],
        value: float | Array | None = None,
    ) -> None:
        """Mix a tissue into the image, in place.

        Parameters
        ----------
        fraction : ndarray of float32, shape (z, y, x)
            How much of each voxel it fills, 0 to 1.
        tissue : Tissue or ndarray of uint8, shape (z, y, x)
            The tissue, or that of each voxel.
        value : float or ndarray of float32, shape (z, y, x), optional
            How bright it is; default: its `INTENSITY`. Needed for several tissues.
        """
        if value is None:
            value = INTENSITY[Tissue(int(tissue))]
        self.image[...] += fraction * (value - self.image)
        np.copyto(self.tissue, np.asarray(tissue, dtype=np.uint8), where=fraction > 0.5)
