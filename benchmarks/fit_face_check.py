"""Fit the weights of the check of doubtful faces (`augmentor.faces.face_check`), and judge them by cross-validation.

    python -m benchmarks.fit_face_check --data ../shared/data --out augmentor/data/face_check.json [--candidates NPZ]

Protocol: CenterFace's detections with a score of 0.1 or more are candidates. Faces are the marked ones of `faces_boxed`
as they are, mirrored, tilted and at half size, the surest of each photo of `turned` as it is and at a quarter of its
size, the most central ones of every eighth photo of `lfw1013/train`, and 4,000 of `faces_unlabelled.zip`, reduced,
blurred, grey or tilted at random. Places without a face are all detections on `no_face`: as they are, mirrored, tilted,
turned by 90 and 180 degrees, enlarged, and cut into quarters. Four photos there show a person (`PEOPLE`); they are left
out. Every variant of a photo is in the same of four folds. `--candidates` keeps the candidates, or uses those kept.
"""

import argparse
import csv
import json
import math
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from tqdm import tqdm

from augmentor.faces.centerface import centerface
from augmentor.faces.face_check import second_looks
from augmentor.faces.face_search import Box, Detection, overlap
from augmentor.photos.images import list_photos, load_image

LEAST_SCORE = 0.1
PEOPLE = (
    "dog/263",
    "dog/11134",
    "dog/1904",
    "dog/12005",
)  # photos of no_face in which a person's face can be seen
_SIDE = 640
_FOLDS = 4
_STRENGTH = 0.003  # 1 / the strength with which weights are drawn to 0; 0.01 and 0.001 do as well
_SHARES = {"unlabelled": 0.3, "lfw": 0.3}  # weights of samples; others count 1
Picture = tuple[str, np.ndarray, np.ndarray]  # name of the variant, photo, variant_from_photo (2, 3)


@dataclass
class Candidates:
    """All detections, a row each.

    Attributes:
        kind: (N,) `boxed`, `turned`, `lfw`, `unlabelled` or `no_face`.
        photo: (N,) which photo it is from.
        variant: (N,) what was done to the photo.
        is_face: (N,) bool.
        is_open: (N,) bool, a face marked as one without a mask.
        numbers: (N, F), see `augmentor.faces.face_check.SecondLook`.
    """

    kind: np.ndarray
    photo: np.ndarray
    variant: np.ndarray
    is_face: np.ndarray
    is_open: np.ndarray
    numbers: np.ndarray


class _Gathered:
    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, bool, bool]] = []
        self.numbers: list[np.ndarray] = []

    def add(
        self,
        label: tuple[str, str, str],
        image: np.ndarray,
        found: list[Detection],
        *,
        face: bool,
        bare: bool = False,
    ) -> None:
        self.rows += [(*label, face, bare)] * len(found)
        self.numbers += [look.numbers.astype(np.float32) for look in second_looks(image, found)]

    def candidates(self) -> Candidates:
        kind, photo, variant, face, bare = (np.array(column) for column in zip(*self.rows, strict=True))
        return Candidates(kind, photo, variant, face, bare, np.array(self.numbers))


def detect(image: np.ndarray) -> list[Detection]:
    """Return every candidate of a photo."""
    return centerface(image, min(1.0, _SIDE / max(image.shape[:2])), LEAST_SCORE)


def variants(image: np.ndarray, names: Sequence[str]) -> Iterator[Picture]:
    """Return the photo changed in the ways that `names` say."""
    height, width = image.shape[:2]
    for name in names:
        if name == "mirror":
            yield name, np.ascontiguousarray(image[:, ::-1]), np.array([[-1, 0, width - 1], [0, 1, 0.0]])
        elif name == "quarters":
            for k, (y, x) in enumerate(
                ((0, 0), (0, width // 2), (height // 2, 0), (height // 2, width // 2))
            ):
                part = image[y : y + height // 2, x : x + width // 2]
                yield (
                    f"{name}{k}",
                    cv2.resize(part, None, fx=2, fy=2),
                    np.array([[2, 0, -2 * x], [0, 2, -2.0 * y]]),
                )
        elif name.startswith("tilt"):
            yield (name, *tilted(image, float(name[4:])))
        elif name.startswith("turn"):
            yield name, np.ascontiguousarray(np.rot90(image, -int(name[4:]) // 90)), np.eye(2, 3)
        else:
            factor = float(name)
            size = (max(1, round(width * factor)), max(1, round(height * factor)))
            way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
            changed = image if factor == 1 else cv2.resize(image, size, interpolation=way)
            yield name, changed, np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])


def tilted(image: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the photo tilted clockwise about its middle, and tilted_from_photo (2, 3)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    linear = np.array([[cos, -sin], [sin, cos]])
    middle = np.array([(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2])
    transform = np.column_stack([linear, middle - linear @ middle])
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, transform, size, borderMode=cv2.BORDER_REPLICATE), transform


def gather(data: Path) -> Candidates:
    """Return the candidates of all photos."""
    gathered = _Gathered()
    _add_boxed(gathered, data / "faces_boxed")
    for path in tqdm(list_photos(data / "turned"), "turned", mininterval=30):
        for name, image, _ in variants(load_image(path), ("1", "0.25")):
            gathered.add(("turned", path.parent.name, path.stem + name), image, detect(image)[:1], face=True)
    for path in tqdm(list_photos(data / "no_face"), "no_face", mininterval=30):
        photo = f"{path.parent.name}/{path.stem}"
        names = ("1", "mirror", "tilt12", "tilt-25", "turn90", "turn180", "2", "quarters")
        for name, image, _ in variants(load_image(path), () if photo in PEOPLE else names):
            gathered.add(("no_face", photo, name), image, detect(image), face=False)
    for path in tqdm(list_photos(data / "lfw1013" / "train")[::8], "lfw", mininterval=30):
        image = load_image(path)
        gathered.add(("lfw", path.parent.name, "1"), image, _central(image, detect(image)), face=True)
    _add_unlabelled(gathered, data / "faces_unlabelled.zip")
    return gathered.candidates()


def marked_faces(folder: Path) -> dict[str, list[tuple[Box, bool]]]:
    """Return box and "without a mask" of every marked face, by photo."""
    marked = defaultdict(list)
    with (folder / "boxes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            x, y, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
            marked[row["photo"]].append(((x, y, width, height), row["label"] == "without_mask"))
    return marked


def _add_boxed(gathered: _Gathered, folder: Path) -> None:
    for photo, faces in tqdm(marked_faces(folder).items(), "boxed", mininterval=30):
        for name, image, transform in variants(load_image(folder / photo), ("1", "mirror", "tilt-30", "0.5")):
            found = detect(image)
            size = math.sqrt(abs(np.linalg.det(transform[:, :2])))
            for box, bare in faces:
                middle = transform[:, :2] @ (box[0] + box[2] / 2, box[1] + box[3] / 2) + transform[:, 2]
                width, height = box[2] * size, box[3] * size
                place = (middle[0] - width / 2, middle[1] - height / 2, width, height)
                best = max(found, key=lambda d: overlap(d.box, place), default=None)
                if best is not None and overlap(best.box, place) > 0.3:
                    gathered.add(("boxed", photo, name), image, [best], face=True, bare=bare)
                    found.remove(best)


def _add_unlabelled(gathered: _Gathered, path: Path) -> None:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".webp"))
        for k in tqdm(rng.permutation(len(names))[:4000].tolist(), "unlabelled", mininterval=30):
            with Image.open(file.open(names[k])) as photo:
                image = np.asarray(photo.convert("RGB"))
            factor = float(rng.choice([1, 0.7, 0.5, 0.35, 0.25]))
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            if rng.random() < 0.25:
                image = cv2.GaussianBlur(image, (0, 0), 1)
            if rng.random() < 0.2:
                image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            if rng.random() < 0.4:
                image, _ = tilted(image, float(rng.uniform(-35, 35)))
            gathered.add(("unlabelled", names[k], "1"), image, _central(image, detect(image)), face=True)


def _central(image: np.ndarray, found: list[Detection]) -> list[Detection]:
    """Return the surest detection whose middle lies in the middle of the photo, if there is one of some size."""
    side = max(image.shape[:2])
    for d in found:
        dx, dy = d.box[0] + d.box[2] / 2 - image.shape[1] / 2, d.box[1] + d.box[3] / 2 - image.shape[0] / 2
        if math.hypot(dx, dy) < 0.2 * side and d.side > 0.25 * side:
            return [d]
    return []


def fit(candidates: Candidates, chosen: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a logistic regression with weights drawn to 0, on standardised numbers.

    Args:
        candidates: all of them.
        chosen: (N,) bool, which are used.

    Returns:
        Weights (F,) of the numbers as they are, and the constant.
    """
    x = candidates.numbers[chosen].astype(np.float64)
    mean, spread = x.mean(0), x.std(0) + 1e-9
    x = (x - mean) / spread
    sign = np.where(candidates.is_face[chosen], 1.0, -1.0)
    share = np.array([_SHARES.get(str(kind), 1.0) for kind in candidates.kind[chosen]])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ w[:-1] + w[-1])
        slope = -share * sign * expit(-margin)
        gradient = np.append(x.T @ slope + w[:-1] / _STRENGTH, slope.sum())
        return float(-(share * log_expit(margin)).sum() + w[:-1] @ w[:-1] / (2 * _STRENGTH)), gradient

    w = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return w[:-1] / spread, float(w[-1] - (w[:-1] * mean / spread).sum())


def cross_validated(candidates: Candidates) -> np.ndarray:
    """Return the logarithmic odds of every candidate, by weights fitted without its photo; (N,)."""
    photos = np.unique(candidates.photo)
    fold_of = dict(zip(photos, np.random.default_rng(0).integers(0, _FOLDS, len(photos)), strict=True))
    fold = np.array([fold_of[photo] for photo in candidates.photo])
    odds = np.zeros(len(fold))
    for k in range(_FOLDS):
        weights, bias = fit(candidates, fold != k)
        odds[fold == k] = candidates.numbers[fold == k] @ weights + bias
    return odds


def false_alarms(candidates: Candidates, odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest odds of every photo without a face as it is, and of every variant; both fall."""
    highest: dict[tuple[str, str], float] = {}
    for k in np.flatnonzero(candidates.kind == "no_face"):
        variant = str(candidates.variant[k])
        key = (str(candidates.photo[k]), "quarters" if variant.startswith("quarters") else variant)
        highest[key] = max(highest.get(key, -50.0), float(odds[k]))
    plain = [value for key, value in highest.items() if key[1] == "1"]
    return np.sort(plain)[::-1], np.sort(list(highest.values()))[::-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fit_face_check", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with faces_boxed, no_face, ...")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the weights")
    parser.add_argument("--candidates", type=Path, help="NPZ file that keeps the candidates")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    if options.candidates and options.candidates.is_file():
        candidates = Candidates(**dict(np.load(options.candidates)))
    else:
        candidates = gather(options.data)
        if options.candidates:
            np.savez(options.candidates, **vars(candidates))
    odds = cross_validated(candidates)
    plain, all_variants = false_alarms(candidates, odds)
    boxed = (candidates.kind == "boxed") & (candidates.variant == "1")
    marked = [bare for faces in marked_faces(options.data / "faces_boxed").values() for _, bare in faces]
    print(
        "| log odds above | no_face photos | of variants | boxed | boxed, open | turned | unlabelled | lfw |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for threshold in np.arange(-2, 4.5, 0.5):
        above = odds > threshold
        found = (above & boxed).sum() / len(marked), (above & boxed & candidates.is_open).sum() / sum(marked)
        shares = [above[candidates.kind == kind].mean() for kind in ("turned", "unlabelled", "lfw")]
        false = (plain > threshold).sum(), (all_variants > threshold).sum()
        print(
            f"| {threshold:.1f} | {false[0]} | {false[1]} | "
            + " | ".join(f"{share:.1%}" for share in (*found, *shares))
            + " |"
        )
    weights, bias = fit(candidates, np.ones(len(odds), bool))
    # Seven digits: the numbers are sums of float32 anyway.
    rounded = [float(f"{weight:.7g}") for weight in weights.tolist()]
    options.out.write_text(json.dumps({"bias": round(bias, 6), "weights": rounded}) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
