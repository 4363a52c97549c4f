"""Measure where the face source sees its five points on turned heads.

python -m augmentor.rendering.measure_point_offsets --photos DIR --out augmentor/data/point_offsets.json

Photos of faces that look into the camera are rendered at other poses, with some room around the face, and the face
source detects the renders. The true places of the points are known there.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.faces.five_points import MIRROR5, five_of_68
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.photos.images import list_photos, load_image, write_whole
from augmentor.rendering.prepared_photo import PreparedPhoto, prepare_photo
from augmentor.rendering.render import render_views
from augmentor.views.head_view import VIEW_DISTANCE, make_view
from augmentor.views.view import View
from augmentor.views.view_key import AS_PHOTO, ViewKey

YAWS = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0)
PITCHES = (-30.0, -15.0, 0.0, 15.0, 30.0)
_SIDE = 192  # pixels; with this padding the faces are as large as in a chip of 100 pixels
_PADDING = 0.9
_FRONTAL = 15.0  # largest yaw of a photo, degrees
_LEAST_SHARE = 0.5  # of the renders at a pose in which a face must be detected


def measuring_views(head: HeadModel) -> list[View]:
    """Return the views in which the points are measured, on both sides."""
    turned = [(side * yaw, pitch) for yaw in YAWS for side in ((1, -1) if yaw else (1,)) for pitch in PITCHES]
    keys = [ViewKey(0, AS_PHOTO, yaw, pitch, 0.0) for yaw, pitch in turned]
    return [make_view(head, key, _SIDE, _PADDING) for key in keys]


def measured_offsets(
    photos: Iterator[PreparedPhoto], views: Sequence[View], source: FaceSource
) -> np.ndarray:
    """Return the offsets of the detected points from those of the head.

    Args:
        photos: of faces that look into the camera.
        views: those of `measuring_views`.
        source: detects the faces in the renders.

    Returns:
        (Y, P, 5, 2) mm in the image, for `YAWS` and `PITCHES`: the median of both sides.

    Raises:
        InputError: at some pose, hardly any face is detected.
    """
    found: dict[tuple[float, float], list[np.ndarray]] = {}
    count = 0
    for photo in photos:
        count += 1
        for view, rendered in zip(views, render_views(photo, views), strict=True):
            search = source(rendered.image, "central", 1, None)
            if not search.faces:
                continue
            scale = float(np.linalg.norm(view.projection[0, :3])) / VIEW_DISTANCE  # pixels per mm
            off = (search.faces[0].points - five_of_68(rendered.landmarks_2d)) / scale
            if view.key.yaw < 0:
                off = off[MIRROR5] * (-1, 1)
            found.setdefault((abs(view.key.yaw), view.key.pitch), []).append(off)
    table = np.zeros((len(YAWS), len(PITCHES), 5, 2))
    for row, yaw in enumerate(YAWS):
        for column, pitch in enumerate(PITCHES):
            offsets = found.get((yaw, pitch), [])
            if len(offsets) < _LEAST_SHARE * count:
                raise InputError(f"yaw {yaw:g}, pitch {pitch:g}: a face in {len(offsets)} of {count} renders")
            table[row, column] = np.median(offsets, axis=0)
    table[0] = (
        table[0] + table[0][:, MIRROR5] * (-1, 1)
    ) / 2  # a head that looks straight ahead is symmetric
    return table


def _prepared(paths: Sequence[Path], source: FaceSource, head: HeadModel) -> Iterator[PreparedPhoto]:
    """Yield the photos whose face looks into the camera, ready to be rendered."""
    for path in tqdm(paths, desc="rendering"):
        try:
            image = load_image(path)
            search = source(image)
            if not search.faces:
                continue
            face = search.faces[0]
            photo = prepare_photo(image, face.landmarks, head, _SIDE, visible=face.visible)
        except PhotoError:
            continue
        if abs(photo.fit.camera.pose.yaw) <= _FRONTAL:
            yield photo


def main(arguments: list[str] | None = None) -> int:
    """Measure the offsets and write the data file."""
    parser = argparse.ArgumentParser(
        prog="python -m augmentor.rendering.measure_point_offsets", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos with one face each")
    parser.add_argument("--out", type=Path, required=True, help=".json file to write")
    options = parser.parse_args(arguments)
    try:
        source = face_source()
        head = load_head_model().with_landmark_offsets(source.offsets)
        views = [replace(view, point_offsets=view.point_offsets * 0) for view in measuring_views(head)]
        table = measured_offsets(_prepared(list_photos(options.photos), source, head), views, source)
        entries = {"yaws": YAWS, "pitches": PITCHES, "offsets_mm": np.round(table, 2).tolist()}
        lines = ",\n ".join(f'"{name}": {json.dumps(value)}' for name, value in entries.items())
        write_whole(options.out, f"{{{lines}}}\n".encode())
    except (LikenessError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: mean offset {np.linalg.norm(table, axis=-1).mean():.1f} mm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
