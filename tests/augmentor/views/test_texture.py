"""Tests of what a photo shows of a head's surface, on surfaces simple enough to compute by hand."""

import numpy as np
import pytest

from augmentor.views.texture import FACING_LOW, TURNS, favour_better_side, inside_outline, visibility

SHAPE = (41, 61)
RADIUS = 50.0


def disc() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the front of a ball, seen from afar: points (R, C, 2) px, depth and facing (R, C)."""
    row, column = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), indexing="ij")
    azimuth, height = column * np.pi / 2, row * np.pi / 2
    x, y = np.sin(azimuth) * np.cos(height), np.sin(height)
    facing = np.cos(azimuth) * np.cos(height)
    points = (100 + RADIUS * np.stack([x, y], -1)).astype(np.float32)
    return points, 1000 - RADIUS * facing, facing


def test_points_on_the_outline_move_inwards_by_half_the_margin() -> None:
    points, _, _ = disc()
    margin = 12.0
    moved = inside_outline(points, np.full(SHAPE, margin, np.float32))
    before, after = (np.linalg.norm(p - 100, axis=2) for p in (points, moved))
    inner = before < RADIUS - margin - 2
    assert np.allclose(before[inner], after[inner], atol=0.3)
    expected = np.where(before > RADIUS - margin, before - (before - RADIUS + margin) / 2, before)
    assert np.abs(after - expected).max() < 1.5
    assert after.max() < RADIUS - margin / 2 + 1.5


def test_no_margin_moves_nothing_and_a_mirrored_head_moves_in_the_mirror() -> None:
    points, _, _ = disc()
    assert np.array_equal(inside_outline(points, np.zeros(SHAPE, np.float32)), points)
    margin = np.linspace(4, 14, SHAPE[0], dtype=np.float32)[:, None] * np.ones(SHAPE, np.float32)
    moved = inside_outline(points, margin)
    mirrored = inside_outline((points * [-1, 1] + [200, 0])[:, ::-1].astype(np.float32), margin)
    assert np.allclose(mirrored[:, ::-1] * [-1, 1] + [200, 0], moved, atol=0.5)


def test_gap_between_points_is_no_background() -> None:
    """Leave two of the ball's rows out of the middle: they are not taken for the outline."""
    points, _, _ = disc()
    gap = np.delete(points, slice(20, 22), axis=0)
    moved = inside_outline(gap, np.full(gap.shape[:2], 8.0, np.float32))
    middle = np.linalg.norm(gap - 100, axis=2) < RADIUS / 2
    assert np.allclose(moved[middle], gap[middle], atol=0.3)


@pytest.mark.parametrize("turn", [0.0, -30.0, 45.0, 90.0])
def test_slanting_surface_is_visible_by_its_angle_and_the_heads(turn: float) -> None:
    points, depth, facing = disc()
    shown = visibility(points, depth, facing, np.ones(SHAPE, bool), turn)
    assert shown[SHAPE[0] // 2, SHAPE[1] // 2] == pytest.approx(1)
    assert shown.min() >= 0 and shown.max() <= 1
    low = np.interp(abs(turn), TURNS, FACING_LOW)
    assert shown[facing < max(low - 0.1, 0.01)].max() < 0.3


def test_profile_counts_more_of_a_slanting_surface_than_a_frontal_face() -> None:
    points, depth, facing = disc()
    frontal, profile = (visibility(points, depth, facing, np.ones(SHAPE, bool), turn) for turn in (0.0, 90.0))
    slanting = (facing > 0.3) & (facing < 0.5)
    assert profile[slanting].mean() > frontal[slanting].mean() + 0.2


def test_what_lies_behind_something_is_hidden() -> None:
    """Two sheets at the same place in the picture, one 30 mm behind the other."""
    x, y = np.meshgrid(np.linspace(0, 100, SHAPE[1]), np.linspace(0, 60, SHAPE[0] // 2))
    sheet = np.stack([x, y], -1)
    points = np.concatenate([sheet, sheet]).astype(np.float32)
    depth = np.repeat([1000.0, 1030.0], len(sheet))[:, None] * np.ones((1, SHAPE[1]))
    facing = np.ones(depth.shape)
    shown = visibility(points, depth, facing, np.ones(depth.shape, bool), 0.0)
    assert shown[5:15].min() > 0.99 and shown[25:35].max() < 0.01


def test_less_visible_side_of_a_turned_face_counts_by_the_square_of_its_share() -> None:
    """Work out one row of four points by hand; the outer two and the inner two mirror each other."""
    shown = np.array([[1.0, 0.8, 0.8, 0.5]], np.float32)
    mirror = np.array([3, 2, 1, 0])
    favoured = favour_better_side(shown, mirror, 60.0)
    assert favoured.tolist() == [[1.0, pytest.approx(0.8), pytest.approx(0.8), 0.125]]
    assert np.array_equal(favour_better_side(shown, mirror, -30.0), shown), "not yet turned enough"
    assert not favour_better_side(np.zeros((1, 4), np.float32), mirror, 60.0).any()
