"""A third feature source and another score, registered from outside: trained, saved, loaded, enrolled with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.chips.photo_faces import PhotoFaces
from identity.decisions.acceptance import (
    AcceptanceScore,
    LeadAndCrowding,
    register_score,
    score_called,
    unregister_score,
)
from identity.export import embedding_graph
from identity.networks.sources import register, unregister
from identity.runs.bare_features import BareFeatures
from identity.runs.bundle import Bundle
from identity.runs.enrolment import enrol
from identity.runs.renaming import merged
from identity.runs.unenrolment import without
from identity.training.pipeline import train
from identity.training.training_config import TrainConfig
from tests.identity.colour_source import COLOURS
from tests.identity.drawn_set import drawn_face, write_drawn_set
from tests.stand_in_faces import one_face

PEOPLE = 4


class SecondBest(AcceptanceScore):
    """The cosine of the best name less half of that of the second, and an allowance for each person."""

    kind: ClassVar[str] = "second best"

    def __init__(self, allowance: np.ndarray) -> None:
        self.allowance = allowance

    def __call__(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        best = similarities.argmax(axis=1)
        ordered = np.sort(similarities, axis=1)
        return best, ordered[:, -1] - 0.5 * ordered[:, -2] + self.allowance[best]

    @property
    def people(self) -> int:
        return len(self.allowance)

    @classmethod
    def measured(cls, strangers: np.ndarray) -> "SecondBest":
        return cls(np.full(strangers.shape[1], 0.25))

    def with_person(self, cosines: np.ndarray, strangers: float) -> "SecondBest":
        return SecondBest(np.append(self.allowance, 0.5))

    def without(self, person: int) -> "SecondBest":
        return SecondBest(np.delete(self.allowance, person))

    def as_dict(self) -> dict[str, Any]:
        return {"allowance": self.allowance.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SecondBest":
        return cls(np.array(values["allowance"]))


@pytest.fixture
def plugged_in() -> Iterator[None]:
    register(COLOURS)
    register_score(SecondBest)
    yield
    unregister(COLOURS.name)
    unregister_score(SecondBest.kind)


@pytest.fixture
def run(plugged_in: None, tmp_path: Path) -> Bundle:
    """A run that uses nothing else."""
    data = write_drawn_set(tmp_path / "set", [3] * PEOPLE)
    train(TrainConfig(data, tmp_path / "run", features=COLOURS.name, score=SecondBest.kind))
    return Bundle.load(tmp_path / "run")


def chips_of(people: range) -> np.ndarray:
    return np.stack([drawn_face(person, 9) for person in people])


def photo_of(person: int) -> PhotoFaces:
    return one_face(Path("new.jpg"), drawn_face(person, 0), "new", 2**60 + 7)


def test_a_run_of_another_source_and_score_is_trained_saved_and_loaded(run: Bundle, tmp_path: Path) -> None:
    assert run.shares == {"colours": 1.0} and run.backbone is None and run.head is None
    assert isinstance(run.decision.acceptance, SecondBest) and run.decision.acceptance.people == PEOPLE
    assert (tmp_path / "run" / "features" / "colours.npz").is_file()
    similarities = run.similarities(run.embed(chips_of(range(PEOPLE))))
    best, score = run.decision.score(similarities)
    assert best.tolist() == list(range(PEOPLE))
    ordered = np.sort(similarities, axis=1)
    np.testing.assert_allclose(score, ordered[:, -1] - 0.5 * ordered[:, -2] + 0.25)


def test_people_come_and_go_with_what_the_score_knows_of_them(run: Bundle) -> None:
    grown = enrol(replace(run, training=replace(run.training, render_weight=0.0)), "New", [photo_of(PEOPLE)])
    assert grown.decision.acceptance.as_dict() == {"allowance": [0.25] * PEOPLE + [0.5]}
    best, _ = grown.decision.score(grown.similarities(grown.embed(chips_of(range(PEOPLE + 1)))))
    assert best.tolist() == list(range(PEOPLE + 1))
    fewer = without(grown, grown.labels[0])
    assert fewer.decision.acceptance.as_dict() == {"allowance": [0.25] * (PEOPLE - 1) + [0.5]}
    assert merged(fewer, "New", fewer.labels[0]).decision.acceptance.people == PEOPLE - 1


def test_it_can_be_exported_and_compares_faces_without_a_run(run: Bundle) -> None:
    chips = chips_of(range(PEOPLE))
    exported = np.asarray(embedding_graph(run)(chips.astype(np.float32)))
    assert np.abs(exported - run.embed(chips)).max() < 1e-3
    bare = BareFeatures(COLOURS.name)
    np.testing.assert_allclose(bare.embed(chips), run.embed(chips), atol=1e-6)


def test_another_version_of_the_source_is_refused_in_one_line(run: Bundle, tmp_path: Path) -> None:
    unregister(COLOURS.name)
    register(replace(COLOURS, digest=lambda _run: "colours of another kind"))
    with pytest.raises(InputError, match="another version of the feature source colours") as refused:
        Bundle.load(tmp_path / "run")
    assert "\n" not in str(refused.value)


def test_a_run_of_a_source_or_score_that_is_not_there_is_refused_in_one_line(
    run: Bundle, tmp_path: Path
) -> None:
    unregister_score(SecondBest.kind)
    with pytest.raises(InputError, match="no acceptance score 'second best'; known: lead and crowding"):
        Bundle.load(tmp_path / "run")
    register_score(SecondBest)
    unregister(COLOURS.name)
    with pytest.raises(InputError, match="no feature source 'colours'; known: dlib, face, head"):
        Bundle.load(tmp_path / "run")
    register(COLOURS)


def test_a_score_is_registered_once() -> None:
    assert score_called("lead and crowding") is LeadAndCrowding
    with pytest.raises(ValueError, match="already"):
        register_score(LeadAndCrowding)
