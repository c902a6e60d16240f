"""Structures and the label values that stand for them in files.

While a scan is worked on its structures are the classes 1..K, bytes in one array. Files
hold whatever values their programs give them (17 and 53, or 1035): these are turned into
classes where a mask comes in, and back where one is saved.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet.annotation.states import BACKGROUND_BRUSH, IGNORE_LABEL, PALETTE, Structure
from napari_unet.errors import AnnotationError

MOST = BACKGROUND_BRUSH - 1
"""Structures of one scan: classes are bytes, of which two are taken."""

_FEW = 2**16
"""Values below this are looked up in a table of all of them."""


def unnamed(value: int, number: int) -> Structure:
    """Class `number` that nobody has named, after its value in files."""
    return Structure(f"Structure {value}", PALETTE[(number - 1) % len(PALETTE)], value)


FIRST = unnamed(1, 1)
"""What there is to paint on a new scan."""


def named_apart(structures: Sequence[Structure]) -> list[Structure]:
    """Give each structure a name of its own: of those that share one, later ones get a number."""
    taken: set[str] = set()
    apart = []
    for structure in structures:
        names = (structure.name, *(f"{structure.name} ({n})" for n in range(2, MOST + 2)))
        name = next(each for each in names if each.casefold() not in taken)
        taken.add(name.casefold())
        apart.append(replace(structure, name=name))
    return apart


def check_name(name: str, others: Iterable[Structure]) -> None:
    """Check that no other structure is called so.

    Raises
    ------
    AnnotationError
        If one is.
    """
    if any(each.name.casefold() == name.casefold() for each in others):
        raise AnnotationError(f"There is a structure “{name}” already. Choose another name.")


def is_named(structure: Structure) -> bool:
    """Whether a structure has a name of its own, not one made of its value."""
    value = structure.value
    return structure.name not in (f"Structure {value}", f"label {value}")


def values_in(labels: NDArray[Any]) -> list[int]:
    """Values of structures in a mask, ascending: neither 0 nor `IGNORE_LABEL`."""
    found: set[int] = set()
    for plane in labels:
        if plane.max(initial=0) < _FEW:  # quicker than sorting
            found.update(np.flatnonzero(np.bincount(plane.ravel().astype(np.intp))).tolist())
        else:
            found.update(int(value) for value in np.unique(plane))
    return sorted(found - {0, IGNORE_LABEL})


def to_classes(labels: NDArray[Any], classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Turn the values of a mask into classes.

    Parameters
    ----------
    labels : ndarray of integer
        Values as in files.
    classes : mapping of int to int
        Class of each value; what is not in it becomes 0. `IGNORE_LABEL` stays.

    Returns
    -------
    ndarray of uint8, same shape and memory order
    """
    known = {**classes, IGNORE_LABEL: IGNORE_LABEL}
    found = np.zeros_like(labels, dtype=np.uint8)
    highest = int(labels.max(initial=0))
    if highest < _FEW:
        table = np.array([known.get(value, 0) for value in range(highest + 1)], dtype=np.uint8)
        return table.take(labels, out=found, mode="clip")
    for value, number in known.items():
        found[labels == value] = number
    return found


def to_values(
    classes: NDArray[np.uint8], structures: Sequence[Structure]
) -> NDArray[np.unsignedinteger[Any]]:
    """Turn classes 1..K into the values of their structures; other classes stay as they are."""
    table = np.arange(IGNORE_LABEL + 1, dtype=np.uint32)
    table[1 : len(structures) + 1] = [structure.value for structure in structures]
    table = table[: int(classes.max(initial=0)) + 1]
    return np.asarray(table.astype(np.min_scalar_type(int(table.max())))[classes])


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which structures the values of a mask are.

    Parameters
    ----------
    structures : tuple of Structure
        Classes 1..K from now on.
    classes : dict of int to int
        Class of each value.
    notes : tuple of str
        A sentence for each value that has another name, or another value, here.
    """

    structures: tuple[Structure, ...]
    classes: dict[int, int]
    notes: tuple[str, ...] = ()


def pair(
    values: Iterable[int], named: Sequence[Structure], here: Sequence[Structure], *, fixed: bool
) -> Pairing:
    """Find which structure each value of a mask is.

    Parameters
    ----------
    values : iterable of int
        Values in the mask.
    named : sequence of Structure
        What it says of its values.
    here : sequence of Structure
        Structures of the scan.
    fixed : bool
        Whether those keep their places, names and values, since something was painted or
        learned with them: what has the name of one is that one, else what has its value;
        others are added. If not, the mask's structures come first, under its own names, and
        of those here only the ones that somebody has named stay.
    """
    known = {each.value: each for each in named}
    own = {each.value: each for each in here}
    if not fixed:
        shown = sorted({*values, *known})
        found = [
            known.get(value) or own.get(value) or unnamed(value, number)
            for number, value in enumerate(shown, start=1)
        ]
        names = {each.name for each in found}
        mine = [s for s in here if is_named(s)]
        found += [s for s in mine if s.value not in shown and s.name not in names]
        return Pairing(tuple(found), {value: place for place, value in enumerate(shown, start=1)})
    structures, notes = list(here), list[str]()
    places = {each.value: number for number, each in enumerate(here, start=1)}
    classes = _same_names(named, here)
    for value in sorted(values):
        it = known.get(value) or unnamed(value, len(structures) + 1)
        place = places.get(value)
        if value not in classes and place is not None and place not in classes.values():
            classes[value] = place
        elif value not in classes:
            structures.append(replace(it, value=_free(value, structures)))
            classes[value] = len(structures)
        same = structures[classes[value] - 1]
        if is_named(it) and is_named(same) and it.name != same.name:
            notes.append(f"Label {value}, “{it.name}” there, is “{same.name}” here.")
        if same.value != value:
            notes.append(f"Label {value} there, “{same.name}”, is label {same.value} here.")
    return Pairing(tuple(structures), classes, tuple(notes))


def _same_names(named: Sequence[Structure], here: Sequence[Structure]) -> dict[int, int]:
    """Class of each value whose name one structure has, there and here."""
    there, ours = Counter(s.name for s in named), Counter(s.name for s in here)
    place = {each.name: number for number, each in enumerate(here, start=1)}
    return {
        each.value: place[each.name] for each in named if there[each.name] == ours[each.name] == 1
    }


def _free(value: int, structures: Sequence[Structure]) -> int:
    """Give `value`, or the next one that no structure has."""
    taken = {IGNORE_LABEL, *(each.value for each in structures)}
    return next(v for v in itertools.count(value) if v not in taken)
