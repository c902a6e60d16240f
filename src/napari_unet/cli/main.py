"""Door 1: the command line ``napari-unet`` with demo, train, segment, fill, convert and info."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.annotation.states import IGNORE_LABEL
from napari_unet.cli.console import (
    Ended,
    Progress,
    StopRequest,
    complain,
    ended_by_signals,
    print_any_text,
    say,
    stopped_by_signals,
)
from napari_unet.cli.options import given_options, network_of
from napari_unet.errors import (
    AlreadyExistsError,
    IgnoreLabelNeededError,
    NapariUnetError,
    SaveError,
    UsageError,
)
from napari_unet.learning.config import AUTO, PRESETS, BorderWeighting, Recipe, TrainConfig
from napari_unet.text import counted

# The rest is loaded by `main` and the commands, where Ctrl-C is looked after: it takes seconds.
if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.annotation.label_files import IgnoreLabel
    from napari_unet.imaging.saving import GeometryReceipt
    from napari_unet.imaging.volume import Volume
    from napari_unet.learning.events import RoundDone, SegmentEvent, TrainEvent
    from napari_unet.learning.network.checkpoint import Checkpoint

STOPPING = "Stopping: what was learned so far is being saved."
STILL_STOPPING = "Still stopping: the model is saved first."
STOPPING_LIST = "Stopping after this scan. The same again stops at once, without it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default: those of the process.

    Returns
    -------
    int
        Exit status: 0 done, 1 impossible, 2 wrong usage, 130 interrupted, 128 + n ended by
        signal n. Training that Ctrl-C has ended early is done.
    """
    print_any_text()
    try:
        with ended_by_signals():
            from napari_unet.cli.options import parser

            arguments = parser().parse_args(argv)
        # While a window is open no Python may run for long: signals end it as they always do.
        shows = arguments.command == "demo"
        with contextlib.nullcontext() if shows else ended_by_signals():
            _COMMANDS[arguments.command](arguments)
    except (NapariUnetError, OSError, MemoryError) as error:
        return _fail(_words_of(error), 2 if isinstance(error, UsageError) else 1)
    except Ended as error:
        return _fail(str(error), error.status)
    except KeyboardInterrupt:
        return _fail("Interrupted.", 130)
    return 0


def _fail(message: str, status: int) -> int:
    complain(f"napari-unet: {' '.join(message.split())}")
    return status


def _words_of(error: Exception) -> str:
    """Say in the words of the command line what is wrong."""
    if isinstance(error, AlreadyExistsError):
        return f"{error.path} exists already. Choose another name, or replace it: --overwrite."
    if isinstance(error, IgnoreLabelNeededError):
        return f"{error.question} Say which: --ignore-label none, or --ignore-label {error.value}."
    if isinstance(error, NapariUnetError):
        return str(error)
    if isinstance(error, MemoryError):
        return "Not enough memory. Close other programs, or use a smaller scan."
    if isinstance(error, OSError):
        return f"{error.filename or 'File'}: {error.strerror or error}."
    return f"{type(error).__name__}: {error}"


def train(arguments: argparse.Namespace) -> None:
    """Run ``napari-unet train``."""
    from napari_unet import api
    from napari_unet.cli.options import MODEL_SUFFIX
    from napari_unet.imaging.atomic import check_may_write

    out: Path = arguments.out
    if out.suffix != MODEL_SUFFIX:
        raise UsageError(f"--out {out}: give the model a name ending in {MODEL_SUFFIX}.")
    if arguments.init is not None and (changes := given_options(arguments)):
        raise UsageError(f"--init keeps the network of that model: leave {', '.join(changes)} out.")
    check_may_write(out, overwrite=arguments.overwrite)
    config = TrainConfig(
        seconds=arguments.seconds,
        seed=arguments.seed,
        preset=arguments.preset or TrainConfig().preset,
        model=network_of(arguments),
        recipe=_recipe_of(arguments),
    )
    volume = api.load_volume(arguments.image, volumes=arguments.volume, series=arguments.series)
    _say_notes(volume)
    labels = _labels_onto(arguments.labels, volume)

    with stopped_by_signals(STOPPING, STILL_STOPPING) as stop:
        checkpoint, rounds, failure = _train(volume, labels, config, arguments, stop)
        found, trouble = _save_model(checkpoint, out, overwrite=arguments.overwrite)
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
            troubles += _say_which_is_kept(done, out, overwrite=arguments.overwrite)
    if failure:
        troubles.append(failure)
    if troubles:
        raise NapariUnetError(" ".join(troubles))
    if stop() and not stop.is_ctrl_c:
        raise Ended(stop.number, "Ended from outside; the model is saved.")


def _train(
    volume: Volume,
    labels: NDArray[Any],
    config: TrainConfig,
    arguments: argparse.Namespace,
    stop: StopRequest,
) -> tuple[Checkpoint, list[RoundDone], str]:
    """Train and show how far that is; give the model, its rounds, and what has cut it short."""
    from napari_unet import api
    from napari_unet.learning.events import Notice, RoundDone, StepDone

    rounds: list[RoundDone] = []

    def show(event: TrainEvent) -> None:
        if isinstance(event, StepDone):
            progress.update(event.progress, f"step {event.step}, loss {event.loss:.3f}")
        elif isinstance(event, Notice):
            if event.text not in volume.notes:  # told on reading
                progress.note(event.text)
        elif isinstance(event, RoundDone):
            rounds.append(event)

    with Progress("Training") as progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", api.TrainingCutShort)
        try:
            checkpoint = api.train(
                volume,
                labels,
                slices=arguments.slices,
                axis=arguments.axis,
                init=arguments.init,
                ignore_label=_ignore_label(arguments, labels, has_model=arguments.init is not None),
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


def _recipe_of(arguments: argparse.Namespace) -> Recipe | None:
    """Find the recipe that the options ask for; None if they change nothing of the network's."""
    from napari_unet.learning.presets import choose_preset, recipe_of

    names = ("loss", "elastic", "flip_rows")
    changes = {each: value for each in names if (value := getattr(arguments, each)) is not None}
    sigma, unit = arguments.border_sigma or (None, None)
    border = {"weight": arguments.border_weight, "sigma": sigma, "unit": unit}
    if given := {name: value for name, value in border.items() if value is not None}:
        changes["border"] = BorderWeighting(**given)
    if not changes:
        return None
    if arguments.init is not None:
        from napari_unet.learning.network.checkpoint import Checkpoint

        network = Checkpoint.load(arguments.init).card.model
    else:
        network = network_of(arguments) or choose_preset(arguments.preset or AUTO, "cpu")
    return replace(recipe_of(network), **changes)


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
                return found, f"{_words_of(error)} The model is not lost: it is {found}."
        return None, _words_of(error)
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
    from napari_unet.cli.options import MODEL_SUFFIX

    advice, troubles = "", []
    if done.rejected is not None:
        beside = out.with_name(f"{out.stem}_rejected{MODEL_SUFFIX}")
        found, trouble = _save_model(done.rejected, beside, overwrite=overwrite)
        if found is None:
            troubles.append(trouble)
        else:
            advice = f" To use the new one anyway, take {found}."
    if done.verdict:
        say(done.verdict + advice)
    return troubles


def _say_notes(volume: Volume) -> None:
    """Say what about the files of a scan its user should know."""
    for note in volume.notes:
        say(f"Note: {note}")


def _labels_onto(path: str, volume: Volume) -> NDArray[Any]:
    """Read the labels of a scan, and say how they were brought onto its grid, where they were."""
    from napari_unet.imaging.loading import load_labels_onto

    labels, note = load_labels_onto(path, volume.grid, volume.name)
    if note:
        say(f"Note: {note}")
    return labels


def _ignore_label(
    arguments: argparse.Namespace, labels: NDArray[Any] | None, *, has_model: bool = False
) -> IgnoreLabel:
    """Which value nobody annotated: as asked for, else as the file beside the labels says.

    That 255 is a structure may also be known by the model, if there is one, later.
    """
    from napari_unet.annotation.label_files import FOUND_OUT, ignored_value
    from napari_unet.imaging.sidecar import values_beside

    wanted: IgnoreLabel = arguments.ignore_label
    if wanted == FOUND_OUT and labels is not None:
        beside = values_beside(Path(arguments.labels))
        if beside is not None and (not has_model or IGNORE_LABEL in beside):
            return ignored_value(labels, wanted, beside)
    return wanted


def segment(arguments: argparse.Namespace) -> None:
    """Run ``napari-unet segment``."""
    from napari_unet.cli.scan_lists import group_images, output_paths
    from napari_unet.imaging.atomic import check_free, make_folder
    from napari_unet.imaging.dicom.segmentation_writer import check_can_refer, is_dicom_seg
    from napari_unet.imaging.formats.registry import open_scan, writer_for
    from napari_unet.learning.network.checkpoint import Checkpoint

    model = Checkpoint.load(arguments.model)
    scans = group_images(arguments.images, arguments.channels, model, arguments.volume)
    outputs = output_paths(arguments.out, scans)
    if arguments.labels and len(scans) > 1:
        raise UsageError("--labels belong to one scan: segment the other scans apart.")
    if arguments.slices and not arguments.labels:
        raise UsageError("--slices says which slices of --labels count: add --labels.")
    if arguments.labels and Path(arguments.labels).resolve() in [o.resolve() for o in outputs]:
        raise UsageError(f"{arguments.labels} is the annotation itself: choose another --out.")
    for out in outputs:
        check_free(out, overwrite=arguments.overwrite)
    if len(scans) == 1:  # what cannot be written is noticed before the work, not after it
        scan = open_scan(scans[0][0], series=arguments.series)
        if is_dicom_seg(outputs[0]):
            check_can_refer(scan)
        else:
            writer_for(outputs[0]).check(scan.grid)
    if outputs != [arguments.out]:
        make_folder(arguments.out)
    if len(scans) == 1:
        _segment_one(scans[0], model, outputs[0], arguments)
    else:
        _segment_list(scans, model, outputs, arguments)


def _segment_list(
    scans: Sequence[Sequence[Path]],
    model: Checkpoint,
    outputs: Sequence[Path],
    arguments: argparse.Namespace,
) -> None:
    """Segment one scan after the other; whatever is wrong with one costs that one only."""
    failed: list[str] = []
    done = 0
    with stopped_by_signals(STOPPING_LIST) as stop:
        for files, out in zip(scans, outputs, strict=True):
            if stop():
                break
            try:
                _segment_one(files, model, out, arguments)
            except Exception as error:
                reason = _words_of(error)
                _fail(reason if files[0].name in reason else f"{files[0]}: {reason}", 1)
                failed.append(files[0].name)
            done += 1
    said = ""
    if failed:
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        named = f"{', '.join(failed[:5])}{more}"
        said = f"{len(failed)} of {len(scans)} scans were not segmented: {named}."
    if done < len(scans):
        where = f"Stopped after {done} of {len(scans)} scans, before {scans[done][0]}."
        raise Ended(stop.number, f"{where} {said}")
    if failed:
        raise NapariUnetError(said)


def _segment_one(
    files: Sequence[Path], model: Checkpoint, out: Path, arguments: argparse.Namespace
) -> None:
    from napari_unet import api
    from napari_unet.imaging.dicom.segmentation_writer import is_dicom_seg
    from napari_unet.imaging.formats.registry import open_scan
    from napari_unet.imaging.saving import check_may_save
    from napari_unet.learning.events import SlicePredicted

    check_may_save(out, overwrite=arguments.overwrite)
    volume = api.load_volume(files, volumes=arguments.volume, series=arguments.series)
    _say_notes(volume)
    annotated = _labels_onto(arguments.labels, volume) if arguments.labels else None
    n_slices = volume.shape_zyx[model.card.slice_axis]
    count = itertools.count(1)

    def show(event: SegmentEvent) -> None:
        if isinstance(event, SlicePredicted):
            progress.update(next(count) / n_slices)
        elif event.text not in volume.notes:  # told on reading
            progress.note(event.text)

    with Progress(f"Segmenting {volume.name}") as progress:
        labels = api.segment(
            volume,
            model,
            labels=annotated,
            slices=arguments.slices,
            ignore_label=_ignore_label(arguments, annotated, has_model=True),
            progress=show,
        )
    receipt = api.save_mask(
        labels,
        volume.grid,
        out,
        structures=model.card.structure_rows(),
        sources=files,
        series=open_scan(files[0], series=arguments.series) if is_dicom_seg(out) else None,
        overwrite=arguments.overwrite,
    )
    _say_receipt(receipt)


def _say_receipt(receipt: GeometryReceipt) -> None:
    say(receipt.verified(str(receipt.path)))


def fill(arguments: argparse.Namespace) -> None:
    """Run ``napari-unet fill``."""
    from napari_unet import api
    from napari_unet.imaging.loading import load_labels
    from napari_unet.imaging.saving import check_may_save
    from napari_unet.imaging.sidecar import structures_beside

    out: Path = arguments.out
    if out.resolve() == arguments.labels.resolve():
        raise UsageError(f"--out {out} is the annotation itself: choose another name.")
    check_may_save(out, overwrite=arguments.overwrite)
    painted, grid = load_labels(arguments.labels)
    filled = api.fill_between(
        painted,
        grid=grid,
        slices=arguments.slices,
        axis=arguments.axis,
        ignore_label=_ignore_label(arguments, painted),
    )
    receipt = api.save_mask(
        filled,
        grid,
        out,
        structures=structures_beside(arguments.labels),
        sources=[arguments.labels],
        overwrite=arguments.overwrite,
    )
    _say_receipt(receipt)


def convert(arguments: argparse.Namespace) -> None:
    """Run ``napari-unet convert``."""
    from napari_unet.imaging import convert as converting

    receipt = converting.convert(
        arguments.file,
        arguments.out,
        kind=arguments.kind,
        volume=arguments.volume,
        series=arguments.series,
        scan=arguments.scan,
        overwrite=arguments.overwrite,
    )
    _say_receipt(receipt)


def info(arguments: argparse.Namespace) -> None:
    """Run ``napari-unet info``."""
    from napari_unet.cli import info as describe
    from napari_unet.cli.options import MODEL_SUFFIX

    path: Path | None = arguments.file
    if path is None:
        if arguments.preset is None:
            raise UsageError(f"Name a file, or a network: --preset {' or '.join(PRESETS)}.")
        network = network_of(arguments) or PRESETS[arguments.preset]
        for line in describe.layers(network, arguments.size):
            say(line)
        return
    given = given_options(arguments) + ["--size"] * (arguments.size is not None)
    if given:
        raise UsageError(f"A file says itself what is in it: leave {', '.join(given)} out.")
    if not path.exists():
        raise NapariUnetError(f"There is no file {path}.")
    if path.suffix == MODEL_SUFFIX:
        lines = describe.model(path)
    elif path.is_dir() and arguments.series is None:
        lines = describe.folder(path)
    else:
        lines = describe.volume(path, series=arguments.series)
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        say(f"{key:<{width}}  {value}")


def demo(arguments: argparse.Namespace) -> None:
    """Run ``napari-unet demo``."""
    from napari_unet.cli import demo

    try:
        demo.run(
            arguments.out,
            headless=arguments.headless,
            config=TrainConfig(seconds=arguments.seconds),
            overwrite=arguments.overwrite,
        )
    except AlreadyExistsError as error:
        raise SaveError(
            f"{error.path} is not of an earlier demo, or was changed since. Choose another --out, "
            "or replace it: --overwrite."
        ) from error


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "demo": demo,
    "train": train,
    "segment": segment,
    "fill": fill,
    "convert": convert,
    "info": info,
}
