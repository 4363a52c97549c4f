"""The routes, over HTTP."""

import io
import json
import logging
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from identity.forgetting.forget_person import forget
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from identity.runs.unenrolment import without
from identity.server import answers
from tests.identity.runs.test_recogniser import colour_of
from tests.server.served import STRANGER, patched, picture, saved_run, served
from tests.server.test_uploads import zipped


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundle:
    patched(monkeypatch)
    return saved_run(tmp_path / "run")


@pytest.fixture
def client(run: Bundle, tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path / "run") as client:
        yield client


def person(run: Bundle, number: int) -> bytes:
    return picture(colour_of(run, number))


def sent(*files: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", file) for file in files]


def names(answer: Any) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return [[face["name"] for face in result["faces"]] for result in answer.json()["results"]]


def test_every_photo_is_answered_in_order_even_if_some_are_bad(client: TestClient, run: Bundle) -> None:
    files = sent(
        ("one.jpg", person(run, 1)),
        ("broken.jpg", b"\xff\xd8 no photo"),
        ("album.zip", zipped(("x/two.jpg", person(run, 2)), ("notes.txt", b"words"))),
        ("both.jpg", picture(colour_of(run, 3), colour_of(run, 4))),
        ("nobody.jpg", picture((0, 0, 0))),
        ("stranger.jpg", picture(STRANGER)),
    )
    answer = client.post("/v1/identify", files=files)
    assert names(answer) == [["person 1"], [], ["person 2"], [], ["person 3", "person 4"], [], ["unknown"]]
    results = answer.json()["results"]
    called = ["one.jpg", "broken.jpg", "album.zip/x/two.jpg", "album.zip/notes.txt"]
    assert [r["photo"] for r in results][:4] == called
    assert [r["status"] for r in results] == ["ok", "error", "ok", "error", "ok", "no_face", "ok"]
    assert results[1]["reason"].startswith("unreadable")


def test_the_requested_rate_decides_whether_a_stranger_gets_a_name(client: TestClient, run: Bundle) -> None:
    files = sent(("s.jpg", picture(STRANGER)))
    assert names(client.post("/v1/identify?fpir=0.01", files=files)) == [["unknown"]]
    assert names(client.post("/v1/identify?fpir=0.9", files=files)) != [["unknown"]]
    response = client.post("/v1/identify?fpir=0.0001", files=files)
    assert response.status_code == 422 and "200 strangers" in response.json()["detail"]


def test_two_photos_are_compared(client: TestClient, run: Bundle) -> None:
    same = client.post("/v1/verify", files={"a": ("x", person(run, 1)), "b": ("y", person(run, 1))}).json()
    other = client.post("/v1/verify", files={"a": ("x", person(run, 1)), "b": ("y", person(run, 5))}).json()
    assert same["same"] is True and same["photo_a"] == "x" and other["same"] is False
    assert same["distance"] < same["threshold"] < other["distance"]
    nobody = client.post("/v1/verify", files={"a": ("x", b"words"), "b": ("y", picture((0, 0, 0)))}).json()
    assert nobody["same"] is None and nobody["status"] == "error"
    assert nobody["reason"] == "a: unreadable, b: no_face"
    both = picture(colour_of(run, 1), colour_of(run, 2))
    best = client.post("/v1/verify?face=best-pair&fmr=0.01", files={"a": both, "b": person(run, 2)}).json()
    assert best["same"] is True and best["faces"] == [2, 1] and best["boxes"][0][0] == 60


def test_an_earlier_systems_upload_is_answered_face_or_place(client: TestClient, run: Bundle) -> None:
    assert client.post("/upload", files={"image": person(run, 1)}).text == "face"
    assert client.post("/upload", files={"image": picture((0, 0, 0))}).text == "place"
    assert client.post("/upload", files={"image": b"words"}).status_code == 422


def test_a_person_is_enrolled_named_and_forgotten(client: TestClient, run: Bundle, tmp_path: Path) -> None:
    files = sent(("a.jpg", picture(STRANGER)), ("none.jpg", picture((0, 0, 0))), ("no.jpg", b"words"))
    response = client.post("/v1/people", data={"name": "Zoë Ω"}, files=files)
    assert response.status_code == 201 and response.json()["photos"] == 1
    assert [p["photo"] for p in response.json()["left_out"]] == ["none.jpg", "no.jpg"]
    assert names(client.post("/v1/identify", files=sent(("s", picture(STRANGER))))) == [["Zoë Ω"]]
    assert client.get("/v1/people/Zoë Ω").json() == {"name": "Zoë Ω", "photos": 1}
    assert "a.jpg" in Bundle.load(tmp_path / "run").sources["photo"].to_pylist()
    again = client.post("/v1/people", data={"name": "Zoë Ω"}, files=sent(("b.jpg", person(run, 1))))
    assert again.status_code == 422 and "enrolled already" in again.json()["detail"]
    gone = client.delete("/v1/people/Zoë Ω")
    assert gone.status_code == 200 and gone.json()["originals"] == ["a.jpg"] and not gone.json()["left"]
    assert names(client.post("/v1/identify", files=sent(("s", picture(STRANGER))))) != [["Zoë Ω"]]
    assert client.delete("/v1/people/Zoë Ω").status_code == 404
    assert len(client.get("/v1/people").json()["people"]) == 6


@pytest.mark.parametrize(
    "name", ["", " Ann", "A/B", "A\nB", "x" * 201, ".", "..", "holdout", "Unknown", "person 1."]
)
def test_unusable_names_are_refused_and_nothing_changes(
    client: TestClient, tmp_path: Path, name: str
) -> None:
    (tmp_path / "thesis.txt").write_text("beside the run")
    answer = client.post("/v1/people", data={"name": name}, files=sent(("a.jpg", picture(STRANGER))))
    assert answer.status_code == 422
    escaped = "".join(f"%{byte:02x}" for byte in name.encode())
    assert client.delete(f"/v1/people/{escaped}").status_code in (
        404,
        405,
    )  # a browser never sends it like this
    assert (tmp_path / "thesis.txt").is_file() and len(client.get("/v1/people").json()["people"]) == 6


def test_a_person_forgotten_by_another_process_is_no_longer_named(
    client: TestClient, run: Bundle, tmp_path: Path
) -> None:
    files = sent(("a.jpg", person(run, 1)))
    assert names(client.post("/v1/identify", files=files)) == [["person 1"]]
    without(Bundle.load(tmp_path / "run"), "person 1").save(tmp_path / "run")
    assert names(client.post("/v1/identify", files=files)) != [["person 1"]]


def finished(client: TestClient, response: Any) -> dict[str, Any]:
    """Wait until the job that was just started is done; return it."""
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    until = time.monotonic() + 20
    while job["status"] == "running" and time.monotonic() < until:
        time.sleep(0.02)
        job = client.get(f"/v1/organise/{job['job']}").json()
    assert job["status"] == "done", job
    return job


def albums_of(job: dict[str, Any]) -> dict[str, list[str]]:
    return {album["album"]: album["photos"] for album in job["albums"]["albums"]}


def test_a_folder_becomes_albums_whose_groups_are_named_and_photos_moved(
    client: TestClient, run: Bundle
) -> None:
    files = sent(
        ("trip/one.jpg", person(run, 1)),
        ("s1.jpg", picture(STRANGER)),
        ("rest.zip", zipped(("s2.jpg", picture(STRANGER, (0, 0, 0))), ("nobody.jpg", picture((0, 0, 0))))),
    )
    job = finished(client, client.post("/v1/organise", files=files))
    assert albums_of(job) == {
        "person 1": ["trip/one.jpg"],
        "unknown/001": ["rest.zip/s2.jpg", "s1.jpg"],
        "no face": ["rest.zip/nobody.jpg"],
    }
    where = f"/v1/organise/{job['job']}"
    named = client.post(f"{where}/names", json={"album": "unknown/001", "name": "Zoë"})
    assert named.status_code == 200, named.text
    assert albums_of(named.json())["Zoë"] == ["rest.zip/s2.jpg", "s1.jpg"]
    assert names(client.post("/v1/identify", files=sent(("s", picture(STRANGER))))) == [["Zoë"]]
    moved = client.post(
        f"{where}/moves", json={"photo": "rest.zip/nobody.jpg", "source": "no face", "target": "Landscapes"}
    )
    assert albums_of(moved.json())["Landscapes"] == ["rest.zip/nobody.jpg"]
    with zipfile.ZipFile(io.BytesIO(client.get(f"{where}/albums.zip").content)) as archive:
        assert {
            "albums/Zoë/s1.jpg",
            "albums/Zoë/s2.jpg",
            "albums/Landscapes/nobody.jpg",
            "albums/index.html",
        } <= set(archive.namelist())
        assert archive.read("albums/person 1/one.jpg") == person(run, 1)
    small = client.get(f"{where}/thumbnails/0")
    assert small.headers["content-type"] == "image/jpeg" and small.content[:2] == b"\xff\xd8"
    assert client.get(f"{where}/thumbnails/99").status_code == 404
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404


def job_with_person_1(client: TestClient, run: Bundle) -> str:
    """Return the address of a finished job in which person 1 has an album and whose zip was downloaded."""
    files = sent(
        ("one.jpg", person(run, 1)), ("nobody.jpg", picture((0, 0, 0))), ("s.jpg", picture(STRANGER))
    )
    job = finished(client, client.post("/v1/organise", files=files))
    where = f"/v1/organise/{job['job']}"
    move = {"photo": "nobody.jpg", "source": "no face", "target": "person 1"}
    assert client.post(f"{where}/moves", json=move).status_code == 200
    assert b"person 1" in client.get(f"{where}/albums.zip").content
    return where


def test_a_finished_job_does_not_name_a_forgotten_person(
    client: TestClient, run: Bundle, tmp_path: Path
) -> None:
    where = job_with_person_1(client, run)
    response = client.delete("/v1/people/person 1")
    assert response.status_code == 200 and response.json()["left"] == []
    assert "person 1" not in client.get(where).text
    assert b"person 1" not in client.get(f"{where}/albums.zip").content


def test_a_job_changes_when_another_program_forgets_a_person(
    client: TestClient, run: Bundle, tmp_path: Path
) -> None:
    where = job_with_person_1(client, run)
    with PeopleFile(tmp_path / "run") as people:
        assert len(people.holders()) == 1
        forgotten = forget(tmp_path / "run", "person 1", people, wait_seconds=20)
    assert forgotten.left == [], "forgetting waited for the server"
    assert "person 1" not in client.get(where).text
    assert b"person 1" not in client.get(f"{where}/albums.zip").content


def test_forgetting_does_not_wait_for_a_server_that_ended(run: Bundle, tmp_path: Path) -> None:
    with served(tmp_path / "run"):
        pass
    with PeopleFile(tmp_path / "run") as people:
        assert people.holders() == []


def test_forgetting_can_be_repeated_over_http_until_nothing_is_left(
    client: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "run" / "notes.txt").write_text("person 1 came by")
    first = client.delete("/v1/people/person 1")
    assert first.status_code == 200 and len(first.json()["left"]) == 1
    again = client.post("/v1/people", data={"name": "person 1"}, files=sent(("a.jpg", picture(STRANGER))))
    assert again.status_code == 422
    (tmp_path / "run" / "notes.txt").unlink()
    assert client.delete("/v1/people/person 1").json()["left"] == []
    assert client.delete("/v1/people/person 1").status_code == 404


def test_naming_a_group_while_forgetting_does_not_block(client: TestClient, run: Bundle) -> None:
    files = sent(
        ("s1.jpg", picture(STRANGER)), ("s2.jpg", picture(STRANGER, (0, 0, 0))), ("1.jpg", person(run, 1))
    )
    job = finished(client, client.post("/v1/organise", files=files))
    where = f"/v1/organise/{job['job']}"
    with ThreadPoolExecutor(2) as threads:
        named = threads.submit(client.post, f"{where}/names", json={"album": "unknown/001", "name": "Zoë"})
        gone = threads.submit(client.delete, "/v1/people/person 1")
        assert gone.result(60).status_code in (200, 503) and named.result(60).status_code in (200, 503)
    assert client.delete("/v1/people/person 1").status_code in (200, 404)
    until = time.monotonic() + 20
    while "person 1" in client.get(where).text and time.monotonic() < until:
        time.sleep(0.1)
    assert "person 1" not in client.get(where).text


def test_a_large_folder_can_be_sent_in_several_requests(client: TestClient, run: Bundle) -> None:
    first = client.post("/v1/organise?more=true", files=sent(("a.jpg", person(run, 1))))
    assert first.json()["status"] == "receiving"
    where = f"/v1/organise/{first.json()['job']}"
    assert client.get(f"{where}/albums.zip").status_code == 409
    job = finished(client, client.post(f"{where}/photos", files=sent(("a.jpg", person(run, 1)))))
    assert albums_of(job) == {"person 1": ["a (2).jpg", "a.jpg"]}
    assert client.post(f"{where}/photos", files=sent(("b.jpg", person(run, 1)))).status_code == 409


def test_file_names_cannot_lead_out_of_the_jobs_folder(
    client: TestClient, run: Bundle, tmp_path: Path
) -> None:
    wild = ["../../evil.jpg", "/etc/evil.jpg", "..\\..\\evil.jpg", "a/../../b.jpg", "a", "a/b", "con:"]
    content = zipped(*[(name, person(run, 1)) for name in wild])
    job = finished(client, client.post("/v1/organise", files=sent(("../z.zip", content))))
    photos = [photo["photo"] for photo in job["albums"]["photos"]]
    assert len(photos) == len(wild) and not any(
        ".." in Path(p).parts or Path(p).is_absolute() for p in photos
    )
    assert not list(tmp_path.rglob("*evil*")) and not Path("/etc/evil.jpg").exists()


def test_jobs_are_deleted_after_their_time_and_with_the_server(run: Bundle, tmp_path: Path) -> None:
    with served(tmp_path / "run", max_jobs=1) as client:
        job = finished(client, client.post("/v1/organise", files=sent(("a.jpg", person(run, 1)))))
        busy = client.post("/v1/organise", files=sent(("a.jpg", person(run, 1))))
        assert busy.status_code == 503 and int(busy.headers["retry-after"]) > 0
        service = client.app.state.service  # type: ignore[attr-defined]
        root = service.jobs.find(job["job"]).root
        assert root.exists() and (root.stat().st_mode & 0o77) == 0
    assert not root.exists()
    with served(tmp_path / "run", job_minutes=0.001) as client:
        response = client.post("/v1/organise?more=true", files=sent(("a.jpg", person(run, 1))))
        time.sleep(0.1)
        assert client.get(f"/v1/organise/{response.json()['job']}").status_code == 404


def test_an_unreadable_photo_is_in_no_album_and_is_reported(client: TestClient, run: Bundle) -> None:
    files = sent(("a.jpg", person(run, 1)), ("b.jpg", b"words"), ("z.zip", zipped(("c", b"x"))[:-10]))
    job = finished(client, client.post("/v1/organise", files=files))
    assert albums_of(job) == {"person 1": ["a.jpg"]}
    states = {photo["photo"]: photo["status"] for photo in job["albums"]["photos"]}
    assert states["b.jpg"] == "error"
    assert [one["photo"] for one in job["albums"]["unreadable"]] == ["z.zip"]


def test_an_unexpected_error_ends_its_job_and_is_logged(
    client: TestClient, run: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_arguments: Any, **_named: Any) -> None:
        raise RuntimeError("disk on fire")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "likeness.server"):
        patch.setattr("identity.server.album_jobs.organise", fails)
        job = client.post("/v1/organise", files=sent(("a.jpg", person(run, 1)))).json()
        until = time.monotonic() + 20
        while job["status"] == "running" and time.monotonic() < until:
            job = client.get(f"/v1/organise/{job['job']}").json()
    assert job["status"] == "failed" and "RuntimeError" in job["detail"] and "fire" not in job["detail"]
    log = str([record.__dict__ for record in caplog.records])
    assert "RuntimeError" in log and "test_app.py" in log and "fire" not in log
    assert finished(client, client.post("/v1/organise", files=sent(("a.jpg", person(run, 1)))))


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", "/v1/identify", {}, 405),
        ("POST", "/v1/identify", {}, 422),
        ("POST", "/v1/identify", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ("POST", "/v1/identify?fpir=2", {"files": {"files": b"x"}}, 422),
        ("POST", "/v1/verify", {"files": {"a": b"x"}}, 422),
        ("GET", "/v1/people/Nobody", {}, 404),
        ("GET", "/v1/organise/none", {}, 404),
        ("POST", "/v1/organise/none/names", {"json": {"album": "unknown/001", "name": "A"}}, 404),
        (
            "POST",
            "/v1/organise/none/names",
            {"content": b"{", "headers": {"content-type": "application/json"}},
            422,
        ),
    ],
)
def test_every_error_is_a_problem_document(
    client: TestClient, method: str, path: str, arguments: dict[str, Any], status: int
) -> None:
    answer = client.request(method, path, **arguments)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["type"].startswith("urn:likeness:problem:")
    assert problem["detail"]


def test_logs_and_metrics_contain_no_names_of_people_or_files(
    client: TestClient, run: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "likeness.server"):
        client.post("/v1/identify", files=sent(("holiday.jpg", person(run, 1))))
        answer = client.get("/v1/people/person 1", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    log = json.dumps([record.__dict__ for record in caplog.records], default=str)
    assert "/v1/people/{name}" in log and "mine-1" in log
    metrics = client.get("/metrics").text
    for secret in ("person 1", "person%201", "holiday"):
        assert secret not in log and secret not in metrics
    assert 'likeness_photos_total{status="ok"} 1.0' in metrics and "likeness_people 6.0" in metrics


def test_the_page_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    for path, kind in [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]:
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org", "") and "https://" not in answer.text


def test_the_model_lists_its_thresholds(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert model["people"] == 6 and model["fpir"] == 0.01
    rates = [choice["fpir"] for choice in model["choices"]]
    assert rates == sorted(rates) and 0.01 in rates
    thresholds = [choice["threshold"] for choice in model["choices"]]
    assert thresholds == sorted(thresholds, reverse=True)


def test_a_server_that_is_ready_says_so(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok" and client.get("/readyz").text == "ready"


def test_the_document_describes_every_answer(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert {
        "/v1/identify",
        "/v1/verify",
        "/v1/organise",
        "/v1/people",
        "/v1/people/{name}",
        "/upload",
    } <= set(document["paths"])
    schemas = document["components"]["schemas"]
    for model in (answers.IdentifyAnswer, answers.VerifyAnswer, answers.ProblemAnswer):
        for example in schemas[model.__name__]["examples"]:
            model.model_validate(example)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (method, path)
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
