"""Measure whether renders still show the person, by dlib's embeddings of a render and of its own photo.

    python -m benchmarks.render_likeness --photos DIR [--count 200] [--shapes 10] [--json]

Protocol: the first `--count` photos of DIR (sorted by path) whose fitted yaw is within 15 degrees. Each is rendered at
yaw 0, 22, 40, 55 and 75, pitch and roll 0, alternately to the left and to the right, on head shape 0 and, if `--shapes`
is more than 1, on the others in turn. Chips are cropped by the render's true landmarks, as training crops them.
Distances are Euclidean between dlib's 128-d embeddings; 0.6 is its usual threshold. `found` is the share of renders in
which the project's finder (dlib's frontal HOG detector) detects the face. `yaw_error` is the mean absolute difference
between the view's yaw and the yaw fitted to the detected landmarks; `true_yaw_error` is the same with the render's true
landmarks, the error that remains when the landmarks are right. `own pose`, printed on stderr, is the mean absolute
difference, in grey levels over the face, between the photo's chip and a render at the photo's own pose, for the first
40 photos.
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
    """Results for the renders of one kind: chips (150, 150, 3), their photos' numbers, and how detection went."""

    chips: list[np.ndarray] = field(default_factory=list)
    photos: list[int] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    found_in_chip: list[bool] = field(default_factory=list)
    yaw_errors: list[float] = field(default_factory=list)
    true_yaw_errors: list[float] = field(default_factory=list)


def near_frontal(folder: Path, count: int, head: HeadModel) -> tuple[list[PreparedPhoto], np.ndarray]:
    """Return prepared photos with |yaw| within NEAR_FRONTAL, and their chips (N, 150, 150, 3).

    Raises:
        InputError: there is no such photo.
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
            chips.append(cut_chip(image, search.faces[0].points, SIZE))
    if not prepared:
        raise InputError(f"{folder}: no photo of a frontal face; name a folder that has some")
    return prepared, np.stack(chips)


def measure_yaw(outcome: Outcome, wide: RenderedView, key: ViewKey, head: HeadModel) -> None:
    """Detect the face in a render and measure its yaw."""
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
    """Return the mean difference, in grey levels inside the face, of chips and renders at the photos' own poses."""
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
    """Measure each yaw and return its row."""
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
            outcome.chips.append(chip.image)
            outcome.photos.append(number)
            outcome.found_in_chip.append(bool(face_source()(chip.image)))
            measure_yaw(outcome, wide, key, head)
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
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.render_likeness", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, at any depth")
    parser.add_argument("--count", type=int, default=200, help="number of photos (%(default)s)")
    parser.add_argument(
        "--shapes", type=int, default=1, help="head shapes to use in turn; 1 for the mean head"
    )
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        rows = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print("| yaw | within 0.6 | mean distance | 90 % | detected by dlib | in chip | yaw error | true |")
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
