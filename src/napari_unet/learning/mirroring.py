"""Whether left and right may be exchanged: not where a name tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

_SIDED_WORDS = frozenset({"left", "right", "l", "r", "lh", "rh", "links", "rechts"})


def may_mirror(axis: int, class_names: Sequence[str]) -> bool:
    """Whether slices may be mirrored left to right.

    Only across the plane that a head is symmetric about (columns of axial and
    coronal slices), and only while no class is named after a side.

    Parameters
    ----------
    axis : int
        Display axis of slicing.
    class_names : sequence of str
        Names of classes 1..K.
    """
    words = {
        word
        for name in class_names
        for word in "".join(c if c.isalpha() else " " for c in name.lower()).split()
    }
    return axis != 2 and not words & _SIDED_WORDS
