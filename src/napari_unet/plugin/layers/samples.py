"""File > Open Sample: scans to try the plugin on."""

from __future__ import annotations

from pathlib import Path

from napari_unet.annotation.states import PALETTE, Structure
from napari_unet.imaging.volume import Volume
from napari_unet.phantom.metastases import Phantom, annotated_example, make_phantom
from napari_unet.plugin.layers.label_layers import MASK_OPACITY, segmentation_name
from napari_unet.plugin.layers.metadata import LayerInfo, LayerRole
from napari_unet.plugin.layers.reader import LayerData, read_scans
from napari_unet.plugin.layers.scan_layers import spatial_arguments

METASTASIS = Structure("Metastasis", PALETTE[0], 1)


def brain_metastases() -> list[LayerData]:
    """A synthetic contrast-enhanced T1 with metastases; the truth is a hidden layer."""
    return _layers(make_phantom(seed=1))


def annotated_brain_metastases() -> list[LayerData]:
    """Make another such scan on which five slices are annotated already."""
    phantom = make_phantom(seed=2)
    labels, annotated = annotated_example(phantom)
    info = LayerInfo(
        LayerRole.SEGMENTATION,
        grid=phantom.volume.grid,
        axis=0,
        annotated=tuple(annotated),
        structures=(METASTASIS,),
    )
    arguments = {
        **spatial_arguments(phantom.volume.grid),
        "name": segmentation_name(phantom.volume.name),
        "opacity": MASK_OPACITY,
        "metadata": info.as_metadata(),
    }
    return [*_layers(phantom), (labels, arguments, "labels")]


def mni152() -> list[LayerData]:
    """Load the MNI152 T1 template that comes with nilearn.

    Raises
    ------
    ImportError
        If nilearn is not installed.
    """
    try:
        import nilearn.datasets
    except ImportError as error:
        raise ImportError(
            "This sample comes with nilearn. Install it with: pip install nilearn"
        ) from error
    folder = Path(nilearn.datasets.__file__).parent / "data"
    path = next(iter(sorted(folder.glob("mni_icbm152_t1*.nii.gz"))))
    [(data, arguments, kind)] = read_scans(str(path))
    return [(data, {**arguments, "name": "MNI152 T1"}, kind)]


def _layers(phantom: Phantom) -> list[LayerData]:
    volume: Volume = phantom.volume
    place = spatial_arguments(volume.grid)
    scan = {
        **place,
        "name": volume.name,
        "colormap": "gray",
        "metadata": LayerInfo(grid=volume.grid).as_metadata(),
    }
    answer = {
        **place,
        "name": "Hidden answer",
        "visible": False,
        "metadata": LayerInfo(LayerRole.HIDDEN_ANSWER, grid=volume.grid).as_metadata(),
    }
    return [(volume.data[0], scan, "image"), (phantom.truth, answer, "labels")]
