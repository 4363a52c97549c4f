"""Face spaces: what they subtract, what they even out, and the file that ships."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.errors import InputError
from identity.networks import face_space as module
from identity.networks.face_space import face_space, load_face_space
from identity.pretraining.dlib_space import main


def some_faces(count: int = 4000, size: int = 6) -> np.ndarray:
    """Unit rows around a common direction, some directions varying more than others."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(count, size)) * np.array([0.3, 0.25, 0.2, 0.15, 0.1, 0.05])[:size] + 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_centred_and_evened_faces_have_no_mean_and_equal_variances() -> None:
    faces = some_faces(20000)
    space = face_space(faces, centre=1.0, evenness=1.0)
    moved = (faces - space.origin) @ space.matrix
    assert np.linalg.norm(moved.mean(0)) < 1e-3
    variances = np.sort(np.linalg.eigvalsh(np.cov(moved.T)))[
        1:
    ]  # unit rows leave one direction nearly without
    assert variances.max() / variances.min() < 1.05


def test_without_centre_and_evenness_nothing_changes_but_the_length() -> None:
    faces = some_faces(50)
    np.testing.assert_allclose(face_space(faces, 0.0, 0.0)(3 * faces), faces, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_length_does_not_matter_and_comes_out_as_one(length: float, seed: int) -> None:
    space = face_space(some_faces(200))
    row = np.random.default_rng(seed).normal(size=(1, 6)).astype(np.float32) + 1
    one, other = space(row), space(np.float32(length) * row)
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)


def test_directions_that_say_nothing_are_not_blown_up() -> None:
    faces = some_faces()
    flat = np.concatenate([faces, np.random.default_rng(1).normal(0, 1e-9, (len(faces), 1))], 1)
    assert np.abs(face_space(flat, 0.9, 0.35).matrix).max() < 4


def test_the_shipped_space_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = load_face_space()
    assert space.matrix.shape == (128, 128) and space.origin.shape == (128,)
    np.testing.assert_allclose(space.matrix, space.matrix.T, atol=1e-5)
    damaged = tmp_path / "dlib_space.npz"
    damaged.write_bytes(module.FILE.read_bytes()[:-7] + b"damaged")
    damaged.with_suffix(".json").write_bytes(module.FILE.with_suffix(".json").read_bytes())
    monkeypatch.setattr(module, "FILE", damaged)
    load_face_space.cache_clear()
    try:
        with pytest.raises(InputError, match="damaged"):
            load_face_space()
    finally:
        load_face_space.cache_clear()


def test_the_command_makes_the_file_and_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = some_faces().astype(np.float16)
    np.savez(tmp_path / "teacher.npz", paths=np.arange(len(faces)).astype(str), embeddings=faces)
    out = tmp_path / "space.npz"
    assert main(["--teacher", str(tmp_path / "teacher.npz"), "--out", str(out)]) == 0
    monkeypatch.setattr(module, "FILE", out)
    load_face_space.cache_clear()
    try:
        made = load_face_space()
    finally:
        load_face_space.cache_clear()
    np.testing.assert_allclose(made.matrix, face_space(some_faces().astype(np.float16)).matrix, atol=1e-5)


def test_a_file_that_is_none_ends_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.npz").write_text("nothing")
    assert main(["--teacher", str(tmp_path / "no.npz"), "--out", str(tmp_path / "space.npz")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "space.npz").exists()
