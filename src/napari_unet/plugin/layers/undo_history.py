"""What a person did to one Segmentation layer, to be taken back step by step.

napari remembers strokes. What is said of slices (accepted, partial, reset) changes no voxel, so
that napari's undo would take back the stroke before it, on a slice that nobody sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_unet.annotation.record import AnnotationRecord
from napari_unet.annotation.states import SliceSnapshot, Standing

MOST_STEPS = 200
"""napari keeps 100 strokes; a step may hold a few planes of voxels."""

Box = tuple[tuple[int, int] | None, ...]
"""First and last slice of a step along each display axis; None: all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is taken back at once.

    Parameters
    ----------
    before, after : mapping of int to Standing
        What was said of the slices it touches.
    where : Box
        Where it shows.
    stroke : bool
        Whether napari has a step for it, too.
    reset : SliceSnapshot, optional
        The only slice, before it was given back to the model.
    """

    before: Mapping[int, Standing] = field(default_factory=dict)
    after: Mapping[int, Standing] = field(default_factory=dict)
    where: Box = (None, None, None)
    stroke: bool = False
    reset: SliceSnapshot | None = None

    def take_back(self, record: AnnotationRecord) -> list[int]:
        """Have a record say what it did before; return the slices that have changed."""
        if self.reset is not None:
            (index,) = self.before
            record.undo_reset(index, self.reset)
            return [index]
        return self._stand(record, self.before)

    def repeat(self, record: AnnotationRecord) -> list[int]:
        """Have a record say again what it did after; return the slices that have changed."""
        if self.reset is not None:
            (index,) = self.before
            record.reset(index, self.reset)
            return [index]
        return self._stand(record, self.after)

    def _stand(self, record: AnnotationRecord, standings: Mapping[int, Standing]) -> list[int]:
        edited = [index for touched in standings for index in record.sync(touched)]
        # A stroke that napari has forgotten stays, and what was said with it.
        changed = edited if self.stroke else list(standings)
        for index in standings if changed else ():
            record.stand(index, standings[index])
        return changed


class History:
    """The steps of one layer, done and taken back.

    Parameters
    ----------
    layer : Labels
        Its own undo and redo go through here until it is closed.
    replayed : callable
        Called with a step that was just taken back (True) or repeated (False) by napari, as
        far as napari has it; None for one that was made before. Gives the slices changed.
    """

    def __init__(
        self, layer: Labels, replayed: Callable[[Step | None, bool], Iterable[int]]
    ) -> None:
        self._layer = layer
        self._replayed = replayed
        self._done: deque[Step] = deque(maxlen=MOST_STEPS)
        self._undone: list[Step] = []
        self._begun = False
        self.replaying = False
        self.paused = False  # while a stroke is being drawn
        self._napari = {name: getattr(layer, name) for name in ("undo", "redo")}
        for name in self._napari:
            setattr(layer, name, getattr(self, f"_{name}"))

    def close(self) -> None:
        """Give undo and redo back."""
        for name in self._napari:
            delattr(self._layer, name)

    def clear(self) -> None:
        """Forget what was said of slices; strokes can still be undone."""
        self._done.clear()
        self._undone.clear()

    def add(self, step: Step) -> None:
        """Note what was just done; what was taken back before is gone."""
        self._begun = True
        self._done.append(step)
        self._undone.clear()

    def _undo(self) -> None:
        if self.paused:
            return
        step = self._done.pop() if self._done else None
        moved = self._let_napari("undo") if step is None or step.stroke else True
        self._replayed(step, True)
        if moved:
            self._undone.append(step or Step(stroke=True))

    def _redo(self) -> None:
        if self.paused or (not self._undone and self._begun):
            return  # napari may remember a stroke that was taken back before the latest step
        step = self._undone.pop() if self._undone else None
        moved = self._let_napari("redo") if step is None or step.stroke else True
        self._replayed(step if step is not None and step.after else None, False)
        if moved:
            self._done.append(step or Step(stroke=True))

    def _let_napari(self, name: str) -> bool:
        """Have napari do it; return whether it still knew a stroke, for it forgets old ones."""
        known = bool(getattr(self._layer, f"_{name}_history"))
        self.replaying = True
        try:
            self._napari[name]()
        finally:
            self.replaying = False
        return known


def box_of(atoms: Iterable[Any]) -> Box:
    """Find where a stroke of napari's history shows."""
    boxes = [[_ends(along) for along in atom[0]] for atom in atoms]
    axes = zip(*boxes, strict=True)
    return tuple((min(a for a, _ in ends), max(b for _, b in ends)) for ends in axes)


def _ends(along: Any) -> tuple[int, int]:
    if isinstance(along, slice):
        return along.start, along.stop - 1
    return int(np.min(along)), int(np.max(along))
