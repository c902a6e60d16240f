"""Scans that another reader opened mirrored, turned by right angles or by an affine, or in 2D."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from napari.layers import Image, Layer
from napari.viewer import Viewer

from napari_unet.errors import NapariUnetError
from napari_unet.plugin.layers.geometry import in_display_order
from napari_unet.plugin.layers.metadata import LayerInfo
from napari_unet.plugin.layers.scan_layers import (
    display_data,
    grid_info,
    grid_of,
    source_of,
    spatial_arguments,
)


def reoriented_layer(layer: Image, others: Sequence[Layer]) -> Image:
    """Give the layer itself, or one of the same voxels in display order.

    Parameters
    ----------
    layer : Image
        A scan (`check_scan`).
    others : sequence of Layer
        Where a reoriented copy may be found that was made before.
    """
    if in_display_order(layer):
        return layer
    for other in others:
        if LayerInfo.of(other).reoriented_from == layer.unique_id:
            return other
    grid = grid_of(layer)
    info = replace(grid_info(layer), reoriented_from=layer.unique_id, source=source_of(layer))
    return Image(
        display_data(layer),
        name=f"{layer.name} ({'upright' if layer.ndim == 3 else 'one slice'})",
        colormap=layer.colormap,
        contrast_limits=layer.contrast_limits,
        metadata=info.as_metadata(),
        **spatial_arguments(grid),
    )


@contextmanager
def reoriented(viewer: Viewer, images: Sequence[Image]) -> Iterator[tuple[list[Image], str]]:
    """Replace scans (`check_scan`) by layers of the same voxels in display order, where needed.

    If what is done with them fails, the viewer is as before.

    Yields
    ------
    layers : list of Image
        Layers of the viewer in display order, each once.
    said : str
        A sentence about layers that were added; empty if there are none.
    """
    layers: list[Image] = []
    added: list[tuple[Image, Image, bool]] = []
    said = ""
    for image in images:
        layer = reoriented_layer(image, viewer.layers)
        if layer not in viewer.layers:
            viewer.add_layer(layer)
            added.append((layer, image, image.visible))
            image.visible = False
            what = "mirrored or turned" if image.ndim == 3 else "a flat picture"
            said = (
                f"“{image.name}” is {what}; “{layer.name}” shows the same voxels and saves onto "
                "its grid."
            )
        if layer not in layers:
            layers.append(layer)
    try:
        yield layers, said
    except NapariUnetError:
        for layer, image, visible in added:
            viewer.layers.remove(layer)
            image.visible = visible
        raise
