"""The keys of the annotator: the sheet, the tooltips and the README's table are made of these."""

from __future__ import annotations

from enum import Enum


class Shortcut(Enum):
    """A key and what it does; none is taken by napari's viewer, image or labels layers."""

    ACCEPT = "Shift-Enter", "Accept the slice as it is, also an empty one"
    RESET = "R", "Forget what you painted on the slice; the prediction returns"
    PARTIAL = "I", "Only painted voxels count on the slice (it is incomplete), or all again"
    BACKGROUND = "G", "Brush of the background on such a slice, or of the structure again"
    NEXT = "N", "Next slice: go to the one that is suggested"
    NEXT_ANNOTATED = "Shift-Right", "Go to the next annotated slice"
    PREVIOUS_ANNOTATED = "Shift-Left", "Go to the previous annotated slice"
    TRAIN = "T", "Train; or stop what is running"
    HIDE = "H", "Hide the mask, or show it again"
    HELP = "?", "Show these keys"

    @property
    def key(self) -> str:
        """The key, in napari's notation."""
        return self.value[0]

    @property
    def does(self) -> str:
        """What it does."""
        return self.value[1]
