"""Face sources: how faces and their landmarks are detected, as a value that is passed to the code that needs it.

A face source is a detector, a landmark predictor and all that depends on them. The program asks for one by name, here
and nowhere else:

    source = face_source("hog", second_opinion=True)
    search = source(image, "all")

To add a detector, write one file with a class that is a `FaceSource`, and enter it in `SOURCES`.

Contract:
    A face source is a small value that can be pickled and compared: processes of a pool and Ray's actors get it with
    their other settings. Models are loaded at the first call and shared within the process.
"""

from typing import Protocol

import numpy as np

from augmentor.faces.centerface_faces import CenterFaces
from augmentor.faces.face_search import MIN_FACE, FaceSearch, LandmarkUse, Policy
from augmentor.faces.hog_faces import HogFaces

DEFAULT = "centerface"


class FaceSource(Protocol):
    """Finds the faces of one photo at a time, with the five points that place them, and their 68 landmarks."""

    @property
    def version(self) -> str:
        """The detector, the landmark predictor and their versions, in characters that a file name may have.

        It is part of the key of every cache of detected faces, and outputs note it. Sources of the same version find
        the same faces; change it whenever others may be found.
        """
        ...

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm in the head model's frame: where the landmarks lie, minus the head model's landmarks."""
        ...

    def __call__(
        self,
        image: np.ndarray,
        policy: Policy = "central",
        min_face: int = MIN_FACE,
        landmarks: LandmarkUse | None = "fit",
    ) -> FaceSearch:
        """Search one photo.

        Args:
            image: (H, W, 3) uint8 RGB; not modified.
            policy: which faces count, see `augmentor.faces.face_search.choose_faces`.
            min_face: smallest usable face, side of its box in photo pixels. A photo whose faces are all smaller, or
                which is itself smaller, is `too_small`.
            landmarks: what the 68 landmarks are for; None: the faces get none, and the search may take less time.

        Raises:
            ValueError: `image` is not (H, W, 3) uint8, the policy is unknown, or `min_face` is below 1.
            InputError: a model file is missing or damaged.
        """
        ...

    def check_models(self) -> None:
        """Check that every model file is there, without loading any, so that a job can say so before it starts.

        Raises:
            InputError: a model file is missing or damaged.
        """
        ...


class _MakeSource(Protocol):
    def __call__(self, *, second_opinion: bool) -> FaceSource: ...


SOURCES: dict[str, _MakeSource] = {"centerface": CenterFaces, "hog": HogFaces}


def face_source(name: str = DEFAULT, *, second_opinion: bool = False) -> FaceSource:
    """Return the face source of this name.

    Args:
        name: a key of `SOURCES`.
        second_opinion: a doubtful face must be confirmed by a slower check. This is for photos that may show anybody,
            or nobody. It is left out where a folder promises that its photos show a person.

    Raises:
        ValueError: there is no such source.

    Example:
        >>> face_source("hog").offsets.shape
        (68, 3)
    """
    if name not in SOURCES:
        raise ValueError(f"no face source {name!r}; known: {', '.join(SOURCES)}")
    return SOURCES[name](second_opinion=second_opinion)


def source_note(source: FaceSource) -> dict[str, str]:
    """Return the entry by which an output notes its face source: `{"face_source": version}`.

    Example:
        >>> source_note(face_source("hog"))["face_source"].startswith("hog")
        True
    """
    return {"face_source": source.version}
