"""The set as one to train face alignment and head pose with: `--format 300w-lp`.

    OUT/300w-lp/<identity>/<image>.jpg    the image
    OUT/300w-lp/<identity>/<image>.mat    pt2d, Pose_Para and visible, as loaders of 300W-LP expect the first two

Every render has exact landmarks, also those that are hidden; photos have those that dlib found, and the pose fitted to
them.

Source:
    Zhu et al., "Face Alignment Across Large Poses", CVPR 2016 (300W-LP). Differs: there is no Shape_Para, Exp_Para and
    the like, which belong to their head model; `visible` is ours.
"""

import io

import numpy as np
import scipy.io

from augmentor.balanced_set.manifest import ManifestRow

_HEADER = b"MATLAB 5.0 MAT-file, Likeness".ljust(116)  # SciPy puts the time there: same labels, other bytes


def labels_of_row(row: ManifestRow) -> bytes:
    """The `.mat` file of an image, see `labels_of`."""
    return labels_of(
        row.landmarks.ravel().tolist(), row.visible.tolist(), row.yaw, row.pitch, row.roll, row.size
    )


def labels_of(
    landmarks: list[float], visible: list[bool], yaw: float, pitch: float, roll: float, size: int
) -> bytes:
    """A `.mat` file (version 5) of one image.

    Args:
        landmarks: 136 numbers, x, y, x, y, ... in pixels.
        visible: 68.
        yaw: degrees, + turns the nose to the image's left, as 300W-LP has it.
        pitch: degrees, + is down; 300W-LP has it the other way round.
        roll: degrees, + is clockwise, as 300W-LP has it.
        size: side of the image, pixels.

    Returns:
        `pt2d` (2, 68) pixels, pixel centres are whole numbers from 0; `Pose_Para` (1, 7): pitch, yaw, roll in radians,
        then the middle of the face x, y, 0 and its size as a fraction of the image; `visible` (1, 68) 0 or 1.
    """
    points = np.asarray(landmarks, np.float64).reshape(68, 2)
    low, high = points.min(0), points.max(0)
    pose = [*np.radians([-pitch, yaw, roll]), *(low + high) / 2, 0.0, float((high - low).max()) / size]
    packed = io.BytesIO()
    values = {"pt2d": points.T, "Pose_Para": [pose], "visible": np.asarray([visible], np.uint8)}
    scipy.io.savemat(packed, values, do_compression=False)
    return _HEADER + packed.getvalue()[len(_HEADER) :]
