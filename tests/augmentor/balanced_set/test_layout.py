"""The layout of a balanced set: its names have one owner, and no person can be called like one of them."""

from pathlib import Path

import pytest

from augmentor.balanced_set import layout
from augmentor.photos.names import RESERVED_NAMES

ROOT = Path(__file__).parents[3]


def test_nobody_can_be_called_like_a_file_or_a_folder_of_the_set() -> None:
    # A name that begins with a dot, like that of the work folder, is refused for the dot.
    assert (layout.FILES_OF_THE_SET | layout.FOLDERS_OF_THE_SET) - {layout.WORK} <= RESERVED_NAMES


@pytest.mark.parametrize("name", sorted(layout.FILES_OF_THE_SET | {layout.HELD_OUT, layout.LANDMARK_SET}))
def test_only_the_layout_spells_the_names(name: str) -> None:
    spelled = {
        file.relative_to(ROOT).as_posix()
        for package in ("augmentor", "identity", "jobs")
        for file in (ROOT / package).rglob("*.py")
        if any(f"{quote}{name}{end}" in file.read_text("utf-8") for quote in "\"'" for end in (quote, "/"))
    }
    # The rules for names stand below the layout, and evaluation's and pre-training's files are others of the same name.
    others = {
        "augmentor/photos/names.py",
        "identity/evaluate.py",
        "identity/evaluation/report.py",
        "jobs/demo.py",
    }
    assert spelled - others <= {"augmentor/balanced_set/layout.py"}


def test_a_person_is_found_by_the_path_of_an_image_or_of_a_photo_set_aside() -> None:
    assert layout.person_of(layout.held_out_file("Anna", "1999/a.jpg")) == "Anna"
    assert layout.person_of(f"{layout.LANDMARK_SET}/Anna/{layout.labels_file('x.jpg')}") == "Anna"
    assert layout.person_of("Anna/x.jpg") == "Anna"


def test_shards_are_known_by_their_suffix() -> None:
    assert all(layout.is_shard(layout.shard_file("00-00000000", kind)) for kind in layout.SHARD_SUFFIXES)
    assert not layout.is_shard("shards/notes.txt") and not layout.is_shard("shards/tar")
