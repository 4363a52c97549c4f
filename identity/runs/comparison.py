"""Compare the people on two photos, with a trained run or with bare features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.face_search import Policy
from augmentor.faces.face_source import FaceSource
from identity.chips.photo_faces import PhotoFaces, PhotoReader
from identity.decisions.same_person import SamePerson
from identity.runs.bare_features import BARE_MODELS, BareFeatures

FACES: dict[str, Policy] = {"largest": "largest", "best-pair": "all", "reject": "reject"}


class Embedder(Protocol):
    """Embeds chips; both runs and bare features do."""

    @property
    def size(self) -> int:
        """Side of the chips, pixels."""
        ...

    @property
    def align(self) -> str:
        """`face`, or `whole` if whole photos are embedded and no face is detected."""
        ...

    @property
    def faces(self) -> FaceSource:
        """The face source for photos that may show anybody."""
        ...

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips (N, size, size, 3) uint8 RGB as unit rows (N, D) float32."""
        ...


class Comparer(Embedder, Protocol):
    """An embedder with stored thresholds for the comparison of two faces."""

    @property
    def same_person(self) -> SamePerson | None:
        """The thresholds at which two faces count as the same person; None if there was too little to calibrate."""
        ...


def load_comparer(model: str) -> Comparer:
    """Load a trained run, or bare features.

    Args:
        model: folder of a run, or one of `BARE_MODELS`.

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
    comparer: Comparer,
    images: Sequence[np.ndarray],
    fmr: float = 0.001,
    face: str = "largest",
    source: FaceSource | None = None,
) -> dict[str, Any]:
    """Compare the people on two images.

    Args:
        comparer: a run or bare features.
        images: two (H, W, 3) uint8 RGB images.
        fmr: share of pairs of different people that may be taken for one person.
        face: one of `FACES`.
        source: detects the faces; by default that of the comparer.

    Returns:
        What the command `identity.verify` prints, without the photos' names.

    Raises:
        InputError: the calibration photos are too few for this rate.
    """
    same_person = calibrated(comparer, fmr)
    reader = PhotoReader(
        comparer.size, policy=FACES[face], source=source or comparer.faces, poses=False, landmarks=None
    )
    seen = [reader.image(image, name) for image, name in zip(images, "ab", strict=True)]
    rows = [comparer.embed(np.stack(photo.chips)) for photo in seen if photo.chips]
    return compared(same_person, seen, rows, fmr)


def calibrated(comparer: Comparer, fmr: float) -> SamePerson:
    """Return the thresholds of a run or of bare features.

    Raises:
        InputError: there are none, or the calibration photos are too few for this rate.
    """
    if comparer.same_person is None:
        raise InputError("this run was calibrated with too few people to compare photos; use --model both")
    comparer.same_person.threshold(fmr)
    return comparer.same_person


def compared(
    same_person: SamePerson, seen: Sequence[PhotoFaces], rows: Sequence[np.ndarray], fmr: float
) -> dict[str, Any]:
    """Return what `verify` returns, for two photos whose faces were detected and embedded.

    Args:
        same_person: thresholds.
        seen: the two photos.
        rows: (F, D) unit rows of the faces of each photo, where both have faces.
        fmr: see `verify`.
    """
    counts = [len(photo.faces) for photo in seen]
    answer: dict[str, Any] = {"status": "ok", "reason": None, "faces": counts, "fmr": fmr}
    failed = [f"{name}: {photo.reason}" for name, photo in zip("ab", seen, strict=True) if not photo.faces]
    if failed:
        status = "error" if any(photo.status == "error" for photo in seen) else "no_face"
        unknown = dict.fromkeys(("distance", "threshold", "same", "probability", "confidence"))
        return answer | {"status": status, "reason": ", ".join(failed)} | unknown | {"boxes": [None, None]}
    cosines = rows[0].astype(np.float64) @ rows[1].T
    a, b = np.unravel_index(np.argmax(cosines), cosines.shape)
    # Every pair of faces is one more chance for a false match, so the rate is divided by their number, as far as the
    # calibration allows.
    strictest = max(fmr / cosines.size, min(fmr, same_person.rates[0]))
    cosine, threshold = float(cosines[a, b]), same_person.threshold(strictest)
    probability = float(same_person.probability(np.array([cosine]))[0])
    same = cosine >= threshold
    return answer | {
        "distance": round(1 - cosine, 4),
        "threshold": round(1 - threshold, 4),
        "same": same,
        "probability": round(probability, 4),
        "confidence": round(probability if same else 1 - probability, 4),
        "boxes": [
            [round(v, 1) for v in photo.faces[int(k)].box] for photo, k in zip(seen, (a, b), strict=True)
        ],
    }
