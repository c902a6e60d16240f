"""Words that the sentences of this package share, and text as it leaves the program."""

from __future__ import annotations

import unicodedata
from html import escape

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what steers a terminal, hides, turns or breaks text."""


_JOINERS = frozenset("\u200c\u200d\u00ad")
"""Of these, what words of some scripts are written with: joiners, and the soft hyphen."""


def counted(number: int, noun: str) -> str:
    """Say how many: ``1 slice``, ``2 slices``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    r"""Write what cannot be seen as escapes: names in files may steer a terminal (``\x1b[2J``)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode()
        if unicodedata.category(each) in _UNSEEN and each not in _JOINERS
        else each
        for each in text
    )


def as_html(text: str) -> str:
    """Give HTML that shows text as it is: its markup is not followed, its line breaks are."""
    return "<br>".join(escape(printable(line)) for line in text.split("\n"))
