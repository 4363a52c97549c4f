"""`jobs.landmark_set`: labels as loaders of 300W-LP read them."""

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from augmentor.errors import InputError
from augmentor.manifest import ManifestRow, table_of
from jobs.landmark_set import labels_of, write_landmark_set

POINTS = np.stack([np.linspace(10, 50, 68), np.linspace(20, 40, 68)], 1)


def row(file: str) -> ManifestRow:
    return ManifestRow(
        file=file,
        identity=file.split("/")[0],
        kind="render",
        source="a/1.jpg",
        source_sha256="0" * 64,
        source_phash=0,
        face=0,
        shape=0,
        expression="as_photo",
        yaw=30.0,
        pitch=-10.0,
        roll=5.0,
        light=0,
        effects="",
        landmarks=POINTS.astype(np.float32),
        visible=np.arange(68) > 3,
        size=100,
        seed=0,
        bytes=3,
    )


def test_labels_have_the_names_shapes_units_and_signs_of_300w_lp() -> None:
    data = labels_of(POINTS.ravel().tolist(), [False, *[True] * 67], 30.0, -10.0, 5.0, 100)
    assert data == labels_of(POINTS.ravel().tolist(), [False, *[True] * 67], 30.0, -10.0, 5.0, 100)
    labels = scipy.io.loadmat(io.BytesIO(data))
    np.testing.assert_allclose(labels["pt2d"], POINTS.T)
    assert labels["Pose_Para"].shape == (1, 7)
    np.testing.assert_allclose(np.degrees(labels["Pose_Para"][0, :3]), [10, 30, 5])  # looks up, to the left
    np.testing.assert_allclose(labels["Pose_Para"][0, 3:], [30, 30, 0, 0.4])
    assert labels["visible"].tolist() == [[0, *[1] * 67]]


def test_set_is_written_once_and_what_left_it_is_removed(tmp_path: Path) -> None:
    images, folder = tmp_path / "images", tmp_path / "set"
    for file in ("a/one.jpg", "b/two.jpg"):
        (images / file).parent.mkdir(parents=True)
        (images / file).write_bytes(b"jpg")
    both = table_of([row("a/one.jpg"), row("b/two.jpg")])
    assert write_landmark_set(folder, images, both) == 2
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert sorted(path.name for path in before) == ["one.jpg", "one.mat", "two.jpg", "two.mat"]
    assert write_landmark_set(folder, images, both) == 2
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
    assert write_landmark_set(folder, images, table_of([row("a/one.jpg")])) == 1
    assert sorted(path.name for path in folder.rglob("*.*")) == ["one.jpg", "one.mat"]
    with pytest.raises(InputError, match=r"c/three\.jpg"):
        write_landmark_set(folder, images, table_of([row("c/three.jpg")]))
