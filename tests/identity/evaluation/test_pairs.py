"""Reading lists of pairs; errors name the line of the list."""

from pathlib import Path

import pytest

from augmentor.errors import InputError
from identity.evaluation.pairs import PhotoPair, pair_identities, read_pairs


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


def test_missing_and_binary_files_are_errors_in_one_line(root: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(root / "absent.csv", root)
    (root / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_pairs(root / "binary.csv", root)


def test_folders_are_people_unless_pairs_contradict_this() -> None:
    by_folder = [PhotoPair(Path("a/1"), Path("a/2"), True), PhotoPair(Path("a/1"), Path("b/1"), False)]
    assert pair_identities(by_folder) == ([Path("a"), Path("a")], [Path("a"), Path("b")])
    flat = [PhotoPair(Path("x1"), Path("x2"), True), PhotoPair(Path("x1"), Path("y1"), False)]
    side_a, side_b = pair_identities(flat)
    assert side_a[0] == side_b[0] == side_a[1] != side_b[1]


def lfw(root: Path, text: str) -> Path:
    for name, number in (("Ann_B", 1), ("Ann_B", 2), ("Cy_D", 1), ("Cy_D", 3)):
        (root / name).mkdir(exist_ok=True)
        (root / name / f"{name}_{number:04d}.jpg").write_bytes(b"x")
    file = root / "pairs.txt"
    file.write_text(text, "utf-8")
    return file


def test_the_pairs_of_lfw_have_their_folds(tmp_path: Path) -> None:
    text = "2\t1\nAnn_B\t1\t2\nAnn_B\t1\tCy_D\t3\nCy_D\t1\t3\nCy_D\t1\tAnn_B\t2\n"
    pairs = read_pairs(lfw(tmp_path, text), tmp_path)
    assert [(pair.mated, pair.fold) for pair in pairs] == [(True, 0), (False, 0), (True, 1), (False, 1)]
    assert pairs[1].photo_b == tmp_path / "Cy_D" / "Cy_D_0003.jpg"
    (whole,) = {
        pair.fold
        for pair in read_pairs(
            lfw(
                tmp_path,
                text.replace("2\t1\n", "2\n", 1).replace(
                    "Ann_B\t1\tCy_D\t3\nCy_D\t1\t3", "Cy_D\t1\t3\nAnn_B\t1\tCy_D\t3"
                ),
            ),
            tmp_path,
        )
    }
    assert whole is None  # a list without folds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 2\nAnn_B 1 2\n", "1 pairs, but its first line announces 2 times 2"),
        ("1\nAnn_B\t1\t2\nAnn_B\t1\tCy_D\n", "line 3: expected name, number, name, number"),
        ("1\nAnn_B\t1\t7\nAnn_B\t1\tCy_D\t3\n", "line 2: no photo"),
    ],
)
def test_bad_lists_of_lfw_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(lfw(tmp_path, text), tmp_path)


def test_folds_in_a_csv_are_kept_and_must_be_in_all_rows(root: Path) -> None:
    rows = "photo_a,photo_b,mated,fold\nZoë B/1.jpg,Zoë B/2.jpg,1,3\nZoë B/1.jpg,Zoë B/2.jpg,1,"
    assert [pair.fold for pair in read_pairs(write(root, rows + "4\n"), root)] == [3, 4]
    with pytest.raises(InputError, match="only some rows have a fold"):
        read_pairs(write(root, rows + "\n"), root)
