"""Measure how far dlib's landmarks lie from the head model's: `python -m augmentor.head.measure_offsets`.

python -m datasets.synthetic --out DIR --identities 50 --photos 4-4 --seed 1000
python -m augmentor.head.measure_offsets --people DIR --out augmentor/data/detector_offsets.json
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.head.head_grid import MIRROR68

# On the averted side, contour points lie on the outline and not at one place of the skin; they count up to this yaw.
_AVERTED_YAW = 8.0
_OUTLIER_MM = 12.0
# Depth shows only in turned views. This prior, in numbers of views, keeps it small where too few views are turned.
_PRIOR_VIEWS = 4.0


def measure_offsets(
    detected: np.ndarray, true: np.ndarray, rotations: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Return the offsets that best explain detections in views of known pose, symmetric between the head's sides.

    Args:
        detected: (N, 68, 2) detected landmarks in (x, y) pixels.
        true: (N, 68, 2) projections of the model's landmarks in (x, y) pixels.
        rotations: (N, 3, 3) camera_from_model.
        scales: (N,) pixels per mm at the head.

    Returns:
        (68, 3) mm in the model frame; least squares on the offsets in the images, with orthographic projection.
    """
    off = (detected - true) / scales[:, None, None]
    yaw = np.degrees(np.arcsin(np.clip(-rotations[:, 2, 0], -1, 1)))
    usable = np.hypot(off[..., 0], off[..., 1]) < _OUTLIER_MM
    usable[yaw > _AVERTED_YAW, :8] = False
    usable[yaw < -_AVERTED_YAW, 9:17] = False
    flip = np.diag([-1.0, 1.0, 1.0])
    normal = np.tile(_PRIOR_VIEWS * np.eye(3), (68, 1, 1))
    right = np.zeros((68, 3))
    for view, landmark in zip(*np.nonzero(usable), strict=True):
        projection = rotations[view, :2]
        for index, rows in ((landmark, projection), (MIRROR68[landmark], projection @ flip)):
            normal[index] += rows.T @ rows
            right[index] += rows.T @ off[view, landmark]
    return np.linalg.solve(normal, right[:, :, None])[:, :, 0]


def _measure_people(folder: Path) -> np.ndarray:
    """Detect faces in the photos that `augmentor.made_up.people` wrote to `folder`, and measure the offsets."""
    import pyarrow.parquet as pq  # this import and the next ones are needed only here

    from augmentor.faces.face_source import face_source
    from augmentor.head.head_model import load_head_model
    from augmentor.head.pose import HeadPose, estimate_camera, rotation_from_pose
    from augmentor.photos.images import load_image

    if not (folder / "truth.parquet").is_file():
        raise InputError(
            f"{folder}: no truth.parquet here; make the people with python -m datasets.synthetic"
        )
    source, points = face_source(), load_head_model().landmarks()
    views: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
    for row in pq.read_table(folder / "truth.parquet").to_pylist():
        image = load_image(folder / row["photo"])
        search = source(image)
        if search.faces:
            true = np.array(row["landmarks"], float).reshape(68, 2)
            camera = estimate_camera(true, points, image.shape[:2])
            rotation = rotation_from_pose(HeadPose(row["yaw"], row["pitch"], row["roll"]))
            scale = camera.focal / float(camera.translation[2])
            views.append((search.faces[0].landmarks, true, rotation, scale))
    if not views:
        raise InputError(f"{folder}: no face detected in any photo")
    return measure_offsets(*(np.array(column) for column in zip(*views, strict=True)))


def main(arguments: list[str] | None = None) -> int:
    """Measure the offsets on made-up people and write the data file."""
    parser = argparse.ArgumentParser(
        prog="python -m augmentor.head.measure_offsets", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--people", type=Path, required=True, help="folder that python -m datasets.synthetic wrote"
    )
    parser.add_argument("--out", type=Path, required=True, help=".json file to write")
    options = parser.parse_args(arguments)
    try:
        offsets = _measure_people(options.people)
        rows = ",\n  ".join(json.dumps([round(float(value), 2) for value in row]) for row in offsets)
        options.out.write_text(
            f'{{"landmarks": "dlib, 68 points",\n "offsets_mm": [\n  {rows}\n]}}\n', "utf-8"
        )
    except (LikenessError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: mean offset {np.linalg.norm(offsets, axis=1).mean():.1f} mm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
