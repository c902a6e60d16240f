"""Which of the viewer's layers are offered as scans, and which one is chosen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QTimer

from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.layers.label_layers import is_from_elsewhere
from napari_unet.plugin.layers.metadata import LayerInfo, LayerRole
from napari_unet.plugin.layers.scan_layers import stored_grid, why_not_a_scan
from napari_unet.plugin.widgets.file_dialogs import ask_complete
from napari_unet.plugin.widgets.scan_panel import ScanPanel


class ScanChoice:
    """Keep the scan panel true to the viewer, and choose a scan that has just been opened.

    Parameters
    ----------
    annotator : Annotator
        Annotates the chosen scan.
    panel : ScanPanel
        Where the layers are offered.
    try_to : callable
        Does something and shows the sentence if it cannot be done; whether it was done.
    stayed : callable
        Called when the scan at hand is the same as before, or none.
    """

    def __init__(
        self,
        annotator: Annotator,
        panel: ScanPanel,
        try_to: Callable[[Callable[[], object]], bool],
        stayed: Callable[[], None],
    ) -> None:
        self._annotator = annotator
        self._panel = panel
        self._try_to = try_to
        self._stayed = stayed
        # All layers of one file or sample are there before one of them is chosen.
        self._timer = QTimer(panel)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self.offer)
        self._may_choose = True
        self._opened: list[Image] = []
        panel.chosen.connect(self.choose)

    def on_inserted(self, event: Any) -> None:
        """Notice a new layer."""
        self._may_choose |= self._annotator.session is None
        layer = event.value
        # Opened by our reader or as a sample; no copy, and nothing that was there before.
        ours = stored_grid(layer) is not None and LayerInfo.of(layer).reoriented_from is None
        if isinstance(layer, Image) and ours and layer.source.parent is None:
            self._opened.append(layer)
        self._timer.start()

    def offer_soon(self, _event: Any = None) -> None:
        """Offer the layers once all that is happening to them has happened."""
        self._timer.start()

    def offer(self) -> None:
        """Offer the layers that there are; choose a scan that has just been opened."""
        if not self._annotator.open:
            return
        images, labels = [], []
        for layer in self._annotator.viewer.layers:
            role = LayerInfo.of(layer).role
            if isinstance(layer, Image) and role is not LayerRole.INSPECTION:
                images.append(layer)
            elif isinstance(layer, Labels) and role is not LayerRole.HIDDEN_ANSWER:
                labels.append(layer)
        self._panel.show_layers(images, labels)
        self.show()
        if self._annotator.work.running:
            return  # what was opened meanwhile is chosen when that is over
        # Only a scan that has just been opened is chosen without asking: when one is
        # removed, another must not take its place unnoticed.
        may_choose, self._may_choose = self._may_choose, False
        opened, self._opened = [each for each in self._opened if each.visible], []
        session = self._annotator.session
        if session is not None:
            same = self._annotator.screen.is_same_patient
            new = [each for each in opened if each in images and not same(each, session)]
            if fit := [image for image in new if why_not_a_scan(image) is None]:
                self._go_over_to(fit[0], session.images[0])
            return
        may = [image for image in (*opened, *images) if why_not_a_scan(image) is None]
        may = [image for image in may if image in images]
        # Rather a volume than a picture beside it.
        usable = min(may, key=lambda image: image.ndim < 3, default=None)
        if usable is not None and may_choose:
            self.choose([usable], None, None, False)
        else:
            self._stayed()

    def _go_over_to(self, opened: Image, before: Image) -> None:
        """Choose a scan that was opened beside another: it is what is seen now."""
        self.choose([opened], None, None, False)
        session = self._annotator.session
        if session is not None and session.images[0] == opened:
            self._annotator.say(
                f"“{opened.name}” was opened and is annotated now; “{before.name}” is hidden. Are "
                f"both of one patient? Choose “{before.name}” again, then press “Add sequence”."
            )

    def choose(
        self, images: list[Image], axis: int | None, labels: Labels | None, fresh: bool
    ) -> None:
        """Annotate a scan; parameters as of `Annotator.choose`."""
        complete: bool | None = True  # our own layers, and empty ones
        if labels is not None and is_from_elsewhere(labels) and np.any(labels.data):
            complete = ask_complete(self._panel, f"“{labels.name}”", None)
        if complete is None:
            self.show()  # the boxes show the present choice again
            return
        choose = partial(self._annotator.choose, images, axis, labels, fresh=fresh)
        if not self._try_to(partial(choose, complete=complete)):
            self._stayed()

    def show(self) -> None:
        """Show what is being annotated."""
        session = self._annotator.session
        if session is not None:
            self._panel.show_choice(session.images, session.axis, session.labels, session.grid)
