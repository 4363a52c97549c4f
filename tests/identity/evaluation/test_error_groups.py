"""Error rates by group, counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.evaluation.error_groups import group_table, measure_groups, read_groups
from identity.evaluation.rates import ProbeScores
from tests.identity.evaluation.test_paired import measured, probes


def listed(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "groups.csv"
    file.write_text(text, "utf-8")
    return file


def test_the_rates_of_a_group_are_those_of_its_people(tmp_path: Path) -> None:
    right = np.array([True, True, True, False, False, True])
    rows = "".join(f"person {k},{'old' if k < 4 else 'young'},{'' if k else 'a'}\n" for k in range(6))
    groups = read_groups(listed(tmp_path, "person,age,camera\n" + rows))
    by_group = measure_groups(measured(probes(right)), groups)
    assert [(g.grouping, g.group, g.people) for g in by_group] == [
        ("age", "old", 4),
        ("age", "young", 2),
        ("camera", "a", 1),
    ]
    assert [g.rates["rank1"].value for g in by_group] == [0.75, 0.5, 1.0]
    table = group_table(by_group, {"rank1": "rank-1"})
    assert "age old, 4 people: rank-1 75.0 %" in table and "too few people" in table


def test_strangers_can_be_identified_by_their_files(tmp_path: Path) -> None:
    strangers = ProbeScores(
        photos=[Path("x.jpg"), Path("y.jpg")],
        identities=["x.jpg", "y.jpg"],
        truth=np.full(2, -1),
        best=np.zeros(2, int),
        similarity=np.zeros(2),
        score=np.array([0.9, 0.1]),
        rank=np.full(2, 99),
    )
    evaluation = replace(measured(), strangers=strangers, thresholds={"fpir_1": 0.5, "fpir_10": 0.2})
    by_group = measure_groups(evaluation, read_groups(listed(tmp_path, "person,sex\nx,f\ny,m\n")))
    assert [(g.group, g.rates["fpir_realised_1"].value) for g in by_group] == [("f", 1.0), ("m", 0.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,sex\na,f\n", "the first line must read person"),
        ("person\na\n", "the first line must read person"),
        ("person,sex\na,f\na,m\n", "line 3: a is listed twice"),
        ("person,sex\n,f\n", "line 2: no person"),
    ],
)
def test_bad_lists_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_groups(listed(tmp_path, text))


def test_a_list_of_other_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the measured people"):
        measure_groups(
            measured(probes(np.ones(3, bool))), read_groups(listed(tmp_path, "person,sex\nelse,f\n"))
        )
