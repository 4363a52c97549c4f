"""A trained run beside what dlib's embedding alone reaches on the same photos, differences paired by person.

    python -m benchmarks.beside_dlib --model RUN --probes DIR --strangers DIR [--json]

Three ways to name the same probes and to refuse the same strangers, all taught by the photos RUN was trained on:
    nearest     the nearest training photo by dlib's embedding, one view of each, its distance as the score: what
                programs around dlib do
    templates   dlib's embedding with all that needs no space of its own: templates of photos, mirror images and
                jittered copies, probes with mirror images, the decision score with constants from photos left out in
                turn and crowding from the run's calibration strangers
    run         RUN
DIR at FPIR x takes its threshold from the strangers measured on. Intervals: 95 %, bootstrap over people; differences
resample the same people for both.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_photos
from benchmarks.face_space import NO_SPACE, embed_photos
from identity.chips.many_photos import find_chips
from identity.decisions.open_set import DecisionConstants
from identity.decisions.templates import Choice, calibration_of, settle
from identity.evaluate import default_cache, load_model
from identity.evaluation.material import read_material
from identity.evaluation.on_photos import Gallery, evaluate
from identity.evaluation.paired import differences
from identity.networks.dlib_embedding import DlibEmbedding
from identity.networks.embedding import PartEmbedder
from identity.runs.bundle import Bundle
from identity.training.training_set import TrainingSet, read_training_set

SHOWN = ("rank1", "dir_at_fpir_1", "dir_at_fpir_10")
CHUNK = 64


class NearestPhoto:
    """The nearest training photo by dlib's embedding decides."""

    constants = DecisionConstants(lead_weight=0.0, crowding_weight=0.0)
    decision = None

    def __init__(self, data: TrainingSet) -> None:
        self.labels: Sequence[str] = data.names
        self.size, self.align = data.size, "face"
        self.crowding = np.zeros(len(data.names))
        self.thresholds = {"fpir_1": np.inf, "fpir_10": np.inf}  # none was calibrated
        self._net = DlibEmbedding()
        rows = np.flatnonzero(data.is_photo)
        rows = rows[np.argsort(data.labels[rows], kind="stable")]
        self._photos = np.concatenate(
            [self.embed(data.chips(rows[s : s + CHUNK])) for s in range(0, len(rows), CHUNK)]
        )
        self._starts = np.searchsorted(data.labels[rows], np.arange(len(data.names)))

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 -> (N, 128), as dlib's net gives them."""
        return self._net(chips)

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, C): less the squared distance to the nearest photo of each person."""
        square = (embeddings**2).sum(1)[:, None] + (self._photos**2).sum(1) - 2 * embeddings @ self._photos.T
        return np.maximum.reduceat(-square, self._starts, axis=1)


class Templates:
    """Mean templates of dlib's embedding as it is."""

    def __init__(self, data: TrainingSet, strangers: np.ndarray) -> None:
        self.labels: Sequence[str] = data.names
        self.size, self.align = data.size, "face"
        self._embedder = PartEmbedder(("dlib",), spaces={"dlib": NO_SPACE})
        gallery = embed_photos(data, self._embedder)
        held = np.zeros(len(gallery.photo_ids), bool)
        calibration = calibration_of(gallery, held, self._embedder.probes(strangers))
        decision, self.crowding = settle(gallery, calibration, Choice({"dlib": 1.0}, 0.0))
        self.constants, self.thresholds = decision.constants, decision.thresholds
        self.decision = decision
        self._templates = gallery.templates(0.0)["dlib"]

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 -> (N, 128) unit rows, mirror image averaged in."""
        return self._embedder.probes(chips)["dlib"]

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, C) cosines."""
        return embeddings @ self._templates.T


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each way."""
    bundle = Bundle.load(options.model)
    config = bundle.about["config"]
    if not config["strangers"]:
        raise InputError(f"{options.model}: trained without --strangers; there is nothing to compare it with")
    data = read_training_set(config["data"])
    cache = default_cache(str(options.model))
    paths = list_photos(Path(config["strangers"]))
    found = [
        f.chip for f in find_chips(paths, data.size, cache=cache, progress="strangers") if f.chip is not None
    ]
    material = read_material(options.probes, options.strangers, None, None, None)
    training = load_model(str(options.model))[2]
    ways: dict[str, Gallery] = {
        "nearest": NearestPhoto(data),
        "templates": Templates(data, np.stack(found)),
        "run": bundle,
    }
    measured = {
        name: evaluate(name, way, material, gallery=way, training=training, cache=cache, progress=True)
        for name, way in ways.items()
    }
    rows: list[dict[str, Any]] = []
    for name, evaluation in measured.items():
        row: dict[str, Any] = {"way": name}
        gained = differences(measured["run"], evaluation)
        for rate in SHOWN:
            told, gain = evaluation.rates[rate], gained[rate]
            row |= {rate: told.value, f"{rate}_ci": [told.low, told.high]}
            row |= {f"{rate}_run_gains": gain.value, f"{rate}_run_gains_ci": [gain.low, gain.high]}
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside_dlib", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="a trained run; its training set is still there"
    )
    parser.add_argument(
        "--probes", type=Path, required=True, help="photos of enrolled people, one folder each"
    )
    parser.add_argument("--strangers", type=Path, required=True, help="photos of people who are not enrolled")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print("| way | " + " | ".join(f"{rate} | the run gains" for rate in SHOWN) + " |")
    print("|" + "---|" * (1 + 2 * len(SHOWN)))
    for row in rows:
        cells = []
        for rate in SHOWN:
            for key, form in ((rate, ".1f"), (f"{rate}_run_gains", "+.1f")):
                low, high = row[f"{key}_ci"]
                cells.append(f"{100 * row[key]:{form}} ({100 * low:{form}} to {100 * high:{form}})")
        print(f"| {row['way']} | " + " | ".join(cells) + " |")
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
