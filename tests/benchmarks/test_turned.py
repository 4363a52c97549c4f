"""The keys join signs, misses count as errors, and photos that are named otherwise are refused."""

from pathlib import Path

import pytest

from augmentor.errors import InputError
from benchmarks.turned import KEYS, Probe, main, pose_of, print_table, read_people, summary

PROBES = [
    Probe("anna", 45, 0, found=True, rank1=True, rank1_without_renders=False),
    Probe("anna", -45, 0, found=True, rank1=True, rank1_without_renders=True),
    Probe("bert", 45, 0, found=False, rank1=False, rank1_without_renders=False),
    Probe("bert", -45, 0, found=True, rank1=False, rank1_without_renders=False),
    Probe("anna", -90, 30, found=True, rank1=True, rank1_without_renders=True),
    Probe("anna", 90, -30, found=True, rank1=False, rank1_without_renders=False),
    Probe("anna", 0, 60, found=False, rank1=False, rank1_without_renders=False),
]


def test_keys_join_signs_and_misses_are_errors() -> None:
    result = summary(PROBES)
    assert list(result) == ["n_people", "found", "rank1", "rank1_without_renders"]
    assert result["n_people"] == 2
    assert all(tuple(result[name]) == KEYS for name in list(result)[1:])
    assert result["found"] == {"45/0": 0.75, "45/30": None, "90/0": None, "90/30": 1.0}
    assert result["rank1"] == {"45/0": 0.5, "45/30": None, "90/0": None, "90/30": 0.5}
    assert result["rank1_without_renders"]["45/0"] == 0.25


def test_the_table_has_the_joined_keys_and_every_pose(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(PROBES)
    lines = capsys.readouterr().out.splitlines()
    joined = next(line for line in lines if line.startswith("| 45/0 (signs joined)"))
    assert joined.split("|")[2].strip() == "4" and "75.0%" in joined
    assert any(line.startswith("| yaw -90, pitch +30 | 1 |") for line in lines)
    assert any(line.startswith("| 0/60 (signs joined)") for line in lines)


def test_a_pose_is_read_from_the_name() -> None:
    assert pose_of(Path("x/yaw+90_pitch-30.jpg")) == (90, -30)
    with pytest.raises(InputError, match="not named by a pose"):
        pose_of(Path("x/left.jpg"))


def test_people_need_a_frontal_and_a_turned_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "anna").mkdir()
    frontal, turned = (tmp_path / "anna" / f"yaw+{yaw}_pitch+00.jpg" for yaw in ("00", "45"))
    frontal.write_bytes(b"")
    with pytest.raises(InputError, match="anna"):
        read_people(tmp_path)
    turned.write_bytes(b"")
    assert read_people(tmp_path) == {"anna": {(0, 0): frontal, (45, 0): turned}}
    assert main(["--people", str(tmp_path / "nobody")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
