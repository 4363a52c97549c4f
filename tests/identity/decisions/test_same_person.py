"""Thresholds for comparing two photos: the share of false matches asked for is the share that comes."""

import json

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.decisions.same_person import SamePerson, fit_same_person, load_same_person, mated_cosines
from identity.networks.backbone import load_weights
from identity.networks.face_space import unit


def people(photos: int, each: int, seed: int = 0, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows around people's own directions, and who each is."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(photos // each, 16))
    labels = np.repeat(np.arange(photos // each), each)
    return unit(centres[labels] + spread * rng.normal(size=(photos, 16))), labels


def fitted(seed: int = 0) -> SamePerson:
    rows, labels = people(600, 3, seed)
    found = fit_same_person(mated_cosines(rows, labels), rows, labels)
    assert found is not None
    return found


@pytest.mark.parametrize("fmr", [0.001, 0.01, 0.1])
def test_new_people_are_taken_for_one_as_often_as_asked_for(fmr: float) -> None:
    rows, _labels = people(900, 1, seed=7)
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    assert (cosines >= fitted().threshold(fmr)).mean() == pytest.approx(fmr, rel=0.35)


def test_smaller_rates_ask_for_more_likeness() -> None:
    found = fitted()
    thresholds = [found.threshold(rate) for rate in np.geomspace(found.rates[0], found.rates[-1], 30)]
    assert np.all(np.diff(thresholds) <= 0)


def test_rates_that_the_pairs_cannot_tell_are_refused() -> None:
    with pytest.raises(InputError, match="enough for rates from"):
        fitted().threshold(1e-9)


def test_too_few_photos_give_no_thresholds() -> None:
    rows, labels = people(9, 3)
    assert fit_same_person(mated_cosines(rows, labels), rows, labels) is None


def test_pairs_of_the_same_person_count_neither_as_different_nor_twice() -> None:
    rows, labels = people(60, 3)
    found = fit_same_person(np.ones(5), rows, labels)
    assert found is not None and found.pairs == 60 * 59 // 2 - 20 * 3
    assert len(mated_cosines(rows, labels)) == 60
    assert len(mated_cosines(rows, labels, most_each=1)) == 20


def test_probability_rises_with_likeness_and_is_sure_at_both_ends() -> None:
    probability = fitted().probability(np.array([-0.5, 0.0, 0.5, 0.95]))
    assert np.all(np.diff(probability) > 0) and probability[0] < 0.02 and probability[-1] > 0.9


def test_it_comes_back_from_json() -> None:
    found = fitted()
    again = SamePerson.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again.threshold(0.01) == pytest.approx(found.threshold(0.01), abs=1e-4)
    assert again.probability == found.probability


@pytest.mark.parametrize("model", ["dlib", "face", "both"])
def test_what_ships_belongs_to_the_weights_that_ship(model: str) -> None:
    found = load_same_person(model, load_weights("face").digest)
    assert found.pairs > 100_000
    assert 0 < found.threshold(0.01) < found.threshold(0.001) < 1
    with pytest.raises(InputError, match="other face weights"):
        load_same_person("both", "0" * 64)
