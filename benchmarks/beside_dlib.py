"""Compare a trained run with what dlib's embedding alone reaches on the same photos, with paired differences.

    python -m benchmarks.beside_dlib --model RUN --probes DIR --strangers DIR [--json]

Three ways name the same probes and refuse the same strangers, all based on the photos RUN was trained on:
    nearest     the nearest training photo by dlib's embedding, one view of each, with its distance as the score; this
                is what programs built on dlib do
    templates   dlib's embedding with everything that needs no space of its own: templates of photos, mirror images and
                jittered copies, probes with mirror images, and the decision score, with constants from photos that are
                left out in turn and crowding from the run's calibration strangers
    run         RUN
DIR at FPIR x takes its threshold from the strangers it is measured on. Intervals: 95 %, bootstrap over people; for
differences the same people are drawn for both.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.faces.face_source import face_source
from augmentor.photos.images import list_photos
from benchmarks.face_space import NO_SPACE, embed_photos
from identity.chips.many_photos import find_chips
from identity.decisions.templates import Choice, calibration_of, settle
from identity.evaluate import default_cache, load_model
from identity.evaluation.material import read_material
from identity.evaluation.on_photos import Gallery, evaluate
from identity.evaluation.paired import differences
from identity.networks.dlib_embedding import DlibEmbedding
from identity.networks.embedding import load_embedder
from identity.runs.bundle import Bundle
from identity.training.training_set import TrainingSet, read_training_set

SHOWN = ("rank1", "dir_at_fpir_1", "dir_at_fpir_10")
CHUNK = 64


class NearestPhoto:
    """Decides by the nearest training photo in dlib's embedding."""

    decision = None

    def __init__(self, data: TrainingSet) -> None:
        self.labels: Sequence[str] = data.names
        self.size, self.align = data.size, "face"
        self.faces = face_source(data.detector, second_opinion=True)
        self.thresholds = {"fpir_1": np.inf, "fpir_10": np.inf}  # none was calibrated
        self._net = DlibEmbedding()
        rows = np.flatnonzero(data.is_photo)
        rows = rows[np.argsort(data.labels[rows], kind="stable")]
        self._photos = np.concatenate(
            [self.embed(data.chips(rows[s : s + CHUNK])) for s in range(0, len(rows), CHUNK)]
        )
        self._starts = np.searchsorted(data.labels[rows], np.arange(len(data.names)))

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips (N, size, size, 3) uint8 RGB; returns (N, 128), as dlib's net gives them."""
        return self._net(chips)

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (N, C) minus the squared distance to the nearest photo of each person."""
        square = (embeddings**2).sum(1)[:, None] + (self._photos**2).sum(1) - 2 * embeddings @ self._photos.T
        return np.maximum.reduceat(-square, self._starts, axis=1)

    def score(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) columns of the best names, and their similarities as scores."""
        return similarities.argmax(axis=1), similarities.max(axis=1)


class Templates:
    """Decides by mean templates of dlib's unchanged embedding."""

    def __init__(self, data: TrainingSet, strangers: np.ndarray) -> None:
        self.labels: Sequence[str] = data.names
        self.size, self.align = data.size, "face"
        self.faces = face_source(data.detector, second_opinion=True)
        self._embedder = load_embedder(("dlib",), spaces={"dlib": NO_SPACE})
        gallery = embed_photos(data, self._embedder)
        held = np.zeros(len(gallery.photo_ids), bool)
        calibration = calibration_of(gallery, held, self._embedder.probes(strangers))
        self.decision = settle(gallery, calibration, Choice({"dlib": 1.0}, 0.0))
        self.thresholds = self.decision.thresholds
        self._templates = gallery.templates(0.0)["dlib"]

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips (N, size, size, 3) uint8 RGB with their mirror images; returns (N, 128) unit rows."""
        return self._embedder.probes(chips)["dlib"]

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (N, C) cosines."""
        return embeddings @ self._templates.T

    def score(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) columns of the best names and their (N,) acceptance scores."""
        return self.decision.score(similarities)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each way and return its row."""
    bundle = Bundle.load(options.model)
    config = bundle.about["config"]
    if not config["strangers"]:
        raise InputError(
            f"{options.model}: was trained without --strangers, so there is nothing to compare it with"
        )
    data = read_training_set(config["data"])
    cache = default_cache(str(options.model))
    paths = list_photos(Path(config["strangers"]))
    stranger_chips = [
        f.chip for f in find_chips(paths, data.size, cache=cache, progress="strangers") if f.chip is not None
    ]
    material = read_material(options.probes, options.strangers, None, None, None)
    training = load_model(str(options.model))[2]
    ways: dict[str, Gallery] = {
        "nearest": NearestPhoto(data),
        "templates": Templates(data, np.stack(stranger_chips)),
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
            measured_rate, gain = evaluation.rates[rate], gained[rate]
            row |= {rate: measured_rate.value, f"{rate}_ci": [measured_rate.low, measured_rate.high]}
            row |= {f"{rate}_run_gains": gain.value, f"{rate}_run_gains_ci": [gain.low, gain.high]}
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside_dlib", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="a trained run whose training set still exists"
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
