"""Views: tables of what every pixel shows of the head at some pose, computed once and used for every photo.

A view is a shape, an expression, a pose and a size. For every second pixel it holds the point of the head's surface
that is visible there, as a place on the head model's grid, on which a photo's texture is laid out
(`augmentor.views.texture`). Rendering a photo into the view is then a look-up (`augmentor.rendering.render`). Every
second pixel is enough, because the place changes smoothly except at edges of the surface, and reading less memory takes
a fraction of the time.

Source:
    Masi et al., "Do We Really Need to Collect Millions of Faces for Effective Face Recognition?", ECCV 2016: rendered
    views as look-up tables of 3-D points. Differs: the table holds the point's place on the model's grid, so the
    photo's own fitted shape, not the view's, determines where the point lies in the photo.

Nothing here reads a file; views are plain arrays that travel through shared memory.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from augmentor.head.head_model import HeadModel
from augmentor.views.background import Outline, background_coordinates
from augmentor.views.texture import atlas_step
from augmentor.views.view_key import ViewKey

MAP_PIXELS = 2  # pixels of the picture per entry of the maps
EDGE_CELLS = (
    3.0  # neighbours on the maps that are more grid cells apart lie on two sides of an edge of the surface
)
EDGE_COVER = 0.7  # between 0.5, where the face ends, and the cover at which it is rendered sharply
_NODE_PIXELS = 5


@dataclass(frozen=True, eq=False)
class View:
    """A table of what each pixel shows of the head at `key`; arrays only, about 0.25 MB at 150 px.

    Convention:
        Model frame and mm; grid coordinates (column, row); pixel centres have integer coordinates. Maps have side
        h = ceil(S / MAP_PIXELS), nodes n = ceil(S / 5); `pixel_places` returns the pixels that they stand for. Tables
        have four channels, because looking up four values costs less than two
        (`augmentor.rendering.prepared_photo.read`).

    Args:
        key: shape, expression and pose.
        size: side of the picture, pixels.
        padding: margin around the mean face, as a fraction of its size (`augmentor.faces.chip`).
        position: (h, h, 3) float32 mm, model frame; where the face does not cover the pixel, that of the nearest pixel
            which it covers.
        normal: (h, h, 3) float32 unit, outward, model frame; zero where the face does not cover the pixel.
        surface: (h, h, 4) float32. First the pixel's place (column, row) in the atlas of a photo, in texels; where the
            face does not cover the pixel, that of the nearest pixel which it covers. Then the share of the pixel that
            the face covers, 0..1. The last is 0.
        projection: (3, 4) float64; chip pixels (x, y, 1) ~ projection @ (model point, 1).
        nodes: a coarser table, for how the surface moves with the photo's shape and where the background lies.
        landmark_vertices: (68, 3) float32 mm, the landmarks' vertices with a neutral face.
        landmarks_2d: (68, 2) float32 true landmarks in chip pixels (x, y), including hidden ones, at the places of the
            skin where they are detected (`HeadModel.landmark_offsets`).
        landmarks_visible: (68,) bool.
        point_offsets: (5, 2) float32 (x, y) chip pixels, the five points that the face source would detect minus those
            of the landmarks (`augmentor.faces.point_offsets`).
    """

    key: ViewKey
    size: int
    padding: float
    position: np.ndarray
    normal: np.ndarray
    surface: np.ndarray
    projection: np.ndarray
    nodes: "Nodes"
    landmark_vertices: np.ndarray
    landmarks_2d: np.ndarray
    landmarks_visible: np.ndarray
    point_offsets: np.ndarray

    @property
    def grid(self) -> np.ndarray:
        """The place of every pixel on the head model's grid, (h, h, 2) (column, row)."""
        return self.surface[..., :2] / atlas_step(self.size)

    @property
    def face(self) -> np.ndarray:
        """The share of every pixel that the face covers, (h, h)."""
        return self.surface[..., 2]

    @property
    def nbytes(self) -> int:
        """The memory of all arrays, in bytes."""
        values = [*vars(self).values(), *vars(self.nodes).values()]
        return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


@dataclass(frozen=True, eq=False)
class Nodes:
    """Quantities that change slowly from pixel to pixel, stored for every fifth pixel only.

    Args:
        grid: (n, n, 2) float32 place on the head model's grid, (column, row).
        vertices: (n, n, 4) float32, the point there on the view's shape with a neutral face, mm, and 1.
        points: (n, n, 2) float32, the chip pixel (x, y) at which it was rasterised.
        background: (n, n, 4) float32 place in the background, see
            `augmentor.views.background.background_coordinates`; the last two are unused.
    """

    grid: np.ndarray
    vertices: np.ndarray
    points: np.ndarray
    background: np.ndarray


def map_side(size: int) -> int:
    """Return the side h of the maps of a picture of this side, in pixels."""
    return -(-size // MAP_PIXELS)


def pixel_places(size: int, count: int) -> np.ndarray:
    """Return the pixel coordinates (count,) of the entries along a map's side, with the convention of `cv2.resize`."""
    return (np.arange(count) + 0.5) * (size / count) - 0.5


def assemble_view(
    key: ViewKey,
    size: int,
    padding: float,
    *,
    position: np.ndarray,
    normal: np.ndarray,
    grid: np.ndarray,
    face: np.ndarray,
    projection: np.ndarray,
    outline: Outline,
    head: HeadModel,
    vertices: np.ndarray,
    points: np.ndarray,
    landmarks_2d: np.ndarray,
    landmarks_visible: np.ndarray,
    point_offsets: np.ndarray,
) -> View:
    """Build a view from its maps.

    Args:
        key: shape, expression and pose.
        size: side of the picture, pixels.
        padding: margin around the mean face, as a fraction of its size.
        position: (h, h, 3) mm, valid where `face` is above 0.
        normal: (h, h, 3), valid where `face` is above 0.
        grid: (h, h, 2) place (column, row) on the head's grid, valid where `face` is above 0.
        face: (h, h) share of the pixel that the face covers.
        projection: see `View`.
        outline: outline of the whole head in the picture.
        head: the head model.
        vertices: (V, 3) mm, the view's shape with a neutral face.
        points: (V, 2) chip pixels (x, y) at which the vertices were rasterised.
        landmarks_2d: see `View`.
        landmarks_visible: see `View`.
        point_offsets: see `View`.
    """
    maps = _continued(np.dstack([grid, position]).astype(np.float32), face)
    # Beside an edge of the surface (the nose before the cheek) a pixel shows both surfaces, as at the edge of the face.
    soft = np.where(_beside_edge(maps[..., :2]), np.minimum(face, EDGE_COVER), face)
    surface = np.dstack([maps[..., :2] * atlas_step(size), soft, np.zeros_like(face)]).astype(np.float32)
    where = pixel_places(size, -(-size // _NODE_PIXELS)).astype(np.float32)
    x, y = np.meshgrid(where, where)
    column, row = (((v + 0.5) * len(face) / size - 0.5).astype(np.float32) for v in (x, y))
    node_grid = np.ascontiguousarray(
        cv2.remap(maps[..., :2].copy(), column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    )
    ones = np.ones(len(vertices), np.float32)
    node_vertices, node_points = (
        cv2.remap(table.reshape(*head.grid_shape, -1).astype(np.float32), node_grid, None, cv2.INTER_LINEAR)
        for table in (np.column_stack([vertices, ones]), points)
    )
    background = np.zeros((*x.shape, 4), np.float32)
    background[..., :2] = background_coordinates(outline, x, y)
    return View(
        key=key,
        size=size,
        padding=padding,
        position=maps[..., 2:].copy(),
        normal=(normal * (face[..., None] > 0)).astype(np.float32),
        surface=surface,
        projection=projection,
        nodes=Nodes(node_grid, node_vertices, node_points, background),
        landmark_vertices=vertices[head.landmarks68].astype(np.float32),
        landmarks_2d=landmarks_2d.astype(np.float32),
        landmarks_visible=landmarks_visible,
        point_offsets=point_offsets.astype(np.float32),
    )


def project(projection: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Project model points (N, 3) with a (3, 4) projection to pixels (N, 2) in (x, y)."""
    in_camera = points @ projection[:, :3].T.astype(points.dtype) + projection[:, 3].astype(points.dtype)
    return in_camera[:, :2] / in_camera[:, 2:]


def _beside_edge(grid: np.ndarray) -> np.ndarray:
    """Return the pixels (h, h) bool with a neighbour that lies far away on the grid."""
    edge = np.zeros(grid.shape[:2], bool)
    edge[:-1] |= (np.abs(np.diff(grid, axis=0)) > EDGE_CELLS).any(2)
    edge[:, :-1] |= (np.abs(np.diff(grid, axis=1)) > EDGE_CELLS).any(2)
    edge[1:] |= edge[:-1]
    edge[:, 1:] |= edge[:, :-1]
    return edge


def _continued(values: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Continue values (h, w, C) beyond the edge of the face with those of the nearest pixel in it."""
    _, label = cv2.distanceTransformWithLabels(
        (face == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros((label.max() + 1, values.shape[2]), np.float32)
    nearest[label[face > 0]] = values[face > 0]
    return nearest[label]
