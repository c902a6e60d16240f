"""``napari-unet train``."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from napari_unet import api
from napari_unet.annotation.label_files import FOUND_OUT
from napari_unet.cli.console import (
    Ended,
    Progress,
    StopRequest,
    say,
    say_notes,
    show_notice,
    stopped_by_signals,
    words_of,
)
from napari_unet.cli.options import (
    FLAT,
    MODEL_SUFFIX,
    Axis,
    BorderOptions,
    IgnoreLabel,
    NetworkOptions,
    NewFile,
    Overwrite,
    RecipeOptions,
    Series,
    Slices,
    TrainingOptions,
    Volumes,
    VoxelsAnywhere,
    flag_of,
    given,
    network_of,
)
from napari_unet.errors import AlreadyExistsError, NapariUnetError, SaveError, UsageError
from napari_unet.imaging.atomic import check_free, check_may_write
from napari_unet.imaging.volume import Volume
from napari_unet.learning.config import BorderWeighting, Recipe, TrainConfig, refuse_network
from napari_unet.learning.events import Notice, RoundDone, StepDone, TrainEvent
from napari_unet.text import counted

if TYPE_CHECKING:
    from napari_unet.learning.network.checkpoint import Checkpoint

STOPPING = "Stopping: what was learned so far is being saved."
STILL_STOPPING = "Still stopping: the model is saved first."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What ``napari-unet train`` is told.

    Parameters
    ----------
    image : list of Path
        Image file or DICOM folder; several: sequences of one scan.
    labels : Path
        Mask on the grid of the image.
    out : Path
        Model file to write (.safetensors).
    init : Path, optional
        Model to start from; kept where the new one is worse.
    """

    image: Annotated[list[Path], Parameter(consume_multiple=True)]
    labels: Path
    out: NewFile
    overwrite: Overwrite = False
    volume: Volumes = None
    series: Series = None
    voxels_anywhere: VoxelsAnywhere = False
    slices: Slices = None
    axis: Axis = None
    ignore_label: IgnoreLabel = FOUND_OUT
    init: Path | None = None
    training: Annotated[TrainingOptions, FLAT] = field(default_factory=TrainingOptions)
    recipe: Annotated[RecipeOptions, FLAT] = field(default_factory=RecipeOptions)
    border: Annotated[BorderOptions, FLAT] = field(default_factory=BorderOptions)
    network: Annotated[NetworkOptions, FLAT] = field(default_factory=NetworkOptions)


def train(options: Annotated[TrainOptions, FLAT]) -> None:
    r"""Train on the annotated slices of a scan.

    Label values: 0 is background, 255 a voxel that nobody annotated, any other
    value a structure. Where 255 may be a structure (alone, or beside 127 or 251
    to 254), say so: --ignore-label none. Without --slices every slice that shows
    a structure is annotated; an annotated EMPTY slice helps a lot, so name such
    slices with --slices. Numbers count along --axis as stored in the file, from
    0. Ctrl-C ends training early and keeps what was learned so far; with --init,
    that model where the new one is worse (on slices held back from training, if
    there are any). SIGTERM and SIGHUP keep it too; the exit status is then 128 +
    the signal.

    For example:
      napari-unet train --image t1c.nii.gz --labels painted.nii.gz --out model.safetensors
      napari-unet train --image t1c.nii.gz flair.nii.gz --labels painted.nii.gz \
          --slices 40,52,60 --axis z --seconds 90 --out model.safetensors
    """
    out: Path = options.out
    if out.suffix != MODEL_SUFFIX:
        raise UsageError(f"--out {out}: give the model a name ending in {MODEL_SUFFIX}.")
    changes = [flag_of(name) for name in given(options.network)]
    if options.training.preset is not None:
        changes.insert(0, "--preset")
    if options.init is not None:
        refuse_network(changes)
    check_may_write(out, overwrite=options.overwrite)
    if options.init is not None:
        check_free(_beside(out), overwrite=True)  # is longer than `out`
    config = TrainConfig(**given(options.training))
    config = replace(config, model=network_of(options.training.preset, options.network))
    config = replace(config, recipe=_recipe_of(config, options))
    if not options.image:
        raise UsageError("Name the scan: --image FILE.")
    volume = api.load_volume(
        options.image,
        volumes=options.volume,
        series=options.series,
        voxels_anywhere=options.voxels_anywhere,
    )
    say_notes(volume)

    with stopped_by_signals(STOPPING, STILL_STOPPING) as stop:
        checkpoint, rounds, failure = _train(volume, config, options, stop)
        found, trouble = _save_model(checkpoint, out, overwrite=options.overwrite)
        if found is not None:
            made = checkpoint.card.provenance
            say(
                f"Saved {found}{' (stopped early)' if stop() or failure else ''}: "
                f"{', '.join(checkpoint.card.class_names)}; "
                f"{counted(made.annotated_slices, 'annotated slice')}, "
                f"{counted(made.steps, 'step')}, {made.seconds:.0f} s."
            )
        troubles = [trouble] if trouble else []
        for done in rounds:
            troubles += _say_which_is_kept(done, out, overwrite=options.overwrite)
    if failure:
        troubles.append(failure)
    if troubles:
        raise NapariUnetError(" ".join(troubles))
    if stop() and not stop.is_ctrl_c:
        raise Ended(stop.number, "Ended from outside; the model is saved.")


def _train(
    volume: Volume,
    config: TrainConfig,
    options: TrainOptions,
    stop: StopRequest,
) -> tuple[Checkpoint, list[RoundDone], str]:
    """Train and show how far that is; give the model, its rounds, and what has cut it short."""
    rounds: list[RoundDone] = []

    def show(event: TrainEvent) -> None:
        if isinstance(event, StepDone):
            progress.update(event.progress, f"step {event.step}, loss {event.loss:.3f}")
        elif isinstance(event, Notice):
            show_notice(event, volume, progress)
        elif isinstance(event, RoundDone):
            rounds.append(event)

    with Progress("Training") as progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", api.TrainingCutShort)
        try:
            checkpoint = api.train(
                volume,
                options.labels,
                slices=options.slices,
                axis=options.axis,
                init=options.init,
                ignore_label=options.ignore_label,
                config=config,
                progress=show,
                should_stop=stop,
            )
        except NapariUnetError as error:
            if stop():
                raise Ended(stop.number, str(error)) from error
            raise
    failures = [str(w.message) for w in caught if isinstance(w.message, api.TrainingCutShort)]
    return checkpoint, rounds, failures[0] if failures else ""


def _recipe_of(config: TrainConfig, options: TrainOptions) -> Recipe | None:
    """Find the recipe that the options ask for; None if they change nothing of the network's."""
    changes = given(options.recipe)
    if border := given(options.border):
        if "sigma" in border:  # with its unit
            border["sigma"], border["unit"] = border["sigma"]
        changes["border"] = BorderWeighting(**border)
    if not changes:
        return None
    from napari_unet.learning.network.checkpoint import Checkpoint
    from napari_unet.learning.presets import choose_model, recipe_of

    model = Checkpoint.load(options.init).card.model if options.init else None
    return replace(recipe_of(model or choose_model(config, "cpu")), **changes)


def _save_model(checkpoint: Checkpoint, out: Path, *, overwrite: bool) -> tuple[Path | None, str]:
    """Save what has been trained; where that fails after all, somewhere else.

    Returns
    -------
    found : Path or None
        Where the model is; None if it could be saved nowhere.
    trouble : str
        Why that is not `out`; empty if it is.
    """
    try:
        checkpoint.save(out, overwrite=overwrite)
    except SaveError as error:
        for folder in (out.parent, Path.cwd(), Path(tempfile.gettempdir())):
            with contextlib.suppress(SaveError):
                found = _save_under_free_name(checkpoint, folder / out.name)
                return found, f"{words_of(error)} The model is not lost: it is {found}."
        return None, words_of(error)
    return out, ""


def _save_under_free_name(checkpoint: Checkpoint, wanted: Path) -> Path:
    """Save under a name, or where that is taken, under name_2, name_3 and so on."""
    path, number = wanted, 1
    while True:
        try:
            checkpoint.save(path, overwrite=False)
        except AlreadyExistsError:
            number += 1
            path = wanted.with_stem(f"{wanted.stem}_{number}")
        else:
            return path


def _say_which_is_kept(done: RoundDone, out: Path, *, overwrite: bool) -> list[str]:
    """Say how new and old weights compare; new ones that were worse are saved beside the old.

    Returns
    -------
    list of str
        Why new ones that were worse could not be saved; mostly empty.
    """
    advice, troubles = "", []
    if done.rejected is not None:
        found, trouble = _save_model(done.rejected, _beside(out), overwrite=overwrite)
        if found is None:
            troubles.append(trouble)
        else:
            advice = f" To use the new one anyway, take {found}."
    if done.verdict:
        say(done.verdict + advice)
    return troubles


def _beside(out: Path) -> Path:
    """Name the file of new weights that were worse than the old ones, which `out` gets."""
    return out.with_name(f"{out.stem}_rejected{MODEL_SUFFIX}")
