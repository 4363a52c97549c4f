"""Compressing the cache of pre-training into a pack, and opening the pack."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from identity.pretraining.faces_to_learn import load_faces
from identity.pretraining.pack import main
from identity.pretraining.teacher_file import blocks

COUNT = 40


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A cache of soft pictures with two teachers and three renders."""
    rng, folder = np.random.default_rng(0), tmp_path / "work"
    folder.mkdir()
    noise = rng.uniform(0, 255, (COUNT, 8, 8, 3)).astype("f4")
    soft = [cv2.resize(one, (200, 200), interpolation=cv2.INTER_CUBIC).clip(0, 255) for one in noise]
    np.save(folder / "chips.npy", np.stack(soft).astype(np.uint8))
    np.save(folder / "renders.npy", np.stack(soft[:3])[:, 25:175, 25:175].astype(np.uint8))
    np.save(folder / "render_of.npy", np.array([4, 4, 9]))
    np.save(folder / "render_yaw.npy", np.array([20, -80, 45], "f4"))
    answers = rng.normal(size=(COUNT, 320)).astype("f4") + 1
    answers[7, 128:] = 0
    np.savez(
        folder / "faces.npz",
        paths=np.array([f"{k}.webp" for k in range(COUNT)]),
        landmarks=np.zeros((COUNT, 68, 2), "f4"),
        points=np.tile([(50.0, 60), (90, 60), (70, 80), (55, 100), (85, 100)], (COUNT, 1, 1)),
        teacher=answers,
        teachers=np.array(["dlib", "mobilefacenet"]),
        widths=np.array([128, 192]),
        cut=np.array("points5"),
    )
    return folder


def test_a_cache_is_restored_from_its_pack(work: Path, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "Some.tflite").write_bytes(bytes(90_000))
    pack, other = tmp_path / "pack", tmp_path / "other"
    words = ["--out", str(pack), "--also", str(tmp_path / "nets"), "--megabytes", "0.1", "--quality", "80"]
    assert main(["make", "--work", str(work), *words]) == 0
    assert len(list(pack.iterdir())) > 1
    for folder in pack.iterdir():
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 100_000
    assert main(["open", "--pack", str(pack), "--work", str(other)]) == 0
    before, after = load_faces(work), load_faces(other)
    assert (after.teachers, after.widths, after.cut) == (before.teachers, before.widths, before.cut)
    for name in ("paths", "held_out", "render_of", "render_yaw"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert np.abs(np.asarray(after.chips, "f4") - before.chips).mean() < 6
    assert np.abs(np.asarray(after.renders, "f4") - before.renders).mean() < 6
    for own in blocks(before.widths):
        cosines = (before.targets[:, own] * after.targets[:, own]).sum(1)
        assert (cosines[np.arange(COUNT) != 7] > 0.998).all()
    assert not after.targets[7, 128:].any()


def test_a_pack_can_be_opened_without_some_renders_but_not_without_some_faces(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack, other = tmp_path / "pack", tmp_path / "other"
    assert main(["make", "--work", str(work), "--out", str(pack)]) == 0
    (pack / "1" / "renders-00.npz").unlink()
    assert main(["open", "--pack", str(pack), "--work", str(other)]) == 0
    assert not len(load_faces(other).renders)
    (pack / "1" / "faces-00.npz").unlink()
    assert main(["open", "--pack", str(pack), "--work", str(other)]) == 2
    assert "copy its other folders" in capsys.readouterr().err


def test_a_pack_does_not_replace_another(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make", "--work", str(work), "--out", str(work)]) == 2
    assert "exists already" in capsys.readouterr().err
