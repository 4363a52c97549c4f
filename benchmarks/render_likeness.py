"""Whether renders still show the person: dlib's embedding of a render against that of its own photo.

    python -m benchmarks.render_likeness --photos DIR [--count 200] [--shapes 10] [--json]

Protocol: the first `--count` photos of DIR (sorted by path) whose fitted yaw is within 15 degrees. Each is
rendered at yaw 0, 22, 40, 55 and 75, pitch and roll 0, to the left and to the right in turn, on head shape 0
and, where `--shapes` is more than 1, on the others in turn too. Chips are cut from the render's true
landmarks, as training cuts them. Distances are Euclidean between dlib's 128-d embeddings, 0.6 its usual
threshold. `found` is the share of renders in which the project's finder (dlib's frontal HOG detector) finds
the face, `yaw_error` the mean absolute difference between the yaw asked for and the one fitted to the
landmarks found there, `true_yaw_error` the same from the render's true landmarks: what is left of the error
when the landmarks are right. `own pose`: mean absolute difference, in grey levels over the face, of
the photo's chip and a render of it at its own pose, for the first 40 photos, told on stderr.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.faces.chip import cut_chip
from augmentor.faces.face_source import face_source
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import fit_face
from augmentor.photos.images import list_photos, load_image
from augmentor.rendering.prepared_photo import PreparedPhoto, prepare_photo
from augmentor.rendering.render import RenderedView, render_view
from augmentor.views.head_view import make_view
from augmentor.views.view import View
from augmentor.views.view_key import AS_PHOTO, ViewKey
from identity.networks.dlib_embedding import DlibEmbedding

YAWS = (0, 22, 40, 55, 75)
NEAR_FRONTAL = 15.0
SAME_PERSON = 0.6
SIZE, WIDE_PADDING = 150, 0.6


@dataclass
class Outcome:
    """What became of the renders of one kind: chips (150, 150, 3), whose they are, and how the detector fared."""

    chips: list[np.ndarray] = field(default_factory=list)
    photos: list[int] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    found_in_chip: list[bool] = field(default_factory=list)
    yaw_errors: list[float] = field(default_factory=list)
    true_yaw_errors: list[float] = field(default_factory=list)


def near_frontal(folder: Path, count: int, head: HeadModel) -> tuple[list[PreparedPhoto], np.ndarray]:
    """Prepared photos with |yaw| within NEAR_FRONTAL, and their (N, 150, 150, 3) chips.

    Raises:
        InputError: not a single one.
    """
    finder = face_source()
    prepared: list[PreparedPhoto] = []
    chips = []
    for path in tqdm(list_photos(folder), "photos"):
        if len(prepared) == count:
            break
        try:
            image = load_image(path)
            search = finder(image)
            if not search:
                continue
            ready = prepare_photo(image, search.faces[0].landmarks, head, SIZE)
        except PhotoError:
            continue
        if abs(ready.fit.camera.pose.yaw) <= NEAR_FRONTAL:
            prepared.append(ready)
            chips.append(cut_chip(image, search.faces[0].landmarks, SIZE))
    if not prepared:
        raise InputError(f"{folder}: no photo of a face seen from the front")
    return prepared, np.stack(chips)


def look_at(outcome: Outcome, wide: RenderedView, key: ViewKey, head: HeadModel) -> None:
    """Look for the face in a render and measure its yaw."""
    search = face_source()(wide.image)
    outcome.found.append(bool(search))
    height, width = wide.image.shape[:2]
    true = fit_face(wide.landmarks_2d, head, (height, width), detected=False)
    outcome.true_yaw_errors.append(abs(true.camera.pose.yaw - key.yaw))
    if search:
        try:
            pose = fit_face(search.faces[0].landmarks, head, (height, width)).camera.pose
        except PhotoError:
            return
        outcome.yaw_errors.append(abs(pose.yaw - key.yaw))


def own_pose_difference(prepared: Sequence[PreparedPhoto], chips: np.ndarray, head: HeadModel) -> float:
    """Mean grey levels, inside the face, between chips and renders of the same photos at their own poses."""
    differences = []
    for photo, chip in zip(prepared, chips, strict=True):
        pose = photo.fit.camera.pose
        view = make_view(head, ViewKey(0, AS_PHOTO, pose.yaw, pose.pitch, pose.roll), SIZE)
        rendered = render_view(photo, view)
        face = (cv2.resize(view.face, (SIZE, SIZE)) > 0.99).astype(np.uint8)
        inner = (cv2.erode(face, np.ones((7, 7))) > 0) & rendered.visible
        differences.append(np.abs(rendered.image.astype(int) - chip).mean(-1)[inner].mean())
    return float(np.mean(differences))


def measure(options: argparse.Namespace) -> list[dict[str, float | int]]:
    """One row for each yaw."""
    cv2.setNumThreads(1)
    head = load_head_model()
    prepared, chips = near_frontal(options.photos, options.count, head)
    net = DlibEmbedding()
    own = net(chips)
    grey = own_pose_difference(prepared[:40], chips[:40], head)
    print(f"own pose: {grey:.1f} grey levels", file=sys.stderr)
    rows: list[dict[str, float | int]] = []
    for yaw in YAWS:
        outcome = Outcome()
        views: dict[ViewKey, tuple[View, View]] = {}
        for number, photo in enumerate(tqdm(prepared, f"yaw {yaw}")):
            key = ViewKey(number % options.shapes, AS_PHOTO, float(yaw if number % 2 else -yaw), 0.0, 0.0)
            if key not in views:
                views[key] = make_view(head, key, SIZE), make_view(head, key, SIZE, WIDE_PADDING)
            chip, wide = (render_view(photo, view) for view in views[key])
            outcome.chips.append(cut_chip(chip.image, chip.landmarks_2d, SIZE))
            outcome.photos.append(number)
            outcome.found_in_chip.append(bool(face_source()(chip.image)))
            look_at(outcome, wide, key, head)
        distance = np.linalg.norm(net(np.stack(outcome.chips)) - own[outcome.photos], axis=1)
        rows.append(
            {
                "yaw": yaw,
                "renders": len(distance),
                "same_person": float((distance < SAME_PERSON).mean()),
                "distance": float(distance.mean()),
                "distance_90": float(np.quantile(distance, 0.9)),
                "found": float(np.mean(outcome.found)),
                "found_in_chip": float(np.mean(outcome.found_in_chip)),
                "yaw_error": float(np.mean(outcome.yaw_errors)) if outcome.yaw_errors else float("nan"),
                "true_yaw_error": float(np.mean(outcome.true_yaw_errors)),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.render_likeness", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, at any depth")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--shapes", type=int, default=1, help="head shapes to take in turn; 1: the mean head")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print("| yaw | within 0.6 | mean distance | 90 % | found by dlib | in chip | yaw error | true |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['yaw']}° | {row['same_person']:.1%} | {row['distance']:.2f} | {row['distance_90']:.2f} "
            f"| {row['found']:.1%} | {row['found_in_chip']:.1%} | {row['yaw_error']:.1f}° "
            f"| {row['true_yaw_error']:.1f}° |"
        )
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
