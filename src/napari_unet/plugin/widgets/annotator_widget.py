"""The dock widget: forwards what the annotator wants, renders what there is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from napari_unet.annotation.states import BACKGROUND_BRUSH, TOUCHED, SliceState, Structure
from napari_unet.errors import AnnotationError, NapariUnetError
from napari_unet.imaging.volume import PLANES
from napari_unet.learning.events import StepDone
from napari_unet.plugin.app.annotator import Annotator
from napari_unet.plugin.app.panel_text import Model, PanelState, panel_text
from napari_unet.plugin.app.shortcuts import Shortcut
from napari_unet.plugin.app.tasks import Activity
from napari_unet.plugin.layers.scan_layers import knows_patient, why_not_a_scan
from napari_unet.plugin.widgets.advanced_panel import AdvancedPanel
from napari_unet.plugin.widgets.close_guard import CloseGuard
from napari_unet.plugin.widgets.dock_widget import DockedWidget, HelpRow
from napari_unet.plugin.widgets.file_dialogs import (
    ask_complete,
    ask_mask_to_load,
    ask_mask_to_save,
    ask_model_to_load,
    ask_model_to_save,
)
from napari_unet.plugin.widgets.message_line import MessageLine
from napari_unet.plugin.widgets.orientation_marks import OrientationMarks
from napari_unet.plugin.widgets.paint_panel import PaintPanel
from napari_unet.plugin.widgets.result_panel import ResultPanel
from napari_unet.plugin.widgets.scan_choice import ScanChoice
from napari_unet.plugin.widgets.scan_panel import ScanPanel
from napari_unet.plugin.widgets.slice_strip import FILLED, ColumnState
from napari_unet.plugin.widgets.train_panel import TrainPanel

if TYPE_CHECKING:
    import napari

RENDER_MS = 100
"""Slices change hundreds of times a second while predictions arrive; ten redraws do."""


def _let_go(
    viewer: Viewer, annotator: Annotator, marks: OrientationMarks, connections: tuple[Any, ...]
) -> None:
    for emitter, callback in connections:
        emitter.disconnect(callback)
    if annotator.open:
        annotator.close()
        marks.close()
        for shortcut in VIEWER_KEYS:
            viewer.bind_key(shortcut.key, None)


class AnnotatorWidget(DockedWidget):
    """U-Net annotator.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Viewer = viewer
        self.annotator = Annotator(viewer)
        self.marks = OrientationMarks(viewer)
        self.scan = ScanPanel()
        self.paint = PaintPanel()
        self.train = TrainPanel()
        self.result = ResultPanel()
        self.advanced = AdvancedPanel(self.annotator.config)
        self.message = MessageLine()
        self.help = HelpRow()
        self.choice = ScanChoice(self.annotator, self.scan, self.try_to, self._render_session)
        self._lay_out()
        self._shown: object = None  # the session whose curve is shown
        self._render_timer = QTimer(self)
        self._render_timer.setSingleShot(True)
        self._render_timer.setInterval(RENDER_MS)
        self._render_timer.timeout.connect(self._render_slices)
        self._connect_panels()
        self._connect_annotator()
        self._guard: CloseGuard | None = None
        self._connections: tuple[Any, ...] = (
            (viewer.layers.events.inserted, self.choice.on_inserted),
            (viewer.layers.events.removed, self.choice.offer_soon),
            (viewer.layers.events.renamed, self.choice.offer_soon),
            (viewer.layers.selection.events.active, self._on_active),
            (viewer.events.theme, self._on_theme),
        )
        for emitter, callback in self._connections:
            emitter.connect(callback)
        for shortcut, action in VIEWER_KEYS.items():
            do = partial(self.try_to, partial(action, self))
            viewer.bind_key(shortcut.key, _key_action(do), overwrite=True)
        # When the window goes, the C++ half of this widget goes first: only Python here.
        self.destroyed.connect(
            partial(_let_go, viewer, self.annotator, self.marks, self._connections)
        )
        self._on_theme()
        self.choice.offer()

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        for panel in (self.scan, self.paint, self.train, self.result, self.advanced):
            column.addWidget(panel)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidget(content)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll)
        layout.addWidget(self.message)
        layout.addWidget(self.help)
        self.setMinimumWidth(316)

    def _connect_panels(self) -> None:
        act = self.annotator
        self.advanced.forget_model.connect(lambda: self.try_to(act.forget_model))
        self.advanced.restore_model.connect(self._restore_model)
        self.paint.brush.connect(act.pick_structure)
        self.paint.structures.picked.connect(act.pick_structure)
        self.paint.structures.changed.connect(self._change_structure)
        self.paint.structures.added.connect(act.add_structure)
        self.paint.structures.removed.connect(partial(self.try_to, act.remove_last_structure))
        self.paint.strip.jump.connect(self._jump)
        self.paint.accept.clicked.connect(lambda: self.try_to(act.accept_slice))
        self.paint.next.clicked.connect(lambda: self.try_to(act.next_slice))
        self.paint.partial.clicked.connect(lambda on: self.try_to(partial(act.set_partial, on)))
        self.paint.reset.clicked.connect(lambda: self.try_to(act.reset_slice))
        self.train.start.clicked.connect(self.train_or_stop)
        self.advanced.config_changed.connect(partial(setattr, act, "config"))
        self.result.segment.clicked.connect(self._segment_or_stop)
        self.result.fill.clicked.connect(lambda: self.try_to(act.fill))
        self.advanced.clean_changed.connect(self._set_clean)
        self.advanced.show_display(self.marks.neurological)
        self.advanced.neurological.connect(self.marks.set_neurological)
        self.scan.load_mask.connect(lambda: self.try_to(self._load_mask))
        self.scan.show_hidden.connect(act.screen.show_hidden)
        self.scan.mend.connect(self._mend)
        self.scan.allow.connect(act.screen.allow)
        self.result.save_mask.clicked.connect(lambda: self.try_to(self._save_mask))
        self.result.save_model.clicked.connect(lambda: self.try_to(self._save_model))
        self.result.load_model.clicked.connect(lambda: self.try_to(self._load_model))
        self.message.restore.connect(lambda: self.try_to(act.restore_labels))

    def _connect_annotator(self) -> None:
        self.annotator.session_changed.connect(self._render_session)
        self.annotator.slices_changed.connect(self._render_timer_start)
        self.annotator.work.changed.connect(self._render_job)
        self.annotator.work.step.connect(self._on_step)
        self.annotator.work.segmented.connect(self._render_text)
        self.annotator.edited.connect(self._render_text)
        self.annotator.message.connect(self._render_text)
        self.annotator.screen.changed.connect(self._render_screen)

    def disconnect_viewer(self) -> None:
        """Stop the work and disconnect from the viewer; safe to call twice."""
        _let_go(self.viewer, self.annotator, self.marks, self._connections)
        self._connections = ()

    def on_docked(self, window: QMainWindow) -> None:
        """Have the window ask for unsaved work before it closes."""
        if self.annotator.open and self._guard is None:
            self._guard = CloseGuard.of(window, self.viewer)
            self._guard.watch(self.annotator)

    def on_dock_closed(self) -> None:
        """Say where the work is."""
        if self._guard is not None:
            self._guard.tell_left(self.annotator)

    def try_to(self, action: Callable[[], object]) -> bool:
        """Do something; show the sentence if it cannot be done."""
        try:
            action()
        except NapariUnetError as error:
            self.annotator.say(str(error), failed=True)
            return False
        return True

    # -- scan ------------------------------------------------------------------

    def _on_active(self, event: Any) -> None:
        self.try_to(partial(self.annotator.follow, event.value))
        self._render_timer_start()

    def _render_session(self) -> None:
        session = self.annotator.session
        present = session is not None and session.labels in self.viewer.layers
        for panel in (self.paint, self.train, self.result):
            panel.setEnabled(present)
        if session is not self._shown:
            self._shown = session
            self.train.hide_curve()
        self.marks.show(session is not None and knows_patient(session.images[0]))
        if session is None:
            self.paint.strip.show_states((), None, None)
            self._render_text()
            return
        self.choice.show()
        self.paint.structures.show_structures(session.structures, session.segmentation.label)
        self.advanced.show_structures(session.class_names, session.clean)
        self._render_slices()
        self._render_job()

    def _change_structure(self, number: int, structure: Structure) -> None:
        if not self.try_to(partial(self.annotator.change_structure, number, structure)):
            self._render_session()  # the row shows the present name again

    def _render_screen(self) -> None:
        screen = self.annotator.screen
        self.scan.show_screen(screen.hindrance, some_hidden=bool(screen.hidden))

    def _mend(self) -> None:
        session = self.annotator.session
        if session is not None:
            self.annotator.say(self.annotator.screen.make_seen())
            self.viewer.layers.selection.active = session.labels
            session.labels.mode = "paint"

    # -- slices ----------------------------------------------------------------

    def _jump(self, index: int) -> None:
        if self.annotator.session is not None:
            self.viewer.dims.ndisplay = 2
            self.annotator.session.segmentation.face_axis()
            self.annotator.session.segmentation.go_to(index)

    def _render_timer_start(self) -> None:
        if not self._render_timer.isActive():
            self._render_timer.start()

    def _render_slices(self) -> None:
        session = self.annotator.session
        if session is None:
            return
        states = session.record.states()
        index, in_view = session.segmentation.visible_index, session.segmentation.in_view
        suggested = session.suggested.index if session.suggested else None
        label = session.segmentation.label
        if label == BACKGROUND_BRUSH and states[index] is not SliceState.PARTIAL:
            # Elsewhere it would paint what an eraser does, but in another colour.
            label = session.labels.selected_label = self.paint.structures.last
        session.segmentation.refresh_if_stale()
        known = knows_patient(session.images[0])
        self.paint.show_place(session.grid if known and in_view else None, session.axis, index)
        columns: list[ColumnState] = [*states]
        for filled in session.record.filled_slices():
            columns[filled] = FILLED
        self.paint.strip.show_states(columns, index if in_view else None, suggested)
        session.segmentation.outline(columns[index] in (SliceState.PREDICTED, FILLED))
        if in_view:
            self.paint.show_slice(index, columns[index], label)
        else:
            self.paint.show_no_slice(PLANES[session.axis])
        done = sum(s in TOUCHED for s in states)
        self.paint.show_counts(done, len(states), PLANES[session.axis])
        self._render_text()

    def _render_text(self, *_: object) -> None:
        """Have all texts say what there is now; see `panel_text`."""
        state = self._state()
        text = panel_text(state)
        self.message.say(text.message.text, text.message.failed)
        self.message.offer_restore(text.can_restore)
        session = self.annotator.session
        if session is not None and session.measured is not None:
            self.result.show_measures(session.named_measures())
        self.train.show_text(text, state.judgement.score)
        self.result.show_text(text)
        if state.activity is not Activity.TRAINING:
            self.train.finish()

    def _state(self) -> PanelState:
        act, session = self.annotator, self.annotator.session
        scans = len(self.scan.images)
        if session is None:
            refusals = [why_not_a_scan(image) for image in self.scan.images]
            refusal = refusals[0] or "" if all(refusals) and refusals else ""
            return PanelState(scans=scans, refusal=refusal, said=act.said)
        present = session.models.present
        history = None if present is None else present.card.provenance
        measured = session.measured
        return PanelState(
            scans=scans,
            chosen=True,
            mask_there=session.labels in self.viewer.layers,
            n_annotated=len(session.record.slices_in(*TOUCHED)),
            new_label=session.new_label,
            activity=act.work.activity,
            stopping=act.work.stopping,
            model=None if history is None else Model(history.steps, history.annotated_slices),
            step=session.step,
            filled=session.filling.is_current,
            judgement=session.progress.judge(),
            measured=measured is not None,
            changed=measured is not None and measured.changes != session.record.changes,
            said=act.said,
        )

    def toggle_background(self) -> None:
        """Take the background brush on a partial slice, or give it back."""
        session = self.annotator.require_session()
        state = session.record.state(session.segmentation.visible_index)
        erasing = session.segmentation.label == BACKGROUND_BRUSH
        if state is not SliceState.PARTIAL and not erasing:
            raise AnnotationError(
                "The background brush is for slices on which only painted voxels count. "
                f"Press {Shortcut.PARTIAL.key} to make this one so."
            )
        self.paint.take_background(not erasing)

    # -- files -----------------------------------------------------------------

    def _load_mask(self) -> None:
        session = self.annotator.session
        path = ask_mask_to_load(self, session)
        if path is None or session is None:
            return
        mask = self.annotator.find_mask(path)
        complete = ask_complete(self, mask.name, len(mask.slices(session.axis)))
        if complete is not None:
            self.annotator.take_mask(mask, complete=complete)

    def _save_mask(self) -> None:
        if path := ask_mask_to_save(self, self.annotator.session):
            self.annotator.save_mask(path)

    def _load_model(self) -> None:
        if path := ask_model_to_load(self, self.annotator.session):
            self.annotator.load_model(path)

    def _save_model(self) -> None:
        if path := ask_model_to_save(self, self.annotator.session):
            self.annotator.save_model(path)

    # -- work ------------------------------------------------------------------

    def train_or_stop(self) -> None:
        """Start to train; or stop what is running."""
        if self.annotator.work.running:
            self.annotator.stop()
        elif self.try_to(self.annotator.train):
            self.train.restart(self.viewer.theme)

    def _segment_or_stop(self) -> None:
        if self.annotator.work.running:
            self.annotator.stop()
        else:
            self.try_to(self.annotator.segment)

    def _on_step(self, step: StepDone) -> None:
        self.train.add_step(step)
        self._render_timer_start()

    def _restore_model(self, position: int) -> None:
        if not self.try_to(partial(self.annotator.restore_model, position)):
            self._render_job()  # the box shows the present model again

    def _set_clean(self, value: int, clean: Any) -> None:
        if self.annotator.session is not None:
            self.annotator.session.clean[value] = clean

    def _render_job(self) -> None:
        session = self.annotator.session
        activity = self.annotator.work.activity
        has_model = session is not None and session.models.present is not None
        self._render_text()
        if session is not None:
            history = session.models
            self.advanced.show_models(
                [(m.title, m.details) for m in history.kept], history.position
            )
        self.advanced.show_activity(activity, has_model)
        self.scan.setEnabled(activity is None)
        if activity is None:  # layers may have come, gone or been selected meanwhile
            self.choice.offer_soon()
            active = self.viewer.layers.selection.active
            self.try_to(partial(self.annotator.follow, active))

    def _on_theme(self, _event: Any = None) -> None:
        self.train.follow_theme(self.viewer.theme)


VIEWER_KEYS: dict[Shortcut, Callable[[AnnotatorWidget], object]] = {
    Shortcut.ACCEPT: lambda widget: widget.annotator.accept_slice(),
    Shortcut.RESET: lambda widget: widget.annotator.reset_slice(),
    Shortcut.PARTIAL: lambda widget: widget.annotator.toggle_partial(),
    Shortcut.BACKGROUND: AnnotatorWidget.toggle_background,
    Shortcut.NEXT: lambda widget: widget.annotator.next_slice(),
    Shortcut.NEXT_ANNOTATED: lambda widget: widget.annotator.go_to_annotated(1),
    Shortcut.PREVIOUS_ANNOTATED: lambda widget: widget.annotator.go_to_annotated(-1),
    Shortcut.TRAIN: AnnotatorWidget.train_or_stop,
    Shortcut.HIDE: lambda widget: widget.annotator.toggle_mask(),
}
"""What the keys do in the viewer, whatever has the focus there."""


def _key_action(action: Callable[[], object]) -> Callable[[Viewer], None]:
    # A function and no partial: napari asks every key binding for its __name__.
    def napari_unet_key(_viewer: Viewer) -> None:
        action()

    return napari_unet_key
