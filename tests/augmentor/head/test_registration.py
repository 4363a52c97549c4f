"""Tests of `augmentor.head.registration`: visible landmarks are met, hidden ones move nothing."""

import numpy as np
import pytest

from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import Camera, FaceFit, HeadTurn, rotation_from_turn
from augmentor.head.registration import register


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


def fit_at(head: HeadModel, turn: float) -> FaceFit:
    """Return the fit of the mean head at this turn."""
    camera = Camera(
        rotation_from_turn(HeadTurn(turn, 5, 3)), np.array([0, 0, 1500.0]), 1200.0, np.full(2, 150.0)
    )
    return FaceFit(camera, np.zeros(1), np.zeros(1), camera.project(head.landmarks()), 0.0)


@pytest.mark.parametrize("turn", [0.0, 45.0, -90.0])
def test_surface_lies_where_visible_landmarks_are_and_hidden_ones_do_not_matter(
    head: HeadModel, turn: float
) -> None:
    fit, rng = fit_at(head, turn), np.random.default_rng(1)
    inner = np.arange(68) >= 17
    visible = inner & ((head.landmarks()[:, 0] * np.sign(turn) > -2) | (turn == 0))
    true = fit.camera.project(head.landmarks() + head.landmark_offsets)
    shifted = true + [3, -2]
    noise = rng.normal(0, 40, (68, 2))
    moved = [
        register(np.where(visible[:, None], shifted, shifted + k * noise), head.mean, fit, head, visible)
        for k in (0, 1)
    ]
    assert np.array_equal(*moved)
    by = (moved[0] - fit.camera.project(head.mean))[head.landmarks68[visible]]
    assert np.allclose(by, [3, -2], atol=0.5)


def test_landmarks_on_the_fitted_head_move_nothing(head: HeadModel) -> None:
    fit = fit_at(head, 0.0)
    true = fit.camera.project(head.landmarks() + head.landmark_offsets)
    moved = register(true, head.mean, fit, head, np.arange(68) >= 17)
    assert np.abs(moved - fit.camera.project(head.mean)).max() < 0.05
