"""The face source of everyday use: CenterFace's boxes and five points, and 68 landmarks where they are asked for."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from augmentor.faces.centerface import centerface
from augmentor.faces.face_search import (
    MIN_FACE,
    NO_LANDMARKS,
    Detection,
    Face,
    FaceSearch,
    Policy,
    check_image,
    check_policy,
    choose_faces,
)
from augmentor.faces.landmark_source import DlibLandmarks, LandmarkSource
from augmentor.model_files.known_models import CENTERFACE
from augmentor.model_files.model_store import model_path

_VERSION = (
    1  # raise it when other faces or other points are found: what caches hold is then not used any more
)
_SIDE = 640  # pixels of the longer side that the net sees; smaller photos are searched at their own size
_LEAST_SCORE = 0.4


@dataclass(frozen=True)
class CenterFaces:
    """A `augmentor.faces.face_source.FaceSource` that detects faces of any pose.

    Models load at the first call and are shared within the process. OpenCV's nets are not safe in several threads at
    once.

    Attributes:
        second_opinion: whether doubtful faces must pass a check.
        landmarks: predicts the 68 points.
    """

    second_opinion: bool = False
    landmarks: LandmarkSource = field(default_factory=DlibLandmarks)

    @property
    def version(self) -> str:
        """The versions of this file, OpenCV's series and the landmarks, as `FaceSource.version` asks for."""
        checked = "" if self.second_opinion else "-unchecked"
        return f"centerface{_VERSION}-cv{cv2.__version__}-{self.landmarks.version}{checked}"

    @property
    def offsets(self) -> np.ndarray:
        """(68, 3) float64 mm, those of the landmarks; see `FaceSource.offsets`."""
        return self.landmarks.offsets

    def check_models(self) -> None:
        """Check that every model file is there, and fetch what can be fetched, without loading any.

        Raises:
            InputError: a model file is missing or damaged.
        """
        model_path(CENTERFACE)
        self.landmarks.check_models()

    def __call__(
        self, image: np.ndarray, policy: Policy = "central", min_face: int = MIN_FACE, landmarks: bool = True
    ) -> FaceSearch:
        """Search one photo; arguments and errors are those of `FaceSource.__call__`."""
        check_policy(policy, min_face)
        check_image(image)
        image = np.ascontiguousarray(image)
        if min(image.shape[:2]) < min_face:
            return FaceSearch((), "too_small")
        detections = centerface(image, min(1.0, _SIDE / max(image.shape[:2])), _LEAST_SCORE)
        chosen, reason = choose_faces(detections, policy, min_face, image.shape[:2])
        return FaceSearch(tuple(self._face(image, d, landmarks) for d in chosen), reason)

    def _face(self, image: np.ndarray, detection: Detection, landmarks: bool) -> Face:
        assert detection.points is not None
        if not landmarks:
            return Face(detection.box, NO_LANDMARKS, detection.score, detection.points)
        places, visible = self.landmarks(image, detection)
        return Face(detection.box, places, detection.score, detection.points, visible)
