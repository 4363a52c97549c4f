"""Who may send requests, how often, and how many at once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, File, UploadFile
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from augmentor.errors import InputError
from identity import serve
from identity.server.access import Access, Buckets
from identity.server.limits import Limits
from identity.server.problems import Problem, answer_with_problems
from identity.server.settings import Settings, read_keys

KEY = "k" * 32


def inner() -> FastAPI:
    app = FastAPI()
    answer_with_problems(app)

    @app.get("/")
    async def page() -> str:
        return "page"

    @app.post("/ask")
    async def ask(file: UploadFile = File()) -> int:  # noqa: B008
        return len(await file.read())

    @app.get("/wait")
    async def wait() -> str:
        await asyncio.sleep(1)
        return "done"

    return app


def client(app: ASGIApp, host: str = "127.0.0.1:8000", peer: str = "127.0.0.1") -> TestClient:
    return TestClient(app, base_url=f"http://{host}", raise_server_exceptions=False, client=(peer, 50_000))


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_without_keys_requests_from_this_machine_are_answered(host: str) -> None:
    assert client(Access(inner(), frozenset(), 9)).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "evil@127.0.0.1.x"])
def test_without_keys_requests_that_name_another_host_are_refused(host: str) -> None:
    answer = client(Access(inner(), frozenset(), 9)).get("/", headers={"host": host})
    assert answer.status_code == 403 and answer.json()["type"] == "urn:likeness:problem:foreign-host"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_without_keys_connections_from_this_machine_are_answered(peer: str) -> None:
    assert client(Access(inner(), frozenset(), 9), peer=peer).get("/").status_code == 200


@pytest.mark.parametrize("peer", ["192.168.1.7", "::ffff:192.168.1.7", "fe80::1%eth0", "testclient", ""])
def test_without_keys_other_machines_are_refused_whatever_host_they_name(peer: str) -> None:
    answer = client(Access(inner(), frozenset(), 9), peer=peer).get("/", headers={"host": "localhost"})
    assert answer.status_code == 403 and answer.json()["type"].endswith("foreign-peer")


def test_without_keys_a_connection_whose_other_end_is_unknown_is_refused() -> None:
    app = Access(inner(), frozenset(), 9)

    async def unknown(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"client": None}, receive, send)

    assert client(unknown).get("/").status_code == 403


@pytest.mark.parametrize(
    "header",
    [
        *("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via"),
        *(
            "X-Original-Forwarded-For",
            "X-Cluster-Client-IP",
            "X-Envoy-External-Address",
            "Tailscale-User-Login",
        ),
        *("Fastly-Client-IP", "X_Forwarded_For", "CF-Ray"),
    ],
)
def test_without_keys_requests_through_a_proxy_are_refused(header: str) -> None:
    app = Access(inner(), frozenset(), 9)
    answer = client(app).get("/", headers={header: "127.0.0.1"})
    assert answer.status_code == 403 and answer.json()["type"].endswith("forwarded")
    with_key = Access(inner(), frozenset([KEY]), 9)
    assert client(with_key).get("/ask", headers={header: "1", "x-api-key": KEY}).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "["},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": "http://127.0.0.1"},
        {"origin": "https://127.0.0.1:8000"},
        {"origin": "http://localhost:8000"},
        {"origin": "http://x@127.0.0.1:8000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("open_to_all", [False, True])
def test_without_keys_pages_of_other_sites_and_other_ports_are_refused(
    headers: dict[str, str], open_to_all: bool
) -> None:
    app = Access(inner(), frozenset(), 9, open=open_to_all)
    if not (
        open_to_all and headers.get("origin") == "https://127.0.0.1:8000"
    ):  # a proxy in front may provide TLS
        assert client(app).get("/", headers=headers).status_code == 403
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert client(app).get("/", headers=own).status_code == 200
    tunnel = {"origin": "http://localhost", "host": "localhost:80"}
    assert client(app).get("/", headers=tunnel).status_code == 200


def test_an_open_server_answers_everybody_without_a_key() -> None:
    app = Access(inner(), frozenset(), 9, open=True)
    proxied = {"x-forwarded-for": "203.0.113.5", "origin": "https://photos.example"}
    browser = client(app, "photos.example", "192.168.1.7")
    assert browser.post("/ask", files={"file": b"x"}, headers=proxied).json() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"x-api-key": KEY},
    ],
)
def test_requests_with_a_key_are_answered(headers: dict[str, str]) -> None:
    app = Access(inner(), frozenset([KEY, "another key of 24 letters"]), 9)
    assert client(app, "photos.example").post("/ask", files={"file": b"x"}, headers=headers).json() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
        {"authorization": "Bearer \xff"},
    ],
)
def test_without_a_key_only_the_page_is_answered(headers: dict[str, str]) -> None:
    app = Access(inner(), frozenset([KEY]), 9)
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = client(app).post("/ask", files={"file": b"x"}, headers=encoded)
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    assert client(app).get("/").status_code == 200


def test_a_key_with_too_many_requests_waits_and_others_do_not() -> None:
    now = [0.0]
    buckets = Buckets(3, lambda: now[0])
    assert [buckets.take(0) for _ in range(3)] == [0, 0, 0]
    assert buckets.take(0) == pytest.approx(20) and buckets.take(1) == 0
    now[0] = 19.9
    assert buckets.take(0) > 0
    now[0] = 20.1
    assert buckets.take(0) == 0 and buckets.take(0) > 0
    now[0] = 1e6
    assert [buckets.take(0) > 0 for _ in range(4)] == [False, False, False, True]


def test_too_many_requests_are_refused_with_the_time_to_wait() -> None:
    browser = client(Access(inner(), frozenset([KEY]), 2))
    answers = [browser.get("/wait", headers={"x-api-key": KEY}) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 31


def test_a_request_with_too_many_bytes_is_refused_with_and_without_a_length() -> None:
    app = Limits(inner(), 9, 1000, 5)

    def pieces() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(30):
            yield b"y" * 100
        yield b"\r\n--x--\r\n"

    with_length = client(app).post("/ask", files={"file": b"x" * 2000})
    without_length = client(app).post(
        "/ask", content=pieces(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    for answer in (with_length, without_length):
        assert answer.status_code == 413 and answer.json()["type"] == "urn:likeness:problem:too-large"
    assert client(app).post("/ask", files={"file": b"x" * 500}).json() == 500


def test_requests_beyond_the_limit_are_refused_and_the_others_answered() -> None:
    app = Limits(inner(), 2, 1000, 5)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as browser:
            return list(await asyncio.gather(*(browser.get("/wait") for _ in range(5))))

    answers = asyncio.run(ask())
    assert sorted(a.status_code for a in answers) == [200, 200, 503, 503, 503]
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 503)
    assert client(app).get("/").status_code == 200, "the slots are free again"


def test_a_request_that_takes_too_long_is_given_up() -> None:
    answer = client(Limits(inner(), 2, 1000, 0.05)).get("/wait")
    assert answer.status_code == 503 and "not answered within" in answer.json()["detail"]


def test_keys_come_from_a_file_and_weak_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n  {'z' * 16}  \n")
    assert read_keys(file) == {KEY, "z" * 16}
    for content, message in [("", "no key in it"), ("short\n", "shorter than 16")]:
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            read_keys(file)
    with pytest.raises(InputError, match="file of keys cannot be read"):
        read_keys(tmp_path / "missing")


def test_wrong_environment_variables_are_named(tmp_path: Path) -> None:
    run = {"LIKENESS_MODEL": "run"}
    assert Settings.from_environment(run | {"LIKENESS_OPEN": "1"}).model == Path("run")
    with pytest.raises(InputError, match="LIKENESS_MODEL: not set"):
        Settings.from_environment({})
    with pytest.raises(InputError, match="LIKENESS_FPIR: 'x' is not a number"):
        Settings.from_environment(run | {"LIKENESS_OPEN": "1", "LIKENESS_FPIR": "x"})
    with pytest.raises(InputError, match="LIKENESS_OPEN: 'yes' is neither"):
        Settings.from_environment(run | {"LIKENESS_OPEN": "yes"})


@pytest.mark.parametrize("variables", [{}, {"LIKENESS_OPEN": "0"}, {"LIKENESS_KEYS": ""}])
def test_ray_serve_needs_keys_or_explicit_openness(variables: dict[str, str], tmp_path: Path) -> None:
    """Ray Serve may listen on any address, and all requests seem to come from its proxy on this machine."""
    with pytest.raises(InputError, match=r"LIKENESS_KEYS: not set.*LIKENESS_OPEN=1"):
        Settings.from_environment({"LIKENESS_MODEL": "run"} | variables)
    (tmp_path / "keys").write_text(KEY)
    with_keys = {"LIKENESS_MODEL": "run", "LIKENESS_KEYS": str(tmp_path / "keys")}
    assert Settings.from_environment(with_keys).keys == {KEY}
    with pytest.raises(InputError, match="both keys and open"):
        Settings.from_environment(with_keys | {"LIKENESS_OPEN": "1"})


def test_a_server_for_everybody_needs_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--model", "no-run", "--host", "0.0.0.0"]) == 2
    assert "give --keys FILE" in capsys.readouterr().err
    assert serve.main(["--model", "no-run", "--host", "0.0.0.0", "--open"]) == 2
    assert "no trained model" in capsys.readouterr().err


def test_settings_do_not_show_keys() -> None:
    assert KEY not in repr(Settings(Path("run"), keys=frozenset([KEY])))


def test_without_keys_a_request_as_a_proxy_without_settings_sends_it_is_refused() -> None:
    app = Access(inner(), frozenset(), 60)
    statuses = []

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status"))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    for version in ("1.0", "1.1"):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/healthz",
            "query_string": b"",
            "http_version": version,
        }
        scope |= {"headers": [(b"host", b"127.0.0.1:8000")], "client": ("127.0.0.1", 5), "scheme": "http"}
        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert statuses[0] == 403 and 403 not in statuses[1:]


@pytest.mark.parametrize("hosts", [["evil@localhost"], ["localhost", "evil.example"], []])
def test_without_keys_a_request_names_one_plain_host(hosts: list[str]) -> None:
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/healthz", "http_version": "1.1"}
    scope |= {"headers": [(b"host", host.encode()) for host in hosts], "client": ("127.0.0.1", 5)}
    with pytest.raises(Problem, match="local machine as its host"):
        Access(inner(), frozenset(), 60)._check(scope)
