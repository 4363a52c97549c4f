"""Find where every point of the fitted head's surface lies in the photo.

The projected head misses the detected landmarks by a pixel or two. A smooth displacement of the whole surface removes
this difference, so that eyes, nose and mouth are sampled exactly where they are, and the far cheek ends at the outline
in the photo.
"""

from functools import lru_cache

import numpy as np

from augmentor.head.head_model import HeadModel
from augmentor.head.pose import FaceFit, sideways_axis

REACH = 10.0  # mm over which the displacement of a landmark fades to three quarters
INNER_SLACK, CONTOUR_SLACK = (
    0.05,
    0.5,
)  # variance of the landmarks' noise relative to that of the displacement
CONTOUR = np.arange(17)
_OUTLINE_REACH = (
    0.7  # share of the way from a contour landmark to the middle of the face, along its row of the grid
)


def register(
    landmarks: np.ndarray,
    vertices: np.ndarray,
    fit: FaceFit,
    head: HeadModel,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """Return the positions of the vertices of a fitted head in the photo.

    The result meets inner landmarks (nearly) exactly. Contour landmarks only say how far out the outline is; they bind
    whichever vertices form the outline at this pose.

    Args:
        landmarks: (68, 2) in (x, y) pixels.
        vertices: (V, 3) mm, `head` with the coefficients of the fit.
        fit: the fit of these landmarks.
        head: the head model.
        visible: the same as for the fit (`augmentor.head.pose.fit_face`); hidden landmarks move nothing.

    Returns:
        (V, 2) float32 in (x, y) pixels.
    """
    projected = fit.camera.project(vertices)
    anchors = head.landmarks68.copy()
    anchors[CONTOUR] = _outline_vertices(projected @ sideways_axis(fit.camera.rotation), head)
    residual = landmarks - fit.camera.project(vertices[anchors] + head.landmark_offsets)
    residual[CONTOUR] = _across_outline(landmarks[CONTOUR] - projected[anchors[CONTOUR]], landmarks[CONTOUR])
    basis = displacement_basis(head, tuple(anchors[CONTOUR].tolist()))
    slack = np.full(68, INNER_SLACK)
    slack[CONTOUR] = CONTOUR_SLACK
    if visible is not None:
        shown = np.asarray(visible) > 0
        anchors, basis, residual = anchors[shown], basis[shown], residual[shown]
        slack = slack[shown] / np.asarray(visible, float)[shown]
    weights = np.linalg.solve(basis[:, anchors].T + np.diag(slack), residual)
    return (projected + (weights.T.astype(np.float32) @ basis).T).astype(np.float32)


def _outline_vertices(sideways: np.ndarray, head: HeadModel) -> np.ndarray:
    """Return, for each contour landmark, the vertex (17,) of its row that forms the outline: the one furthest out."""
    columns = head.grid_shape[1]
    chosen = head.landmarks68[CONTOUR].copy()
    for number, vertex in enumerate(chosen.tolist()):
        row, column = divmod(vertex, columns)
        side = np.sign(column - columns // 2)
        if side:
            last = columns // 2 + side * int(abs(column - columns // 2) * (1 - _OUTLINE_REACH))
            candidates = row * columns + np.arange(column, last, -side)
            chosen[number] = candidates[np.argmax(side * sideways[candidates])]
    return chosen


def _across_outline(residual: np.ndarray, contour: np.ndarray) -> np.ndarray:
    """Return the part of the contour residuals (17, 2) across the contour; contour landmarks say nothing along it."""
    tangent = np.gradient(contour.astype(np.float64), axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return (residual * normal).sum(1, keepdims=True) * normal


def displacement_basis(head: HeadModel, contour_vertices: tuple[int, ...]) -> np.ndarray:
    """Return kernels (68, V) float32 around the contour vertices (17) and the inner landmarks.

    Each is a Matérn 3/2 function of the distance; Gaussians would overshoot between landmarks a few mm apart. Distances
    are measured on a head with its mouth open, because the upper and the lower lip would otherwise move as one.

    Args:
        head: the head model.
        contour_vertices: 17 vertex ids.
    """
    inner = _kernels(head, tuple(head.landmarks68[17:].tolist()))
    return np.concatenate([*(_kernels(head, (vertex,)) for vertex in contour_vertices), inner])


@lru_cache(maxsize=1024)
def _kernels(head: HeadModel, centres: tuple[int, ...]) -> np.ndarray:
    """Return the kernels (N, V) float32 around N vertices. They are cached: about 400 vertices can form the contour."""
    vertices = _opened(head)
    distance = np.linalg.norm(vertices[list(centres)][:, None] - vertices, axis=2) / REACH
    return ((1 + distance) * np.exp(-distance)).astype(np.float32)


@lru_cache(maxsize=4)
def _opened(head: HeadModel) -> np.ndarray:
    """Return the mean head with its mouth open, (V, 3) mm."""
    return head.vertices(None, head.expression_weights({"jawOpen": 0.7}))
