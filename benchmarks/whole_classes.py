"""Measure how well frozen and fine-tuned weights classify photos of anything, with runs of whole photos.

    python -m benchmarks.whole_classes --photos DIR --work WORK [--weights face ...] [--fine-tune 0 2 7] [--left-out]

Protocol: a seeded half of the photos of each class DIR/<class> trains a run as `identity.train --align whole` does, and
the run names the other half. `right` is the share whose most similar class is its own. `named` is the share that is
given its own class and `wrong` another one, at the threshold of FPIR 10 %; the rest is `other`. With `--left-out` each
class in turn is left out of training: `strangers` is the share of its test photos that are given a name nevertheless,
at the threshold of FPIR 10 %, which is fitted without them. Intervals: 95 %, Wilson. Runs are kept in WORK, so that an
interrupted benchmark continues when it is called again.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_identities
from benchmarks.face_gate import wilson
from identity.networks.tensorflow_loading import load_tensorflow

FPIR = 0.1


def split(photos: Path, work: Path, seed: int) -> tuple[Path, dict[str, list[Path]]]:
    """Link half of the photos of each class into a folder; return the folder, and class → the other half.

    Raises:
        InputError: there are fewer than two classes with two photos.
    """
    classes = {name: paths for name, paths in list_identities(photos).items() if len(paths) > 1}
    if len(classes) < 2:
        raise InputError(f"{photos}: needs folders for at least two classes, with two photos each")
    rng = np.random.default_rng([seed, 50])
    test: dict[str, list[Path]] = {}
    for name, paths in classes.items():
        order = rng.permutation(len(paths))
        test[name] = [paths[k] for k in sorted(order[: len(paths) // 2].tolist())]
        _link(work / "train" / name, [paths[k] for k in order[len(paths) // 2 :].tolist()])
    return work / "train", test


def _link(folder: Path, paths: Sequence[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not os.path.lexists(folder / path.name):
            (folder / path.name).symlink_to(path.resolve())


def without(train: Path, name: str, work: Path) -> Path:
    """Make a training folder like `train` without one class."""
    folder = work / f"train-without-{name}"
    for other in sorted(train.iterdir()):
        if other.name != name:
            _link(folder / other.name, sorted(other.iterdir()))
    return folder


def share(hits: int, of: int) -> dict[str, Any]:
    """Return a share with its interval."""
    return {"share": hits / of, "ci": list(wilson(hits, of)), "of": of}


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each combination of weights and depth of fine-tuning, and return a row for each."""
    from identity.runs.bundle import Bundle
    from identity.runs.recogniser import OTHER, Recogniser
    from identity.training.pipeline import train
    from identity.training.training_config import TrainConfig

    def run(data: Path, name: str, weights: str, blocks: int) -> Recogniser:
        out = options.work / name
        if not (out / "bundle.json").exists():
            config = TrainConfig(
                data=data, out=out, weights=weights, align="whole", fine_tune=blocks, seed=options.seed
            )
            train(config)
        return Recogniser(Bundle.load(out), FPIR)

    train_folder, test = split(options.photos, options.work, options.seed)
    rows = []
    for weights in options.weights:
        for blocks in options.fine_tune:
            called = f"{Path(weights).stem}-{blocks}"
            recogniser = run(train_folder, called, weights, blocks)
            right = named = wrong = count = 0
            for name, paths in test.items():
                for recognition in recogniser.files(paths):
                    for face in recognition.faces:
                        count += 1
                        right += face.best[0][0] == name
                        named += face.name == name
                        wrong += face.name not in (name, OTHER)
            row: dict[str, Any] = {"weights": weights, "fine_tune": blocks}
            row |= {k: share(v, count) for k, v in (("right", right), ("named", named), ("wrong", wrong))}
            if options.left_out and len(test) > 2:
                given = answered = 0
                for name, paths in test.items():
                    data = without(train_folder, name, options.work)
                    other = run(data, f"{called}-without-{name}", weights, blocks)
                    answers = [face.name for photo in other.files(paths) for face in photo.faces]
                    given += sum(answer != OTHER for answer in answers)
                    answered += len(answers)
                row["strangers"] = share(given, answered)
            rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.whole_classes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--photos", type=Path, required=True, help="photos of anything, a folder for each class"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/whole_classes"), help="folder for runs (%(default)s)"
    )
    parser.add_argument("--weights", nargs="+", default=["face"], help="weights as for identity.train (face)")
    parser.add_argument(
        "--fine-tune", nargs="+", type=int, default=[0, 2, 7], help="numbers of fine-tuned blocks (0 2 7)"
    )
    parser.add_argument("--left-out", action="store_true", help="also leave each class out in turn")
    parser.add_argument("--seed", type=int, default=0, help="seed of the halves (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        load_tensorflow()
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    kinds = [kind for kind in ("right", "named", "wrong", "strangers") if kind in rows[0]]
    print("| weights | blocks fine-tuned | " + " | ".join(kinds) + " |")
    print("|---" * (2 + len(kinds)) + "|")
    for row in rows:
        cells = (f"{row[k]['share']:.1%} ({row[k]['ci'][0]:.1%} to {row[k]['ci'][1]:.1%})" for k in kinds)
        print(f"| {row['weights']} | {row['fine_tune']} | " + " | ".join(cells) + " |")
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
