"""Which scan, which sequences of it, sliced how, labelled where."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Image, Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QMenu, QPushButton, QWidget

from napari_unet.imaging.orientation import is_oblique, tilt_degrees
from napari_unet.imaging.volume import PLANES, Grid
from napari_unet.plugin.app.scan_on_screen import Hindrance
from napari_unet.plugin.layers.scan_layers import source_of
from napari_unet.plugin.widgets.dock_widget import WheelGuard
from napari_unet.plugin.widgets.message_line import plain

NEW_LAYER = "New layer"


class ScanPanel(QWidget):
    """Which scan, which sequences of it, sliced how, labelled where.

    Signals
    -------
    chosen : (list of Image, int or None, Labels or None, bool)
        Images, slicing axis (None: decide), label layer (None: find one) and
        whether to make a new label layer.
    load_mask : ()
        A mask from a file shall be shown on the scan.
    show_hidden, mend, allow : ()
        Layers that were hidden shall be shown again; what hinders strokes from being seen
        shall be removed; the image that lies over the scan is of the same patient.
    """

    chosen = Signal(object, object, object, bool)
    load_mask = Signal()
    show_hidden = Signal()
    mend = Signal()
    allow = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.images: list[Image] = []
        self._labels: list[Labels] = []
        self.image = QComboBox()
        self.image.setToolTip("The MRI volume to segment")
        self.sequences = QPushButton()
        self.sequences.setStyleSheet("QPushButton::menu-indicator { image: none; }")
        self.sequences.setToolTip(
            "Use further sequences of the same patient, such as FLAIR.\n"
            "Those on another grid are resampled in memory; nothing is changed on disk."
        )
        self.sequences.hide()  # until there is a second image to add
        self._menu = QMenu(self.sequences)
        self.sequences.setMenu(self._menu)
        self.axis = QComboBox()
        self.axis.setToolTip(
            "The plane you paint in, and the distance of its slices.\n"
            "By default the plane the scan was acquired in. Oblique: it is tilted by this angle;\n"
            "planes and letters are the nearest ones."
        )
        self.labels = QComboBox()
        self.labels.setToolTip(
            "The label layer that holds your strokes and the predictions.\n"
            f"“{NEW_LAYER}” starts another one and keeps this one."
        )
        self.load = QPushButton("Load…")
        self.load.setToolTip(
            "Show a mask from a file on this scan, as annotation or as predictions to correct.\n"
            "It may be on another grid; slices that you annotated stay as they are."
        )
        self.load.clicked.connect(lambda: self.load_mask.emit())
        self.hindrance = QLabel()
        self.hindrance.setWordWrap(True)
        self.hindrance.setTextFormat(Qt.TextFormat.PlainText)
        self.hindrance.setStyleSheet("border-left: 4px solid #e0a030; padding-left: 6px;")
        self.mended = QPushButton()
        self.mended.setToolTip("Show the scan that is annotated, with its mask, and paint on")
        self.mended.clicked.connect(lambda: self.mend.emit())
        self.same = QPushButton("Same patient")
        self.same.setToolTip(
            "Both images are of one patient: what you outline on the upper one is meant for the\n"
            "mask of the scan. To learn from both, use “Add sequence” instead."
        )
        self.same.clicked.connect(lambda: self.allow.emit())
        self.all = QPushButton("Show all scans")
        self.all.setToolTip("Show the images and masks of other scans again, which were hidden")
        self.all.clicked.connect(lambda: self.show_hidden.emit())
        self._guard = WheelGuard(self)
        self._guard.watch(self.image, self.axis, self.labels)
        for box in (self.image, self.axis, self.labels):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(8)
        self.image.activated.connect(self._on_image)
        self.axis.activated.connect(lambda i: self._emit(axis=i))
        self.labels.activated.connect(lambda i: self._emit(axis=None, fresh=i == 0))
        form = QGridLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        for row, (caption, box) in enumerate(
            (("Scan", self.image), ("Plane", self.axis), ("Mask", self.labels))
        ):
            label = QLabel(caption)
            label.setToolTip(box.toolTip())
            label.setBuddy(box)
            form.addWidget(label, row, 0)
        form.addWidget(self.axis, 1, 1)
        first = QHBoxLayout()  # a hidden button leaves no gap here, unlike in a grid
        first.setSpacing(4)
        first.addWidget(self.image, 1)
        first.addWidget(self.sequences)
        form.addLayout(first, 0, 1)
        last = QHBoxLayout()
        last.setSpacing(4)
        last.addWidget(self.labels, 1)
        last.addWidget(self.load)
        form.addLayout(last, 2, 1)
        form.setColumnStretch(1, 1)
        screen = QHBoxLayout()
        screen.setSpacing(4)
        for button in (self.mended, self.same, self.all):
            screen.addWidget(button, 1)
        form.addWidget(self.hindrance, 3, 0, 1, 2)
        form.addLayout(screen, 4, 0, 1, 2)
        self.show_screen(None, some_hidden=False)

    def show_layers(self, images: Sequence[Image], labels: Sequence[Labels]) -> None:
        """Offer the layers of the viewer; call it again when one is renamed."""
        chosen = self._chosen_images()
        label = (
            self._labels[self.labels.currentIndex() - 1] if self.labels.currentIndex() > 0 else None
        )
        self.images, self._labels = list(images), list(labels)
        self.load.setEnabled(bool(images))
        self.image.clear()
        self.image.addItems(_titles(images))
        for row, image in enumerate(images):
            self.image.setItemData(
                row, plain(str(source_of(image) or "")), Qt.ItemDataRole.ToolTipRole
            )
        if chosen and chosen[0] in self.images:
            self.image.setCurrentIndex(self.images.index(chosen[0]))
        self.labels.clear()
        self.labels.addItems([NEW_LAYER, *(layer.name for layer in labels)])
        if label in self._labels:
            self.labels.setCurrentIndex(self._labels.index(label) + 1)
        self._fill_menu(chosen[1:])

    def show_choice(self, images: Sequence[Image], axis: int, labels: Labels, grid: Grid) -> None:
        """Show what is being annotated."""
        if images[0] in self.images:
            self.image.setCurrentIndex(self.images.index(images[0]))
        self._fill_menu(images[1:])
        self.axis.clear()
        oblique = f", oblique {tilt_degrees(grid):.0f}°" if is_oblique(grid) else ""
        self.axis.addItems(
            [
                f"{plane.capitalize()} ({mm:.3g} mm{oblique})"
                for plane, mm in zip(PLANES, grid.spacing_mm, strict=True)
            ]
        )
        self.axis.setCurrentIndex(axis)
        if labels in self._labels:
            self.labels.setCurrentIndex(self._labels.index(labels) + 1)

    def show_screen(self, hindrance: Hindrance | None, *, some_hidden: bool) -> None:
        """Show what hinders strokes from being seen, and whether layers were hidden."""
        self.hindrance.setVisible(hindrance is not None)
        self.mended.setVisible(hindrance is not None)
        self.same.setVisible(hindrance is not None and hindrance.covering is not None)
        self.all.setVisible(some_hidden and hindrance is None)
        if hindrance is not None:
            self.hindrance.setText(f"{hindrance.found} Strokes are held back.")
            self.mended.setText(hindrance.remedy)

    def _fill_menu(self, checked: Sequence[Image]) -> None:
        self._menu.clear()
        first = self.images[self.image.currentIndex()] if self.images else None
        for image in self.images:
            if image is not first:
                action = QAction(image.name, self._menu)
                action.setCheckable(True)
                action.setChecked(image in checked)
                action.setData(self.images.index(image))
                action.toggled.connect(lambda _on: self._emit(axis=None))
                self._menu.addAction(action)
        count = 1 + sum(a.isChecked() for a in self._menu.actions())
        self.sequences.setText("Add sequence" if count == 1 else f"{count} sequences")
        self.sequences.setVisible(len(self.images) > 1)

    def _chosen_images(self) -> list[Image]:
        if not self.images or self.image.currentIndex() < 0:
            return []
        extra = [self.images[a.data()] for a in self._menu.actions() if a.isChecked()]
        first = self.images[self.image.currentIndex()]
        return [first, *(image for image in extra if image is not first)]

    def _on_image(self, _index: int) -> None:
        self.chosen.emit(self._chosen_images()[:1], None, None, False)

    def _emit(self, axis: int | None, *, fresh: bool = False) -> None:
        images = self._chosen_images()
        chosen = self.labels.currentIndex()
        if images:
            labels = self._labels[chosen - 1] if chosen > 0 else None
            self.chosen.emit(images, axis, labels, fresh)


def _titles(images: Sequence[Image]) -> list[str]:
    """Names of scans, with the folder where files of one name were opened from several."""
    paths = [source_of(image) for image in images]
    titles = []
    for image, path in zip(images, paths, strict=True):
        twins = {each for each in paths if path and each and each.name == path.name}
        titles.append(
            f"{image.name} ({path.parent.name})" if path and len(twins) > 1 else image.name
        )
    return titles
