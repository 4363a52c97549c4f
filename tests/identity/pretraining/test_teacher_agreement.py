"""Agreement with the teacher by group; groups come from file names, means are worked by hand."""

import numpy as np
import pytest

from identity.pretraining.teacher_agreement import agreement_by_group, groups_of


@pytest.mark.parametrize(
    ("path", "groups"),
    [
        ("utkface/9_1_4_20170103200637399.webp", ["aged 0 to 12", "female", "other ethnicity"]),
        ("utkface/65_0_0_20170103200637399.jpg.chip.jpg", ["aged 65 to 116", "male", "White"]),
        ("aaf/00003A02.webp", []),
        ("utkface/61_1_20170109142408075.jpg", []),  # one of three files in the set without an ethnicity
    ],
)
def test_file_names_of_utkface_contain_the_groups(path: str, groups: list[str]) -> None:
    assert groups_of(path) == groups


def test_each_groups_agreement_is_its_own_mean_cosine() -> None:
    teacher = np.tile([1.0, 0.0], (4, 1))
    student = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0]])
    paths = ["30_0_1_1.jpg", "30_0_1_2.jpg", "30_1_2_3.jpg", "somewhere/else.jpg"]
    by_group = agreement_by_group(student, teacher, paths)
    assert {name: row["faces"] for name, row in by_group.items()} == {
        "aged 25 to 44": 3,
        "male": 2,
        "female": 1,
        "Black": 2,
        "Asian": 1,
    }
    assert by_group["male"]["agreement"] == 0.5
    assert by_group["Asian"]["agreement"] == pytest.approx(0.707)
    assert by_group["male"]["low"] <= 0.5 <= by_group["male"]["high"]
