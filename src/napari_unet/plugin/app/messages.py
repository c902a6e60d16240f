"""How work has ended, in sentences for the annotator."""

from __future__ import annotations

from napari_unet.errors import NapariUnetError
from napari_unet.learning.events import RoundDone
from napari_unet.plugin.app.panel_text import TRAINED
from napari_unet.text import counted

STOPPED = "Stopped."
SEGMENTED = "The whole volume is segmented. Check it, then save the mask."


def round_ended(done: RoundDone) -> str:
    """Say how a round of training went, and what to do next."""
    said = [f"{'Stopped' if done.stopped else 'Done'} after {done.seconds:.0f} s."]
    if done.verdict:
        said.append(done.verdict)
    if done.rejected is not None:
        said.append("To use the new one anyway, choose it under Advanced > Model.")
    else:
        said.append(TRAINED)
    return " ".join(said)


def filling_ended(n_filled: int) -> str:
    """Say how many slices were interpolated, and what to do with them."""
    return (
        f"{counted(n_filled, 'slice')} filled. Correct them as you correct predictions, "
        "or press “Remove filling”."
    )


def failed(failure: Exception) -> str:
    """Say what went wrong."""
    if isinstance(failure, NapariUnetError):
        return str(failure)
    return (
        f"Something unexpected stopped the work ({type(failure).__name__}: {failure})."
        " Your annotation is intact; try again."
    )
