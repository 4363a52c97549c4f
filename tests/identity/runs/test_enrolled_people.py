"""Names, templates, decision and photos of the enrolled people change together."""

import json
from dataclasses import replace

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.decisions.acceptance import LeadAndCrowding
from identity.networks.face_space import unit
from identity.runs.enrolled_people import EnrolledPeople
from identity.runs.training_record import TrainingRecord
from tests.identity.test_enrol import trained

SHARES = {"dlib": 0.75, "head": 0.25}


@pytest.fixture
def people() -> EnrolledPeople:
    return trained(people=3).people


def row(name: str) -> dict[str, object]:
    return {"photo": f"{name}.jpg", "sha256": name, "phash": 7}


def test_a_new_person_comes_last_in_everything(people: EnrolledPeople) -> None:
    unit_rows = {part: np.eye(3, dtype=np.float32)[0] for part in SHARES}
    grown = people.with_person("Zoë", unit_rows, [row("a"), row("b")], SHARES)
    assert grown.labels == (*people.labels, "Zoë") and grown.enrolled_later == 1
    assert grown.photo_counts["Zoë"] == 2
    assert grown.decision.acceptance.people == 4
    np.testing.assert_array_equal(grown.part_templates["head"][-1], [1, 0, 0])
    assert people.labels == ("person 0", "person 1", "person 2")  # the one given stays as it is


def test_a_person_leaves_everything(people: EnrolledPeople) -> None:
    fewer = people.renamed("person 1", "Ben").without("Ben")
    assert fewer.labels == ("person 0", "person 2") and fewer.former_names == {}
    assert fewer.decision.acceptance.people == 2
    for part, rows in fewer.part_templates.items():
        np.testing.assert_array_equal(rows, people.part_templates[part][[0, 2]])


def test_a_former_name_leads_to_the_name_of_today(people: EnrolledPeople) -> None:
    renamed = people.renamed("person 1", "Ben").renamed("Ben", "Benjamin")
    assert renamed.former_names == {"Benjamin": ["person 1", "Ben"]}
    with pytest.raises(InputError, match="the person is called Benjamin now"):
        renamed.name_of("Ben")
    assert people.name_of("person 1") == "person 1"


def test_what_does_not_fit_together_is_refused(people: EnrolledPeople) -> None:
    with pytest.raises(ValueError, match="labels and templates"):
        replace(people, labels=people.labels[:2])
    shorter = replace(people.decision, acceptance=people.decision.acceptance.without(0))
    with pytest.raises(ValueError, match="labels and acceptance score"):
        replace(people, decision=shorter)


def test_people_come_back_as_they_were_written(people: EnrolledPeople) -> None:
    changed = people.renamed("person 1", "Ben")
    values = json.loads(json.dumps(changed.as_dict()))
    found = EnrolledPeople.from_parts(values, changed.arrays() | {"other": np.zeros(1)}, changed.sources)
    assert (found.labels, found.former_names, found.decision) == (
        changed.labels,
        changed.former_names,
        changed.decision,
    )
    assert isinstance(found.decision.acceptance, LeadAndCrowding)
    assert set(found.part_templates) == set(changed.part_templates)


def test_a_record_survives_json_and_has_no_other_keys() -> None:
    record = TrainingRecord(images=5, held_out_rank1=0.5, render_weight=0.25, commit="abc")
    values = json.loads(json.dumps(record.as_dict()))
    assert TrainingRecord.from_dict(values) == record
    with pytest.raises(ValueError, match="unknown in a training record: speed"):
        TrainingRecord.from_dict(values | {"speed": 3})


@pytest.fixture
def with_sides(people: EnrolledPeople) -> EnrolledPeople:
    rng = np.random.default_rng(2)
    sides = {part: unit(rng.normal(size=(2, 3, 3))) for part in people.part_templates}
    return replace(people, side_templates=sides, side_margin=0.125)


def test_templates_of_the_sides_come_and_go_with_the_person(with_sides: EnrolledPeople) -> None:
    rows = {part: np.eye(3, dtype=np.float32)[0] for part in SHARES}
    sides = {part: np.eye(3, dtype=np.float32)[1:] for part in SHARES}
    grown = with_sides.with_person("Zoë", rows, [row("a")], SHARES, sides)
    for part, before in with_sides.side_templates.items():
        np.testing.assert_array_equal(grown.side_templates[part][:, :3], before)
        np.testing.assert_array_equal(grown.side_templates[part][:, 3], sides[part])
        np.testing.assert_array_equal(grown.without("person 1").side_templates[part][:, 1], before[:, 2])
    alike = with_sides.with_person("Zoë", rows, [row("a")], SHARES)
    np.testing.assert_array_equal(alike.side_templates["dlib"][:, 3], [rows["dlib"]] * 2)


def test_two_made_one_share_the_templates_of_the_sides(with_sides: EnrolledPeople) -> None:
    both = with_sides.merged("person 1", "person 0").side_templates["dlib"]
    rows = with_sides.side_templates["dlib"]
    np.testing.assert_allclose(both[:, 0], unit(rows[:, 0] + rows[:, 1]), atol=1e-6)
    np.testing.assert_array_equal(both[:, 1], rows[:, 2])


def test_templates_of_the_sides_are_kept(with_sides: EnrolledPeople) -> None:
    values = json.loads(json.dumps(with_sides.as_dict()))
    found = EnrolledPeople.from_parts(values, with_sides.arrays(), with_sides.sources)
    assert found.side_margin == 0.125
    assert set(found.side_templates) == set(with_sides.side_templates)
    np.testing.assert_array_equal(found.side_templates["dlib"], with_sides.side_templates["dlib"])
    with pytest.raises(ValueError, match="templates of the sides"):
        replace(with_sides, side_templates={"dlib": with_sides.side_templates["dlib"]})
    with pytest.raises(ValueError, match="margin"):
        replace(with_sides, side_margin=float("nan"))
