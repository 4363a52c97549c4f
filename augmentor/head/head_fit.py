"""Fit the built-in head to the ICT face model: `python -m augmentor.head.head_fit --ict DIR --out FILE`.

The grid of `augmentor.head.head_grid` is laid over the neutral head; mean and modes follow from the same weights.
Identity modes are the principal components, on the grid, of the population that ICT's own modes span together with its
mirror image. Thus every mode is symmetric or antisymmetric, and a mirrored photo gets the mirrored fit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

from augmentor.errors import LikenessError
from augmentor.head import head_grid
from augmentor.head.head_grid import (
    COLS,
    LOWER_LIP_ROW,
    MIDDLE,
    MOUTH_CORNER,
    ROWS,
    UPPER_LIP_ROW,
    GridSampling,
)
from augmentor.head.head_model import HeadModel, grid_triangles, mirrored, read_head_model, write_head_model
from augmentor.head.ict_facekit import INNER_FACE_VERTICES, IctModel, read_ict

BUILT_IN_MODES = 50
USER_MODES = 80
# Expressions that occur in photos of people. Neither 68 landmarks nor 150 pixels show gaze, pupils and finer mouth
# shapes.
EXPRESSIONS = (
    "jawOpen", "jawForward", "jawLeft", "jawRight",
    "mouthSmile_L", "mouthSmile_R", "mouthFrown_L", "mouthFrown_R", "mouthStretch_L", "mouthStretch_R",
    "mouthDimple_L", "mouthDimple_R", "mouthUpperUp_L", "mouthUpperUp_R", "mouthLowerDown_L", "mouthLowerDown_R",
    "mouthPress_L", "mouthPress_R", "mouthPucker", "mouthFunnel", "mouthLeft", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "cheekPuff_L", "cheekPuff_R", "cheekSquint_L", "cheekSquint_R",
    "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R",
    "eyeBlink_L", "eyeBlink_R", "eyeWide_L", "eyeWide_R", "eyeSquint_L", "eyeSquint_R", "noseSneer_L", "noseSneer_R",
)  # fmt: skip


def fit_head(ict: IctModel, modes: int = USER_MODES) -> HeadModel:
    """Fit this project's grid to the ICT model and return it as a head model.

    Args:
        ict: the model that `read_ict` returns.
        modes: largest number of identity modes to keep.

    Raises:
        InputError: the mesh is not the ICT head.
    """
    sampling = head_grid.sample_grid(ict)
    mirror = np.arange(ROWS * COLS, dtype=np.int32).reshape(ROWS, COLS)[:, ::-1].ravel()
    mean = sampling.matrix @ ict.neutral.astype(float) + sampling.offset
    mean = ((mean + mirrored(mean, mirror)) / 2).astype(np.float32)
    names, expression = _expressions(ict, sampling, mirror)
    return HeadModel(
        mean=mean,
        triangles=grid_triangles(_shorter_diagonals(mean)),
        identity_modes=_principal_modes(_carry(sampling, ict.identity), mirror, modes),
        expression_modes=expression,
        expression_names=names,
        landmarks68=sampling.landmarks68,
        mirror=mirror,
        regions=_regions(ict, sampling, mean, mirror),
        grid_shape=(ROWS, COLS),
    )


def _carry(sampling: GridSampling, offsets: np.ndarray) -> np.ndarray:
    """Carry offsets of the mesh (N, mesh vertices, 3) over to the grid (N, V, 3)."""
    return np.stack([sampling.matrix @ offset.astype(np.float32) for offset in offsets]).astype(np.float32)


def _principal_modes(identity: np.ndarray, mirror: np.ndarray, count: int) -> np.ndarray:
    """Return the principal components (count, V, 3) at one standard deviation.

    Symmetric and antisymmetric components are computed separately, then sorted together by size.
    """
    components = []
    for sign in (1, -1):
        part = ((identity + sign * mirrored(identity, mirror)) / 2).reshape(len(identity), -1)
        # The coefficients are standard normal, so rotating the modes turns them into components of descending size.
        rotation, size, _ = np.linalg.svd(part @ part.T)
        modes = (rotation.T @ part).reshape(identity.shape)
        # The population contains the mirror image of each of its members, so the two parts vary independently.
        components += [
            (float(s), mode) for s, mode in zip(size, modes, strict=True) if s > 1e-6 * max(size[0], 1e-12)
        ]
    components.sort(key=lambda item: -item[0])
    return np.stack([mode for _, mode in components[:count]]).astype(np.float32)


def _expressions(
    ict: IctModel, sampling: GridSampling, mirror: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names and modes of expressions on the grid; each right-side mode mirrors its left-side mode."""
    names: list[str] = []
    modes: list[np.ndarray] = []
    for name in EXPRESSIONS:
        if name not in ict.expression_names:
            continue
        mode = _carry(sampling, ict.expression[ict.expression_names.index(name)][None])[0]
        if name.endswith("_R") and f"{name[:-2]}_L" in names:
            mode = mirrored(modes[names.index(f"{name[:-2]}_L")], mirror)
        names.append(name)
        modes.append(mode)
    return tuple(names), np.array(modes, np.float32).reshape(-1, ROWS * COLS, 3)


def _shorter_diagonals(mean: np.ndarray) -> np.ndarray:
    """Choose the shorter diagonal of each quad, symmetrically about the middle; true runs down and to the right."""
    grid = mean.reshape(ROWS, COLS, 3)
    falling = np.linalg.norm(grid[1:, 1:] - grid[:-1, :-1], axis=-1)
    rising = np.linalg.norm(grid[1:, :-1] - grid[:-1, 1:], axis=-1)
    diagonals = falling < rising
    diagonals[:, MIDDLE:] = ~diagonals[:, MIDDLE - 1 :: -1]
    return diagonals


def _regions(
    ict: IctModel, sampling: GridSampling, mean: np.ndarray, mirror: np.ndarray
) -> dict[str, np.ndarray]:
    """Return soft masks (V,) from 0 to 1 for the regions of the head."""
    azimuth, level = np.abs(sampling.azimuth), sampling.level
    points = mean[sampling.landmarks68]
    inner = np.zeros(len(ict.neutral), np.float32)
    inner[:INNER_FACE_VERTICES] = 1
    face = _blur(np.asarray(sampling.matrix @ inner).reshape(ROWS, COLS))
    mouth = np.zeros((ROWS, COLS))
    mouth[UPPER_LIP_ROW : LOWER_LIP_ROW + 1, MIDDLE - MOUTH_CORNER : MIDDLE + MOUTH_CORNER + 1] = 1
    jaw_azimuth, jaw_level = head_grid.ray_coordinates(points[8:14].astype(float))
    below_jaw = level - np.interp(azimuth, [*jaw_azimuth, 75, 110, 180], [*jaw_level, 0.6, 0.62, 0.66])
    hairline = PchipInterpolator(
        [0, 35, 55, 68, 80, 100, 115, 180], [0.165, 0.19, 0.26, 0.36, 0.4, 0.4, 0.58, 0.62]
    )
    regions = {
        "face": face * (1 - _ramp(below_jaw, 0.0, 0.06)),
        "eyes": sum(_inside(sampling, points[k : k + 6], 1.5) for k in (36, 42)),
        "lips": _inside(sampling, points[48:60], 3.0),
        "mouth_interior": mouth,
        "brows": sum(1 - _ramp(_along(mean, points[k : k + 5]), 4.0, 9.0) for k in (17, 22)),
        "ears": _ear(mean),
        "scalp": 1 - _ramp(level - hairline(azimuth), -0.03, 0.03),
        "neck": _ramp(below_jaw, 0.02, 0.09),
    }
    symmetric = {}
    for name, mask in regions.items():
        flat = np.clip(np.asarray(mask, float).reshape(-1), 0, 1)
        symmetric[name] = ((flat + flat[mirror]) / 2).astype(np.float32)
    return symmetric


def _ramp(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return 0 up to `start`, 1 from `end` on, and a smooth transition between."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _blur(mask: np.ndarray) -> np.ndarray:
    """Blur a mask twice over neighbours on the grid, with binomial weights."""
    for _ in range(2):
        for axis in (0, 1):
            padded = np.pad(mask, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            first, last = np.split(padded, [2], axis=axis)[1], np.split(padded, [-2], axis=axis)[0]
            mask = (first + last) / 4 + mask / 2
    return mask


def _inside(sampling: GridSampling, outline: np.ndarray, soft: float) -> np.ndarray:
    """Return 1 inside a landmark outline and 0 outside (V,), with a transition of `soft` mm, on the unrolled head."""
    scale = np.array([1.9, 310.0])  # mm of surface per degree of azimuth and per unit of level, at the face
    polygon = np.stack(head_grid.ray_coordinates(outline.astype(float)), axis=1) * scale
    points = np.stack([sampling.azimuth.ravel(), sampling.level.ravel()], axis=1) * scale
    a, b = polygon, np.roll(polygon, -1, axis=0)
    along, to = b - a, points[:, None] - a
    t = np.clip((to * along).sum(-1) / (along**2).sum(-1), 0, 1)
    distance = np.linalg.norm(to - t[..., None] * along, axis=-1).min(1)
    spans = (a[:, 1] > points[:, None, 1]) != (b[:, 1] > points[:, None, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = a[:, 0] + (points[:, None, 1] - a[:, 1]) * along[:, 0] / along[:, 1]
    within = (spans & (points[:, None, 0] < crossing)).sum(1) % 2 == 1
    return _ramp(np.where(within, distance, -distance), -soft / 2, soft / 2)


def _along(mean: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Return the distance (V,) in mm of every vertex from a polyline."""
    a, along = line[:-1], np.diff(line, axis=0)
    to = mean[:, None] - a
    t = np.clip((to * along).sum(-1) / (along**2).sum(-1), 0, 1)
    return np.linalg.norm(to - t[..., None] * along, axis=-1).min(1)


def _ear(mean: np.ndarray) -> np.ndarray:
    """Return a mask (V,) with soft boxes around the ears."""
    x, y, z = np.abs(mean[:, 0]), mean[:, 1], mean[:, 2]
    outside = np.maximum.reduce([62 - x, -44 - y, y - 27, -22 - z, z - 36])
    return 1 - _ramp(outside, 0, 5)


def surface_distance(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the distances (N,) of points from a triangle mesh.

    Only the triangles around the 6 vertices nearest to each point are considered.

    Args:
        points: (N, 3).
        vertices: (V, 3).
        triangles: (T, 3) vertex ids; at most 12 triangles per vertex are considered.

    Source:
        Closest point on a triangle by projection and clamping to edges.
    """
    corner = triangles.ravel()
    order = np.argsort(corner, kind="stable")
    first = np.searchsorted(corner[order], np.arange(len(vertices)))
    slot = np.arange(len(order)) - first[corner[order]]
    around = np.full((len(vertices), 12), -1)
    around[corner[order][slot < 12], slot[slot < 12]] = order[slot < 12] // 3
    nearest = cKDTree(vertices).query(points, k=6)[1]
    best = np.full(len(points), np.inf)
    for column in range(nearest.shape[1]):
        for slot in range(12):
            number = around[nearest[:, column], slot]
            there = np.flatnonzero(number >= 0)
            corners = vertices[triangles[number[there]]]
            best[there] = np.minimum(best[there], _triangle_distance(points[there], corners))
    return best


def _triangle_distance(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the distance (N,) of each point from its own triangle (N, 3, 3)."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    unit = normal / np.maximum(length, 1e-12)[:, None]
    within = length > 1e-9
    edge = np.full(len(points), np.inf)
    for k in range(3):
        a, b = corners[:, k], corners[:, (k + 1) % 3]
        along, to = b - a, points - a
        within &= (np.cross(along, to) * unit).sum(1) >= 0
        t = np.clip((to * along).sum(1) / np.maximum((along**2).sum(1), 1e-12), 0, 1)
        edge = np.minimum(edge, np.linalg.norm(to - t[:, None] * along, axis=1))
    return np.where(within, np.abs(((points - corners[:, 0]) * unit).sum(1)), edge)


def fit_identity(head: HeadModel, target: np.ndarray) -> np.ndarray:
    """Return the coefficients (K,) float32 of the head that is nearest to target vertices (V, 3), by least squares."""
    modes = head.identity_modes.reshape(len(head.identity_modes), -1).astype(float)
    right = modes @ (target - head.mean).ravel().astype(float)
    return np.linalg.solve(modes @ modes.T, right).astype(np.float32)


def fitting_error(
    ict: IctModel, head: HeadModel, *, people: int = 10, seed: int = 0
) -> list[tuple[str, str, np.ndarray]]:
    """Measure how far the ICT mesh's vertices lie from the head's surface.

    Measured are the mean head, `people` random ICT identities (with all modes) against their least-squares fits, and
    each expression at weight 1 where it moves vertices by more than 1 mm (for pairs, only the left side). Only vertices
    that are visible from outside count, because the grid does not follow the insides of lids, lips, nostrils and ears;
    for the mean head there are also rows over all vertices.

    Returns:
        Rows of (measured shape, region, distances in mm).
    """
    sampling = head_grid.sample_grid(ict)
    outside = head_grid.seen_from_outside(ict)
    above_neck_end = ict.neutral[:, 1] < 85
    inner = np.arange(len(outside)) < INNER_FACE_VERTICES
    regions = {"face": outside & inner, "whole head": outside & above_neck_end}
    rows = []

    def measure(
        what: str, meshes: list[np.ndarray], grids: list[np.ndarray], where: dict[str, np.ndarray]
    ) -> None:
        for region, vertices in where.items():
            pairs = zip(meshes, grids, strict=True)
            distances = [surface_distance(mesh[vertices], grid, head.triangles) for mesh, grid in pairs]
            rows.append((what, region, np.concatenate(distances)))

    measure("mean", [ict.neutral], [head.mean], regions | {"face, all": inner, "head, all": above_neck_end})
    draws = np.random.default_rng(seed).standard_normal((people, len(ict.identity))).astype(np.float32)
    meshes = [ict.neutral + np.tensordot(draw, ict.identity, 1) for draw in draws]
    targets = [sampling.matrix @ mesh + sampling.offset for mesh in meshes]
    fits = [head.vertices(fit_identity(head, target)) for target in targets]
    measure(f"{people} random identities", meshes, fits, regions)
    for name, mode in zip(head.expression_names, head.expression_modes, strict=True):
        if not name.endswith("_R"):
            offset = ict.expression[ict.expression_names.index(name)]
            moving = regions["whole head"] & (np.linalg.norm(offset, axis=1) > 1)
            if moving.any():
                measure(name, [ict.neutral + offset], [head.mean + mode], {"moving": moving})
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Fit the head, write it, read it back, and print the error of what was written."""
    parser = argparse.ArgumentParser(
        prog="python -m augmentor.head.head_fit", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--ict", type=Path, required=True, help="folder with ict_head.npz, or an ICT-FaceKit checkout"
    )
    parser.add_argument("--out", type=Path, required=True, help="head model to write (.npz)")
    parser.add_argument(
        "--modes",
        type=int,
        default=BUILT_IN_MODES,
        help="largest number of identity modes (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        ict = read_ict(options.ict)
        write_head_model(options.out, fit_head(ict, options.modes))
        head = read_head_model(options.out)
    except (LikenessError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB, {len(head.mean)} vertices, "
        f"{len(head.identity_modes)} identity and {len(head.expression_modes)} expression modes"
    )
    print(f"{'distance of ICT vertices to the surface, mm':44s} {'region':12s}    RMS median  95 %")
    for what, region, distances in fitting_error(ict, head):
        rms = float(np.sqrt(np.mean(np.square(distances))))
        print(
            f"{what:44s} {region:12s} {rms:6.2f} {np.median(distances):6.2f} {np.percentile(distances, 95):5.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
