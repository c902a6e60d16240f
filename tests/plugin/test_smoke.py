"""One pass through the loop on whichever Qt binding is installed; kept small on purpose."""

import os

import qtpy

from napari_unet.annotation.states import SliceState


def test_the_binding_is_the_one_asked_for():
    assert qtpy.API_NAME.lower() == os.environ.get("QT_API", "pyqt6")


def test_paint_train_segment_save(bench, tmp_path):
    bench.paint(8)
    bench.session.segmentation.go_to(1)
    bench.annotator.accept_slice()
    bench.train()
    bench.widget.result.segment.click()
    bench.wait_for_job()
    assert bench.session.record.states().count(SliceState.PREDICTED) == 14
    bench.annotator.save_mask(tmp_path / "mask.nii.gz")
    assert (tmp_path / "mask.nii.gz").exists()
