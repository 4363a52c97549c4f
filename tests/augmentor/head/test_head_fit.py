"""Tests of fitting the head to the ICT model, and of reading that model in either of its forms."""

import json
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.head import head_grid
from augmentor.head.chosen_head import load_chosen_head
from augmentor.head.head_fit import fit_identity, main, surface_distance
from augmentor.head.head_grid import COLS, LOWER_LIP_ROW, MIDDLE, MIRROR68, ROWS, UPPER_LIP_ROW
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.ict_facekit import IctModel, read_ict, read_obj

ICT = Path(__file__).parents[3].parent / "shared" / "data" / "ict_facekit"
needs_ict = pytest.mark.skipif(
    not (ICT / "ict_head.npz").is_file(), reason="needs ../shared/data/ict_facekit"
)


@pytest.fixture(scope="module")
def ict() -> IctModel:
    return read_ict(ICT)


@pytest.fixture(scope="module")
def sampling(ict: IctModel) -> head_grid.GridSampling:
    return head_grid.sample_grid(ict)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small ICT-FaceKit checkout: the neutral mesh, three identities, four expressions, the landmark list."""
    folder = tmp_path_factory.mktemp("kit") / "FaceXModel"
    folder.mkdir()
    with np.load(ICT / "ict_head.npz") as stored:
        neutral, triangles = stored["neutral"].astype(float), stored["triangles"]
        names = stored["expression_names"].tolist()
        shapes = {f"identity{k:03d}.obj": stored["identity"][k] for k in range(3)}
        wanted = ["jawOpen.obj", "mouthSmile_L.obj", "mouthSmile_R.obj", "PupilDilate_L.obj"]
        shapes |= {name: stored["expression"][names.index(name)] for name in wanted}
        landmarks = stored["landmark68_vertices"].tolist()
    faces = "".join(f"f {a}/{a} {b}/{b} {c}/{c}\n" for a, b, c in (triangles + 1).tolist())
    for name, offset in {"generic_neutral_mesh.obj": 0 * neutral, **shapes}.items():
        lines = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in (neutral + offset).tolist())
        (folder / name).write_text("# ICT\nvt 0 0\n" + lines + faces)
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": landmarks}))
    return folder.parent


@needs_ict
@pytest.mark.data
def test_grid_passes_through_the_landmarks_and_is_not_folded(
    ict: IctModel, sampling: head_grid.GridSampling
) -> None:
    grid = sampling.matrix @ ict.neutral.astype(float) + sampling.offset
    off = np.linalg.norm(grid[sampling.landmarks68] - ict.neutral[ict.landmarks68], axis=1)
    assert off.max() < 0.5
    assert (np.diff(sampling.azimuth, axis=1) > 0).all()
    steps = np.diff(sampling.level, axis=0)
    slit = np.zeros_like(steps, bool)
    slit[UPPER_LIP_ROW] = True
    assert (steps[~slit] > 0).all() and (steps[slit] > -1e-3).all()
    assert np.allclose(np.asarray(sampling.matrix.sum(axis=1)), 1, atol=1e-6)
    # The slit is closed at the corners, and the lips are less than 1.5 mm apart between them.
    rows = grid.reshape(ROWS, COLS, 3)
    upper, lower = rows[UPPER_LIP_ROW, MIDDLE - 7 : MIDDLE + 8], rows[LOWER_LIP_ROW, MIDDLE - 7 : MIDDLE + 8]
    gap = np.linalg.norm(upper - lower, axis=1)
    assert gap[[0, -1]].max() < 1e-4 and gap.max() < 1.5


@needs_ict
@pytest.mark.data
def test_built_in_head_lies_on_the_ict_face(ict: IctModel, sampling: head_grid.GridSampling) -> None:
    head = load_head_model()
    face = np.arange(0, 6706, 3)  # some of it inside lids, lips and nostrils, where the grid does not go
    distance = surface_distance(ict.neutral[face], head.mean, head.triangles)
    assert np.median(distance) < 0.2 and (distance < 1).mean() > 0.8
    draw = np.random.default_rng(1).standard_normal(len(ict.identity)).astype(np.float32)
    person = ict.neutral + np.tensordot(draw, ict.identity, 1)
    fitted = head.vertices(fit_identity(head, sampling.matrix @ person + sampling.offset))
    distance = surface_distance(person[face], fitted, head.triangles)
    assert np.median(distance) < 0.7 and (distance < 2).mean() > 0.85


@needs_ict
@pytest.mark.data
def test_checkout_as_obj_files_gives_the_same_model_as_the_arrays(ict: IctModel, checkout: Path) -> None:
    read = read_ict(checkout)
    assert np.allclose(read.neutral, ict.neutral, atol=1e-4)
    assert np.array_equal(read.triangles, ict.triangles)
    assert np.allclose(read.identity, ict.identity[:3], atol=1e-2)
    assert set(read.expression_names) == {"jawOpen", "mouthSmile_L", "mouthSmile_R", "PupilDilate_L"}
    assert np.array_equal(read.landmarks68, ict.landmarks68)
    head = load_chosen_head(f"ict:{checkout}")
    built_in: HeadModel = load_head_model()
    assert np.allclose(head.mean, built_in.mean, atol=0.02)
    assert head.expression_names == ("jawOpen", "mouthSmile_L", "mouthSmile_R")
    assert np.array_equal(head.landmarks68, built_in.landmarks68)
    # Three modes with their mirror images: at most three symmetric and three antisymmetric components, largest first.
    size = np.linalg.norm(head.identity_modes, axis=(1, 2))
    assert 3 <= len(size) <= 6 and (np.diff(size) <= 1e-3).all()


@needs_ict
@pytest.mark.data
def test_damaged_checkout_is_one_clear_line(checkout: Path, tmp_path: Path) -> None:
    neutral = checkout / "FaceXModel" / "generic_neutral_mesh.obj"
    for name in ("generic_neutral_mesh.obj", "identity000.obj", "vertex_indices.json"):
        (tmp_path / name).write_bytes((checkout / "FaceXModel" / name).read_bytes())
    (tmp_path / "vertex_indices.json").write_text("{}")
    with pytest.raises(InputError, match=r"vertex_indices\.json: missing or damaged"):
        read_ict(tmp_path)
    (tmp_path / "vertex_indices.json").write_text('{"idx_to_landmark_verts": [1, 2]}')
    with pytest.raises(InputError, match="incomplete"):
        read_ict(tmp_path)
    (tmp_path / "identity000.obj").write_text("v 1 2 3\n")
    (tmp_path / "vertex_indices.json").write_bytes(
        (checkout / "FaceXModel" / "vertex_indices.json").read_bytes()
    )
    with pytest.raises(InputError, match=r"identity000\.obj: 1 vertices"):
        read_ict(tmp_path)
    (tmp_path / "generic_neutral_mesh.obj").write_bytes(neutral.read_bytes()[:5000])
    with pytest.raises(InputError):
        read_ict(tmp_path)


@needs_ict
@pytest.mark.data
def test_damaged_arrays_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "ict_head.npz").write_bytes((ICT / "ict_head.npz").read_bytes()[:10_000])
    with pytest.raises(InputError, match="damaged ICT face model"):
        read_ict(tmp_path)


def test_obj_reader_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "square.obj"
    path.write_text(
        "o square\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1//1 2//1 3//1 4//1\nf -4 -3 -2\n"
    )
    vertices, triangles = read_obj(path)
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]


@pytest.mark.parametrize("text", ["", "v 1 2\n", "v a b c\n", "v 0 0 0\nf 1 2 3\n", "v 0 0 nan\n"])
def test_obj_reader_rejects_what_is_no_mesh(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.obj"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.obj"):
        read_obj(path)


def test_surface_distance_by_hand() -> None:
    vertices = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0.0]])
    points = np.array([[1, 1, 3], [1, -2, 0], [-3, -4, 0], [3, 3, 0]], float)
    distance = surface_distance(points, np.tile(vertices, (2, 1)), np.array([[0, 1, 2]]))
    assert distance.tolist() == pytest.approx([3, 2, 5, np.sqrt(2)])


def test_landmark_mirror_is_its_own_inverse() -> None:
    assert np.array_equal(MIRROR68[MIRROR68], np.arange(68))
    assert [MIRROR68[k] for k in (0, 8, 17, 21, 27, 31, 33, 36, 39, 40, 48, 51, 57, 60, 62, 66, 67)] == [
        *(16, 8, 26, 22, 27, 35, 33, 45, 42, 47, 54, 51, 57, 64, 62, 66, 65)
    ]


def test_wrong_folder_ends_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--ict", str(tmp_path), "--out", str(tmp_path / "head.npz")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(tmp_path) in error
    assert not (tmp_path / "head.npz").exists()
