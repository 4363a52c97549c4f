"""The 68 landmarks of a face: dlib's predictor, from the package `face-recognition-models`.

The predictor was trained on 300-W, whose licence excludes commercial use, so it stays replaceable: `HogFaces` takes any
`LandmarkSource`.

Source:
    Kazemi and Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees", CVPR 2014.
    Sagonas et al., "300 Faces In-The-Wild Challenge", 2016 (training data).
"""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import dlib
import numpy as np

from augmentor.errors import InputError
from augmentor.faces.detector_offsets import detector_offsets
from augmentor.faces.face_search import Box

PACKAGE = "face_recognition_models"
LANDMARKS_68 = "shape_predictor_68_face_landmarks.dat"
FACE_EMBEDDING = "dlib_face_recognition_resnet_model_v1.dat"

# Size in bytes and SHA-256 of every file in version 0.3.0 of the package, the last one published.
KNOWN_MODELS = {
    LANDMARKS_68: (99693937, "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"),
    FACE_EMBEDDING: (22466066, "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"),
    "shape_predictor_5_face_landmarks.dat": (
        9150489,
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    ),
    "mmod_human_face_detector.dat": (
        729940,
        "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    ),
}
_WAY_OUT = "install it again: pip install --force-reinstall --no-deps 'face-recognition-models>=0.3,<0.4'"


class LandmarkSource(Protocol):
    """Predicts the 68 landmarks of a face whose box is known. A small value that can be pickled and compared."""

    @property
    def version(self) -> str:
        """The predictor and its version, in characters that a file name may have; see `FaceSource.version`."""
        ...

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm in the head model's frame: where the landmarks lie, minus the head model's landmarks."""
        ...

    def __call__(self, image: np.ndarray, box: Box) -> np.ndarray:
        """Return (68, 2) float32 (x, y) pixels, dlib's order.

        Args:
            image: (H, W, 3) uint8 RGB.
            box: (x, y, width, height) in pixels, as dlib's frontal face detector draws it.

        Raises:
            InputError: a model file is missing or damaged.
        """
        ...

    def check_models(self) -> None:
        """Check that every model file is there, without loading any.

        Raises:
            InputError: a model file is missing or damaged.
        """
        ...


@functools.cache
def model_path(name: str) -> Path:
    """Return the path of a model file of the package `face-recognition-models`, checked for damage once per process.

    The package is located, not imported: importing it needs `pkg_resources`, which no longer exists.

    Args:
        name: file name, one of `KNOWN_MODELS`.

    Raises:
        ValueError: there is no such model.
        InputError: the package or the file is missing, or the file is not what was published.
    """
    if name not in KNOWN_MODELS:
        raise ValueError(f"no model {name!r}; known: {', '.join(KNOWN_MODELS)}")
    return checked_model(package_folder() / "models" / name, *KNOWN_MODELS[name])


def package_folder() -> Path:
    """Return the folder of the installed package `face-recognition-models`.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the package face-recognition-models is not installed; {_WAY_OUT}")
    return Path(spec.submodule_search_locations[0])


def checked_model(path: Path, size: int, sha256: str) -> Path:
    """Return `path` if the file there has this size and SHA-256.

    Raises:
        InputError: the file is missing or differs.
    """
    try:
        found = path.stat().st_size
        if found != size:
            raise InputError(f"{path}: damaged, {found} bytes instead of {size}; {_WAY_OUT}")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot read the model ({error.strerror or error}); {_WAY_OUT}") from error
    if digest.hexdigest() != sha256:
        raise InputError(f"{path}: damaged, its SHA-256 is not the published one; {_WAY_OUT}")
    return path


@functools.cache
def _predictor() -> Any:
    """Return dlib's 68-point predictor, loaded once per process (0.9 s, 100 MB)."""
    return dlib.shape_predictor(str(model_path(LANDMARKS_68)))


@dataclass(frozen=True)
class DlibLandmarks:
    """dlib's 68-point predictor as a `LandmarkSource`; it loads its model at the first call and takes 2 ms a face.

    dlib rounds each landmark to whole pixels.
    """

    @property
    def version(self) -> str:
        """The version of dlib, as `LandmarkSource.version` asks for."""
        return f"dlib{dlib.__version__}"

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm, measured; see `augmentor.faces.detector_offsets`."""
        return detector_offsets()

    def check_models(self) -> None:
        """Check that the model file is there, without loading it.

        Raises:
            InputError: the model file is missing or damaged.
        """
        model_path(LANDMARKS_68)

    def __call__(self, image: np.ndarray, box: Box) -> np.ndarray:
        """Return (68, 2) float32 (x, y) pixels; arguments and errors are those of `LandmarkSource.__call__`."""
        x, y, width, height = box
        left, top = round(x), round(y)
        rectangle = dlib.rectangle(left, top, left + round(width) - 1, top + round(height) - 1)
        shape = _predictor()(image, rectangle)
        return np.array([(part.x, part.y) for part in shape.parts()], np.float32)
