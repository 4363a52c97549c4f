from pathlib import Path

import numpy as np
import pytest

from augmentor.faces.face_source import face_source
from augmentor.head.head_model import load_head_model
from augmentor.made_up.people import PeopleOptions, draw_photos, people_names
from augmentor.made_up.render import Studio
from augmentor.photos.images import encode_jpeg, load_image
from augmentor.rendering.prepared_photo import prepare_photo
from augmentor.show import MESH, fitted_mesh, main


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Draw a made-up person, (256, 256, 3) uint8 RGB."""
    options = PeopleOptions(1, (1, 1), seed=1000)
    return next(draw_photos(Studio(load_head_model()), options, 0, people_names(1000, 1)[0]))[2].image


def test_a_sheet_shows_photo_mesh_and_six_rows_of_up_to_nine_renders(
    photo: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "Ada.jpg"
    file.write_bytes(encode_jpeg(photo))
    assert main([str(file), "--out", str(tmp_path / "sheet.jpg"), "--size", "48"]) == 0
    sheet = load_image(tmp_path / "sheet.jpg")
    tile = 48 + 6 + 20
    assert sheet.shape == ((2 * 48 + 6 + 6 + 20) + 6 * tile, 9 * (48 + 6) + 6, 3)
    last = sheet[-tile + 10 : -20 - 10, 6 + 8 * 54 + 10 : -16]
    assert last.std() > 5, "the last tile is empty"


def test_the_mesh_is_drawn_on_the_face_and_not_in_the_corners(photo: np.ndarray) -> None:
    head = load_head_model()
    prepared = prepare_photo(photo, face_source()(photo).faces[0].landmarks, head, 64)
    drawn = fitted_mesh(prepared, head, 300).astype(int)
    near = (np.abs(drawn - MESH).sum(-1) < 150).mean()
    assert near > 0.01
    plain_corner = drawn[:10, :10]
    assert (np.abs(plain_corner - MESH).sum(-1) > 100).all()


def test_without_a_face_it_says_so_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wall.jpg"
    file.write_bytes(encode_jpeg(np.full((200, 200, 3), 128, np.uint8)))
    assert main([str(file), "--out", str(tmp_path / "sheet.jpg")]) == 2
    assert "wall.jpg: no_face" in capsys.readouterr().err
    assert not (tmp_path / "sheet.jpg").exists()
