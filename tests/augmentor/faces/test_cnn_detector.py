"""The CNN detector: boxes in the pixels of the photo, whatever it was reduced to."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.faces.cnn_detector import cnn_faces
from augmentor.faces.face_search import overlap
from augmentor.faces.face_source import face_source
from augmentor.photos.images import load_image

LFW = Path(__file__).parents[3].parent / "shared" / "data" / "lfw1013"


def test_nothing_is_found_on_an_empty_photo() -> None:
    assert cnn_faces(np.full((90, 150, 3), 120, np.uint8)) == []


@pytest.mark.skipif(not LFW.is_dir(), reason=f"{LFW} is not here")
@pytest.mark.parametrize("scale", [(1.0, 1.0), (2.4, 2.4)])
def test_it_sees_a_face_where_the_other_detector_does(scale: tuple[float, float]) -> None:
    path = sorted((LFW / "strangers_calibration").iterdir())[0]
    image = cv2.resize(load_image(path), None, fx=scale[0], fy=scale[1])
    (box, confidence), *_ = cnn_faces(image)
    assert confidence > 0.75
    assert overlap(box, face_source()(image).faces[0].box) > 0.5
