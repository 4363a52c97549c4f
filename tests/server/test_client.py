"""The Python client with a server on a real port, with stand-ins for detector and networks."""

import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from augmentor.errors import InputError
from identity.client import Client, ServerError
from identity.runs.bundle import Bundle
from identity.server.app import make_app
from identity.server.settings import Settings
from tests.identity.runs.test_recogniser import colour_of
from tests.made_up_run import free_port
from tests.server.served import STRANGER, patched, picture, saved_run

KEY = "a key of more than 16 letters"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundle:
    patched(monkeypatch)
    return saved_run(tmp_path / "run")


@pytest.fixture
def url(run: Bundle, tmp_path: Path) -> Iterator[str]:
    app = make_app(Settings(tmp_path / "run", workers=2, keys=frozenset([KEY])))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def photos_in(folder: Path, **contents: bytes) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for name, content in contents.items():
        paths.append(folder / f"{name}.jpg")
        paths[-1].write_bytes(content)
    return paths


def test_the_client_names_compares_enrols_and_forgets(url: str, run: Bundle, tmp_path: Path) -> None:
    known, stranger = photos_in(tmp_path / "p", known=picture(colour_of(run, 1)), stranger=picture(STRANGER))
    with Client(url, KEY) as likeness:
        answers = list(likeness.identify([known] * 23 + [stranger]))  # more photos than fit into one request
        assert [a["faces"][0]["name"] for a in answers] == ["person 1"] * 23 + ["unknown"]
        assert likeness.verify(known, known, fmr=0.01)["same"] is True
        assert likeness.enrol("Zoë / Ω".replace("/", "&"), [stranger])["photos"] == 1
        assert likeness.people()["Zoë & Ω"] == 1
        assert next(likeness.identify([stranger]))["faces"][0]["name"] == "Zoë & Ω"
        assert likeness.forget("Zoë & Ω")["left"] == []
        with pytest.raises(ServerError, match="nobody of this name") as error:
            likeness.forget("Zoë & Ω")
        assert (error.value.status, error.value.kind) == (404, "nobody")


def test_the_client_gets_albums_and_the_server_keeps_nothing(url: str, run: Bundle, tmp_path: Path) -> None:
    contents = {f"p{k:02d}": picture(colour_of(run, k % 6)) for k in range(45)}
    photos = photos_in(tmp_path / "p", **contents)
    with Client(url, KEY) as likeness:
        albums = likeness.organise(photos, tmp_path / "albums.zip", every=0.05)
        assert {a["album"]: len(a["photos"]) for a in albums["albums"]} == {
            f"person {k}": 8 if k < 3 else 7 for k in range(6)
        }
        with zipfile.ZipFile(tmp_path / "albums.zip") as archive:
            assert "albums/person 0/p00.jpg" in archive.namelist()
        with pytest.raises(ServerError) as error:
            likeness._ask("GET", "/v1/organise/none")
        assert error.value.status == 404


def test_a_wrong_key_a_missing_file_and_a_missing_server_are_errors_in_one_line(
    url: str, tmp_path: Path
) -> None:
    with Client(url, "another key, not the right one") as likeness:
        with pytest.raises(ServerError, match="send a key"):
            likeness.people()
        with pytest.raises(InputError, match=r"missing\.jpg: cannot be read"):
            list(likeness.identify([tmp_path / "missing.jpg"]))
        with pytest.raises(InputError, match="no photo"):
            likeness.organise([], tmp_path / "albums.zip")
    with pytest.raises(ServerError, match="no answer") as error:
        Client(f"http://127.0.0.1:{free_port()}").people()
    assert error.value.status == 0
