"""What the server reveals: true statuses, no folders of its machine in answers, no people or files in its log."""

import errno
import json
import logging
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from identity.runs.bundle import Bundle
from identity.runs.collection import FILE, PeopleFile
from identity.server import observed
from identity.server import people_routes as module
from identity.server.problems import input_problem, storage_problem
from tests.identity.runs.test_recogniser import colour_of
from tests.server.served import STRANGER, patched, picture, saved_run, served
from tests.server.test_app import names, sent


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundle:
    patched(monkeypatch)
    return saved_run(tmp_path / "run")


@pytest.fixture
def client(run: Bundle, tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path / "run") as client:
        yield client


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return everything that any log handler could write of the records."""
    usual = logging.Formatter()
    own = [record for record in caplog.records if record.name != "httpx"]  # httpx is the test's own client
    return "\n".join(
        observed.JsonLines().format(record) + usual.format(record) + str(record.__dict__) for record in own
    )


def test_a_server_reports_that_its_run_is_gone_but_not_where_it_was(
    client: TestClient, run: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "run" / "bundle.json"
    file.rename(tmp_path / "away")
    photo = sent(("a.jpg", picture(colour_of(run, 1))))
    answers = [
        client.get("/readyz"),
        client.post("/v1/identify", files=photo),
        client.post("/v1/people", data={"name": "Zoë"}, files=photo),
        client.get("/v1/people"),
        client.get("/v1/model"),
        client.delete("/v1/people/person 1"),
    ]
    for answer in answers:
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0, answer.text
        assert str(tmp_path) not in answer.text and "bundle" not in answer.text
    assert client.get("/healthz").status_code == 200 and client.get("/metrics").status_code == 200
    (tmp_path / "away").rename(file)
    assert client.get("/readyz").text == "ready"
    assert names(client.post("/v1/identify", files=photo)) == [["person 1"]]


def test_faces_are_named_while_another_program_changes_the_run(
    client: TestClient, run: Bundle, tmp_path: Path
) -> None:
    photo = sent(("a.jpg", picture(STRANGER)))
    with PeopleFile(tmp_path / "run"):
        pass
    other = sqlite3.connect(tmp_path / "run" / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers: list[Any] = []
    enrolling = threading.Thread(
        target=lambda: answers.append(client.post("/v1/people", data={"name": "Zoë"}, files=photo))
    )
    enrolling.start()
    named = 0
    while enrolling.is_alive():  # these are answered while enrolling waits
        assert names(client.post("/v1/identify", files=sent(("b", picture(colour_of(run, 1)))))) == [
            ["person 1"]
        ]
        named += 1
    assert named > 1
    answers.append(client.delete("/v1/people/person 1"))
    for answer in answers:
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0, answer.text
        assert str(tmp_path) not in answer.text
    other.execute("ROLLBACK")
    other.close()
    assert client.post("/v1/people", data={"name": "Zoë"}, files=photo).status_code == 201


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EMFILE, 503), (errno.EROFS, 503)],
)
def test_uploads_that_cannot_be_stored_are_reported_as_the_servers_problem(
    client: TestClient, run: Bundle, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def refuses(*_arguments: Any) -> None:
        raise OSError(number, "cannot", "/secret/folder")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuses)
    large = b"x" * 200_000
    for path, field in [("/v1/identify", "files"), ("/v1/organise", "files"), ("/upload", "image")]:
        answer = client.post(path, files=[(field, ("a.jpg", large))])
        assert answer.status_code == status and "secret" not in answer.text, answer.text
        assert (status == 503) == ("retry-after" in answer.headers)


def test_a_server_without_a_free_slot_is_not_ready(client: TestClient) -> None:
    slots = client.app.state.slots  # type: ignore[attr-defined]
    taken = [slots.take(None) for _ in range(slots.most)]
    assert client.get("/readyz").status_code == 503
    assert client.get("/v1/people").status_code == 503
    assert client.get("/").status_code == 200 and client.get("/healthz").status_code == 200
    for slot in taken:
        slots.give_back(slot)
    assert client.get("/readyz").status_code == 200


def test_errors_of_the_servers_files_get_statuses_for_their_causes() -> None:
    from augmentor.errors import InputError

    def caused(error: Exception) -> InputError:
        try:
            raise InputError("/srv/run/people.sqlite: cannot be written") from error
        except InputError as input_error:
            return input_error

    locked = input_problem(caused(sqlite3.OperationalError("database is locked")))
    full = input_problem(caused(sqlite3.OperationalError("database or disk is full")))
    other = input_problem(caused(PermissionError(13, "denied")))
    assert [p.status_code for p in (locked, full, other)] == [503, 507, 503]
    assert not any("/srv" in p.detail for p in (locked, full, other))
    private = input_problem(InputError("/srv/run/x: damaged"), ["/srv/run"])
    assert private.status_code == 503 and "/srv" not in private.detail
    assert input_problem(InputError("Ann: taken"), ["/srv/run"]).status_code == 422
    assert storage_problem(ValueError("x")) is None


SECRETS = ("Zoë", "holiday", "写", "/secret")


def test_an_unexpected_error_is_logged_by_type_and_place_only(
    client: TestClient, run: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_arguments: Any, **_named: Any) -> None:
        try:
            raise OSError(36, "File name too long", "/secret/holiday 写.jpg")
        except OSError as error:
            raise RuntimeError("Zoë on holiday.jpg") from error

    monkeypatch.setattr(module, "photo_counts", fails)
    with caplog.at_level(logging.DEBUG):
        answer = client.get("/v1/people/Zoë", headers={"x-request-id": "mine-2"})
    assert answer.status_code >= 500 and answer.json()["status"] == answer.status_code
    text = logged(caplog)
    assert not any(secret in text + answer.text for secret in SECRETS)
    (line,) = [json.loads(observed.JsonLines().format(r)) for r in caplog.records if r.levelname == "ERROR"]
    assert line["causes"] == ["RuntimeError", "OSError 36"] and line["request_id"] == "mine-2"
    assert any("test_truth.py" in place for place in line["trace"][0])


def test_the_log_contains_no_names_of_people_or_files_whatever_the_requests(
    client: TestClient, run: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo = picture(STRANGER)
    with caplog.at_level(logging.DEBUG):
        client.post("/v1/identify", files=sent(("holiday 写.jpg", photo), ("holiday.jpg", b"x")))
        client.post("/v1/people", data={"name": "Zoë"}, files=sent(("holiday.jpg", photo)))
        client.post("/v1/people", data={"name": "Zoë"}, files=sent(("holiday.jpg", photo)))
        client.get("/v1/people/Zoë?x=holiday")
        client.delete("/v1/people/Zoë")
        client.post("/v1/organise", files=sent(("写" * 90, photo), ("holiday.zip", b"PK\x03\x04")))
        client.post("/v1/organise/holiday/names", json={"album": "holiday", "name": "Zoë"})
        (tmp_path / "run" / "bundle.json").write_text('{"holiday": ')
        client.post("/v1/identify", files=sent(("holiday.jpg", photo)))
        time.sleep(0.2)
    text = logged(caplog)
    assert '"route": "/v1/people/{name}"' in text
    assert not any(secret in text or secret.encode("unicode_escape").decode() in text for secret in SECRETS)


def test_errors_of_background_tasks_are_logged_without_their_messages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        observed.log_task_error(None, {"message": "Zoë", "exception": RuntimeError("holiday")})
    assert "RuntimeError" in caplog.text and "Zoë" not in logged(caplog) and "holiday" not in logged(caplog)
