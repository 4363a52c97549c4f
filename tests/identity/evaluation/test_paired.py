"""Differences between two models, paired by person, in whatever order the photos are."""

from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.evaluation.paired import differences
from identity.evaluation.pairs import PhotoPair
from identity.evaluation.rates import Evaluation, PairScores, ProbeScores, measure_search

PEOPLE = 200


def probes(right: np.ndarray, order: np.ndarray | None = None) -> ProbeScores:
    """Return the scores of one photo per person; a photo that is not named correctly has rank 2."""
    order = np.arange(len(right)) if order is None else order
    return ProbeScores(
        photos=[Path(f"{k:03d}.jpg") for k in order],
        identities=[f"person {k}" for k in order],
        truth=order,
        best=np.where(right[order], order, -2),
        similarity=np.ones(len(right)),
        score=np.ones(len(right)),
        rank=np.where(right[order], 1, 2),
    )


def measured(
    probes: ProbeScores | None = None, pairs: PairScores | None = None, photo_pairs: tuple = ()
) -> Evaluation:
    return Evaluation(
        model="m",
        protocol=[],
        labels=[],
        thresholds={},
        rates={},
        counts={},
        ms_per_face=None,
        probes=probes,
        strangers=None,
        pairs=pairs,
        photo_pairs=photo_pairs,
        photos={},
        false_faces=[],
    )


def test_the_difference_of_equal_models_is_exactly_zero() -> None:
    right = np.random.default_rng(0).random(PEOPLE) < 0.7
    gain = differences(measured(probes(right)), measured(probes(right)))["rank1"]
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_pairing_shows_differences_that_overlapping_intervals_hide() -> None:
    theirs = np.random.default_rng(0).random(PEOPLE) < 0.6
    ours = theirs.copy()
    ours[np.flatnonzero(~theirs)[:10]] = True
    order = np.random.default_rng(1).permutation(PEOPLE)
    gain = differences(measured(probes(ours)), measured(probes(theirs, order)))["rank1"]
    assert gain.value == pytest.approx(10 / PEOPLE)
    assert 0 < gain.low < gain.value < gain.high
    one, two = (measure_search(probes(right), None, None)["rank1"] for right in (ours, theirs))
    assert two.high > one.low  # the separate intervals overlap
    reverse = differences(measured(probes(theirs)), measured(probes(ours)))["rank1"]
    assert reverse.value == -gain.value and reverse.high < 0


def test_only_photos_that_both_were_measured_on_count() -> None:
    right = np.ones(PEOPLE, bool)
    wrong_first = right.copy()
    wrong_first[:50] = False
    fewer = probes(right, np.arange(50, PEOPLE))
    gain = differences(measured(fewer), measured(probes(wrong_first)))["rank1"]
    assert gain.value == 0


def test_pairs_are_matched_by_their_photos() -> None:
    names = [(Path(f"a{k}.jpg"), Path(f"b{k}.jpg")) for k in range(40)]
    mated = np.arange(40) < 20
    good, bad = mated.astype(float), np.where(np.arange(40) % 4 == 0, ~mated, mated).astype(float)

    def scored(score: np.ndarray, order: np.ndarray) -> Evaluation:
        listed = tuple(PhotoPair(*names[k], bool(mated[k])) for k in order)
        sides = [names[k][0] for k in order], [names[k][1] for k in order]
        return measured(pairs=PairScores(mated[order], score[order], *sides), photo_pairs=listed)

    gain = differences(scored(good, np.arange(40)), scored(bad, np.arange(40)[::-1]))
    assert gain["eer"].value == pytest.approx(-0.25)
    assert gain["eer"].high < 0


def test_models_without_a_common_photo_cannot_be_compared() -> None:
    right = np.ones(4, bool)
    with pytest.raises(InputError, match="not measured on any common photos"):
        differences(measured(probes(right, np.array([0, 1]))), measured(probes(right, np.array([2, 3]))))
