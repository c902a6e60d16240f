"""The one family of errors this package raises on purpose.

Every message says what was found and what to do about it; doors (the widget,
the command line) show the message as it is.
"""

from __future__ import annotations

from pathlib import Path

from napari_unet.text import printable


class NapariUnetError(Exception):
    """Base of every error that a user can do something about."""

    def __str__(self) -> str:
        """Say it in one line; names and reasons may come from files."""
        return printable(super().__str__())


class VolumeError(NapariUnetError):
    """An image or mask cannot be read, or is not a scan a U-Net can work on."""


class GridMismatchError(NapariUnetError):
    """Two arrays that must share one voxel grid do not."""


class AnnotationError(NapariUnetError):
    """The annotation is missing, empty or does not fit its scan."""


class IgnoreLabelNeededError(AnnotationError):
    """A value may be a structure, or mark voxels that nobody annotated; nobody says which.

    Parameters
    ----------
    question : str
        What was found, and what has to be said.
    value : int
        The value.
    """

    def __init__(self, question: str, value: int) -> None:
        super().__init__(f"{question} Say which: ignore_label=None, or ignore_label={value}.")
        self.question = question
        self.value = value


class CheckpointError(NapariUnetError):
    """A model file is damaged, or does not fit the scan or the classes."""


class SaveError(NapariUnetError):
    """A file could not be written; whatever was there before is untouched."""


class AlreadyExistsError(SaveError):
    """A file would have to be replaced, and nobody has said that it may be.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already. Choose another name, or allow overwriting.")
        self.path = path


class ResourceError(NapariUnetError):
    """The computer has not enough memory for this work."""


class UsageError(NapariUnetError, ValueError):
    """Settings, or the command line, ask for something ambiguous or impossible."""
