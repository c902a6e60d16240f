"""The study over time: its phantoms, its split, and that the command leaves what it promises."""

import csv
import importlib.util

import nibabel as nib
import numpy as np
import pytest

from benchmarks.common.cases import Case
from benchmarks.lesions import time_points
from benchmarks.lesions.phantom_series import Lesion, make_series
from benchmarks.lesions.time_points import Exam, by_time
from napari_unet.imaging.volume import Grid, Volume

SMALL = (24, 52, 44)


def exam(patient: str, time: str) -> Exam:
    truth = np.zeros((2, 4, 4), np.uint8)
    volume = Volume(np.zeros((1, *truth.shape), np.float32), Grid.from_spacing(truth.shape))
    return Exam(Case(f"{patient} {time}", "lesions", volume, truth, ("lesion",)), patient, time)


def rows(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


# -- phantoms ----------------------------------------------------------------------


def test_a_lesion_keeps_to_its_course():
    def radii(course: str, starts: int = 0) -> list[float]:
        lesion = Lesion((0, 0, 0), 10.0, course, starts, (), 0)
        return [lesion.radius_at(time, 4) for time in range(4)]

    assert radii("grows") == sorted(radii("grows"))
    assert radii("grows")[-1] == pytest.approx(10)
    assert radii("shrinks") == sorted(radii("shrinks"), reverse=True)
    assert radii("stays") == [10] * 4
    assert radii("appears", 2)[:2] == [0, 0]
    assert radii("appears", 2)[2] > 0


def test_the_same_head_comes_back_moved_with_other_lesions_and_other_noise():
    first, second = list(make_series(0, 2, SMALL, n_lesions=4, diameters_mm=(12.0, 30.0)))
    again, _ = make_series(0, 2, SMALL, n_lesions=4, diameters_mm=(12.0, 30.0))
    np.testing.assert_array_equal(first.volume.data, again.volume.data)
    assert not np.array_equal(first.truth, second.truth)
    alike = np.corrcoef(first.volume.data.ravel(), second.volume.data.ravel())[0, 1]
    assert 0.7 < alike < 0.999
    other = next(make_series(1, 2, SMALL, n_lesions=4))
    assert alike > np.corrcoef(first.volume.data.ravel(), other.volume.data.ravel())[0, 1]


# -- split -------------------------------------------------------------------------


def test_the_last_scan_of_everybody_with_several_is_the_test_and_earlier_ones_are_learned():
    scans = [exam("a", "1"), exam("a", "2"), exam("a", "3"), exam("b", "1"), exam("c", "1")]
    (split,) = by_time(scans)
    assert [each.case.name for each in split.tests] == ["a 3"]
    assert [each.case.name for each in split.lessons] == ["a 1", "a 2", "b 1", "c 1"]


def test_without_times_one_patient_is_left_out_in_turn_and_it_is_said():
    splits = by_time([exam("a", ""), exam("b", ""), exam("c", "")])
    assert [each.tests[0].patient for each in splits] == ["a", "b", "c"]
    assert all("no time points" in each.name and len(each.lessons) == 2 for each in splits)


def test_a_single_scan_is_refused():
    with pytest.raises(SystemExit, match="not enough"):
        by_time([exam("a", "1")])


# -- command -----------------------------------------------------------------------


def test_the_study_runs_on_phantoms_and_leaves_rows_tables_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.lesions.time_points._QUICK_SHAPE", SMALL)
    time_points.main(
        f"--quick --steps 2 --threads 1 --losses ce dice+ce -k 4 --out {tmp_path}".split()
    )
    scans, lesions = rows(tmp_path / "time_points.csv"), rows(tmp_path / "time_points-lesions.csv")
    assert [(row["case"], row["loss"]) for row in scans] == [
        ("phantom 0 time 4", "ce"),
        ("phantom 0 time 4", "dice+ce"),
    ]
    assert len(lesions) == sum(int(row["lesions"]) for row in scans)
    summary = (tmp_path / "time_points.md").read_text()
    assert "Circularity" in summary
    assert "predicted / true" in summary
    drawn = bool(importlib.util.find_spec("matplotlib"))
    for name in ("time_points.png", "time_points-phantom-0-time-4.png"):
        assert (tmp_path / name).exists() == drawn


def test_the_study_takes_the_layout_of_openbtai_and_names_what_it_leaves_out(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "040102" / "040102" / "NIFTI"
    folder.mkdir(parents=True)
    for time in (1, 2, 3):
        mask = np.zeros((24, 24, 10), np.uint8)
        mask[8:14, 8:14, 3:7], mask[10:12, 10:12, 4:6] = 11, 12  # enhancing, necrotic
        image = rng.normal(100, 5, mask.shape) + 80 * (mask > 0)
        for kind, array in (("img", image.astype(np.float32)), ("msk", mask)):
            if (kind, time) != ("msk", 3):
                name = folder / f"040102_{time}_{kind}.nii"
                nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), name)
    time_points.main(
        f"--data {tmp_path / 'data'} --seeds 0 --steps 1 --threads 1 --losses ce "
        f"--out {tmp_path / 'out'}".split()
    )
    (scan,) = rows(tmp_path / "out" / "time_points.csv")
    (lesion,) = rows(tmp_path / "out" / "time_points-lesions.csv")
    assert scan["case"] == "040102 2"
    assert float(lesion["diameter_mm"]) == pytest.approx((6 * 288 / np.pi) ** (1 / 3))
    assert "040102_3_img.nii: no mask of that name" in capsys.readouterr().out
