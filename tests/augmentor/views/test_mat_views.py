"""Tests of `augmentor.views.mat_views` with the published files where they exist, else with files in their format."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from augmentor.errors import InputError
from augmentor.faces.detector_offsets import detector_offsets
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import HeadPose, rotation_from_pose
from augmentor.head.surface import surface_triangles
from augmentor.rendering.render import prepare_photo, render_view
from augmentor.views.mat_views import load_mat_views, read_mat_model
from augmentor.views.raster import interpolate, rasterise
from augmentor.views.view import View, pixel_places, project
from tests.augmentor.rendering.test_render import photo

PUBLISHED = Path(__file__).parents[3].parent / "shared" / "data" / "face_specific_augm"


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


def write_model(file: Path, head: HeadModel, yaw: float) -> None:
    """Write the mean head at a yaw in the format of the published files."""
    size, distance = 120, 1000.0
    vertices = head.vertices().astype(np.float64)
    camera = np.concatenate([rotation_from_pose(HeadPose(yaw, 0, 0)), [[0], [0], [distance]]], 1)
    projection = np.array([[600, 0, 60], [0, 600, 50], [0, 0, 1.0]]) @ camera
    depth = vertices @ camera[2, :3] + distance
    pixels = project(projection, vertices)
    triangle_map, weights = rasterise(pixels, depth, surface_triangles(head), (size, size))
    face = interpolate(triangle_map, weights, surface_triangles(head), vertices)
    missing = np.array([1, 2, 3]) if yaw else np.zeros(0, int)  # 1-based
    kept = np.setdiff1d(np.arange(68), missing - 1)
    landmarks = vertices[head.landmarks68] + detector_offsets()
    model = {
        "refU": face.astype(np.float64),
        "facemask": np.flatnonzero((triangle_map >= 0).ravel(order="F"))[:, None] + 1,
        "threedee": landmarks[kept],
        "ref_XY": project(projection, landmarks)[kept] + 1,
        "indbad": missing[None],
    }
    scipy.io.savemat(file, {"model3D": model})


@pytest.fixture(scope="module")
def views(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> list[View]:
    folder = tmp_path_factory.mktemp("views")
    write_model(folder / "model3D_aug_-00_00_03.mat", head, 0.0)
    write_model(folder / "model3D_aug_-22_00_03.mat", head, 22.0)
    return load_mat_views(folder, head, 96)


def test_pose_and_shape_number_are_found(views: list[View]) -> None:
    assert [(v.key.shape, abs(v.key.yaw - yaw) <= 2) for v, yaw in zip(views, (0, 22), strict=True)] == [
        (2, True)
    ] * 2
    assert [int(v.landmarks_visible.sum()) for v in views] == [68, 65]


def test_positions_project_onto_their_pixels_and_places_name_them(views: list[View]) -> None:
    for view in views:
        inside = view.face > 0.99
        y, x = (pixel_places(view.size, len(inside))[k] for k in np.nonzero(inside))
        assert np.abs(project(view.projection, view.position[inside]) - np.stack([x, y], 1)).max() < 0.3
        row, column = (np.rint(pixel_places(len(inside), len(view.nodes.grid))).astype(int),) * 2
        gap = np.linalg.norm(view.nodes.vertices[..., :3] - view.position[row][:, column], axis=2)
        assert np.median(gap[inside[row][:, column]]) < 3  # mm


def test_photo_is_rendered_into_it(head: HeadModel, views: list[View]) -> None:
    image, landmarks = photo(head, 5.0)
    ready = prepare_photo(image, landmarks, head, 96)
    for view in views:
        rendered = render_view(ready, view)
        red, _, blue = np.moveaxis(rendered.image[40:70, 40:56].astype(float), 2, 0)
        assert np.abs(red - blue).mean() < 60, "skin, neither blue nor orange stripes"
        np.testing.assert_array_equal(rendered.image, render_view(ready, view).image)


def test_folder_without_models_is_refused(head: HeadModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.mat"):
        load_mat_views(tmp_path, head)


def test_other_mat_file_is_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "other.mat", {"something": np.eye(3)})
    (tmp_path / "broken.mat").write_bytes(b"not a mat file at all")
    for name in ("other.mat", "broken.mat", "missing.mat"):
        with pytest.raises(InputError, match=name):
            read_mat_model(tmp_path / name)


@pytest.mark.data
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="../shared/data/face_specific_augm is not there")
def test_published_models_load_with_their_poses(head: HeadModel) -> None:
    views = load_mat_views(PUBLISHED, head)
    assert [round(v.key.yaw / 10) for v in views] == [0, 0, 2, 4, 4, 5, 7]
    assert [v.key.shape for v in views] == [0, 1, 0, 0, 1, 0, 0]
    for view in views:
        inside = view.face > 0.99
        y, x = (pixel_places(view.size, len(inside))[k] for k in np.nonzero(inside))
        assert np.abs(project(view.projection, view.position[inside]) - np.stack([x, y], 1)).max() < 0.5
        assert 0.3 < view.face.mean() < 0.9
