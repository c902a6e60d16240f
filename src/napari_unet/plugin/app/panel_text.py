"""What the panel says: a pure function of the state of the plugin, so that nothing is left over.

Widgets only show it. What just happened (`PanelState.said`) goes with the state that it is about:
with another scan, or a deleted mask, there is nothing said.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_unet.annotation.progress import Judgement
from napari_unet.annotation.scoring import FEWEST
from napari_unet.learning.calibration import MATURE_STEPS
from napari_unet.learning.events import StepDone
from napari_unet.plugin.app.shortcuts import Shortcut
from napari_unet.plugin.app.tasks import Activity
from napari_unet.text import counted

_NEXT = Shortcut.NEXT.key
NO_SCAN = "Open an MRI volume: File > Open, drag and drop, or File > Open Sample."
CHOOSE = "Choose the scan to annotate."
WELCOME = f"Paint the structure on a few slices ({_NEXT} suggests one), then press Train."
PAINTED = f"Press Train, or paint on more slices first ({_NEXT} suggests one)."
TRAINED = f"Correct the suggested slice ({_NEXT}) and train again, or segment the volume."
DELETED = "The Segmentation layer was deleted; your strokes are kept."

_NO_MODEL = "Train or load a model first"
_START_HELP = (
    f"Learn from the annotated slices ({Shortcut.TRAIN.key}); go on painting meanwhile.\n"
    "If all that is painted hangs together, slices far beyond it are taken for empty:\n"
    "if there may be others there, as with metastases, paint two"
)
_STOP_HELP = f"End this round now; the best weights so far are kept ({Shortcut.TRAIN.key})"
_FILL_HELP = (
    "Interpolate the outlines between annotated slices, without any training.\n"
    "Correct the filled slices as you correct predictions, which take their place."
)
_REMOVE_HELP = "Show again what was on the filled slices before"
_TABLE_HELP = "Volume and number of separate pieces of each structure"
_STALE_HELP = (
    "Measured before your last changes. Press “Segment volume” again for the present volumes."
)


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence for the annotator about something that just happened; whether it went wrong."""

    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """The model in use: training steps so far, and annotated slices that it learned from."""

    steps: int
    n_slices: int


@dataclass(frozen=True, slots=True)
class PanelState:
    """All that the panel tells of.

    Parameters
    ----------
    scans : int
        Images that could be chosen.
    refusal : str
        Why none of them can be; empty if one can.
    chosen, mask_there : bool
        Whether a scan is annotated, and its Segmentation layer in the viewer.
    n_annotated : int
        Slices that a person painted or accepted.
    new_label : int, optional
        The label that is painted, where it is no structure yet.
    activity : Activity, optional
        What is being done in the background; `stopping`: and has been told to end.
    model : Model, optional
        The model in use.
    step : StepDone, optional
        Latest step of the round of training under way, or of the one that made the model.
    filled : bool
        Whether the slices between annotated ones are filled.
    judgement : Judgement
        The score, or how much there is to judge by.
    measured, changed : bool
        Whether there are volumes, and whether the mask has changed since.
    said : Said, optional
        What just happened.
    """

    scans: int = 0
    refusal: str = ""
    chosen: bool = False
    mask_there: bool = False
    n_annotated: int = 0
    new_label: int | None = None
    activity: Activity | None = None
    stopping: bool = False
    model: Model | None = None
    step: StepDone | None = None
    filled: bool = False
    judgement: Judgement = field(default_factory=Judgement)
    measured: bool = False
    changed: bool = False
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class ButtonText:
    """What a button says, whether it can be pressed, and what for or why not."""

    text: str
    enabled: bool
    tooltip: str


@dataclass(frozen=True, slots=True)
class TableText:
    """Title of the table of volumes, whether these are out of date, and what that means."""

    title: str = "Structure"
    stale: bool = False
    tooltip: str = _TABLE_HELP


@dataclass(frozen=True, slots=True)
class PanelText:
    """What the panel says; `fraction` of the training done; no `table`: there are no volumes."""

    message: Said
    can_restore: bool
    progress: str
    fraction: float
    score: str
    train: ButtonText
    segment: ButtonText
    fill: ButtonText
    save_model: ButtonText
    load_model: ButtonText
    table: TableText | None = None


def panel_text(state: PanelState) -> PanelText:
    """Say what there is."""
    activity = state.activity
    idle, segmenting = activity is None, activity is Activity.SEGMENTING
    has_model = state.model is not None
    wait = "" if activity is None else f"Wait for the end of {activity.value}, or stop it"
    training = activity is Activity.TRAINING
    if segmenting:
        segment_help = "Stop segmenting; the mask stays as it is"
    elif not has_model:
        segment_help = _NO_MODEL
    else:
        segment_help = wait or "Predict every slice you have not annotated"
    return PanelText(
        message=_message(state),
        can_restore=state.chosen and not state.mask_there,
        progress=_progress(state),
        fraction=state.step.progress if state.step else 0.0,
        score=_score(state),
        train=ButtonText(
            "Stop" if training else "Train",
            training or idle,
            _STOP_HELP if training else wait or _START_HELP,
        ),
        segment=ButtonText(
            "Stop" if segmenting else "Segment volume",
            segmenting or (has_model and idle),
            segment_help,
        ),
        fill=ButtonText(
            "Remove filling" if state.filled else "Fill between slices",
            idle,
            wait or (_REMOVE_HELP if state.filled else _FILL_HELP),
        ),
        save_model=ButtonText(
            "Save model",
            has_model,
            "Save the trained U-Net to one file, for other scans" if has_model else _NO_MODEL,
        ),
        load_model=ButtonText(
            "Load model", idle, wait or "Use a saved U-Net on this scan, or train it on"
        ),
        table=_table(state),
    )


def _message(state: PanelState) -> Said:
    if state.said is not None:
        return state.said
    if not state.chosen:
        if state.refusal:
            return Said(state.refusal, failed=True)
        return Said(CHOOSE if state.scans else NO_SCAN)
    if not state.mask_there:
        return Said(DELETED, failed=True)
    if state.new_label is not None:
        return Said(
            f"Label {state.new_label} is no structure yet: paint with it to add one, or choose one "
            "of the list."
        )
    if state.activity is not None:
        if state.stopping:
            return Said("Stopping.")
        return Said(
            {
                Activity.TRAINING: (
                    f"Training on {counted(state.n_annotated, 'slice')}. Go on painting; new "
                    "slices join in."
                ),
                Activity.SEGMENTING: "Segmenting the whole volume.",
                Activity.FILLING: "Filling between the annotated slices.",
            }[state.activity]
        )
    if state.model is not None:
        return Said(TRAINED)
    return Said(PAINTED if state.n_annotated else WELCOME)


def _progress(state: PanelState) -> str:
    step, model = state.step, state.model
    if step is not None:
        slices = counted(step.n_slices, "slice")
        if step.n_held_back:
            slices = f"{step.n_slices} + {step.n_held_back} slices"
        minutes, seconds = divmod(int(step.seconds), 60)
        return f"{minutes}:{seconds:02d} · loss {step.loss:.2f} · {slices}"
    if state.activity is Activity.TRAINING:
        return "getting ready"
    if model is None:
        return "not trained yet"
    return f"{counted(model.steps, 'step')} · {counted(model.n_slices, 'slice')}"


def _score(state: PanelState) -> str:
    """The score; where there is none yet, why. Nothing before the first model."""
    judgement = state.judgement
    if (score := judgement.score) is not None:
        return (
            f"Dice about {score.dice:.2f} "
            f"({score.n_slices} corrected: {score.lowest:.2f}–{score.highest:.2f})"
        )
    training = state.activity is Activity.TRAINING
    steps = state.model.steps if state.model else 0
    if training and state.step is not None:
        steps += state.step.step
    if not steps:
        return ""
    if steps < MATURE_STEPS:
        return f"Score from {MATURE_STEPS} steps on; {steps} done"
    if not judgement.n_predicted:
        return "Score once slices are predicted that nobody has looked at"
    if judgement.n_corrected < FEWEST:
        return f"Score once you correct {FEWEST} predicted slices; {judgement.n_corrected} done"
    return "No score: the predictions show no structure"


def _table(state: PanelState) -> TableText | None:
    if not state.measured:
        return None
    if state.changed:
        return TableText("Before your last changes", stale=True, tooltip=_STALE_HELP)
    return TableText()
