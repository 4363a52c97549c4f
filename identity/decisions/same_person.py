"""The comparison of two photos: a threshold for every false match rate, and the probability that it is one person.

The cosine of two faces is compared with cosines of calibration photos of different people: a false match rate (FMR) of
0.1 % is the cosine that one in a thousand of those pairs reaches. The probability comes from those pairs and from pairs
of photos of the same people, both kinds having the same total weight.

A run is calibrated when it is trained. Bare features are calibrated once, and the result ships with the package:

    python -m identity.training.bare_calibration --mated DIR --strangers DIR --out identity/weights/same_person.json

`--mated` has a folder for each person, `--strangers` one photo each of other people. Only the probability depends on
the mated pairs, thresholds do not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError
from identity.decisions.open_set import ProbabilityCurve, fit_probability

FILE = Path(__file__).parent.parent / "weights" / "same_person.json"
_POINTS = 60  # of the stored curve, evenly over the logarithm of the rate
_FEWEST_ABOVE = 10  # pairs that must lie above a threshold, or its rate cannot be estimated
_MOST_PAIRS = 500_000


@dataclass(frozen=True)
class SamePerson:
    """When two faces count as the same person.

    Attributes:
        rates: false match rates, ascending.
        cosines: the cosines that these shares of the calibration pairs of different people reach.
        pairs: number of pairs of different people.
        photos: number of photos that those pairs are made of.
        mated: number of pairs of the same person.
        probability: cosine to probability.
    """

    rates: tuple[float, ...]
    cosines: tuple[float, ...]
    pairs: int
    photos: int
    mated: int
    probability: ProbabilityCurve

    def threshold(self, fmr: float) -> float:
        """Return the cosine from which two faces count as the same person.

        Args:
            fmr: false match rate, a fraction.

        Raises:
            InputError: the calibration pairs are too few to estimate this rate.
        """
        low, high = self.rates[0], self.rates[-1]
        if not low <= fmr <= high:
            raise InputError(
                f"--fmr {fmr:g}: calibrated with {self.pairs} pairs of {self.photos} photos, enough for rates from "
                f"{low:.2g} to {high:.2g}"
            )
        return float(np.interp(np.log(fmr), np.log(self.rates), self.cosines))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "rates": [float(f"{rate:.4g}") for rate in self.rates],
            "cosines": [round(cosine, 5) for cosine in self.cosines],
            "pairs": self.pairs,
            "photos": self.photos,
            "mated": self.mated,
            "probability": {"slope": self.probability.slope, "intercept": self.probability.intercept},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SamePerson":
        """Read what `as_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is not such a dictionary.
        """
        return cls(
            tuple(float(rate) for rate in values["rates"]),
            tuple(float(cosine) for cosine in values["cosines"]),
            int(values["pairs"]),
            int(values["photos"]),
            int(values["mated"]),
            ProbabilityCurve(**values["probability"]),
        )


def fit_same_person(
    mated: np.ndarray, embeddings: np.ndarray, labels: np.ndarray, seed: int = 0
) -> SamePerson | None:
    """Calibrate the comparison of two photos.

    Args:
        mated: (M,) cosines of two photos of the same person.
        embeddings: (S, D) unit rows of calibration photos. All pairs of different people among them count; if there are
            very many, a seeded choice of them.
        labels: (S,) person on each photo, -1 for people who are on one photo only.
        seed: of the choice of pairs.

    Returns:
        None where there are too few pairs of different people to estimate any rate.
    """
    rows, columns = np.triu_indices(len(embeddings), 1)
    different = (labels[rows] != labels[columns]) | (labels[rows] < 0)
    rows, columns = rows[different], columns[different]
    if len(rows) > _MOST_PAIRS:
        chosen = np.random.default_rng([seed, 13]).permutation(len(rows))[:_MOST_PAIRS]
        rows, columns = rows[chosen], columns[chosen]
    if len(rows) < 10 * _FEWEST_ABOVE:
        return None
    nonmated = np.einsum("nd,nd->n", embeddings[rows], embeddings[columns]).astype(np.float64)
    rates = np.geomspace(_FEWEST_ABOVE / len(nonmated), 0.5, _POINTS)
    # the cosine between the last pair that may pass and the first that may not
    cosines = np.quantile(nonmated, 1 - rates, method="hazen")
    curve = fit_probability(mated.astype(np.float64), np.ones(len(mated), bool), nonmated)
    return SamePerson(
        tuple(rates.tolist()), tuple(cosines.tolist()), len(nonmated), len(embeddings), len(mated), curve
    )


def mated_cosines(
    embeddings: np.ndarray, labels: np.ndarray, most_each: int = 10, seed: int = 0
) -> np.ndarray:
    """Return (M,) cosines of pairs of photos of the same person, at most `most_each` pairs of each person.

    Args:
        embeddings: (P, D) unit rows.
        labels: (P,) person on each photo.
        most_each: pairs of one person that count.
        seed: of the choice of pairs.
    """
    rng = np.random.default_rng([seed, 14])
    found: list[float] = []
    order = np.argsort(labels, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        rows, columns = np.triu_indices(len(own), 1)
        chosen = rng.permutation(len(rows))[:most_each]
        pairs = embeddings[own[rows[chosen]]] * embeddings[own[columns[chosen]]]
        found += pairs.sum(axis=1).tolist()
    return np.array(found, np.float64)


def load_same_person(model: str, face_digest: str) -> SamePerson:
    """Return the calibration of bare features that ships with the package.

    Args:
        model: one of `identity.runs.bare_features.BARE_MODELS`.
        face_digest: of the face weights in use; empty where none take part.

    Raises:
        InputError: the file is missing or damaged, or was made with other face weights.
    """
    way_out = "install the package again, or make it with python -m identity.training.bare_calibration"
    try:
        stored = json.loads(FILE.read_text("utf-8"))
        same_person, made_with = SamePerson.from_dict(stored["models"][model]), stored["face_weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{FILE}: missing or damaged ({error}); {way_out}") from error
    if face_digest not in ("", made_with):
        raise InputError(f"{FILE}: made with other face weights than those installed; {way_out}")
    return same_person
