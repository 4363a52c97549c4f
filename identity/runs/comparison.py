"""Compare the people on two photos, by a trained run or by bare features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.face_search import Policy
from identity.chips.photo_faces import PhotoFaces, PhotoReader
from identity.decisions.same_person import SamePerson
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
    same_person: SamePerson, seen: Sequence[PhotoFaces], rows: Sequence[np.ndarray], fmr: float
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
