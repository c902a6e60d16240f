"""Images and masks are matched, and put in the order of time, by rules that are written down."""

from pathlib import Path

import pytest

from benchmarks.lesions.scan_pairs import find_pairs, patient_and_time


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder: Path) -> list[tuple[str, str, str, str]]:
    pairs, _ = find_pairs(folder)
    return [(p.patient, p.time, p.image.name, p.mask.name) for p in pairs]


def test_openbtai_is_read_as_its_authors_lay_it_out(tmp_path):
    for patient, time in (("040102", 10), ("040102", 2), ("050301", 1)):
        for kind in ("img", "msk"):
            touch(tmp_path, f"{patient}/{patient}/NIFTI/{patient}_{time}_{kind}.nii")
    assert found(tmp_path) == [
        ("040102", "2", "040102_2_img.nii", "040102_2_msk.nii"),
        ("040102", "10", "040102_10_img.nii", "040102_10_msk.nii"),
        ("050301", "1", "050301_1_img.nii", "050301_1_msk.nii"),
    ]


def test_the_sequence_with_contrast_medium_is_taken_of_several(tmp_path):
    touch(tmp_path, *(f"pat0001_{each}.nii.gz" for each in ("flair", "t1", "t1c", "label")))
    assert found(tmp_path) == [("pat0001", "", "pat0001_t1c.nii.gz", "pat0001_label.nii.gz")]


def test_folders_of_images_and_labels_go_by_the_same_name(tmp_path):
    touch(tmp_path, "imagesTr/BRATS_001_0000.nii.gz", "labelsTr/BRATS_001.nii.gz")
    assert found(tmp_path) == [("BRATS_001", "", "BRATS_001_0000.nii.gz", "BRATS_001.nii.gz")]


def test_visits_in_folders_and_in_names(tmp_path):
    touch(tmp_path, "p1/2020-03-01/t1c.nii.gz", "p1/2020-03-01/mask.nii.gz")
    touch(tmp_path, "p1/2019-12-01/t1c.nii.gz", "p1/2019-12-01/mask.nii.gz")
    touch(tmp_path, "sub-2/ses-1/anat/sub-2_ses-1_T1w.nii.gz")
    touch(tmp_path, "derivatives/sub-2/ses-1/anat/sub-2_ses-1_mask.nii.gz")
    assert [each[:2] for each in found(tmp_path)] == [
        ("p1", "2019-12-01"),
        ("p1", "2020-03-01"),
        ("sub-2", "ses-1"),
    ]


def test_files_without_a_partner_are_named(tmp_path):
    touch(tmp_path, "a_T1.nii.gz", "a_mask.nii.gz", "b_T1.nii.gz", "c_mask.nii.gz", "notes.txt")
    pairs, left_out = find_pairs(tmp_path)
    assert [pair.patient for pair in pairs] == ["a"]
    assert left_out == ["b_T1.nii.gz: no mask of that name", "c_mask.nii.gz: no image of that name"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BraTS-GLI-00005-001", ("BraTS-GLI-00005", "001")),
        ("BRATS_003", ("BRATS_003", "")),
        ("pat03_2", ("pat03", "2")),
        ("pat0001", ("pat0001", "")),
        ("anna_20190131", ("anna", "20190131")),
        ("anna_week12", ("anna", "week12")),
    ],
)
def test_patient_and_time_of_a_name(name, expected):
    assert patient_and_time(name) == expected
