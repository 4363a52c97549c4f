"""Tests of the head model: its grid, its symmetry, its modes, and the errors for damaged files."""

from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.head.chosen_head import load_chosen_head
from augmentor.head.head_model import (
    BUILT_IN,
    HeadModel,
    grid_triangles,
    load_head_model,
    mirrored,
    read_head_model,
    write_head_model,
)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


def test_built_in_head_has_the_promised_shape(head: HeadModel) -> None:
    rows, cols = head.grid_shape
    assert head.mean.shape == (rows * cols, 3) and head.mean.dtype == np.float32
    assert head.triangles.shape == ((rows - 1) * (cols - 1) * 2, 3) and head.triangles.dtype == np.int32
    assert head.triangles.min() == 0 and head.triangles.max() == rows * cols - 1
    assert len(head.identity_modes) >= 20 and len(head.expression_modes) >= 8
    assert head.identity_modes.shape[1:] == head.expression_modes.shape[1:] == head.mean.shape
    assert len(head.expression_names) == len(head.expression_modes) == len(set(head.expression_names))
    assert {"jawOpen", "mouthSmile_L", "mouthPucker", "browInnerUp_R", "eyeBlink_L"} <= set(
        head.expression_names
    )
    assert BUILT_IN.stat().st_size < 600_000


def test_head_is_as_large_as_a_head_and_looks_towards_minus_z(head: HeadModel) -> None:
    width, height, depth = np.ptp(head.mean, axis=0)
    assert 140 < width < 200 and 220 < height < 300 and 180 < depth < 240
    nose_tip, chin, brow = head.landmarks()[[30, 8, 27]]
    assert nose_tip[2] == pytest.approx(head.mean[:, 2].min(), abs=1.0)
    assert brow[1] < nose_tip[1] < chin[1]
    # dlib's landmark 36 is the outer corner of the eye on the image-left side.
    assert head.landmarks()[36, 0] < head.landmarks()[45, 0]


def test_landmarks_are_68_different_vertices(head: HeadModel) -> None:
    assert len(np.unique(head.landmarks68)) == 68
    identity = np.array([1.0, -2.0], np.float32)
    expression = head.expression_weights({"jawOpen": 0.7})
    expected = head.vertices(identity, expression)[head.landmarks68]
    assert np.allclose(head.landmarks(identity, expression), expected, atol=1e-3)


def test_head_is_exactly_symmetric_by_flipping_columns(head: HeadModel) -> None:
    rows, cols = head.grid_shape
    grid = head.mean.reshape(rows, cols, 3)
    assert np.array_equal(grid[:, ::-1] * np.array([-1, 1, 1], np.float32), grid)
    assert np.array_equal(head.mirror.reshape(rows, cols)[:, ::-1].ravel(), np.arange(rows * cols))
    assert np.array_equal(head.landmarks68[[36, 48, 0]], head.mirror[head.landmarks68[[45, 54, 16]]])
    parity = mirrored(head.identity_modes, head.mirror)
    for mode, flipped in zip(head.identity_modes, parity, strict=True):
        assert np.allclose(flipped, mode, atol=1e-6) or np.allclose(flipped, -mode, atol=1e-6)
    left, right = (head.expression_names.index(f"mouthSmile_{side}") for side in "LR")
    assert np.allclose(mirrored(head.expression_modes[left], head.mirror), head.expression_modes[right])
    for mask in head.regions.values():
        assert np.array_equal(mask[head.mirror], mask)


def test_triangles_face_outwards(head: HeadModel) -> None:
    a, b, c = (head.mean[head.triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    around_nose = np.abs(a - head.landmarks()[28]).max(axis=1) < 8
    assert around_nose.sum() > 10 and (normal[around_nose, 2] < 0).all()
    outwards = (a + b + c) / 3 - np.array([0, -25, 0])
    size = np.linalg.norm(normal, axis=1)
    assert ((normal * outwards).sum(1) > 0)[
        size > 0.1
    ].mean() > 0.97  # the rest: under the nose, behind the ears


def test_mouth_is_closed_at_rest_and_opens_with_the_jaw(head: HeadModel) -> None:
    assert head.mouth_triangles.sum() >= 20
    opened = head.vertices(expression=head.expression_weights({"jawOpen": 1}))

    def area(vertices: np.ndarray) -> float:
        a, b, c = (vertices[head.triangles[head.mouth_triangles, k]] for k in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    assert area(head.mean) < 60 < 400 < area(opened)
    upper, lower = head.landmarks()[62], head.landmarks()[66]
    assert abs(lower[1] - upper[1]) < 1.5
    gap = head.landmarks(expression=head.expression_weights({"jawOpen": 1}))[[66, 62], 1]
    assert gap[0] - gap[1] > 15


def test_blinking_closes_the_eye(head: HeadModel) -> None:
    def opening(weights: dict[str, float]) -> float:
        points = head.landmarks(expression=head.expression_weights(weights))
        return float(np.linalg.norm(points[[37, 38]].mean(0) - points[[41, 40]].mean(0)))

    assert opening({"eyeBlink": 1}) < 0.45 * opening({})
    assert opening({"eyeWide": 1}) > 1.1 * opening({})


def test_regions_lie_where_their_names_say(head: HeadModel) -> None:
    assert set(head.regions) >= {"face", "eyes", "lips", "mouth_interior", "brows", "ears", "scalp", "neck"}
    at = {name: mask[head.landmarks68] for name, mask in head.regions.items()}
    assert all(mask.min() >= 0 and mask.max() <= 1 for mask in head.regions.values())
    assert at["face"][17:].min() > 0.9 and at["scalp"].max() < 0.5 and at["neck"][17:].max() == 0
    assert at["brows"][17:27].min() > 0.9 and at["brows"][27:].max() < 0.1
    assert at["lips"][60:68].min() > 0.9 and at["lips"][:48].max() == 0
    assert at["mouth_interior"][60:68].min() == 1 and at["mouth_interior"][:48].max() == 0
    centre = head.landmarks()[36:42].mean(0)
    assert head.regions["eyes"][np.argmin(np.linalg.norm(head.mean - centre, axis=1))] > 0.9
    assert np.abs(head.mean[head.regions["ears"] > 0.5, 0]).min() > 55
    assert head.mean[head.regions["neck"] > 0.9, 1].min() > 10


def test_vertices_add_modes_and_reject_what_does_not_fit(head: HeadModel) -> None:
    coefficients = np.zeros(len(head.identity_modes), np.float32)
    coefficients[1] = 2
    assert np.allclose(head.vertices(coefficients), head.mean + 2 * head.identity_modes[1], atol=1e-4)
    assert np.allclose(head.vertices(coefficients[:2]), head.vertices(coefficients))
    assert head.vertices().dtype == np.float32
    head.vertices()[:] = 0  # a copy: the model itself is untouched
    assert head.mean.any()
    with pytest.raises(InputError, match="at most"):
        head.vertices(np.zeros(len(head.identity_modes) + 1))
    with pytest.raises(InputError, match="mouthSmyle"):
        head.expression_weights({"mouthSmyle": 1})


def test_random_people_stay_heads(head: HeadModel) -> None:
    draws = np.random.default_rng(0).standard_normal((20, len(head.identity_modes)))
    for draw in draws:
        points = head.landmarks(draw)
        assert 75 < np.linalg.norm(points[36] - points[45]) < 115
        assert 90 < points[8, 1] - points[27, 1] < 145


def test_grid_triangles_by_hand() -> None:
    assert grid_triangles(np.array([[True]])).tolist() == [[0, 2, 3], [0, 3, 1]]
    assert grid_triangles(np.array([[False]])).tolist() == [[0, 2, 1], [1, 2, 3]]


def test_head_survives_writing_and_reading(head: HeadModel, tmp_path: Path) -> None:
    write_head_model(tmp_path / "head.npz", head)
    again = read_head_model(tmp_path / "head.npz")
    assert np.allclose(again.mean, head.mean, atol=0.01)
    assert np.allclose(again.identity_modes, head.identity_modes, atol=0.05)
    assert np.allclose(again.expression_modes, head.expression_modes, atol=0.2)
    assert np.array_equal(again.triangles, head.triangles)
    assert again.expression_names == head.expression_names and again.grid_shape == head.grid_shape


def test_missing_damaged_or_unknown_head_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        read_head_model(tmp_path / "none.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(BUILT_IN.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.npz: head model damaged"):
        read_head_model(cut)
    np.savez(tmp_path / "other.npz", format=np.array(99))
    with pytest.raises(InputError, match="format 99"):
        read_head_model(tmp_path / "other.npz")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(InputError, match="damaged"):
        read_head_model(tmp_path / "bare.npy")
    for spec in ("basel", "ict:", "views"):
        with pytest.raises(InputError, match="unknown head model"):
            load_chosen_head(spec)
    with pytest.raises(InputError, match="no ICT face model here"):
        load_chosen_head(f"ict:{tmp_path}")
