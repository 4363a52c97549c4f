"""The balanced set in a form for training face alignment and head pose: `--format 300w-lp`.

    OUT/300w-lp/<identity>/<image>.jpg    the image
    OUT/300w-lp/<identity>/<image>.mat    pt2d and Pose_Para, as loaders of 300W-LP expect them, and visible

Every render has exact landmarks, including hidden ones. Photos have the landmarks that dlib detected, and the pose that
was fitted to them.

Source:
    Zhu et al., "Face Alignment Across Large Poses", CVPR 2016 (300W-LP). Differs: there is no Shape_Para, Exp_Para and
    the like, which belong to their head model; `visible` is this project's own.
"""

import io

import numpy as np
import scipy.io

from augmentor.balanced_set.manifest import ManifestRow

# SciPy would write the time into the header, so that the same labels would give different bytes.
_HEADER = b"MATLAB 5.0 MAT-file, Likeness".ljust(116)


def labels_of_row(row: ManifestRow) -> bytes:
    """Return the content of the `.mat` file for a row of the manifest, see `labels_of`."""
    return labels_of(
        row.landmarks.ravel().tolist(), row.visible.tolist(), row.yaw, row.pitch, row.roll, row.size
    )


def labels_of(
    landmarks: list[float], visible: list[bool], yaw: float, pitch: float, roll: float, size: int
) -> bytes:
    """Return the content of a `.mat` file (version 5) for one image.

    Args:
        landmarks: 136 numbers, x, y, x, y, ... in pixels, dlib's order.
        visible: 68 values.
        yaw: degrees, + turns the nose to the image's left, as in 300W-LP.
        pitch: degrees, + is down; the opposite of 300W-LP.
        roll: degrees, + is clockwise, as in 300W-LP.
        size: side of the image, pixels.

    Returns:
        A file with `pt2d` (2, 68) in (x, y) pixels, where pixel centres are integers from 0; `Pose_Para` (1, 7): pitch,
        yaw, roll in radians, then the middle of the face x, y, 0 and its size as a fraction of the image; `visible`
        (1, 68), 0 or 1.
    """
    points = np.asarray(landmarks, np.float64).reshape(68, 2)
    low, high = points.min(0), points.max(0)
    pose = [*np.radians([-pitch, yaw, roll]), *(low + high) / 2, 0.0, float((high - low).max()) / size]
    packed = io.BytesIO()
    values = {"pt2d": points.T, "Pose_Para": [pose], "visible": np.asarray([visible], np.uint8)}
    scipy.io.savemat(packed, values, do_compression=False)
    return _HEADER + packed.getvalue()[len(_HEADER) :]
