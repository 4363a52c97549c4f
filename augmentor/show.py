"""Show what augmentation does to a photo: the fitted head over it, and renders at other poses, shapes and lights.

python -m augmentor.show PHOTO [--out SHEET.jpg] [--size 150] [--faces central|largest|reject]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.faces.face_source import face_source
from augmentor.head.expression import NAMES as EXPRESSION_NAMES
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.surface import surface_vertices
from augmentor.photos.images import encode_jpeg, load_image, write_whole
from augmentor.rendering.effects import EFFECTS, EXPRESSION, Effect, apply_effects, expression_of
from augmentor.rendering.light import relight
from augmentor.rendering.prepared_photo import PreparedPhoto, prepare_photo
from augmentor.rendering.render import render_view
from augmentor.views.head_view import make_view
from augmentor.views.view_key import AS_PHOTO, VIEW_SHAPES, ViewKey

GAP, CAPTION = 6, 20  # margin of a tile and height of its caption, pixels
QUALITY = 92
WHITE, INK = (255, 255, 255), (60, 60, 60)
MESH, LANDMARK = (90, 200, 255), (255, 70, 40)
MESH_STEP = 3  # draw every third line of the head grid
MESH_LEAST_SHOWN = (
    0.3  # smallest weight at which a vertex counts as visible in the photo; hidden parts are not drawn
)
_YAWS = (-75, -55, -40, -22, 0, 22, 40, 55, 75)
_PITCHED = ((-40, -20), (-20, -20), (0, -20), (20, -20), (0, 0), (-20, 20), (0, 20), (20, 20), (40, 20))
_SHAPE_YAW, _LIGHT_YAW = 25.0, 15.0


def fitted_mesh(photo: PreparedPhoto, head: HeadModel, height: int) -> np.ndarray:
    """Draw the head grid over the photo, where the photo shows the head, and the 68 landmarks.

    Args:
        photo: the prepared photo.
        head: the head that the photo was prepared with.
        height: height of the picture, pixels.

    Returns:
        (height, w, 3) uint8 RGB: the photo around the face, with the grid over it.
    """
    canvas = cv2.cvtColor(photo.canvas, cv2.COLOR_RGBA2RGB)
    scale = height / canvas.shape[0]
    picture = cv2.resize(canvas, (round(canvas.shape[1] * scale), height), interpolation=cv2.INTER_CUBIC)
    points = (photo.surface[..., :2] + 0.5) * scale - 0.5
    shown = surface_vertices(head).reshape(head.grid_shape) & (photo.surface[..., 2] > MESH_LEAST_SHOWN)
    lines = picture.copy()
    for grid, drawn in ((points, shown), (points.swapaxes(0, 1), shown.T)):
        for line, here in zip(grid[::MESH_STEP], drawn[::MESH_STEP], strict=True):
            ends = np.flatnonzero(here[:-1] & here[1:])
            pieces = np.rint(np.stack([line[ends], line[ends + 1]], 1) * 8).astype(np.int32)
            cv2.polylines(lines, list(pieces), False, MESH, 1, cv2.LINE_AA, 3)
    picture = cv2.addWeighted(picture, 0.4, lines, 0.6, 0)
    for x, y in np.rint(((photo.landmarks + 0.5) * scale - 0.5) * 8).astype(int).tolist():
        cv2.circle(picture, (x, y), 12, LANDMARK, -1, cv2.LINE_AA, 3)
    return picture


def contact_sheet(
    image: np.ndarray,
    landmarks: np.ndarray,
    head: HeadModel,
    size: int = 150,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the photo with the fitted mesh, then rows of renders.

    The rows vary yaw, yaw and pitch, head shape, light, expression, and effects.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) in (x, y) pixels.
        head: the head model.
        size: edge of the renders, pixels.
        visible: (68,) bool, which landmarks the head does not hide; None: all.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        PhotoError: `bad_pose`.
    """
    photo = prepare_photo(image, landmarks, head, size, visible=visible)
    pose = photo.fit.camera.pose
    tall = 2 * size + GAP
    shrink = tall / image.shape[0]
    how = cv2.INTER_AREA if shrink < 1 else cv2.INTER_CUBIC
    whole = cv2.resize(image, (max(1, round(image.shape[1] * shrink)), tall), interpolation=how)
    caption = f"fitted: yaw {pose.yaw:+.0f}, pitch {pose.pitch:+.0f}, roll {pose.roll:+.0f}"
    rows = [_row([_tile(whole, "photo"), _tile(fitted_mesh(photo, head, tall), caption)])]
    poses = [[(yaw, 0) for yaw in _YAWS], _PITCHED]
    rows += [
        _row([_view_tile(photo, head, _key(0, yaw, pitch), size) for yaw, pitch in row]) for row in poses
    ]
    rows.append(
        _row(
            [
                _view_tile(photo, head, _key(shape, _SHAPE_YAW, 0), size, caption=f"shape {shape}")
                for shape in range(1, VIEW_SHAPES)
            ]
        )
    )
    lit = _key(0, _LIGHT_YAW, 0)
    rows.append(
        _row(
            [
                _view_tile(photo, head, lit, size, light=light, caption=f"light {light}")
                for light in range(len(_YAWS))
            ]
        )
    )
    shown = [
        (Effect(name, 0.6, number), name)
        for number, name in enumerate(EFFECTS, 2)
        if name not in (EXPRESSION, "grey")
    ]
    faces = [(Effect(EXPRESSION, 0.6, number), name) for number, name in enumerate(EXPRESSION_NAMES)]
    rows += [
        _row([_view_tile(photo, head, lit, size, effects=(effect,), caption=name) for effect, name in row])
        for row in (faces, shown)
    ]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_pad(row, right=width - row.shape[1]) for row in rows])


def _key(shape: int, yaw: float, pitch: float) -> ViewKey:
    return ViewKey(shape, AS_PHOTO, float(yaw), float(pitch), 0.0)


def _view_tile(
    photo: PreparedPhoto,
    head: HeadModel,
    key: ViewKey,
    size: int,
    *,
    light: int = 0,
    effects: Sequence[Effect] = (),
    caption: str = "",
) -> np.ndarray:
    view = make_view(head, key, size)
    rendered = render_view(photo, view, expression_of(effects, photo, head))
    picture = relight(rendered.image, view, light)
    picture = apply_effects(picture, view, rendered.landmarks_2d, effects)
    return _tile(picture, caption or f"yaw {key.yaw:+.0f}, pitch {key.pitch:+.0f}")


def _tile(picture: np.ndarray, caption: str) -> np.ndarray:
    """Return a picture with its caption below it and a white margin above and on the left."""
    tile = _pad(picture, top=GAP, left=GAP, bottom=CAPTION)
    at = GAP, tile.shape[0] - 6
    cv2.putText(tile, caption, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
    return tile


def _row(tiles: Sequence[np.ndarray]) -> np.ndarray:
    return _pad(np.concatenate(list(tiles), axis=1), right=GAP)


def _pad(picture: np.ndarray, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=WHITE)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m augmentor.show"), description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("photo", type=Path, metavar="PHOTO")
    parser.add_argument(
        "--out",
        type=Path,
        help="JPEG to write; by default PHOTO's name with -sheet.jpg, in the current folder",
    )
    parser.add_argument("--size", type=int, default=150, help="edge of each render in pixels, 32 to 512")
    parser.add_argument(
        "--faces",
        choices=("central", "largest", "reject"),
        default="central",
        help="which face to use if there are several; reject: use none",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    out = options.out or Path(f"{options.photo.stem}-sheet.jpg")
    try:
        if not 32 <= options.size <= 512:
            raise InputError(f"--size {options.size}: must lie between 32 and 512")
        image = load_image(options.photo)
        source = face_source()
        search = source(image, options.faces)
        if not search:
            raise PhotoError(search.reason or "no_face", options.photo)
        face, head = search.faces[0], load_head_model().with_landmark_offsets(source.offsets)
        sheet = contact_sheet(image, face.landmarks, head, options.size, face.visible)
        write_whole(out, encode_jpeg(sheet, QUALITY))
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
