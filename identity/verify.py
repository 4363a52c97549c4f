"""Same person or not: `python -m identity.verify [--model RUN|face|dlib|both] [--fmr 0.001] PHOTO PHOTO`.

Prints one JSON object: `fmr` (as asked for), `distance` (1 - cosine, lower is more alike), `threshold` (the distance up
to which two faces are taken for one person's), `same`, `probability` (that they are the same person, at even odds) and
`confidence` (that the answer is right, at even odds). Where a photo shows no face, `same` is null and `reason` says
which. Nothing is skipped.

With several faces on a photo `--face largest` compares the largest ones; `best-pair` compares all with all and takes
the most alike, with a threshold so much stricter that chance has no more tries; `reject` gives `several_faces`.

Exit code 0: done; 2: wrong call or an unreadable photo, one line on stderr.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.faces.face_finder import Policy
from augmentor.photos.images import load_image
from identity.chips.seeing import PhotoReader, SeenPhoto
from identity.decisions.same_person import SamePerson
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.bare_features import BARE_MODELS, BareFeatures

FACES: dict[str, Policy] = {"largest": "largest", "best-pair": "all", "reject": "reject"}


class Comparer(Protocol):
    """What a run and bare features have in common."""

    @property
    def size(self) -> int:
        """Side of the chips, pixels."""
        ...

    @property
    def same_person(self) -> SamePerson | None:
        """Thresholds and probability."""
        ...

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 chips to (N, D) float32 unit rows."""
        ...


def load_comparer(model: str) -> Comparer:
    """A trained run, or bare features.

    Raises:
        InputError: no such run, or it is damaged.
    """
    if model in BARE_MODELS:
        return BareFeatures(model)
    if not Path(model).is_dir():
        raise InputError(
            f"{model}: no such run; --model takes the folder that identity.train wrote, or {', '.join(BARE_MODELS)}"
        )
    from identity.runs.bundle import Bundle

    bundle = Bundle.load(Path(model))
    if bundle.align != "face":
        raise InputError(
            f"{model}: names whole photos, not faces; take another run, or {', '.join(BARE_MODELS)}"
        )
    return bundle


def verify(
    comparer: Comparer, images: Sequence[np.ndarray], fmr: float = 0.001, face: str = "largest"
) -> dict[str, Any]:
    """Compare the people on two images.

    Args:
        comparer: a run or bare features.
        images: two (H, W, 3) uint8 RGB images.
        fmr: share of pairs of different people that may be taken for one person.
        face: one of `FACES`.

    Returns:
        As printed by the command, without the photos' names.

    Raises:
        InputError: the rate is beyond what calibration can tell.
    """
    same_person = calibrated(comparer, fmr)
    reader = PhotoReader(comparer.size, policy=FACES[face])
    seen = [reader.image(image, name) for image, name in zip(images, "ab", strict=True)]
    rows = [comparer.embed(np.stack(photo.chips)) for photo in seen if photo.chips]
    return compared(same_person, seen, rows, fmr)


def calibrated(comparer: Comparer, fmr: float) -> SamePerson:
    """The thresholds of a run or of bare features.

    Raises:
        InputError: there are none, or they cannot tell this rate; whatever the photos show.
    """
    if comparer.same_person is None:
        raise InputError("this run was calibrated with too few people to compare photos; use --model both")
    comparer.same_person.threshold(fmr)
    return comparer.same_person


def compared(
    same_person: SamePerson, seen: Sequence[SeenPhoto], rows: Sequence[np.ndarray], fmr: float
) -> dict[str, Any]:
    """What `verify` says of two photos whose faces were found.

    Args:
        same_person: thresholds.
        seen: the photos.
        rows: (F, D) unit rows of the faces of each, where both have faces.
        fmr: as in `verify`.
    """
    counts = [len(photo.faces) for photo in seen]
    told: dict[str, Any] = {"status": "ok", "reason": None, "faces": counts, "fmr": fmr}
    failed = [f"{name}: {photo.reason}" for name, photo in zip("ab", seen, strict=True) if not photo.faces]
    if failed:
        status = "error" if any(photo.status == "error" for photo in seen) else "no_face"
        unknown = dict.fromkeys(("distance", "threshold", "same", "probability", "confidence"))
        return told | {"status": status, "reason": ", ".join(failed)} | unknown | {"boxes": [None, None]}
    cosines = rows[0].astype(np.float64) @ rows[1].T
    a, b = np.unravel_index(np.argmax(cosines), cosines.shape)
    # chance has as many tries as there are pairs of faces; beyond what calibration can tell, its strictest threshold
    strictest = max(fmr / cosines.size, min(fmr, same_person.rates[0]))
    cosine, threshold = float(cosines[a, b]), same_person.threshold(strictest)
    probability = float(same_person.probability(np.array([cosine]))[0])
    same = cosine >= threshold
    return told | {
        "distance": round(1 - cosine, 4),
        "threshold": round(1 - threshold, 4),
        "same": same,
        "probability": round(probability, 4),
        "confidence": round(probability if same else 1 - probability, 4),
        "boxes": [
            [round(v, 1) for v in photo.faces[int(k)].box] for photo, k in zip(seen, (a, b), strict=True)
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m identity.verify",
        description="Whether two photos show the same person, as one JSON line.",
    )
    parser.add_argument("--model", default="both", help="a trained run, or bare features: face, dlib, both")
    parser.add_argument(
        "--fmr", type=float, default=0.001, help="share of pairs of different people let through"
    )
    parser.add_argument(
        "--face", choices=tuple(FACES), default="largest", help="which face of a photo counts"
    )
    parser.add_argument("photos", type=Path, nargs=2, metavar="PHOTO")
    options = parser.parse_args(arguments)
    try:
        images = [load_image(path) for path in options.photos]
        load_tensorflow()
        answer = verify(load_comparer(options.model), images, options.fmr, options.face)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    named = {"photo_a": str(options.photos[0]), "photo_b": str(options.photos[1])}
    print(json.dumps(named | answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
