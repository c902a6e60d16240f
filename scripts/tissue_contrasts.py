"""What synthetic slices show: classes to tell apart, and how bright a tissue may be."""

from __future__ import annotations

from enum import IntEnum

import torch

from napari_unet.phantom.tissues import Tissue

BLOB, CAVITY = len(Tissue), len(Tissue) + 1
"""Tissues that no head has: a foreign body and what is inside it."""

N_TISSUES = len(Tissue) + 2


class Target(IntEnum):
    """What the network is asked for."""

    BACKGROUND = 0
    OUTSIDE = 1
    CSF = 2
    VENTRICLE = 3
    GREY = 4
    WHITE = 5
    CAUDATE = 6
    PUTAMEN = 7
    PALLIDUS = 8
    THALAMUS = 9
    HIPPOCAMPUS = 10
    CEREBELLUM = 11
    BRAIN_STEM = 12
    VESSEL = 13
    LESION = 14
    NECROSIS = 15
    OEDEMA = 16
    BLOB = 17


OUTSIDE = (
    Tissue.BONE,
    Tissue.MARROW,
    Tissue.FAT,
    Tissue.MUSCLE,
    Tissue.MUCOSA,
    Tissue.EYE,
    Tissue.DURA,
)
DEEP = (
    Tissue.CAUDATE,
    Tissue.PUTAMEN,
    Tissue.PALLIDUS,
    Tissue.THALAMUS,
    Tissue.HIPPOCAMPUS,
)
BETWEEN = (*DEEP, Tissue.CEREBELLUM_GREY, Tissue.CEREBELLUM_WHITE, Tissue.BRAIN_STEM)
"""As bright as grey or white matter, or something between, in most images."""

BRAIN = (Tissue.GREY, Tissue.WHITE, *BETWEEN)


def _target(tissue: Tissue) -> Target:
    if tissue in (Tissue.CEREBELLUM_GREY, Tissue.CEREBELLUM_WHITE):
        return Target.CEREBELLUM
    if tissue is Tissue.AIR:
        return Target.BACKGROUND
    return Target.OUTSIDE if tissue in OUTSIDE else Target[tissue.name]


TARGETS = torch.tensor([*(_target(tissue) for tissue in Tissue), Target.BLOB, Target.BACKGROUND])
"""Class of each tissue. The inside of a blob is what a reader would leave out."""

# Relative brightness of the tissues, in the order of `Tissue`, blob and its inside.
# fmt: off
CONTRASTS = torch.tensor([
    # air bone marrow fat muscle mucosa eye dura csf ventr grey white caud put pall thal hippo
    # cerebellum (grey, white) stem vessel lesion necrosis oedema, blob, inside
    [.02, .06, .45, .95, .40, .45, .20, .40, .15, .14, .50, .75, .52, .55, .66, .61, .51,
     .50, .70, .69, .35, .42, .25, .42, .60, .30],  # T1
    [.01, .05, .35, .78, .33, .60, .18, .55, .14, .14, .42, .58, .44, .46, .51, .48, .43,
     .43, .54, .55, 1.0, .92, .23, .38, .70, .30],  # T1 after contrast medium
    [.01, .05, .35, .60, .35, .55, .25, .30, .12, .10, .62, .48, .58, .56, .48, .54, .64,
     .60, .48, .50, .25, .75, .45, .95, .70, .30],  # FLAIR
    [.01, .05, .35, .60, .25, .60, .95, .15, 1.0, 1.0, .58, .40, .54, .50, .38, .47, .58,
     .56, .40, .42, .15, .65, .90, .85, .70, .30],  # T2
])
# fmt: on
HOW_OFTEN = torch.tensor([0.4, 0.3, 0.2, 0.1])
"""How often each of `CONTRASTS` is used."""


REALISTIC = 0.9
"""How often any of them is used: the other images have contrasts that no scanner makes."""
