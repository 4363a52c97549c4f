"""The set as one to train face alignment and head pose with: `--format 300w-lp`.

    OUT/300w-lp/<identity>/<image>.jpg    the image
    OUT/300w-lp/<identity>/<image>.mat    pt2d, Pose_Para and visible, as loaders of 300W-LP expect the first two

Every render has exact landmarks, also those that are hidden; photos have those that dlib found, and the pose fitted to
them. Files of the same content are left alone.

Source:
    Zhu et al., "Face Alignment Across Large Poses", CVPR 2016 (300W-LP). Differs: there is no Shape_Para, Exp_Para and
    the like, which belong to their head model; `visible` is ours.
"""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.io

from augmentor.errors import InputError
from augmentor.images import write_whole

FOLDER_NAME = "300w-lp"
_HEADER = b"MATLAB 5.0 MAT-file, Likeness".ljust(116)  # SciPy puts the time there: same labels, other bytes


def write_landmark_set(folder: Path, images: Path, rows: pa.Table) -> int:
    """Write the set; files that do not belong to it are removed.

    Args:
        folder: of the set.
        images: to which the manifest's files are relative.
        rows: of the manifest.

    Returns:
        how many images there are.

    Raises:
        InputError: an image cannot be read, or a file not be written.
    """
    wanted = set()
    for row in rows.to_pylist():
        path = folder / row["file"]
        try:
            image = (images / row["file"]).read_bytes()
        except OSError as error:
            raise InputError(
                f"{images / row['file']}: cannot be copied ({error.strerror or error}); start the job again"
            ) from error
        labels = labels_of(
            row["landmarks"], row["visible"], row["yaw"], row["pitch"], row["roll"], row["size"]
        )
        for target, content in ((path, image), (path.with_suffix(".mat"), labels)):
            wanted.add(target)
            if not (target.is_file() and target.read_bytes() == content):
                write_whole(target, content)
    for path in folder.rglob("*.*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    return len(wanted) // 2


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
