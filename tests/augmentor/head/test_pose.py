"""Tests of pose, camera and face fit: conventions, exact cases, noise, and landmarks that are not a face."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from augmentor.errors import InputError, PhotoError
from augmentor.faces.detector_offsets import detector_offsets
from augmentor.head.head_grid import MIRROR68
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.measure_offsets import measure_offsets
from augmentor.head.pose import (
    PORTRAIT_DISTANCE,
    Camera,
    HeadPose,
    HeadTurn,
    estimate_camera,
    fit_face,
    pose_from_rotation,
    rotation_from_pose,
    rotation_from_turn,
    turn_from_rotation,
)

SIZE = (250, 250)
angles = st.floats(-179, 179)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


def camera_at(yaw: float, pitch: float = 0.0, roll: float = 0.0, *, distance: float = 1200.0) -> Camera:
    """Return a camera in whose photo of 250 px the face is about 100 px wide and in the middle."""
    return Camera(
        rotation=rotation_from_pose(HeadPose(yaw, pitch, roll)),
        translation=np.array([3.0, -8.0, distance]),
        focal=0.7 * distance,
        centre=np.array([125.0, 125.0]),
    )


def camera_turned(turn: float, lean: float = 0.0, tilt: float = 0.0) -> Camera:
    """Return a camera at the portrait distance, in whose photo of 250 px the face is about 100 px wide."""
    straight = camera_at(0, distance=PORTRAIT_DISTANCE)
    return replace(straight, rotation=rotation_from_turn(HeadTurn(turn, lean, tilt)))


def half_shown(turn: float) -> np.ndarray:
    """Return the landmarks (68,) bool that a turned head shows: its near half and its middle, no contour."""
    x = load_head_model().landmarks()[:, 0]
    return (np.arange(68) >= 17) & ((x * np.sign(turn) > -2) | (abs(turn) < 45))


@given(angles, st.floats(-89, 89), angles)
def test_pose_to_rotation_roundtrip(yaw: float, pitch: float, roll: float) -> None:
    pose = HeadPose(yaw, pitch, roll)
    rotation = rotation_from_pose(pose)
    assert np.allclose(rotation, Rotation.from_euler("xyz", [pitch, yaw, roll], degrees=True).as_matrix())
    again = pose_from_rotation(rotation)
    assert np.allclose([again.yaw, again.pitch, again.roll], [yaw, pitch, roll], atol=1e-6)


@given(angles, st.floats(-89, 89), angles)
def test_turn_to_rotation_roundtrip(turn: float, lean: float, tilt: float) -> None:
    found = turn_from_rotation(rotation_from_turn(HeadTurn(turn, lean, tilt)))
    assert np.allclose([found.turn, found.lean, found.tilt], [turn, lean, tilt], atol=1e-6)


@given(st.floats(-110, 110))
def test_both_kinds_of_angles_agree_on_a_level_head(yaw: float) -> None:
    rotation = rotation_from_pose(HeadPose(yaw, 0, 0))
    pose, turn = pose_from_rotation(rotation), turn_from_rotation(rotation)
    assert np.allclose([pose.yaw, pose.pitch, pose.roll], [yaw, 0, 0], atol=1e-6)
    assert np.allclose([turn.turn, turn.lean, turn.tilt], [yaw, 0, 0], atol=1e-6)


def test_camera_above_a_profile_sees_it_lean_and_not_tilt() -> None:
    """Raise the camera by 30 degrees: the picture turns about the image's x axis, whatever the head's yaw is."""
    raised = rotation_from_pose(HeadPose(0, 30, 0))
    for yaw in (0.0, 45.0, 90.0, -90.0):
        turn = turn_from_rotation(raised @ rotation_from_pose(HeadPose(yaw, 0, 0)))
        assert [turn.turn, turn.lean, turn.tilt] == pytest.approx([yaw, 30, 0], abs=1e-6)


@given(st.sampled_from([-90.0, 90.0]), angles, angles)
def test_rotation_survives_gimbal_lock(yaw: float, pitch: float, roll: float) -> None:
    rotation = rotation_from_pose(HeadPose(yaw, pitch, roll))
    pose = pose_from_rotation(rotation)
    assert pose.yaw == pytest.approx(yaw, abs=1e-4)
    assert np.allclose(rotation_from_pose(pose), rotation, atol=1e-5)


def test_angles_have_the_agreed_signs() -> None:
    nose, up, right = np.array([0, 0, -1.0]), np.array([0, -1.0, 0]), np.array([1.0, 0, 0])
    assert rotation_from_pose(HeadPose(30, 0, 0)) @ nose == pytest.approx([-0.5, 0, -np.sqrt(0.75)])
    assert (rotation_from_pose(HeadPose(0, 20, 0)) @ nose)[1] > 0  # y runs down: the nose sinks
    rolled = rotation_from_pose(HeadPose(0, 0, 90))
    assert rolled @ up == pytest.approx([1, 0, 0]) and rolled @ right == pytest.approx([0, 1, 0])


def test_camera_projects_by_hand() -> None:
    camera = Camera(np.eye(3), np.array([0, 0, 1000.0]), 500.0, np.array([100.0, 50.0]))
    points = camera.project(np.array([[[0, 0, 0], [10, -20, 0], [10, 0, -500]]]))
    assert points.dtype == np.float32
    assert points[0].tolist() == [[100, 50], [105, 40], [110, 50]]


@settings(max_examples=25, deadline=None)
@given(st.floats(-80, 80), st.floats(-40, 40), st.floats(-60, 60), st.floats(700, 2500))
def test_camera_is_found_exactly_when_points_and_focal_are_known(
    yaw: float, pitch: float, roll: float, distance: float
) -> None:
    points = load_head_model().landmarks()
    camera = camera_at(yaw, pitch, roll, distance=distance)
    estimated = estimate_camera(camera.project(points), points, SIZE, focal=camera.focal)
    assert np.allclose(estimated.rotation, camera.rotation, atol=1e-4)
    assert np.allclose(estimated.translation, camera.translation, atol=0.2)


@settings(max_examples=25, deadline=None)
@given(st.floats(-100, 100), st.floats(-40, 40), st.floats(-179, 179))
def test_camera_is_found_exactly_from_the_half_that_a_turned_head_shows(
    turn: float, lean: float, tilt: float
) -> None:
    points, camera = load_head_model().landmarks(), camera_turned(turn, lean, tilt)
    landmarks, visible = camera.project(points), half_shown(turn)
    estimated = estimate_camera(landmarks, points, SIZE, focal=camera.focal, visible=visible)
    assert np.allclose(estimated.rotation, camera.rotation, atol=2e-3)


@pytest.mark.parametrize("distance", [600.0, 1200.0, 3000.0])
def test_unknown_focal_costs_little(head: HeadModel, distance: float) -> None:
    points = head.landmarks()
    for yaw in (-60, -20, 0, 35):
        estimated = estimate_camera(
            camera_at(yaw, 8, -5, distance=distance).project(points), points, SIZE
        ).pose
        assert abs(estimated.yaw - yaw) < 6 and abs(estimated.pitch - 8) < 5 and abs(estimated.roll + 5) < 4


def test_camera_stands_at_a_portrait_distance(head: HeadModel) -> None:
    small = camera_at(10).project(head.landmarks())
    camera = estimate_camera(small, head.landmarks(), SIZE)
    depth = head.landmarks() @ camera.rotation.T + camera.translation
    assert depth[:, 2].mean() == pytest.approx(PORTRAIT_DISTANCE, rel=0.05)
    # A small face in a wide picture: no fish-eye, the focal length is at least the picture's longer side.
    assert estimate_camera(small + 1800, head.landmarks(), (3000, 4000)).focal >= 4000


@pytest.mark.parametrize("detected", [True, False])
def test_fit_recovers_people_from_noisy_landmarks(head: HeadModel, detected: bool) -> None:
    rng = np.random.default_rng(3)
    errors = []
    for yaw in np.linspace(-40, 40, 17):
        identity = 0.8 * rng.standard_normal(20)
        expression = head.expression_weights(
            {"jawOpen": rng.uniform(0, 0.4), "mouthSmile": rng.uniform(0, 0.8)}
        )
        points = head.landmarks(identity, expression) + (detector_offsets() if detected else 0)
        pitch, roll = rng.uniform(-12, 12, 2)
        landmarks = camera_at(yaw, pitch, roll).project(points) + rng.normal(0, 0.7, (68, 2))
        fit = fit_face(landmarks, head, SIZE, detected=detected)
        pose = fit.camera.pose
        errors.append([pose.yaw - yaw, pose.pitch - pitch, pose.roll - roll])
        assert fit.residual_px < 2.5
        assert fit.expression.min() >= 0 and fit.expression.max() <= 1
        assert np.abs(fit.identity).max() < 4
    assert (np.abs(errors).mean(axis=0) < [2.0, 3.5, 1.0]).all()


def test_fit_explains_better_than_the_mean_head(head: HeadModel) -> None:
    identity = np.random.default_rng(5).standard_normal(20)
    smiling = head.expression_weights({"mouthSmile": 0.7, "jawOpen": 0.2})
    landmarks = camera_at(12, 4, 2).project(head.landmarks(identity, smiling))
    fit = fit_face(landmarks, head, SIZE, detected=False)
    mean = estimate_camera(landmarks, head.landmarks(), SIZE).project(head.landmarks())
    inner = slice(17, 68)
    assert np.linalg.norm(fit.landmarks_2d - landmarks, axis=1)[inner].mean() < 1.2
    assert np.linalg.norm(mean - landmarks, axis=1)[inner].mean() > 1.8
    assert fit.expression @ smiling > 0.15
    again = fit_face(landmarks, head, SIZE, detected=False)
    assert np.array_equal(again.identity, fit.identity) and again.residual_px == fit.residual_px


def test_mirrored_landmarks_give_the_mirrored_fit(head: HeadModel) -> None:
    rng = np.random.default_rng(8)
    points = head.landmarks(rng.standard_normal(20))
    landmarks = camera_at(25, 5, 4).project(points) + rng.normal(0, 0.7, (68, 2))
    flipped = landmarks[MIRROR68] * [-1, 1] + [SIZE[1], 0]
    one, other = fit_face(landmarks, head, SIZE).camera.pose, fit_face(flipped, head, SIZE).camera.pose
    assert [other.yaw, other.pitch, other.roll] == pytest.approx([-one.yaw, one.pitch, -one.roll], abs=0.3)


@pytest.mark.parametrize("side", [-1, 1])
def test_fit_finds_the_pose_of_true_landmarks_at_any_turn(head: HeadModel, side: int) -> None:
    for turn in (0, 15, 30, 45, 60, 75, 90, 100):
        for lean, tilt in ((0, 0), (20, 10), (-20, -60), (10, 170)):
            camera = camera_turned(side * turn, lean, tilt)
            visible = half_shown(side * turn)
            fit = fit_face(camera.project(head.landmarks()), head, SIZE, visible=visible, detected=False)
            found = fit.camera.turn
            wanted = [side * turn, lean, tilt]
            assert [found.turn, found.lean, found.tilt] == pytest.approx(wanted, abs=0.5), wanted


def test_mirrored_landmarks_of_turned_faces_give_the_mirrored_turn(head: HeadModel) -> None:
    rng = np.random.default_rng(8)
    for turn in (30, 60, 90):
        landmarks = camera_turned(turn, 5, 4).project(head.landmarks(rng.standard_normal(20)))
        landmarks = landmarks + rng.normal(0, 0.7, (68, 2))
        flipped = landmarks[MIRROR68] * [-1, 1] + [SIZE[1], 0]
        visible = half_shown(turn)
        one = fit_face(landmarks, head, SIZE, visible=visible).camera.turn
        other = fit_face(flipped, head, SIZE, visible=visible[MIRROR68]).camera.turn
        assert [other.turn, other.lean, other.tilt] == pytest.approx(
            [-one.turn, one.lean, -one.tilt], abs=0.3
        )


def test_noisy_landmarks_of_turned_people_are_fitted(head: HeadModel) -> None:
    """Noise is 3 % of the distance of the eyes; the hidden landmarks are anywhere."""
    rng, errors = np.random.default_rng(5), []
    for number in range(60):
        turn, lean, tilt = rng.uniform(30, 100) * (-1) ** number, *rng.uniform(-25, 25, 2)
        camera = camera_turned(turn, lean, tilt)
        visible = half_shown(turn)
        points = camera.project(head.landmarks(rng.standard_normal(20)) + detector_offsets())
        landmarks = np.where(
            visible[:, None], points + rng.normal(0, 2, (68, 2)), rng.uniform(0, 250, (68, 2))
        )
        found = fit_face(landmarks, head, SIZE, visible=visible).camera.turn
        errors.append([found.turn - turn, found.lean - lean, found.tilt - tilt])
    assert (np.abs(errors).mean(axis=0) < [5, 4, 3]).all()


def test_hidden_landmarks_do_not_change_the_fit(head: HeadModel) -> None:
    landmarks, visible = camera_turned(70, 5, 0).project(head.landmarks()), half_shown(70)
    noise = np.random.default_rng(1).normal(0, 30, (68, 2))
    moved = np.where(visible[:, None], landmarks, landmarks + noise)
    one, other = (fit_face(points, head, SIZE, visible=visible) for points in (landmarks, moved))
    assert np.allclose(one.camera.rotation, other.camera.rotation, atol=1e-9)
    assert np.allclose(one.identity, other.identity, atol=1e-6)
    assert one.residual_px == pytest.approx(other.residual_px)
    with pytest.raises(PhotoError, match="no head fits"):
        fit_face(moved, head, SIZE)


def test_visibility_counts_by_degrees(head: HeadModel) -> None:
    landmarks = camera_turned(20).project(head.landmarks()) + np.random.default_rng(2).normal(0, 2, (68, 2))
    all_shown, as_bool = (fit_face(landmarks, head, SIZE, visible=v) for v in (None, np.ones(68, bool)))
    assert np.array_equal(all_shown.camera.rotation, as_bool.camera.rotation)
    half = fit_face(landmarks, head, SIZE, visible=np.where(np.arange(68) < 36, 0.5, 1.0))
    assert not np.allclose(half.camera.rotation, all_shown.camera.rotation)


def test_visibility_is_checked(head: HeadModel) -> None:
    landmarks = camera_turned(0).project(head.landmarks())
    for wrong in (np.ones(5), np.full(68, 2.0), np.full(68, np.nan)):
        with pytest.raises(InputError, match="visibility"):
            fit_face(landmarks, head, SIZE, visible=wrong)
    with pytest.raises(PhotoError, match="10 landmarks"):
        fit_face(landmarks, head, SIZE, visible=np.arange(68) < 10)


def test_outline_points_that_slid_to_the_silhouette_do_not_pull_the_pose(head: HeadModel) -> None:
    """At yaw 45 a detector puts the averted cheek's points on the visible outline, far from where they are."""
    camera = camera_at(45)
    landmarks = camera.project(head.landmarks()).astype(float)
    rows, cols = head.grid_shape
    grid = camera.project(head.mean.reshape(rows, cols, 3))
    face = (head.regions["face"] > 0.5).reshape(rows, cols)
    for k in range(7):
        row = head.landmarks68[k] // cols
        visible = np.flatnonzero(face[row] & (np.arange(cols) < cols // 2 - 8))
        landmarks[k] = grid[row, visible[np.argmin(grid[row, visible, 0])]]
    assert np.abs(landmarks[:5] - camera.project(head.landmarks())[:5]).max() > 6
    assert fit_face(landmarks, head, SIZE, detected=False).camera.pose.yaw == pytest.approx(45, abs=2.5)


def test_landmarks_that_are_no_face_are_a_bad_pose(head: HeadModel) -> None:
    rng = np.random.default_rng(0)
    good = camera_at(0).project(head.landmarks())
    bad = {
        "random": rng.uniform(0, 250, (68, 2)),
        "shuffled": good[rng.permutation(68)],
        "one point": np.full((68, 2), 40.0),
        "not finite": np.where(np.arange(68)[:, None] == 5, np.nan, good),
        "looking at the floor": camera_at(0, 80, 0).project(head.landmarks()),
    }
    for name, landmarks in bad.items():
        with pytest.raises(PhotoError) as caught:
            fit_face(landmarks, head, SIZE)
        assert caught.value.reason == "bad_pose", name
    with pytest.raises(InputError, match=r"\(68, 2\)"):
        fit_face(good[:5], head, SIZE)
    with pytest.raises(InputError, match=r"\(68, 3\)"):
        estimate_camera(good, head.landmarks()[:5], SIZE)


def test_detector_offsets_are_measured_from_views_of_known_pose() -> None:
    rng = np.random.default_rng(2)
    half = rng.normal(0, 2, (68, 3))
    true_offsets = (half + half[MIRROR68] * [-1, 1, 1]) / 2
    rotations = np.array([rotation_from_pose(HeadPose(*rng.uniform(-40, 40, 3))) for _ in range(200)])
    true = rng.uniform(0, 200, (200, 68, 2))
    detected = true + 0.5 * np.einsum("nij,kj->nki", rotations[:, :2], true_offsets)
    estimated = measure_offsets(detected, true, rotations, np.full(200, 0.5))
    assert np.allclose(estimated, true_offsets, atol=0.25)


def test_stored_detector_offsets_are_symmetric_and_small() -> None:
    offsets = detector_offsets()
    assert np.allclose(offsets, offsets[MIRROR68] * [-1, 1, 1], atol=0.011)
    assert np.linalg.norm(offsets, axis=1).max() < 10


@pytest.mark.slow
def test_yaw_of_made_up_people_is_found_within_four_degrees(head: HeadModel, tmp_path: Path) -> None:
    """Check dlib's landmarks on photos of known pose, of other people than those of the detector offsets."""
    from augmentor.faces.face_source import face_source
    from augmentor.photos.images import load_image

    command = [sys.executable, "-m", "augmentor.made_up.people", "--out", str(tmp_path / "people")]
    command += ["--identities", "10", "--photos", "3-3", "--seed", "77"]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[3])
    finder, errors = face_source(), []
    for row in pq.read_table(tmp_path / "people" / "truth.parquet").to_pylist():
        image = load_image(tmp_path / "people" / row["photo"])
        search = finder(image)
        if search.faces and abs(row["yaw"]) <= 40:
            pose = fit_face(search.faces[0].landmarks, head, image.shape[:2]).camera.pose
            errors.append(abs(pose.yaw - row["yaw"]))
    assert len(errors) >= 25
    assert np.mean(errors) < 4
