"""Label values of files, and the classes that a scan is worked on with."""

import numpy as np
import pytest

from napari_unet.annotation.states import IGNORE_LABEL, PALETTE, Structure
from napari_unet.annotation.structures import (
    FIRST,
    check_name,
    named_apart,
    pair,
    to_classes,
    to_values,
    unnamed,
    values_in,
)
from napari_unet.errors import AnnotationError

LEFT, RIGHT = Structure("Left", PALETTE[0], 17), Structure("Right", PALETTE[1], 53)


@pytest.mark.parametrize("highest", [53, 1035, 70_000])
def test_values_come_back_from_classes_whatever_they_are(highest):
    labels = np.zeros((3, 4, 5), np.min_scalar_type(highest))
    labels[0, 0], labels[1, 1], labels[2, 2, 2] = 17, highest, 255 if highest > 255 else 3
    present = [value for value in (3, 17, highest) if value in labels]
    assert values_in(labels) == sorted(present)
    classes = {value: number for number, value in enumerate(present, start=1)}
    found = to_classes(labels, classes)
    assert found.dtype == np.uint8
    back = to_values(found, [unnamed(value, 1) for value in present])
    np.testing.assert_array_equal(back, labels)
    assert back.dtype == labels.dtype


def test_what_nobody_annotated_stays_so():
    labels = np.array([[[0, 17, IGNORE_LABEL]]], np.uint8)
    np.testing.assert_array_equal(to_classes(labels, {17: 1}), [[[0, 1, IGNORE_LABEL]]])


def test_an_untouched_scan_has_the_structures_of_the_mask_and_no_others():
    found = pair([17, 53], (), [FIRST], fixed=False)
    assert [(s.name, s.value) for s in found.structures] == [
        ("Structure 17", 17),
        ("Structure 53", 53),
    ]
    assert found.classes == {17: 1, 53: 2}


def test_names_that_somebody_gave_stay_where_the_mask_says_nothing():
    mine = [Structure("Core", PALETTE[0], 1), Structure("Oedema", PALETTE[1], 2)]
    found = pair([2], (), mine, fixed=False)
    assert sorted((s.name, s.value) for s in found.structures) == [("Core", 1), ("Oedema", 2)]
    assert found.structures[found.classes[2] - 1].name == "Oedema"
    assert pair([1], (), [FIRST], fixed=False).structures == (FIRST,)


def test_a_mask_is_paired_with_a_model_by_value():
    found = pair([17, 53], (), [LEFT, RIGHT], fixed=True)
    assert (found.structures, found.classes, found.notes) == ((LEFT, RIGHT), {17: 1, 53: 2}, ())


def test_names_decide_where_mask_and_scan_number_them_otherwise():
    there = [Structure("Right", "#111111", 1), Structure("Left", "#222222", 2)]
    found = pair([1, 2], there, [LEFT, RIGHT], fixed=True)
    assert found.structures == (LEFT, RIGHT)
    assert found.classes == {1: 2, 2: 1}
    assert "Label 1 there, “Right”, is label 53 here." in found.notes


def test_two_names_for_one_value_are_told():
    found = pair([17], [Structure("Tumour", "#111111", 17)], [LEFT, RIGHT], fixed=True)
    assert found.classes == {17: 1}
    assert found.notes == ("Label 17, “Tumour” there, is “Left” here.",)


def test_a_value_that_nothing_here_has_is_a_new_structure_with_a_free_value():
    swapped = [Structure("Left", "#111111", 53)]
    found = pair([17, 53, 60], swapped, [LEFT], fixed=True)
    # 53 is called Left: 17 is none of the structures here, though its value is that of Left.
    assert [(s.name, s.value) for s in found.structures] == [
        ("Left", 17),
        ("Structure 17", 18),
        ("Structure 60", 60),
    ]
    assert found.classes == {53: 1, 17: 2, 60: 3}


def test_structures_that_share_a_name_are_told_apart_by_a_number():
    same = [Structure(name, "#fff", value) for value, name in enumerate(("A", "a", "B", "A"), 1)]
    assert [each.name for each in named_apart(same)] == ["A", "a (2)", "B", "A (3)"]
    assert named_apart(same[1:3]) == same[1:3]
    with pytest.raises(AnnotationError, match="“b” already"):
        check_name("b", same)
    check_name("C", same)
