"""Tests of the LFW download without a network and with wrong archives."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from augmentor.errors import InputError
from augmentor.photos import lfw


def archive_of(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"jpg"))


def test_offline_is_one_line_that_names_the_url_and_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 of this machine refuses connections at once, with or without a network.
    monkeypatch.setattr(lfw, "PAIRS", lfw.RemoteFile("pairs.txt", "http://127.0.0.1:9/pairs.txt", "0" * 64))
    assert lfw.main(["--out", str(tmp_path / "lfw")]) == 2
    error = capsys.readouterr().err
    assert "127.0.0.1:9" in error and str(tmp_path / "lfw" / "pairs.txt") in error
    assert len(error.strip().splitlines()) == 1
    assert list((tmp_path / "lfw").iterdir()) == []


def test_a_file_put_there_by_hand_is_checked(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_bytes(b"10 300")
    right = lfw.RemoteFile("pairs.txt", "http://127.0.0.1:9/", hashlib.sha256(b"10 300").hexdigest())
    assert lfw.fetch(right, tmp_path) == tmp_path / "pairs.txt"
    with pytest.raises(InputError, match="SHA-256"):
        lfw.fetch(lfw.PAIRS, tmp_path)


def test_unpack_takes_photos_only_and_stays_in_its_folder(tmp_path: Path) -> None:
    names = ["lfw_funneled/Ann_Bo/Ann_Bo_0001.jpg", "lfw_funneled/list.txt", "../x/evil.jpg", "a/../evil.jpg"]
    archive_of(tmp_path / "a.tgz", names)
    (tmp_path / "out").mkdir()
    lfw.unpack(tmp_path / "a.tgz", tmp_path / "out")
    photos = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jpg"))
    assert photos == ["out/Ann_Bo/Ann_Bo_0001.jpg"]


def test_a_folder_that_is_not_all_of_lfw_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "Ann_Bo").mkdir(parents=True)
    monkeypatch.setattr(lfw, "fetch", lambda remote, out: out / remote.name)
    with pytest.raises(InputError, match="0 photos of 1 people"):
        lfw.download_lfw(tmp_path)
