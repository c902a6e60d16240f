"""What others would do with the same slices and the same wall clock; each is a `Method`.

They see the scan as our learner does (normalised over the head, air cropped), so that
only the learning differs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.common.cases import Annotated, Case, Lesson
from benchmarks.common.methods import Budget, Fit
from napari_unet.learning.preparation import PreparedScan, prepare
from napari_unet.learning.runtime import available_cores, load_torch

TREES = 100
_TREES_AT_ONCE = 10
_FOREST_PIXELS = 100_000
"""Pixels a forest grows on: all of the structures, and a random part of the background."""

_BATCH = 4


# -- interpolation -----------------------------------------------------------------


def interpolation(lessons: Sequence[Lesson], budget: Budget, seed: int) -> Fit:
    """Fill between the annotated slices of the case itself; nothing is learned."""
    del lessons, budget, seed
    return Fit(
        lambda case, annotated: interpolate(
            annotated, case.truth.shape, case.n_classes, case.spacing_mm
        ),
        0,
    )


def interpolate(
    annotated: Annotated,
    shape: tuple[int, ...],
    n_classes: int,
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.uint8]:
    """Shape-based interpolation of each structure between annotated slices.

    Signed distances to the outlines are interpolated linearly from slice to slice
    (Raya & Udupa 1990, IEEE TMI 9(1)); the structure with the largest one wins. A
    structure that only one of two neighbours shows shrinks to nothing halfway. Beyond
    the first and the last annotated slice there is nothing.

    Parameters
    ----------
    annotated : mapping
        Slice number -> labels (h, w).
    shape : tuple of int
        (n, h, w) of the scan.
    n_classes : int
        Structures.
    spacing_mm : tuple of float
        Distance of slices, rows and columns.
    """
    result = np.zeros(shape, np.uint8)
    for index, labels in annotated.items():
        result[index] = np.where(labels <= n_classes, labels, 0)
    order = sorted(annotated)
    fields = {z: _signed_distances(result[z], n_classes, spacing_mm[1:]) for z in order}
    for low, high in itertools.pairwise(order):
        below, above = _meet(fields[low], fields[high]), _meet(fields[high], fields[low])
        for z in range(low + 1, high):
            part = (z - low) / (high - low)
            field = (1 - part) * below + part * above
            result[z] = np.where(field.max(axis=0) > 0, field.argmax(axis=0) + 1, 0)
    return result


def _signed_distances(
    labels: NDArray[np.uint8], n_classes: int, spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """Distance in mm to the outline of each structure (k, h, w); positive inside, NaN if absent."""
    fields = np.full((n_classes, *labels.shape), np.nan)
    half = min(spacing_mm) / 2  # the outline runs between two pixels
    for value in range(1, n_classes + 1):
        mask = labels == value
        if mask.any():
            inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm) - half
            outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) - half
            fields[value - 1] = np.where(mask, inside, -outside)
    return fields


def _meet(field: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give structures absent from `field` the depth, negative, that they have in `other`."""
    depth = np.where(np.isnan(other), 1.0, other).max(axis=(1, 2), keepdims=True)
    return np.where(np.isnan(field), -depth, field)


# -- random forest -----------------------------------------------------------------


def forest(lessons: Sequence[Lesson], budget: Budget, seed: int) -> Fit:
    """Grow a random forest on multiscale features of pixels, as ilastik does."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for lesson in lessons:
        scan = prepare(lesson.case.volume, lesson.case.axis)
        for index, truth in lesson.annotated.items():
            flat = scan.crop(truth).ravel()
            features.append(_features(scan, index)[flat != 255])
            labels.append(flat[flat != 255])
    x, y = np.concatenate(features), np.concatenate(labels)
    background = rng.permutation(np.flatnonzero(y == 0))
    n_kept = max(10_000, _FOREST_PIXELS - np.count_nonzero(y))
    kept = np.concatenate([np.flatnonzero(y), background[:n_kept]])
    x, y = x[kept], y[kept]
    weights = compute_sample_weight("balanced", y)
    model = RandomForestClassifier(
        n_estimators=0,
        warm_start=True,
        n_jobs=budget.threads or available_cores(),
        random_state=seed,
    )
    while model.n_estimators < TREES:
        model.n_estimators += _TREES_AT_ONCE
        model.fit(x, y, sample_weight=weights)
        if time.perf_counter() - started > budget.seconds:
            break

    def predict(case: Case, annotated: Annotated) -> NDArray[np.uint8]:
        del annotated
        scan = prepare(case.volume, case.axis)
        slices = (model.predict(_features(scan, z)) for z in range(scan.n_slices))
        return np.stack([scan.paste(each.reshape(scan.shape).astype(np.uint8)) for each in slices])

    return Fit(predict, model.n_estimators)


def _features(scan: PreparedScan, index: int) -> NDArray[np.float32]:
    """Smoothed intensity, edges and Hessian eigenvalues at five scales, (pixels, features)."""
    from skimage.feature import multiscale_basic_features

    channels = [
        multiscale_basic_features(each, sigma_min=0.7, sigma_max=10, num_sigma=5)
        for each in scan.slices[index]
    ]
    stacked = np.concatenate(channels, axis=-1)
    return stacked.reshape(-1, stacked.shape[-1])


# -- MONAI UNet --------------------------------------------------------------------


def monai_unet(lessons: Sequence[Lesson], budget: Budget, seed: int) -> Fit:
    """Train MONAI's UNet with the recipe of its tutorials: Adam 1e-3, DiceCE, whole slices."""
    load_torch()
    import torch
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    started = time.perf_counter()
    torch.manual_seed(seed)
    torch.set_num_threads(budget.threads or available_cores())
    slices = _slices(lessons)
    augment = _augmentation(seed)
    net = UNet(
        spatial_dims=2,
        in_channels=len(slices[0]["image"]),
        out_channels=lessons[0].case.n_classes + 1,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    ).to(budget.device)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    rng = np.random.default_rng(seed)
    steps = 0
    while True:
        if budget.steps is not None:
            if steps >= budget.steps:
                break
        elif time.perf_counter() - started > budget.seconds and steps:
            break
        drawn = [augment(slices[int(i)]) for i in rng.integers(len(slices), size=_BATCH)]
        images = torch.stack([torch.as_tensor(each["image"]) for each in drawn])
        labels = torch.stack([torch.as_tensor(each["label"]) for each in drawn])
        optimiser.zero_grad()
        loss = loss_function(net(images.to(budget.device)), labels.to(budget.device))
        loss.backward()
        optimiser.step()
        steps += 1
    net.eval()

    def predict(case: Case, annotated: Annotated) -> NDArray[np.uint8]:
        del annotated
        scan = prepare(case.volume, case.axis)
        rows, columns = scan.shape
        planes = []
        with torch.inference_mode():
            for start in range(0, scan.n_slices, 8):
                batch = torch.from_numpy(_padded(scan.slices[start : start + 8], scan.shape))
                planes.append(net(batch.to(budget.device)).argmax(1).to(torch.uint8).cpu().numpy())
        return np.stack([scan.paste(each[:rows, :columns]) for each in np.concatenate(planes)])

    return Fit(predict, steps)


def _slices(lessons: Sequence[Lesson]) -> list[dict[str, Any]]:
    """Annotated slices as MONAI's transforms want them, all of one size."""
    scans = [prepare(lesson.case.volume, lesson.case.axis) for lesson in lessons]
    size = tuple(max(scan.shape[side] for scan in scans) for side in (0, 1))
    slices = []
    for scan, lesson in zip(scans, lessons, strict=True):
        for index, truth in lesson.annotated.items():
            label = _padded(scan.crop(truth)[None], size, value=0)
            slices.append({"image": _padded(scan.slices[index], size), "label": label})
    return slices


def _padded(
    planes: NDArray[Any], size: Sequence[int], value: float | None = None, multiple: int = 16
) -> NDArray[Any]:
    """Pad the last two axes to at least `size`, to multiples; with the darkest value if None."""
    wanted = [-(-side // multiple) * multiple for side in size]
    rows, columns = (want - side for want, side in zip(wanted, planes.shape[-2:], strict=True))
    margins = [(0, 0)] * (planes.ndim - 2) + [(0, rows), (0, columns)]
    return np.pad(planes, margins, constant_values=planes.min() if value is None else value)


def _augmentation(seed: int) -> Any:
    """Flips, affine and intensity changes, with the usual strengths."""
    from monai import transforms

    both = ["image", "label"]
    chain = transforms.Compose(
        [
            transforms.RandFlipd(both, prob=0.5, spatial_axis=1),
            transforms.RandAffined(
                both,
                prob=0.5,
                rotate_range=0.26,
                scale_range=(0.15, 0.15),
                translate_range=(8, 8),
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            transforms.RandScaleIntensityd("image", factors=0.1, prob=0.5),
            transforms.RandShiftIntensityd("image", offsets=0.1, prob=0.5),
            transforms.RandGaussianNoised("image", prob=0.15, std=0.1),
        ]
    )
    return chain.set_random_state(seed)
