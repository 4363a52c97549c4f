"""The part of the head that is rendered as a surface: face, scalp and flattened ears.

The neck belongs to the background, which follows the jaw smoothly, because a body does not turn with the head. Ears
are folded and differ between people; a skin stretched over their place carries whatever the photo shows there, ear or
hair.
"""

from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from augmentor.head.head_model import HeadModel


def flatten_ears(vertices: np.ndarray, head: HeadModel) -> np.ndarray:
    """Replace the ears of head vertices (V, 3) by a smooth skin; returns (V, 3) float32."""
    ears, others, weights = _ear_skin(head)
    flat = vertices.astype(np.float32, copy=True)
    flat[ears] = weights @ flat[others]
    return flat


@lru_cache(maxsize=4)
def surface_vertices(head: HeadModel) -> np.ndarray:
    """Return which vertices (V,) bool are rendered as a surface."""
    regions = head.regions
    return np.maximum.reduce([regions["face"], regions["ears"], regions["scalp"]]) > 0.01


@lru_cache(maxsize=4)
def surface_triangles(head: HeadModel) -> np.ndarray:
    """Return the triangles (T, 3) of the surface, clockwise from outside, as `augmentor.views.raster` draws them."""
    return np.ascontiguousarray(head.triangles[surface_vertices(head)[head.triangles].all(1)][:, ::-1])


def surface_normals(vertices: np.ndarray, head: HeadModel) -> np.ndarray:
    """Return the outward unit normals (V, 3) of the head's grid, from differences between neighbouring vertices."""
    grid = vertices.reshape(*head.grid_shape, 3)
    down, right = np.gradient(grid, axis=0), np.gradient(grid, axis=1)
    normal = np.cross(down, right).reshape(-1, 3)
    return normal / np.maximum(np.sqrt(np.einsum("vc,vc->v", normal, normal)), 1e-9)[:, None]


@lru_cache(maxsize=4)
def _ear_skin(head: HeadModel) -> tuple[np.ndarray, np.ndarray, sparse.csr_matrix]:
    """Return the ear vertices, the vertices around them, and the weights that interpolate the first from the second.

    The skin is a membrane: every ear vertex lies in the middle of its four neighbours on the grid.
    """
    rows, columns = head.grid_shape
    number = np.arange(rows * columns).reshape(rows, columns)
    is_ear = head.regions["ears"].reshape(rows, columns) > 0.01
    is_ear[[0, -1]] = False
    is_ear[:, [0, -1]] = False
    ears = number[is_ear]
    neighbours = np.stack([np.roll(number, shift, axis)[is_ear] for axis in (0, 1) for shift in (1, -1)], 1)
    ones = np.full(neighbours.size, 0.25)
    mean = sparse.csr_matrix(
        (ones, (np.repeat(np.arange(len(ears)), 4), neighbours.ravel())), (len(ears), rows * columns)
    )
    others = np.setdiff1d(neighbours, ears)
    inner = sparse.identity(len(ears)) - mean[:, ears]
    weights = spsolve(inner.tocsc(), mean[:, others].toarray())
    return ears, others, sparse.csr_matrix(np.where(np.abs(weights) > 1e-6, weights, 0).astype(np.float32))
