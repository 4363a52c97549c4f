"""The head model: a mean surface on a regular grid, and modes for how people differ and how faces move.

Convention:
    Model frame: x image-right, y down, z away from the camera; millimetres; the face looks towards -z.
    Vertices form a regular (rows, cols) grid, row-major: row 0 at the crown, the last row on the neck; column 0 at the
    back, then the image-left side of the head, the face in the middle column, the image-right side, the back again.
    Column c mirrors column cols - 1 - c exactly. The two rows of the slit coincide at the corners of the mouth and meet
    along the closed lips.
    Triangles are ordered so that cross(b - a, c - a) points out of the head.

Source:
    The shipped coefficients were fitted to ICT-FaceKit (MIT; `augmentor/data/NOTICE.md`) by `augmentor.head.head_fit`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.detector_offsets import detector_offsets

BUILT_IN = Path(__file__).parent.parent / "data" / "head.npz"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A linear head model: mean + identity coefficients × modes + expression weights × modes.

    Attributes:
        mean: (V, 3) float32 mm.
        triangles: (T, 3) int32.
        identity_modes: (K, V, 3) float32 mm, scaled to one standard deviation of the population, largest first.
        expression_modes: (E, V, 3) float32 mm, at weight 1.
        expression_names: E names; a trailing _L or _R is the subject's side.
        landmarks68: (68,) int32 vertex ids in dlib's order.
        mirror: (V,) int32, the vertex on the other side of the head.
        regions: soft masks (V,) float32 0..1: face, eyes, lips, mouth_interior, brows, ears, scalp, neck.
        grid_shape: (rows, cols).
        landmark_offsets: (68, 3) float64 mm, where the landmarks detected in photos lie, minus the model's own; see
            `augmentor.faces.face_source.FaceSource.offsets`.
    """

    mean: np.ndarray
    triangles: np.ndarray
    identity_modes: np.ndarray
    expression_modes: np.ndarray
    expression_names: tuple[str, ...]
    landmarks68: np.ndarray
    mirror: np.ndarray
    regions: dict[str, np.ndarray]
    grid_shape: tuple[int, int]
    landmark_offsets: np.ndarray = field(default_factory=detector_offsets)

    def with_landmark_offsets(self, offsets: np.ndarray) -> HeadModel:
        """Return the same head for a face source whose landmarks lie elsewhere.

        Args:
            offsets: (68, 3) mm, the source's.
        """
        if np.array_equal(offsets, self.landmark_offsets):
            return self
        return replace(self, landmark_offsets=offsets)

    def vertices(
        self, identity: np.ndarray | None = None, expression: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the head of one person with one expression.

        Args:
            identity: (K,) coefficients in standard deviations, or only the first few of them; None for the mean head.
            expression: (E,) weights 0..1; None for a neutral face.

        Returns:
            (V, 3) float32 mm.

        Raises:
            InputError: there are more coefficients than modes, or an argument is not a vector.

        Example:
            >>> head = load_head_model()
            >>> head.vertices(expression=head.expression_weights({"jawOpen": 0.5})).shape
            (4087, 3)
        """
        points = self.mean.astype(np.float32, copy=True)
        for name, coefficients, modes in (
            ("identity", identity, self.identity_modes),
            ("expression", expression, self.expression_modes),
        ):
            if coefficients is not None:
                points += _combine(name, coefficients, modes)
        return points

    def landmarks(
        self, identity: np.ndarray | None = None, expression: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the 68 landmarks of a head, (68, 3) float32 mm; arguments and errors are those of `vertices`."""
        points = self._landmark_mean.copy()
        for name, coefficients, modes in (
            ("identity", identity, self.landmark_identity_modes),
            ("expression", expression, self.landmark_expression_modes),
        ):
            if coefficients is not None:
                points += _combine(name, coefficients, modes)
        return points

    def expression_weights(self, weights: Mapping[str, float]) -> np.ndarray:
        """Return the weights (E,) float32 for named expressions.

        Args:
            weights: name → weight; a name without _L or _R sets both sides: {"mouthSmile": 0.5}.

        Raises:
            InputError: the model has no such expression.
        """
        result = np.zeros(len(self.expression_names), np.float32)
        for name, weight in weights.items():
            indices = [
                i for i, n in enumerate(self.expression_names) if n in (name, f"{name}_L", f"{name}_R")
            ]
            if not indices:
                raise InputError(
                    f"the head model has no expression {name!r}; it has: {', '.join(self.expression_names)}"
                )
            result[indices] = weight
        return result

    @cached_property
    def _landmark_mean(self) -> np.ndarray:
        return self.mean[self.landmarks68].astype(np.float32)

    @cached_property
    def landmark_identity_modes(self) -> np.ndarray:
        """The identity modes at the landmarks, (K, 68, 3) float32."""
        return np.ascontiguousarray(self.identity_modes[:, self.landmarks68])

    @cached_property
    def landmark_expression_modes(self) -> np.ndarray:
        """The expression modes at the landmarks, (E, 68, 3) float32."""
        return np.ascontiguousarray(self.expression_modes[:, self.landmarks68])

    @cached_property
    def mouth_triangles(self) -> np.ndarray:
        """The triangles (T,) bool between the two rows of the slit, which appear only when the mouth opens."""
        return (self.regions["mouth_interior"][self.triangles] > 0.99).all(axis=1)


def load_head_model() -> HeadModel:
    """Load the built-in head model.

    Raises:
        InputError: the file is missing or damaged.
    """
    return read_head_model(BUILT_IN)


def read_head_model(path: Path) -> HeadModel:
    """Read a head model that `write_head_model` wrote.

    Raises:
        InputError: `path` is missing, damaged or has another format.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _unpack(arrays)
    except FileNotFoundError:
        raise InputError(
            f"{path}: head model missing; reinstall the package, or make the file: {REMAKE}"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: head model damaged ({error}); reinstall the package, or make the file: {REMAKE}"
        ) from error


REMAKE = "python -m augmentor.head.head_fit --ict DIR --out FILE"


def write_head_model(path: Path, model: HeadModel) -> None:
    """Write a head model compactly: modes in 8 bits, and one half of everything that is symmetric.

    Identity modes must be symmetric or antisymmetric, and expressions symmetric or in _L/_R pairs, as `fit_head`
    makes them.

    Raises:
        OSError: the file cannot be written.
    """
    rows, cols = model.grid_shape
    half = cols // 2 + 1
    flipped = mirrored(model.identity_modes, model.mirror)
    parity = np.sign((flipped * model.identity_modes).sum(axis=(1, 2))).astype(np.int8)
    stored_names = [n for n in model.expression_names if not n.endswith("_R")]
    stored = model.expression_modes[[model.expression_names.index(n) for n in stored_names]]
    identity, identity_scale = _quantise(model.identity_modes.reshape(-1, rows, cols, 3)[:, :, :half])
    expression, expression_scale = _quantise(stored.reshape(-1, rows, cols, 3))
    arrays = {
        "format": np.array(FORMAT, np.int32),
        "grid_shape": np.array(model.grid_shape, np.int32),
        "mean_hundredths": np.round(model.mean.reshape(rows, cols, 3)[:, :half] * 100).astype(np.int16),
        "diagonals": _diagonals(model),
        "identity": identity,
        "identity_scale": identity_scale,
        "identity_parity": parity,
        "expression": expression,
        "expression_scale": expression_scale,
        "expression_names": np.array(stored_names),
        "landmarks68": model.landmarks68.astype(np.int32),
        "region_names": np.array(list(model.regions)),
        "regions": np.round(np.stack(list(model.regions.values())) * 255).astype(np.uint8),
    }
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def grid_triangles(diagonals: np.ndarray) -> np.ndarray:
    """Return the triangles of a grid, ((rows - 1) * (cols - 1) * 2, 3) int32, facing outwards.

    Args:
        diagonals: (rows - 1, cols - 1) bool; true splits the quad from upper left to lower right.

    Example:
        >>> grid_triangles(np.array([[True]])).tolist()
        [[0, 2, 3], [0, 3, 1]]
    """
    rows, cols = diagonals.shape[0] + 1, diagonals.shape[1] + 1
    node = np.arange(rows * cols, dtype=np.int32).reshape(rows, cols)
    a, b, c, d = (m.ravel() for m in (node[:-1, :-1], node[:-1, 1:], node[1:, :-1], node[1:, 1:]))
    falling = diagonals.ravel()[:, None, None]
    down = np.stack([np.stack([a, c, d], 1), np.stack([a, d, b], 1)], 1)
    up = np.stack([np.stack([a, c, b], 1), np.stack([b, c, d], 1)], 1)
    return np.where(falling, down, up).reshape(-1, 3)


def mirrored(fields: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Return the fields (..., V, 3) of the mirrored head: vertices swapped, x negated."""
    return fields[..., mirror, :] * np.array([-1, 1, 1], fields.dtype)


def _combine(name: str, coefficients: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Return Σ coefficient × mode.

    Raises:
        InputError: `coefficients` is not a vector, or is longer than the list of modes.
    """
    coefficients = np.asarray(coefficients, np.float32)
    if coefficients.ndim != 1 or len(coefficients) > len(modes):
        raise InputError(
            f"{name}: expected at most {len(modes)} coefficients, got shape {coefficients.shape}"
        )
    used = np.flatnonzero(coefficients)  # most coefficients of a fitted face are zero
    return np.tensordot(coefficients[used], modes[used], axes=1)


def _quantise(modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return modes as int8, and one scale for each."""
    scale = (np.abs(modes).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    return np.round(modes / np.maximum(scale, 1e-12)[:, None, None, None]).astype(np.int8), scale


def _diagonals(model: HeadModel) -> np.ndarray:
    """Return which way each quad is split; a falling diagonal starts with a triangle over (a, c, d)."""
    rows, cols = model.grid_shape
    first = model.triangles.reshape(rows - 1, cols - 1, 2, 3)[:, :, 0]
    return first[:, :, 2] == first[:, :, 1] + 1


def _unfold(half: np.ndarray, cols: int) -> np.ndarray:
    """Complete (..., rows, half, 3) to (..., rows, cols, 3) by mirroring."""
    other = half[..., : cols - half.shape[-2], :][..., ::-1, :] * np.array([-1, 1, 1], half.dtype)
    return np.concatenate([half, other], axis=-2)


def _unpack(arrays: dict[str, np.ndarray]) -> HeadModel:
    """Rebuild the head model from the arrays that `write_head_model` stored.

    Raises:
        ValueError: the format is another one, or the arrays do not fit together.
    """
    if int(arrays["format"]) != FORMAT:
        raise ValueError(f"format {int(arrays['format'])}, expected {FORMAT}")
    rows, cols = (int(n) for n in arrays["grid_shape"])
    mirror = np.arange(rows * cols, dtype=np.int32).reshape(rows, cols)[:, ::-1].ravel()
    mean = _unfold(arrays["mean_hundredths"].astype(np.float32) / 100, cols).reshape(-1, 3)
    half = arrays["identity"].astype(np.float32) * arrays["identity_scale"][:, None, None, None]
    identity = _unfold(half, cols)
    # The other half of an antisymmetric mode is minus its mirror image.
    identity[:, :, half.shape[2] :] *= arrays["identity_parity"].astype(np.float32)[:, None, None, None]
    stored = arrays["expression"].astype(np.float32) * arrays["expression_scale"][:, None, None, None]
    stored = stored.reshape(len(stored), -1, 3)
    names, modes = [], []
    for name, mode in zip(arrays["expression_names"].tolist(), stored, strict=True):
        names.append(name)
        modes.append(mode)
        if name.endswith("_L"):
            names.append(name[:-2] + "_R")
            modes.append(mirrored(mode, mirror))
    regions = arrays["regions"].astype(np.float32) / 255
    if (
        mean.shape != (rows * cols, 3)
        or regions.shape[1] != rows * cols
        or arrays["landmarks68"].shape != (68,)
    ):
        raise ValueError("arrays do not fit together")
    return HeadModel(
        mean=mean,
        triangles=grid_triangles(arrays["diagonals"]),
        identity_modes=identity.reshape(len(identity), -1, 3),
        expression_modes=np.stack(modes),
        expression_names=tuple(names),
        landmarks68=arrays["landmarks68"],
        mirror=mirror,
        regions=dict(zip(arrays["region_names"].tolist(), regions, strict=True)),
        grid_shape=(rows, cols),
    )
