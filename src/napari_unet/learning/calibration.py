"""How much each source of a prediction counts, as painted slices tell it. No torch here.

A prediction joins what the network says of a slice, what it says of the slices next to it, and what
annotated slices say. How far each can be relied on differs from task to task:

- Organs and large tumours go on from slice to slice, so that a slice says a lot about its
  neighbours. Dots, and small lesions, show on one slice only: to believe a neighbour would erase
  them. Painted slices tell by each other which of both it is (`count_pieces`).
- What a network says early in training is timid, right or wrong. Where it draws painted slices
  as they were painted, it is right, and to be taken for as sure as it will be (`strengths`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from napari_unet.errors import UsageError

SIZES = 10
"""Sizes of pieces that are told apart: diameters up to 1 mm, 2 mm, 4 mm, and so on."""

TAKEN_TO_GO_ON = 3.0
"""Pieces that are taken to have gone on before any is looked at: one that stands alone may be
the end of an organ, several are a habit."""

AN_OBJECT_OR_A_PAIR = 2
"""Pieces on the only painted slice of which no others are expected elsewhere..."""

SMALL_MM = 4.0
"""... if one is larger than this: where a slice meets something smaller, there will be more."""

NEVER = math.exp(-7.0)
"""Rate at which pieces stand alone where none of those painted does."""

DRIFT = 0.4
"""Millimetres by which an outline is off per millimetre to the nearest annotated slice (on top of
one pixel)."""

MATURE_STEPS = 250
"""Training steps after which a network counts in full beside annotated slices.

After 20, 80 and 120 steps the answer was best with the network at a tenth, a third and
a half of its strength: until it can draw, a network should not spoil what interpolation knows.
Nor does it know how wrong it is before.
"""

DRAWS, DRAWS_WELL = 0.90, 0.99
"""Dice on painted slices from which a network counts for more than its steps give it, and with
which it counts in full. (Deep grey after 400 steps: .89 to .95; tumours .98; what can be told by
its brightness, such as dots, vessels or shells: .96 to 1.00 after 150.)"""

SURE = 7.0
"""Log-odds that a trained network gives three quarters of a structure, or more."""

Tally = tuple[float, float]
"""Pieces that stood alone, and how many would have done so, had they been scattered by chance."""

_NOTHING: tuple[Tally, ...] = ((0.0, 0.0),) * SIZES


@dataclass(frozen=True, slots=True)
class Continuity:
    """How often painted pieces of each structure stood alone, by their size.

    Parameters
    ----------
    tallies : tuple, one for each structure 1..K
        `Tally` for each of `SIZES` sizes.

    Raises
    ------
    UsageError
        If they are for other sizes, or no counts.
    """

    tallies: tuple[tuple[Tally, ...], ...] = ()

    def __post_init__(self) -> None:
        if any(len(sizes) != SIZES for sizes in self.tallies):
            raise UsageError(f"Pieces are counted in {SIZES} sizes.")
        counts = itertools.chain.from_iterable(itertools.chain.from_iterable(self.tallies))
        if not all(0 <= count < math.inf for count in counts):
            raise UsageError("Counts of pieces are numbers from 0.")

    @property
    def all_goes_on(self) -> bool:
        """Whether no piece stood alone."""
        return not any(alone for sizes in self.tallies for alone, _ in sizes)

    def alone(self, structure: int, diameter_mm: float) -> float:
        """Rate, 0 to 1, at which pieces of a structure (1..K) and size stand alone."""
        if structure > len(self.tallies):
            return NEVER
        size = _size(diameter_mm)
        alone, chances = TAKEN_TO_GO_ON * NEVER, TAKEN_TO_GO_ON
        for other, tally in enumerate(self.tallies[structure - 1]):
            weight = max(0.0, 1.0 - 0.5 * abs(other - size))  # the next size counts half
            alone += weight * tally[0]
            chances += weight * tally[1]
        return min(1.0, alone / chances)

    def log_odds_alone(self, structure: int, diameter_mm: float) -> float:
        """Log-odds, 0 at most, of a piece to stand alone: what speaks against it counts no more."""
        rate = self.alone(structure, diameter_mm)
        return 0.0 if rate >= 0.5 else math.log(rate / (1 - rate))

    @classmethod
    def of(cls, counted: NDArray[np.float64]) -> Continuity:
        """Take what was counted (structures, `SIZES`, 2), see `count_pieces`."""
        return cls(tuple(tuple((float(a), float(b)) for a, b in sizes) for sizes in counted))

    def times(self, share: float) -> Continuity:
        """Count only a share (0 to 1) of the pieces."""
        return Continuity(
            tuple(tuple((share * a, share * b) for a, b in sizes) for sizes in self.tallies)
        )

    def __add__(self, other: Continuity) -> Continuity:
        """Count the pieces of both."""
        pairs = itertools.zip_longest(self.tallies, other.tallies, fillvalue=_NOTHING)
        return Continuity(
            tuple(
                tuple((a + c, b + d) for (a, b), (c, d) in zip(mine, theirs, strict=True))
                for mine, theirs in pairs
            )
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of the reliability of a network, and of neighbouring slices.

    Parameters
    ----------
    strengths : tuple of float
        Factor, for each structure 1..K, by which the network's log-odds count; may be
        shorter where structures were added.
    continuity : Continuity
        Of the slices that it learned from.
    """

    strengths: tuple[float, ...] = ()
    continuity: Continuity = Continuity()

    def __post_init__(self) -> None:
        if not all(0 <= strength < math.inf for strength in self.strengths):
            raise UsageError(f"Strengths of a network are numbers from 0, not {self.strengths}.")


def by_steps(steps: int) -> float:
    """Strength of a network that nothing but its training steps is known of."""
    return min(1.0, steps / MATURE_STEPS)


def strengths(
    answers: Iterable[tuple[NDArray[np.float32], NDArray[np.uint8]]], n_structures: int, steps: int
) -> tuple[float, ...]:
    """Find how much a network's log-odds should count, from slices that were painted.

    Parameters
    ----------
    answers : iterable of (ndarray of float32, shape (k, h, w), ndarray of uint8, shape (h, w))
        Probabilities that it gives painted slices, and what was painted; voxels that
        nobody annotated count as no structure.
    n_structures : int
        How many structures there are.
    steps : int
        Training steps so far.

    Returns
    -------
    tuple of float
        For each structure 1..K. Where the network does not draw what was painted: by its steps.
    """
    both, areas = np.zeros(n_structures), np.zeros(n_structures)
    odds: list[list[NDArray[np.float32]]] = [[] for _ in range(n_structures)]
    for probabilities, painted in answers:
        logs = np.log(probabilities.clip(min=1e-6))
        found = probabilities.argmax(axis=0)
        for structure in range(1, n_structures + 1):
            here, there = found == structure, painted == structure
            right = here & there
            both[structure - 1] += np.count_nonzero(right)
            areas[structure - 1] += np.count_nonzero(here) + np.count_nonzero(there)
            odds[structure - 1].append((logs[structure] - logs[0])[right])
    least = by_steps(steps)
    result = []
    for right, area, each in zip(both, areas, odds, strict=True):
        drawn = 2 * right / area if area else 0.0
        well = min(1.0, max(0.0, (drawn - DRAWS) / (DRAWS_WELL - DRAWS)))
        full = SURE / max(0.5, float(np.percentile(np.concatenate(each), 25))) if right else least
        result.append(least + well * max(0.0, full - least))
    return tuple(result)


def count_pieces(
    painted: NDArray[np.uint8],
    near: Sequence[tuple[NDArray[np.float32], float]],
    n_structures: int,
    spacing_mm: tuple[float, float],
) -> NDArray[np.float64]:
    """Count how many pieces of a painted slice stand alone.

    A piece stands alone if neither of the painted slices next to its own shows the structure
    near it: within a pixel, and `DRIFT` times the distance of the slices. Near by chance is
    many a piece where much is painted, so it is also worked out how many of the
    pieces would stand alone, were they anywhere (as in Cohen's kappa,
    doi:10.1177/001316446002000104). A single slice tells it by their number and size only:
    where there are more than a pair, or all are small, there will be others on other slices.

    Parameters
    ----------
    painted : ndarray of uint8, shape (h, w)
        A completely annotated slice.
    near : sequence of (ndarray of float32, shape (k, h, w), float)
        The painted slices next to it: signed distances (mm, positive inside) to the outlines
        of their structures, nan for those they do not show; and how many mm they are away.
    n_structures : int
        How many structures there are.
    spacing_mm : tuple of float
        Size of a pixel (rows, columns).

    Returns
    -------
    ndarray of float64, shape (n_structures, SIZES, 2)
        `Tally` by structure and size.
    """
    pixel = sum(spacing_mm) / 2
    tallies = np.zeros((n_structures, SIZES, 2))
    for structure in range(n_structures):
        pieces, n = label(painted == structure + 1, return_num=True)
        if not n:
            continue
        across = diameters(pieces, spacing_mm)
        if not near:
            many = n > AN_OBJECT_OR_A_PAIR or max(across) <= SMALL_MM
            if many or min(across) <= SMALL_MM:  # pieces of any size, or other small ones,
                sizes = SIZES if many else _size(SMALL_MM) + 1
                tallies[structure, :sizes] += TAKEN_TO_GO_ON  # stand alone as likely as not
            continue
        inside = np.full(pieces.shape, -np.inf, dtype=np.float32)
        for outlines, gap_mm in near:
            np.fmax(inside, outlines[structure] + np.float32(pixel + DRIFT * gap_mm), out=inside)
        deepest = ndimage.maximum(inside, pieces, range(1, n + 1))
        anywhere = np.sort(
            inside[:: 1 + pieces.shape[0] // 128, :: 1 + pieces.shape[1] // 128], None
        )
        by_chance = np.searchsorted(anywhere, -np.array(across) / 2) / anywhere.size
        for depth, diameter, chance in zip(deepest, across, by_chance, strict=True):
            tallies[structure, _size(diameter)] += (depth < 0, chance)
    return tallies


def diameters(pieces: NDArray[np.int32], spacing_mm: tuple[float, float]) -> list[float]:
    """Diameters, in millimetres, of discs as large as the pieces numbered 1, 2, ... (h, w)."""
    areas = np.bincount(pieces.ravel())[1:] * spacing_mm[0] * spacing_mm[1]
    return [float(diameter) for diameter in 2 * np.sqrt(areas / math.pi)]


def _size(diameter_mm: float) -> int:
    return min(SIZES - 1, max(0, math.ceil(math.log2(diameter_mm))))
