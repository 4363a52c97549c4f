"""Calibrate a run: shares, the weight of renders, thresholds, and the comparison of two photos."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from identity.decisions.acceptance import AcceptanceScore
from identity.decisions.open_set import Decision
from identity.decisions.same_person import SamePerson, fit_same_person, mated_cosines
from identity.decisions.templates import Choice, TrainingEmbeddings, calibration_of, choose, is_frozen, settle
from identity.networks.embedding import join


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The result of calibrating a run.

    Attributes:
        choice: shares and weight of renders.
        chosen: whether calibration chose them; else they are the defaults.
        decision: acceptance score, thresholds and probability curve.
        strangers: (S, D) joined embeddings of the calibration strangers.
        same_person: for comparing two photos; None where there are too few people.
    """

    choice: Choice
    chosen: bool
    decision: Decision
    strangers: np.ndarray
    same_person: SamePerson | None


def calibrate(
    embedded: TrainingEmbeddings,
    held: np.ndarray,
    strangers: Mapping[str, np.ndarray] | None,
    kind: type[AcceptanceScore],
    seed: int,
) -> Calibrated:
    """Choose shares and the weight of renders, and settle all thresholds.

    Args:
        embedded: embeddings of the training set.
        held: (P,) bool, which of its photos are held out.
        strangers: source name -> (S, D) unit rows; None: people of the training set play strangers in turn.
        kind: the acceptance score.
        seed: of the choice of pairs.
    """
    calibration = calibration_of(embedded, held, strangers)
    choice, chosen = choose(embedded, calibration, kind)
    decision = settle(embedded, calibration, choice, kind)
    joined = join(calibration.strangers, choice.shares)
    cosines = _mated_cosines(embedded, held, choice)
    same_person = fit_same_person(cosines, joined, calibration.stranger_labels, seed)
    return Calibrated(choice, chosen, decision, joined, same_person)


def _mated_cosines(embedded: TrainingEmbeddings, held: np.ndarray, choice: Choice) -> np.ndarray:
    """Return (M,) cosines of two photos of the same person.

    Where a source was trained on the photos, one of the two is held out.
    """
    rows = join(embedded.probes, choice.shares)
    labels = embedded.photo_labels
    if is_frozen(choice):
        return mated_cosines(rows, labels)
    cosines = [
        rows[other] @ rows[photo]
        for photo in np.flatnonzero(held)
        for other in np.flatnonzero((labels == labels[photo]) & ~held)
    ]
    return np.array(cosines, np.float64)
