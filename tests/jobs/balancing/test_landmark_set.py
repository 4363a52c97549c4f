"""Tests of `jobs.balancing.landmark_set`: labels are as loaders of 300W-LP read them."""

import io

import numpy as np
import scipy.io

from augmentor.balanced_set.manifest import ManifestRow
from jobs.balancing.landmark_set import labels_of

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
