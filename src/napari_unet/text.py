"""Words that the sentences of this package share."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Say how many: ``1 slice``, ``2 slices``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
