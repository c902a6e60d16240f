"""``napari-unet fill``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from napari_unet import api
from napari_unet.annotation.label_files import FOUND_OUT, ignored_value
from napari_unet.cli.console import say_receipt
from napari_unet.cli.options import FLAT, Axis, IgnoreLabel, NewFile, Overwrite, Slices
from napari_unet.errors import UsageError
from napari_unet.imaging.loading import load_labels
from napari_unet.imaging.saving import check_may_save
from napari_unet.imaging.sidecar import structures_beside, values_beside


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOptions:
    """What ``napari-unet fill`` is told.

    Parameters
    ----------
    labels : Path
        Mask, painted on some slices.
    out : Path
        Mask file to write.
    """

    labels: Path
    out: NewFile
    overwrite: Overwrite = False
    slices: Slices = None
    axis: Axis = None
    ignore_label: IgnoreLabel = FOUND_OUT


def fill(options: Annotated[FillOptions, FLAT]) -> None:
    """Interpolate a mask between its annotated slices.

    Outlines are interpolated; neither a scan nor training is needed. Whatever
    slices between the annotated ones show is replaced. Label values, --slices,
    --axis and --ignore-label are as for "train".

    For example:
      napari-unet fill --labels painted.nii.gz --slices 40,52,60 --out filled.nii.gz
    """
    out: Path = options.out
    if out.resolve() == options.labels.resolve():
        raise UsageError(f"--out {out} is the annotation itself: choose another name.")
    check_may_save(out, overwrite=options.overwrite)
    painted, grid = load_labels(options.labels)
    filled = api.fill_between(
        painted,
        grid=grid,
        slices=options.slices,
        axis=options.axis,
        ignore_label=ignored_value(painted, options.ignore_label, values_beside(options.labels)),
    )
    receipt = api.save_mask(
        filled,
        grid,
        out,
        structures=structures_beside(options.labels),
        sources=[options.labels],
        overwrite=options.overwrite,
    )
    say_receipt(receipt)
