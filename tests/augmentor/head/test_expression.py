"""Tests of `augmentor.head.expression`: what a change moves, and the mouth that it opens."""

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.head.expression import NAMES, change_expression, paint_mouth
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import Camera, FaceFit
from augmentor.head.surface import flatten_ears


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


def fit_of(head: HeadModel, weights: dict[str, float], identity: float = 0.0) -> FaceFit:
    camera = Camera(np.eye(3), np.array([0.0, 0.0, 1500.0]), 1000.0, np.zeros(2))
    shape = np.full(len(head.identity_modes), identity, np.float32)
    expression = head.expression_weights(weights)
    return FaceFit(camera, shape, expression, camera.project(head.landmarks(shape, expression)), 0.5)


def lips_apart(head: HeadModel, fit: FaceFit, landmark_offset: np.ndarray) -> float:
    landmarks = head.landmarks(fit.identity, fit.expression) + landmark_offset
    return float(np.linalg.norm(landmarks[62] - landmarks[66]))


@pytest.mark.parametrize("name", NAMES)
def test_a_face_that_has_the_expression_already_does_not_change(head: HeadModel, name: str) -> None:
    weights = {
        "neutral": {},
        "closed": {},
        "open": {"jawOpen": 0.25},
        "smile": {"mouthSmile": 0.35, "cheekSquint": 0.1},
    }
    change = change_expression(fit_of(head, weights[name]), head, name, 0.0)
    assert not change.offset.any() and not change.landmark_offset.any() and change.unseen == 0


def test_neutral_removes_the_fitted_expression_and_nothing_else(head: HeadModel) -> None:
    fit = fit_of(head, {"mouthSmile": 0.6, "browInnerUp": 0.5}, identity=0.4)
    change = change_expression(fit, head, "neutral", 0.3)
    bare = flatten_ears(head.mean, head) - flatten_ears(head.vertices(None, fit.expression), head)
    np.testing.assert_allclose(change.offset[..., :3].reshape(-1, 3), bare, atol=1e-3)
    np.testing.assert_allclose(
        head.landmarks(fit.identity, fit.expression) + change.landmark_offset,
        head.landmarks(fit.identity),
        atol=1e-3,
    )


def test_open_opens_and_closed_closes_the_mouth(head: HeadModel) -> None:
    shut, ajar = fit_of(head, {}), fit_of(head, {"jawOpen": 0.5})
    wide = change_expression(shut, head, "open", 1.0)
    assert lips_apart(head, shut, wide.landmark_offset) > 10 and wide.unseen == 1
    assert 0 < change_expression(ajar, head, "open", 1.0).unseen < 1
    closed = change_expression(ajar, head, "closed", 0.5)
    assert lips_apart(head, ajar, closed.landmark_offset) < 1.5 and closed.unseen == 0


@pytest.mark.parametrize("name", ["open", "closed", "smile"])
def test_eyes_and_nose_stay_where_they_are(head: HeadModel, name: str) -> None:
    change = change_expression(fit_of(head, {"jawOpen": 0.4, "mouthSmile": 0.2}), head, name, 1.0)
    corners = [27, 28, 29, 30, 36, 39, 42, 45]
    assert np.abs(change.landmark_offset[corners]).max() < 1.0  # mm
    assert np.abs(change.landmark_offset[48:68]).max() > 2.0


def test_unknown_expression_is_refused(head: HeadModel) -> None:
    with pytest.raises(InputError, match="unknown expression 'frown'; known: neutral"):
        change_expression(fit_of(head, {}), head, "frown", 0.5)


def test_paint_stays_inside_the_lips() -> None:
    pixels = np.full((100, 100, 4), 180, np.uint8)
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[60:68] = [[30, 50], [40, 42], [50, 40], [60, 42], [70, 50], [60, 58], [50, 60], [40, 58]]
    painted = paint_mouth(pixels, landmarks, 1.0)
    assert painted[50, 50, :3].max() < 60
    away = np.ones((100, 100), bool)
    away[36:64, 26:74] = False
    np.testing.assert_array_equal(painted[away], pixels[away])
    half = paint_mouth(pixels, landmarks, 0.5)[50, 50, 0]
    assert painted[50, 50, 0] < half < 180
    assert paint_mouth(pixels, landmarks, 0.0) is pixels
