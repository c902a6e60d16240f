"""``napari-unet segment``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from napari_unet import api
from napari_unet.annotation.label_files import FOUND_OUT
from napari_unet.cli.console import (
    Ended,
    Progress,
    fail,
    say_notes,
    say_receipt,
    show_notice,
    stopped_by_signals,
    words_of,
)
from napari_unet.cli.options import (
    FLAT,
    IgnoreLabel,
    Overwrite,
    Series,
    Slices,
    Volumes,
    VoxelsAnywhere,
    whole_number,
)
from napari_unet.cli.scan_lists import group_images, output_paths
from napari_unet.errors import NapariUnetError, UsageError
from napari_unet.imaging.atomic import check_free, make_folder
from napari_unet.imaging.dicom.seg_writer import check_can_refer, is_dicom_seg
from napari_unet.imaging.formats.registry import open_scan, writer_for
from napari_unet.imaging.saving import check_may_save
from napari_unet.learning.events import SegmentEvent, SlicePredicted

if TYPE_CHECKING:
    from napari_unet.learning.network.checkpoint import Checkpoint

STOPPING_LIST = "Stopping after this scan. The same again stops at once, without it."


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """What ``napari-unet segment`` is told.

    Parameters
    ----------
    model : Path
        Model file (.safetensors).
    out : str
        Folder, or a mask file if there is one scan.
    channels : int, optional
        Every so many images are the sequences of one scan (default: 1).
    labels : Path, optional
        Annotated slices of the scan, if there is one: they help.
    """

    model: Path
    out: str
    channels: Annotated[int | None, whole_number(1, 16)] = None
    volume: Volumes = None
    series: Series = None
    voxels_anywhere: VoxelsAnywhere = False
    labels: Path | None = None
    slices: Slices = None
    ignore_label: IgnoreLabel = FOUND_OUT
    overwrite: Overwrite = False


def segment(images: list[Path], /, *, options: Annotated[SegmentOptions, FLAT]) -> None:
    r"""Segment whole scans with a trained model.

    Masks keep the label values of the training mask and are called
    IMAGE_seg.nii.gz. For a scan from DICOM, --out mask.dcm writes a DICOM
    segmentation (needs highdicom). The scan that was annotated itself: give its
    --labels (and --slices) again. They are kept, and the slices between them come
    out better than by the network alone.

    For example:
      napari-unet segment --model model.safetensors --out mask.nii.gz t1c.nii.gz
      napari-unet segment --model model.safetensors --labels painted.nii.gz --slices 40,52,60 \
          --out mask.nii.gz t1c.nii.gz
      napari-unet segment --model model.safetensors --out masks/ a.nii.gz b.nii.gz c.nii.gz
      two sequences a scan, two scans:
      napari-unet segment --model model.safetensors --out masks/ --channels 2 \
          a_t1c.nii.gz a_flair.nii.gz b_t1c.nii.gz b_flair.nii.gz

    Parameters
    ----------
    images : list of Path
        Image files or DICOM folders; several: several scans.
    options : SegmentOptions
        The rest.
    """
    from napari_unet.learning.network.checkpoint import Checkpoint

    model = Checkpoint.load(options.model)
    scans = group_images(images, options.channels, model, options.volume)
    outputs = output_paths(options.out, scans)
    if options.labels and len(scans) > 1:
        raise UsageError("--labels belong to one scan: segment the other scans apart.")
    if options.slices and not options.labels:
        raise UsageError("--slices says which slices of --labels count: add --labels.")
    if options.labels and Path(options.labels).resolve() in [o.resolve() for o in outputs]:
        raise UsageError(f"{options.labels} is the annotation itself: choose another --out.")
    for out in outputs:
        check_free(out, overwrite=options.overwrite)
    if len(scans) == 1:  # what cannot be written is noticed before the work, not after it
        scan = open_scan(
            scans[0][0], series=options.series, voxels_anywhere=options.voxels_anywhere
        )
        if is_dicom_seg(outputs[0]):
            check_can_refer(scan)
        else:
            writer_for(outputs[0]).check(scan.grid)
    if outputs != [Path(options.out)]:
        make_folder(Path(options.out))
    if len(scans) == 1:
        _segment_one(scans[0], model, outputs[0], options)
    else:
        _segment_list(scans, model, outputs, options)


def _segment_list(
    scans: Sequence[Sequence[Path]],
    model: Checkpoint,
    outputs: Sequence[Path],
    options: SegmentOptions,
) -> None:
    """Segment one scan after the other; whatever is wrong with one costs that one only."""
    failed: list[str] = []
    done = 0
    with stopped_by_signals(STOPPING_LIST) as stop:
        for files, out in zip(scans, outputs, strict=True):
            if stop():
                break
            try:
                _segment_one(files, model, out, options)
            except Exception as error:
                reason = words_of(error)
                fail(reason if files[0].name in reason else f"{files[0]}: {reason}", 1)
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
    files: Sequence[Path], model: Checkpoint, out: Path, options: SegmentOptions
) -> None:
    check_may_save(out, overwrite=options.overwrite)
    volume = api.load_volume(
        files,
        volumes=options.volume,
        series=options.series,
        voxels_anywhere=options.voxels_anywhere,
    )
    say_notes(volume)
    n_slices = volume.shape_zyx[model.card.slice_axis]
    count = itertools.count(1)

    def show(event: SegmentEvent) -> None:
        if isinstance(event, SlicePredicted):
            progress.update(next(count) / n_slices)
        else:
            show_notice(event, volume, progress)

    with Progress(f"Segmenting {volume.name}") as progress:
        labels = api.segment(
            volume,
            model,
            labels=options.labels,
            slices=options.slices,
            ignore_label=options.ignore_label,
            progress=show,
        )
    receipt = api.save_mask(
        labels,
        volume.grid,
        out,
        structures=model.card.structure_rows(),
        sources=files,
        series=open_scan(files[0], series=options.series) if is_dicom_seg(out) else None,
        overwrite=options.overwrite,
    )
    say_receipt(receipt)
