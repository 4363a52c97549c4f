"""Read the ICT face model from an ICT-FaceKit checkout, or from a file with the same model as arrays.

Convention:
    ICT: centimetres, y up, z to the front. This project: millimetres, y down, z away from the camera.

Source:
    https://github.com/ICT-VGL/ICT-FaceKit (MIT): `FaceXModel/generic_neutral_mesh.obj`, `identityNNN.obj`,
    one .obj per expression, `vertex_indices.json`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from augmentor.errors import InputError

MODEL_FROM_ICT = np.array([10, -10, -10], np.float32)
# From ICT-FaceKit's own table of geometries: face 0-9408, head and neck 9409-11247, then eyes, teeth and so on.
HEAD_VERTICES = 11248
FACE_VERTICES = 9409
INNER_FACE_VERTICES = 6706
ARRAYS = "ict_head.npz"
NEUTRAL = "generic_neutral_mesh.obj"
INDICES = "vertex_indices.json"


@dataclass(frozen=True)
class IctModel:
    """The skin of the ICT head, in this project's model frame.

    Attributes:
        neutral: (11248, 3) float32 mm.
        triangles: (T, 3) int32.
        identity: (I, 11248, 3) float32 mm per standard deviation.
        expression: (E, 11248, 3) float32 mm at weight 1.
        expression_names: E names, without the file suffix.
        landmarks68: (68,) int32, dlib's order.
    """

    neutral: np.ndarray
    triangles: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]
    landmarks68: np.ndarray


def read_ict(directory: Path) -> IctModel:
    """Read the model from a folder with `ict_head.npz`, from a FaceXModel folder, or from a checkout that contains one.

    Raises:
        InputError: the folder has no usable model, or a file is damaged.
    """
    if (directory / ARRAYS).is_file():
        return _read_arrays(directory / ARRAYS)
    for folder in (directory, directory / "FaceXModel"):
        if (folder / NEUTRAL).is_file():
            return _read_folder(folder)
    raise InputError(
        f"{directory}: no ICT face model here (expected {ARRAYS}, or {NEUTRAL} as in ICT-FaceKit's folder FaceXModel)"
    )


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a Wavefront OBJ file; polygons are split into fans of triangles.

    Returns:
        Vertices (V, 3) float32 and triangles (T, 3) int32.

    Raises:
        InputError: the file cannot be read, has no vertices, or has indices out of range.
    """
    try:
        lines = path.read_bytes().splitlines()
        vertices = np.array([line.split()[1:4] for line in lines if line.startswith(b"v ")], np.float32)
        triangles = []
        for line in lines:
            if line.startswith(b"f "):
                corners = [int(corner.split(b"/")[0]) for corner in line.split()[1:]]
                triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable OBJ file ({error})") from error
    faces = np.array(triangles, np.int32).reshape(-1, 3)
    faces = np.where(faces < 0, faces + len(vertices), faces - 1)
    if vertices.ndim != 2 or vertices.shape[1:] != (3,) or not np.isfinite(vertices).all():
        raise InputError(f"{path}: not a readable OBJ file (no usable vertices)")
    if len(faces) and not (faces.min() >= 0 and faces.max() < len(vertices)):
        raise InputError(f"{path}: not a readable OBJ file (a face names a vertex that does not exist)")
    return vertices, faces.astype(np.int32)


def _read_arrays(path: Path) -> IctModel:
    """Read the model from a file of arrays."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return _model(
                path,
                neutral=stored["neutral"],
                triangles=stored["triangles"],
                identity=stored["identity"],
                expression=stored["expression"],
                names=[Path(name).stem for name in stored["expression_names"].tolist()],
                landmarks=stored["landmark68_vertices"],
            )
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged ICT face model ({error}); download it again") from error


def _read_folder(folder: Path) -> IctModel:
    """Read the model from the original OBJ files. Each holds a whole head, so the neutral head is subtracted."""
    neutral, triangles = read_obj(folder / NEUTRAL)
    try:
        indices = json.loads((folder / INDICES).read_text("utf-8"))
        landmarks = np.array(indices["idx_to_landmark_verts"], np.int32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / INDICES}: missing or damaged ({error}); download it again") from error
    names: dict[str, list[Path]] = {"identity": [], "expression": []}
    for path in sorted(folder.glob("*.obj")):
        if path.name != NEUTRAL:
            names["identity" if path.stem.startswith("identity") else "expression"].append(path)
    offsets = {}
    for kind, paths in names.items():
        shapes = [read_obj(path)[0] for path in paths]
        for path, shape in zip(paths, shapes, strict=True):
            if shape.shape != neutral.shape:
                raise InputError(f"{path}: {len(shape)} vertices, but the neutral mesh has {len(neutral)}")
        offsets[kind] = np.array([shape - neutral for shape in shapes]).reshape(-1, *neutral.shape)
    return _model(
        folder,
        neutral=neutral,
        triangles=triangles,
        identity=offsets["identity"],
        expression=offsets["expression"],
        names=[path.stem for path in names["expression"]],
        landmarks=landmarks,
    )


def _model(
    source: Path,
    *,
    neutral: np.ndarray,
    triangles: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    names: list[str],
    landmarks: np.ndarray,
) -> IctModel:
    """Keep the skin only, convert it into the model frame, and check it."""
    if len(neutral) < HEAD_VERTICES or landmarks.shape != (68,) or not len(identity):
        raise InputError(
            f"{source}: incomplete ICT face model ({len(neutral)} vertices, {landmarks.size} landmarks, "
            f"{len(identity)} identity modes)"
        )
    skin = triangles[(triangles < HEAD_VERTICES).all(axis=1)]
    if landmarks.min() < 0 or landmarks.max() >= FACE_VERTICES or not len(skin):
        raise InputError(f"{source}: damaged ICT face model (landmarks or triangles out of range)")

    def in_model_frame(points: np.ndarray) -> np.ndarray:
        return points[..., :HEAD_VERTICES, :].astype(np.float32) * MODEL_FROM_ICT

    return IctModel(
        neutral=in_model_frame(neutral),
        triangles=skin.astype(np.int32),
        identity=in_model_frame(identity),
        expression=in_model_frame(expression),
        expression_names=tuple(names),
        landmarks68=landmarks.astype(np.int32),
    )
