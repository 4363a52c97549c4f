"""Lists of pairs: good ones, and the line of what is wrong in bad ones."""

from pathlib import Path

import pytest

from augmentor.errors import InputError
from identity.pairs import PhotoPair, pair_identities, read_pairs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("Zoë B/1.jpg", "Zoë B/2.jpg", "c, d/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(root: Path, text: str) -> Path:
    file = root / "pairs.csv"
    file.write_text(text, "utf-8")
    return file


def test_reads_pairs_with_commas_and_umlauts_in_names(root: Path) -> None:
    text = '\ufeffphoto_a,photo_b,mated\r\nZoë B/1.jpg,Zoë B/2.jpg,1\r\n"c, d/1.jpg",Zoë B/1.jpg,False\r\n'
    pairs = read_pairs(write(root, text), root)
    assert [pair.mated for pair in pairs] == [True, False]
    assert pairs[1].photo_a == root / "c, d" / "1.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "no column photo_a, photo_b, mated"),
        ("photo_a,photo_b,mated\n", "no pairs"),
        ("photo_a,photo_b,mated\nZoë B/1.jpg,Zoë B/2.jpg,1\nZoë B/1.jpg,1\n", "line 3: expected"),
        ("photo_a,photo_b,mated\nZoë B/1.jpg,Zoë B/2.jpg,maybe\n", "line 2: mated is 'maybe'"),
        ("photo_a,photo_b,mated\nZoë B/1.jpg,none.jpg,0\n", "line 2: no photo"),
    ],
)
def test_bad_lists_name_the_line(root: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(write(root, text), root)


def test_missing_and_binary_files_are_one_line_errors(root: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(root / "absent.csv", root)
    (root / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_pairs(root / "binary.csv", root)


def test_folders_are_people_unless_pairs_say_otherwise() -> None:
    by_folder = [PhotoPair(Path("a/1"), Path("a/2"), True), PhotoPair(Path("a/1"), Path("b/1"), False)]
    assert pair_identities(by_folder) == ([Path("a"), Path("a")], [Path("a"), Path("b")])
    flat = [PhotoPair(Path("x1"), Path("x2"), True), PhotoPair(Path("x1"), Path("y1"), False)]
    side_a, side_b = pair_identities(flat)
    assert side_a[0] == side_b[0] == side_a[1] != side_b[1]
