"""Tests of the pictures of a balanced set: they show the given numbers and images, and are the same twice."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from augmentor.balancing.balance_report import GAP, balance_picture, contact_sheet
from augmentor.photos.images import encode_jpeg, load_image, write_whole


@pytest.mark.parametrize("people", [0, 30, 1000])
def test_balance_picture_is_a_light_png_and_the_same_twice(people: int) -> None:
    before = {f"p{i}": 1 + i % 7 for i in range(people)}
    after = dict.fromkeys(before, 128)
    picture = balance_picture(before, after)
    assert picture == balance_picture(dict(reversed(before.items())), after)
    image = load_image(picture, name="balance")
    assert image.shape == (600, 1500, 3)
    assert image[0, 0].tolist() == [255, 255, 255]


def test_contact_sheet_shows_photo_first_then_renders_by_yaw(tmp_path: Path) -> None:
    grey = {"A/photo.jpg": 200, "A/left.jpg": 50, "A/right.jpg": 100, "B/photo.jpg": 150}
    for file, level in grey.items():
        write_whole(tmp_path / file, encode_jpeg(np.full((32, 32, 3), level, np.uint8)))
    rows = pa.table(
        {
            "identity": ["A", "A", "A", "B"],
            "file": ["A/photo.jpg", "A/right.jpg", "A/left.jpg", "B/photo.jpg"],
            "kind": ["photo", "render", "render", "photo"],
            "yaw": [0.0, -30.0, 30.0, 5.0],
        }
    )

    def read(file: str) -> bytes:
        return (tmp_path / file).read_bytes()

    sheet = load_image(contact_sheet(read, rows), name="sheet").astype(int)[..., 0]
    line = sheet[GAP + 16]
    inside = [int(line[x]) for x in (GAP + 16, 5 * GAP + 48, 7 * GAP + 80)]
    assert np.abs(np.array(inside) - [200, 100, 50]).max() <= 4
    assert sheet.shape[0] == 2 * 32 + 3 * GAP
    assert contact_sheet(read, rows) == contact_sheet(read, rows)
