"""Album jobs: file names, disk space, time limits, zips; and the server's own process decodes no photo."""

import fcntl
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from identity.albums import photo_work
from identity.runs import enrolment
from identity.runs.bundle import Bundle
from identity.server import album_jobs
from identity.server.album_jobs import FreePaths
from identity.server.scratch import Scratch, sweep
from tests.identity.runs.test_recogniser import colour_of
from tests.server.served import STRANGER, patched, picture, saved_run, served
from tests.server.test_app import albums_of, finished, names, sent
from tests.server.test_uploads import zipped


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundle:
    patched(monkeypatch)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return saved_run(tmp_path / "run")


@pytest.fixture
def client(run: Bundle, tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path / "run", sweep_seconds=0.05) as client:
        yield client


def files_in(folder: Path) -> list[Path]:
    files = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return [file for file in files if file.name != "lock"]


def done(client: TestClient, *files: tuple[str, bytes]) -> str:
    """Sort files into albums and return the address of the finished job."""
    return f"/v1/organise/{finished(client, client.post('/v1/organise', files=sent(*files)))['job']}"


def test_equal_names_are_kept_apart_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    key = album_jobs._key
    monkeypatch.setattr(album_jobs, "_key", lambda path: compared.append(path) or key(path))
    paths = FreePaths()
    taken = [paths.take(PurePosixPath("x/a.jpg")) for _ in range(2_500)]
    assert len(set(taken)) == 2_500 and taken[1] == PurePosixPath("x/a (2).jpg")
    assert len(compared) < 10 * 2_500


@given(
    st.lists(st.lists(st.sampled_from(["a", "A", "a (2)", "a (folder)", "b.jpg"]), min_size=1, max_size=4))
)
def test_no_photo_takes_the_place_of_another_or_of_a_folder(names: list[list[str]]) -> None:
    paths = FreePaths()
    taken = [str(paths.take(PurePosixPath(*parts))).casefold() for parts in names]
    folders = {str(parent) for path in taken for parent in PurePosixPath(path).parents}
    assert len(set(taken)) == len(taken) and not folders & set(taken)


def test_a_folder_with_odd_names_is_sorted_whole(client: TestClient, run: Bundle) -> None:
    odd = ["写" * 90 + ".jpg", "./a.jpg", "a//b.jpg", "x/.", "x", "x/y.jpg", "X/y.jpg", "\x01", "con"]
    photo = picture(colour_of(run, 1))
    files = [(name, photo) for name in odd]
    job = finished(client, client.post("/v1/organise", files=sent(*files, ("z.zip", zipped(*files)))))
    assert len(albums_of(job)["person 1"]) == 2 * len(odd)
    with zipfile.ZipFile(io.BytesIO(client.get(f"/v1/organise/{job['job']}/albums.zip").content)) as archive:
        photos = [name for name in archive.namelist() if name.startswith("albums/person 1/")]
    assert len(photos) == 2 * len(odd)


def test_a_request_with_odd_names_is_answered_whole(client: TestClient, run: Bundle) -> None:
    odd = ["写" * 90 + ".jpg", "./a.jpg", "a//b.jpg", "x/.", ".", "/", "a\nb.jpg"]
    known = [(name, picture(colour_of(run, 1))) for name in odd]
    assert names(client.post("/v1/identify", files=sent(*known))) == [["person 1"]] * len(odd)
    files = sent(*[(name, picture(STRANGER)) for name in odd])
    response = client.post("/v1/people", data={"name": "Zoë"}, files=files)
    assert response.status_code == 201 and response.json()["photos"] == len(odd), response.text


def test_photos_of_one_name_keep_their_own_content_when_renders_are_made(
    client: TestClient, run: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(run, training=replace(run.training, render_weight=1.0)).save(tmp_path / "run")
    made: list[np.ndarray] = []

    def renders(image: np.ndarray, name: str, wanted: Any) -> np.ndarray:
        made.append(image[5, 5])
        return np.full((len(wanted.yaws), wanted.size, wanted.size, 3), image[5, 5], np.uint8)

    def elsewhere(*_arguments: Any) -> None:
        raise AssertionError("decoded in the server's own process")

    monkeypatch.setattr("identity.server.photo_pool.make_renders", renders)
    monkeypatch.setattr(enrolment, "load_image", elsewhere)
    monkeypatch.setattr(enrolment, "make_renders", elsewhere)
    colours = [(60, 240, 250), (90, 240, 250)]
    files = sent(*[("image.jpg", picture(colour, (0, 0, 0))) for colour in colours])
    response = client.post("/v1/people", data={"name": "Zoë"}, files=files)
    assert response.status_code == 201, response.text
    reds = sorted(int(colour[0]) for colour in made)
    assert reds == pytest.approx([60, 90], abs=3)


def test_the_servers_own_process_decodes_no_photo_of_a_job(
    client: TestClient, run: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_arguments: Any, **_named: Any) -> None:
        raise AssertionError("decoded in the server's own process")

    for name in ("load_image", "sha256_of", "InProcess"):
        monkeypatch.setattr(photo_work, name, decoded)
    monkeypatch.setattr("identity.albums.sorting.InProcess", decoded)
    monkeypatch.setattr("identity.albums.page.InProcess", decoded)
    where = done(client, ("a.jpg", picture(STRANGER)), ("b.jpg", picture(STRANGER, (0, 0, 0))))
    assert client.get(f"{where}/thumbnails/1").content[:2] == b"\xff\xd8"
    named = client.post(f"{where}/names", json={"album": "unknown/001", "name": "Zoë"})
    assert named.status_code == 200 and albums_of(named.json()) == {"Zoë": ["a.jpg", "b.jpg"]}
    assert client.get(f"{where}/albums.zip").status_code == 200


@pytest.mark.parametrize("wanted", ["x", "bytes=", "bytes=5-1", "bytes=0-1,3-4", "bytes=0-0,-1", "lines=1-2"])
def test_an_unusable_range_gives_the_whole_zip_and_leaves_no_copy(
    client: TestClient, run: Bundle, tmp_path: Path, wanted: str
) -> None:
    where = done(client, ("a.jpg", picture(colour_of(run, 1))))
    whole = client.get(f"{where}/albums.zip").content
    before = len(files_in(tmp_path / "tmp"))
    for _ in range(5):
        answer = client.get(f"{where}/albums.zip", headers={"range": wanted})
        assert answer.status_code in (200, 416)
        assert answer.content == whole or answer.headers["content-type"] == "application/problem+json"
    assert len(files_in(tmp_path / "tmp")) == before


def test_a_range_gives_a_part_of_the_zip_that_was_downloaded_before(
    client: TestClient, run: Bundle, tmp_path: Path
) -> None:
    where = done(client, ("a.jpg", picture(colour_of(run, 1))), ("b.jpg", picture((0, 0, 0))))
    whole = client.get(f"{where}/albums.zip").content
    rest = client.get(f"{where}/albums.zip", headers={"range": f"bytes={len(whole) // 2}-"})
    assert rest.status_code == 206 and rest.content == whole[len(whole) // 2 :]
    beyond = client.get(f"{where}/albums.zip", headers={"range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416 and beyond.json()["type"].endswith("no-such-part")
    for target in ("X", "Y", "Z"):
        moved = client.post(
            f"{where}/moves",
            json={
                "photo": "b.jpg",
                "source": "no face" if target == "X" else chr(ord(target) - 1),
                "target": target,
            },
        )
        assert moved.status_code == 200
        with zipfile.ZipFile(io.BytesIO(client.get(f"{where}/albums.zip").content)) as archive:
            assert f"albums/{target}/b.jpg" in archive.namelist()
    assert len([f for f in files_in(tmp_path / "tmp") if f.suffix == ".zip"]) == 2, (
        "one for this state of the albums and one for the state before"
    )


def test_a_job_whose_time_is_over_is_deleted_without_a_request(run: Bundle, tmp_path: Path) -> None:
    with served(tmp_path / "run", job_minutes=0.005, sweep_seconds=0.05) as client:
        assert client.post("/v1/organise?more=true", files=sent(("a", picture((0, 0, 0))))).status_code == 202
        until = time.monotonic() + 20
        while files_in(tmp_path / "tmp") and time.monotonic() < until:
            time.sleep(0.05)
        assert not files_in(tmp_path / "tmp")


def test_all_jobs_share_the_disk_space_and_deleting_frees_it(run: Bundle, tmp_path: Path) -> None:
    photo = picture(colour_of(run, 1))
    with served(tmp_path / "run", max_stored=len(photo) * 3 // 2) as client:
        first = client.post("/v1/organise?more=true", files=sent(("a.jpg", photo)))
        second = client.post("/v1/organise?more=true", files=sent(("a.jpg", photo)))
        assert second.status_code == 503 and int(second.headers["retry-after"]) > 0
        assert len(files_in(tmp_path / "tmp")) == 1
        broken = zipped(("b.jpg", photo))[:-30]
        where = f"/v1/organise/{first.json()['job']}"
        for _ in range(3):  # files that cannot be stored take no space
            assert client.post(f"{where}/photos?more=true", files=sent(("z.zip", broken))).status_code == 202
        assert client.delete(where).status_code == 204
        assert client.post("/v1/organise?more=true", files=sent(("a.jpg", photo))).status_code == 202


def test_a_zip_counts_as_stored_and_is_refused_if_it_is_too_large(run: Bundle, tmp_path: Path) -> None:
    photo = picture(colour_of(run, 1))
    with served(tmp_path / "run", max_stored=len(photo) * 3 // 2) as client:
        where = done(client, ("a.jpg", photo))
        assert client.get(f"{where}/albums.zip").status_code == 503
        assert not [file for file in files_in(tmp_path / "tmp") if file.suffix in (".zip", ".part")]


def test_a_full_disk_is_reported_and_leaves_no_partial_file(
    client: TestClient, run: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_named: Any) -> None:
        raise OSError(28, "No space left on device")

    where = done(client, ("a.jpg", picture(colour_of(run, 1))))
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "write", full)
        answer = client.get(f"{where}/albums.zip")
    assert answer.status_code == 507 and "disk" in answer.json()["detail"]
    assert not [file for file in files_in(tmp_path / "tmp") if file.suffix in (".zip", ".part")]
    with monkeypatch.context() as patch:
        patch.setattr("identity.server.album_jobs.organise", full)
        response = client.post("/v1/organise", files=sent(("a.jpg", picture(STRANGER)))).json()
        until = time.monotonic() + 20
        while response["status"] == "running" and time.monotonic() < until:
            response = client.get(f"/v1/organise/{response['job']}").json()
    assert response["status"] == "failed" and "no room on the server's disk" in response["detail"]


def test_a_failed_job_does_not_say_where_the_server_keeps_it(
    client: TestClient, run: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from augmentor.errors import InputError

    def fails(_recogniser: Any, photos: Path, albums: Path, *_more: Any, **_named: Any) -> None:
        raise InputError(f"{albums / 'x' / 'a.jpg'}: cannot be put there, see {photos}")

    monkeypatch.setattr("identity.server.album_jobs.organise", fails)
    response = client.post("/v1/organise", files=sent(("a.jpg", picture(STRANGER)))).json()
    while response["status"] == "running":
        response = client.get(f"/v1/organise/{response['job']}").json()
    assert response["detail"] == "x/a.jpg: cannot be put there, see the job"


def test_folders_of_dead_servers_are_deleted_and_those_of_living_ones_are_kept(tmp_path: Path) -> None:
    living = Scratch(tmp_path)
    assert living.root.stat().st_mode & 0o77 == 0
    (living.root / "photo.jpg").write_bytes(b"x")
    dead = tmp_path / "likeness-server-1-dead"
    dead.mkdir(mode=0o700)
    (dead / "lock").write_bytes(b"temporary folder of a likeness server\n")
    (dead / "photo.jpg").write_bytes(b"x")
    half, starting = tmp_path / "likeness-starting-1-old", tmp_path / "likeness-starting-2-new"
    half.mkdir()
    starting.mkdir()
    os.utime(half, (0, 0))
    (tmp_path / "mine").mkdir()
    (tmp_path / "likeness-server-link").symlink_to(tmp_path / "mine")
    second = Scratch(tmp_path)
    assert not dead.exists() and not half.exists()
    assert (living.root / "photo.jpg").exists() and starting.exists() and (tmp_path / "mine").exists()
    living.close()
    assert not living.root.exists() and second.root.exists()
    with (second.root / "lock").open("rb") as lock, pytest.raises(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    second.close()
    assert sweep(tmp_path) == 0


@pytest.mark.parametrize("name", ["likeness-server-notes", "likeness-starting-notes"])
def test_a_folder_of_the_users_that_is_called_like_a_servers_stays(tmp_path: Path, name: str) -> None:
    mine, other = tmp_path / name, tmp_path / f"{name}-2"
    mine.mkdir()
    other.mkdir()
    (mine / "notes.txt").write_text("mine")
    (other / "lock").write_text("a lock of mine")
    for folder in (mine, other):
        os.utime(folder, (0, 0))
    assert sweep(tmp_path) == 0
    assert (mine / "notes.txt").read_text() == "mine" and (other / "lock").read_text() == "a lock of mine"


def test_a_server_without_its_temporary_folder_is_not_ready(client: TestClient) -> None:
    shutil.rmtree(client.app.state.service.scratch.root)  # type: ignore[attr-defined]
    assert client.get("/readyz").status_code == 503
    answer = client.post("/v1/organise", files=sent(("a.jpg", picture(STRANGER))))
    assert answer.status_code == 503 and "likeness-server" not in json.dumps(answer.json())
