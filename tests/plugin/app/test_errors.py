"""Bad input: a sentence in the widget that says what to do, and the widget works on."""

import numpy as np
import pytest

from napari_unet.errors import NapariUnetError
from napari_unet.learning.events import Notice
from napari_unet.learning.training.weight_updater import WeightUpdater


def text_after(bench, action) -> str:
    bench.widget.try_to(action)
    assert bench.widget.message.failed
    return bench.widget.message.text


def test_training_without_annotation_says_what_to_do(bench):
    bench.widget.train.start.click()
    assert bench.widget.message.failed
    assert "Paint it on one slice" in bench.widget.message.text
    assert not bench.annotator.work.running


def test_only_empty_slices_are_not_enough(bench):
    bench.annotator.accept_slice()
    bench.widget.train.start.click()
    assert "No slice shows a structure" in bench.widget.message.text


@pytest.mark.parametrize(
    ("data", "options", "word"),
    [
        (np.zeros((32, 5)), {}, "at least 8"),
        (np.zeros((8, 32, 32, 3), np.uint8), {"rgb": True}, "Split RGB"),
        (np.zeros((2, 8, 32, 32)), {}, "4D"),
        (np.zeros((16, 48, 40)), {"rotate": (0, 0, 20)}, "rotated"),
        (np.zeros((16, 48, 40)), {"shear": (0, 0.5, 0)}, "sheared"),
    ],
)
def test_images_that_are_no_scans_are_refused_with_a_reason(bench, data, options, word):
    other = bench.viewer.add_image(data, name="other", **options)
    before = bench.session
    assert word in text_after(bench, lambda: bench.annotator.choose([other]))
    assert bench.session is before


@pytest.mark.slow
def test_odd_voxels_are_told_once_and_cost_nothing(bench):
    for index in (4, 8, 11):
        bench.paint(index)
    data = bench.image.data.copy()
    data[2, 3, 3] = -32767
    bench.image.data = data
    told = []
    bench.annotator.message.connect(lambda text, failed: told.append(text))
    bench.train()
    assert sum("1 voxel lies far outside" in text for text in told) == 1
    assert bench.dice(7) > 0.5
    bench.widget.train.start.click()
    bench.annotator.stop()
    bench.wait_for_job()
    assert sum("1 voxel lies far outside" in text for text in told) == 1


@pytest.mark.parametrize("damage", ["nan", "constant"])
def test_unusable_voxels_are_reported_and_strokes_stay(bench, damage):
    bench.paint(8)
    bench.image.data = (
        np.full(bench.image.data.shape, 7.0, np.float32)
        if damage == "constant"
        else np.where(bench.truth, np.nan, bench.image.data)
    )
    bench.widget.train.start.click()
    bench.wait_for_job()
    assert bench.widget.message.failed
    assert ("NaN" if damage == "nan" else "same") in bench.widget.message.text
    assert (bench.session.labels.data[8] == 1).sum() == bench.truth[8].sum()
    assert bench.widget.train.start.isEnabled()


def test_a_label_layer_of_another_shape_is_refused(bench):
    other = bench.viewer.add_labels(np.zeros((4, 5, 6), np.uint8), name="other labels")
    text = text_after(bench, lambda: bench.annotator.choose([bench.image], labels=other))
    assert "(4, 5, 6)" in text
    assert "(16, 48, 40)" in text


def test_channels_of_another_place_are_refused(bench):
    other = bench.viewer.add_image(np.zeros((16, 48, 40)), name="knee", translate=(500, 0, 0))
    text = text_after(bench, lambda: bench.annotator.choose([bench.image, other]))
    assert "“knee” covers nothing of “scan”" in text
    assert bench.session.images == (bench.image,)


@pytest.mark.slow
def test_replacing_the_labels_by_another_shape_keeps_the_annotation(bench):
    bench.paint(8)
    kept = bench.session.record.labels
    bench.session.labels.data = np.zeros((4, 5, 6), np.uint8)
    assert bench.widget.message.failed
    assert bench.session.labels.data is kept
    assert kept[8].sum() == bench.truth[8].sum()
    bench.train()


@pytest.mark.slow
def test_running_out_of_memory_is_told_and_training_works_again(bench, monkeypatch):
    bench.paint(8)

    def no_memory(*_args, **_kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    with monkeypatch.context() as patched:
        patched.setattr(WeightUpdater, "step", no_memory)
        bench.widget.train.start.click()
        bench.wait_for_job()
    assert "memory" in bench.widget.message.text
    bench.train()


@pytest.mark.slow
def test_what_happens_to_the_work_is_told_while_it_goes_on(bench, monkeypatch):
    notices = [[Notice("Training goes on without the graphics card.")]]
    monkeypatch.setattr(
        WeightUpdater, "take_notices", lambda _self: notices.pop() if notices else []
    )
    told = []
    bench.annotator.message.connect(lambda text, failed: told.append((text, failed)))
    bench.paint(8)
    bench.train()
    assert ("Training goes on without the graphics card.", False) in told


def test_a_damaged_model_file_is_refused(bench, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 not a model")
    assert "model" in text_after(bench, lambda: bench.annotator.load_model(path)).lower()


@pytest.mark.slow
def test_a_model_for_other_structures_or_channels_is_refused(bench, tmp_path):
    bench.paint(8)
    bench.train()
    path = tmp_path / "model.safetensors"
    bench.annotator.save_model(path)
    bench.annotator.add_structure()
    assert "structure" in text_after(bench, lambda: bench.annotator.load_model(path)).lower()
    bench.session.remove_last_structure()
    second = bench.viewer.add_image(
        bench.image.data, scale=bench.image.scale, translate=bench.image.translate
    )
    bench.annotator.choose([bench.image, second])
    assert "1" in text_after(bench, lambda: bench.annotator.load_model(path))


def test_segmenting_without_a_model_says_what_to_do(bench):
    assert "Train a model first" in text_after(bench, bench.annotator.segment)


def test_a_second_job_is_refused_while_one_runs(bench):
    bench.annotator.config = type(bench.annotator.config)(seconds=36_000, threads=1)
    bench.paint(8)
    bench.widget.train.start.click()
    bench.wait_for_step()
    with pytest.raises(NapariUnetError, match="Stop it first"):
        bench.annotator.train()
    bench.annotator.stop()
    bench.wait_for_job()


def test_saving_to_a_folder_that_is_not_there_keeps_everything(bench, tmp_path):
    bench.paint(8)
    text_after(bench, lambda: bench.annotator.save_mask(tmp_path / "missing" / "mask.nii.gz"))
    assert bench.session.labels.data[8].any()
