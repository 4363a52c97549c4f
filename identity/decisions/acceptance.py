"""The acceptance score: how sure it is that the best name is right.

Names are ranked by cosine similarity to their templates. Whether the best one is accepted is decided by a score. The
score of this program is

    score = cosine of the best name
          + lead_weight * (cosine of the best name - mean cosine of the next `lead_names`)
          - crowding_weight * crowding of the best name's template

Crowding is the mean similarity of a template to its nearest calibration strangers: a template amid many people must be
hit more precisely. It never enters the ranking, where it costs accuracy.

A score knows something of each person, and keeps it up to date when people come and go. To try another score, derive
from `AcceptanceScore` and `register_score` it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np

from augmentor.errors import InputError
from identity.decisions.metrics import NEVER

CROWD = 10
_FEWEST_PEOPLE = 20  # with fewer, no line is fitted through them
_LEAD_WEIGHTS = (0.0, 0.5, 1.0, 1.5)
_LEAD_NAMES = (3, 5, 10)
_CROWDING_WEIGHTS = (0.0, 0.25, 0.5, 0.75)


class AcceptanceScore(ABC):
    """A score that decides whether the best name of a probe is accepted, with what it knows of each person.

    Objects are never changed: methods return new ones. The people are columns 0 to C - 1 of the similarities. A score
    that knows nothing of single people only needs the abstract methods.

    Attributes:
        kind: the name under which the score is registered and stored.
    """

    kind: ClassVar[str]

    @abstractmethod
    def __call__(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the best name of each probe, and the score that decides whether it is accepted.

        Args:
            similarities: (N, C) cosines to the templates; `NEVER` marks a name that is no candidate.

        Returns:
            best (N,) int64 column, score (N,) float64; higher is surer.
        """

    @classmethod
    @abstractmethod
    def measured(cls, strangers: np.ndarray) -> AcceptanceScore:
        """Return the score with its usual constants.

        Args:
            strangers: (S, C) similarities of calibration strangers; `NEVER` for a left-out person's own name.
        """

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the kind."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: dict[str, Any]) -> AcceptanceScore:
        """Read what `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is not such a dictionary.
        """

    @property
    def people(self) -> int | None:
        """Number of people that the score knows something of; None where it knows nothing of single people."""
        return None

    @classmethod
    def candidates(cls, strangers: np.ndarray) -> Iterator[tuple[AcceptanceScore, np.ndarray]]:
        """Yield the scores that calibration chooses from, the usual one first.

        Args:
            strangers: (S, C) similarities of calibration strangers.

        Yields:
            A score, and the (S,) scores of these strangers, each as if the stranger had not taken part in measuring.
        """
        usual = cls.measured(strangers)
        yield usual, usual(strangers)[1]

    def remeasured(self, strangers: np.ndarray) -> tuple[AcceptanceScore, np.ndarray]:
        """Return the score with the same constants for other strangers, and their scores as in `candidates`."""
        return self, self(strangers)[1]

    def as_stored(self) -> AcceptanceScore:
        """Return the score with the precision in which a run keeps it."""
        return self

    def with_person(self, cosines: np.ndarray, strangers: float) -> AcceptanceScore:
        """Return the score with one person more, as the last column.

        Args:
            cosines: (C + 1, C) of all templates, the new one last, with those of the C people.
            strangers: how many strangers the run was calibrated with.
        """
        return self

    def without(self, person: int) -> AcceptanceScore:
        """Return the score without the person of this column."""
        return self

    def merged(self, one: int, into: int, weights: np.ndarray) -> AcceptanceScore:
        """Return the score with `into` standing for both people; `one` keeps its column.

        Args:
            one, into: columns.
            weights: (2,) how much each of the two counts, adding up to 1.
        """
        return self


@dataclass(frozen=True)
class DecisionConstants:
    """Weights of the acceptance score; the defaults were chosen on 500 calibration people of LFW."""

    lead_weight: float = 1.0
    lead_names: int = 5
    crowding_weight: float = 0.5

    def __post_init__(self) -> None:
        if not (np.isfinite(self.lead_weight) and np.isfinite(self.crowding_weight) and self.lead_names >= 1):
            raise ValueError(f"unusable decision constants: {self}")


@dataclass(frozen=True, eq=False)
class LeadAndCrowding(AcceptanceScore):
    """The score of this program: cosine, lead over the next names, crowding.

    Attributes:
        constants: weights.
        crowding: (C,) crowding of each template.
    """

    kind: ClassVar[str] = "lead and crowding"
    constants: DecisionConstants
    crowding: np.ndarray

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LeadAndCrowding)
            and self.constants == other.constants
            and np.array_equal(self.crowding, other.crowding)
        )

    def __call__(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return best names and scores, see `accept_score`."""
        return accept_score(similarities, self.crowding, self.constants)

    @property
    def people(self) -> int:
        """Number of people whose crowding is known."""
        return len(self.crowding)

    @classmethod
    def measured(cls, strangers: np.ndarray) -> LeadAndCrowding:
        """Return the score with the default constants and the crowding by these strangers."""
        return cls(DecisionConstants(), crowding_sums(strangers, CROWD)[0])

    @classmethod
    def candidates(cls, strangers: np.ndarray) -> Iterator[tuple[AcceptanceScore, np.ndarray]]:
        """Yield the scores of a small grid of constants, the defaults first.

        A stranger is scored with crowding that leaves this stranger out.
        """
        own, without_self = crowding_sums(strangers, CROWD)
        for constants in _grid():
            yield cls(constants, own), accept_score(strangers, without_self, constants)[1]

    def remeasured(self, strangers: np.ndarray) -> tuple[AcceptanceScore, np.ndarray]:
        """Return the score with the crowding by these strangers, and their own scores."""
        own, without_self = crowding_sums(strangers, CROWD)
        scores = accept_score(strangers, without_self, self.constants)[1]
        return replace(self, crowding=own), scores

    def as_stored(self) -> LeadAndCrowding:
        """Return the score with crowding as float32."""
        return replace(self, crowding=self.crowding.astype(np.float32))

    def with_person(self, cosines: np.ndarray, strangers: float) -> LeadAndCrowding:
        """Return the score with one person more, whose crowding is estimated.

        The crowding of a new template cannot be measured, since a run keeps no strangers. It is estimated from the
        enrolled people: a straight line, fitted through all of them, gives a template's crowding from its cosines with
        its nearest neighbours among them. With few people it is the mean crowding.
        """
        people = len(self.crowding)
        if people < _FEWEST_PEOPLE:
            crowding = float(self.crowding.mean())
        else:
            near = int(np.clip(round(people * CROWD / max(1.0, strangers)), 1, people - 1))
            neighbours = cosines.copy()
            neighbours[np.arange(people), np.arange(people)] = -np.inf
            nearest = -np.partition(-neighbours, near - 1, axis=1)[:, :near].mean(axis=1)
            slope, start = np.polyfit(nearest[:people], self.crowding, 1)
            crowding = float(slope * nearest[-1] + start)
        return replace(self, crowding=np.append(self.crowding, crowding).astype(np.float32))

    def without(self, person: int) -> LeadAndCrowding:
        """Return the score without the crowding of the person in this column."""
        return replace(self, crowding=np.delete(self.crowding, person))

    def merged(self, one: int, into: int, weights: np.ndarray) -> LeadAndCrowding:
        """Return the score in which `into` has the weighted mean of both people's crowding."""
        crowding = self.crowding.copy()
        crowding[into] = weights @ self.crowding[[one, into]]
        return replace(self, crowding=crowding)

    def as_dict(self) -> dict[str, Any]:
        """Return constants and crowding as plain values for JSON."""
        return {"constants": asdict(self.constants), "crowding": self.crowding.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LeadAndCrowding:
        """Read what `as_dict` wrote."""
        crowding = np.array(values["crowding"], np.float32)
        if crowding.ndim != 1:
            raise ValueError("crowding is one number for each person")
        return cls(DecisionConstants(**values["constants"]), crowding)


_REGISTERED: dict[str, type[AcceptanceScore]] = {LeadAndCrowding.kind: LeadAndCrowding}


def register_score(score: type[AcceptanceScore]) -> None:
    """Add a kind of score, so that runs which use it can be read.

    Raises:
        ValueError: there is a score of this kind.
    """
    if score.kind in _REGISTERED:
        raise ValueError(f"there is an acceptance score {score.kind!r} already")
    _REGISTERED[score.kind] = score


def unregister_score(kind: str) -> None:
    """Take out a kind of score that `register_score` added.

    Raises:
        KeyError: no such kind.
    """
    del _REGISTERED[kind]


def score_called(kind: str) -> type[AcceptanceScore]:
    """Return a kind of score by its name.

    Raises:
        InputError: no such kind.
    """
    if kind not in _REGISTERED:
        raise InputError(f"there is no acceptance score {kind!r}; known: {', '.join(_REGISTERED)}")
    return _REGISTERED[kind]


def crowding(templates: np.ndarray, stranger_embeddings: np.ndarray, k: int = CROWD) -> np.ndarray:
    """Return the mean similarity of each template to its `k` nearest strangers.

    Args:
        templates: (C, D) unit rows.
        stranger_embeddings: (S, D) unit rows; with fewer than `k` all of them count.
        k: number of nearest strangers that count.

    Returns:
        (C,) float32; zeros when there are no strangers.
    """
    return crowding_from_similarities(stranger_embeddings @ templates.T, k)


def crowding_from_similarities(stranger_similarities: np.ndarray, k: int = CROWD) -> np.ndarray:
    """Return what `crowding` returns, from the (S, C) similarities of strangers to templates.

    An entry of `NEVER` does not count: a person of the training set who plays the stranger is compared with all
    templates but the own one.
    """
    return crowding_sums(stranger_similarities, k)[0].astype(np.float32)


def accept_score(
    similarities: np.ndarray, crowding: np.ndarray, constants: DecisionConstants
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best name and the score that decides whether it is accepted.

    With fewer than `lead_names` + 1 names, the lead is over as many others as there are; with one name it is 0.

    Args:
        similarities: (N, C) cosines to the templates; `NEVER` marks a name that is no candidate.
        crowding: (C,), or (N, C) where it differs between probes.
        constants: weights of the score.

    Returns:
        best (N,) int64 column, score (N,) float64.

    Example:
        >>> best, score = accept_score(np.array([[0.5, 0.9]]), np.array([0.2, 0.4]), DecisionConstants())
        >>> int(best[0]), round(float(score[0]), 6)  # 0.9 + (0.9 - 0.5) - 0.5 * 0.4
        (1, 1.1)
    """
    values = np.asarray(similarities, np.float64)
    best = np.argmax(values, axis=1)
    row = np.arange(len(values))
    top = values[row, best]
    crowd = np.broadcast_to(np.asarray(crowding, np.float64), values.shape)[row, best]
    lead = top - _mean_of_next(values, constants.lead_names, top)
    return best, top + constants.lead_weight * lead - constants.crowding_weight * crowd


def _grid() -> list[DecisionConstants]:
    """Return all candidates, those nearest to the defaults first, so that the defaults win a tie."""
    usual = DecisionConstants()
    every = [DecisionConstants(*values) for values in product(_LEAD_WEIGHTS, _LEAD_NAMES, _CROWDING_WEIGHTS)]
    # without a lead, its number of names does not matter
    every = [c for c in every if c.lead_weight > 0 or c.lead_names == usual.lead_names]
    return sorted(
        every,
        key=lambda c: (
            abs(c.lead_weight - usual.lead_weight)
            + abs(c.crowding_weight - usual.crowding_weight)
            + abs(np.log(c.lead_names / usual.lead_names)) / 2
        ),
    )


def _mean_of_next(values: np.ndarray, names: int, top: np.ndarray) -> np.ndarray:
    """Return the (N,) mean of at most `names` candidates after the best; `top` where there are none."""
    count = min(names, values.shape[1] - 1)
    if count < 1:
        return top
    largest = -np.partition(-values, count, axis=1)[:, : count + 1]
    following = -np.sort(-largest, axis=1)[:, 1:]
    usable = following > NEVER
    number = usable.sum(axis=1)
    total = np.where(usable, following, 0.0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), top)


def crowding_sums(similarities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (C,) crowding of each template, and (S, C): the same without each single stranger.

    The second is what a calibration stranger is scored with, as a new one would be. Where a stranger is one of the `k`
    nearest of a template, the next nearest takes the place.
    """
    values = np.asarray(similarities, np.float64)
    if not len(values):
        return np.zeros(values.shape[1]), np.zeros(values.shape)
    ordered = -np.sort(-values, axis=0)
    nearest = ordered[:k]
    usable = nearest > NEVER
    number = usable.sum(axis=0)
    total = np.where(usable, nearest, 0.0).sum(axis=0)
    whole = np.where(number > 0, total / np.maximum(number, 1), 0.0)
    following = ordered[k] if len(values) > k else np.full(values.shape[1], NEVER)
    replaced = following > NEVER
    remaining = np.where(replaced, number, number - 1)
    is_near = (values > NEVER) & (values >= nearest[-1])
    total_without = total + np.where(replaced, following, 0.0) - np.where(is_near, values, 0.0)
    without = np.where(remaining > 0, total_without / np.maximum(remaining, 1), 0.0)
    return whole, np.where(is_near, without, whole)
