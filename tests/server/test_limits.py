"""Request slots, slow bodies over a real port, bytes of all requests together, and the files in a form."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI, UploadFile
from starlette.testclient import TestClient

from identity.server.access import Access
from identity.server.forms import upload_route
from identity.server.limits import Limits, Slots, Upload
from identity.server.problems import Problem, answer_with_problems
from tests.made_up_run import free_port

KEYS = frozenset(["a" * 32, "b" * 32])


def inner(max_files: int = 20) -> FastAPI:
    app = FastAPI()
    answer_with_problems(app)
    router = APIRouter(route_class=upload_route(max_files))

    @router.get("/")
    @router.get("/healthz")
    async def page() -> str:
        return "page"

    @router.post("/v1/identify")
    async def identify(files: list[UploadFile]) -> int:
        return len(files)

    @router.post("/v1/organise/j/names")
    async def names(document: dict[str, Any]) -> int:
        return len(document)

    @router.get("/wait")
    async def wait() -> str:
        await asyncio.sleep(1)
        return "done"

    app.include_router(router)
    return app


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """Serve an application and give its port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
TAIL = b"\r\n--x--\r\n"


def begun(port: int, path: str = "/v1/identify", length: int = 10_000, start: bytes = HEAD) -> socket.socket:
    """Return a connection on which the body of a request has started and then stops."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
        + start
    )
    return connection


def answer_on(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return status and JSON document of the answer on a connection."""
    connection.settimeout(20)
    content = b""
    while block := connection.recv(65536):
        content += block
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def upload(port: int, path: str = "/v1/identify") -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{port}{path}", files={"files": b"photo"}, timeout=20)


def test_a_body_that_stops_is_given_up_and_its_slot_is_free() -> None:
    with listening(Limits(inner(), 1, 10_000, 60, idle=0.3)) as port:
        assert answer_on(begun(port))[0] == 408
        assert upload(port).json() == 1


def test_uploads_that_wait_for_their_bodies_give_way_to_a_complete_request() -> None:
    with listening(Limits(inner(), 3, 10_000, 60)) as port:
        slow = [begun(port) for _ in range(3)]
        time.sleep(1.2)
        assert upload(port).json() == 1
        status, problem = answer_on(slow[0])
        assert status == 503 and "other requests are waiting" in problem["detail"]
        for connection in slow[1:]:  # these keep their slots
            connection.sendall(b"y" * (10_000 - len(HEAD) - len(TAIL)) + TAIL)
            connection.settimeout(20)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_bodies_that_drip_give_way_too_and_are_given_up_at_last() -> None:
    now = [0.0]
    slots = Slots(1, 1, 10_000, lambda: now[0])
    slot = slots.take(None)
    slot.since, slot.received, slot.waited = 0.0, 70_000, 5.0
    now[0] = 0.9
    assert not slot.gives_way and slots.full
    slot.received = 100
    assert slot.gives_way and not slots.full, "20 bytes per second are too few"

    async def drips(upload: Upload) -> None:
        async def one_byte() -> dict[str, Any]:
            now[0] += 1.0
            return {"type": "http.request", "body": b"x", "more_body": True}

        while True:
            await upload.next(one_byte, 20)  # type: ignore[arg-type]

    with pytest.raises(Problem) as problem:
        asyncio.run(drips(Upload(None, lambda: now[0])))
    assert problem.value.status_code == 408


def test_a_request_that_is_being_answered_does_not_give_way() -> None:
    app = Limits(inner(), 1, 10_000, 60)

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            first = asyncio.ensure_future(client.get("/wait"))
            await asyncio.sleep(0.1)
            second = await client.post("/v1/identify", files={"files": b"x"})
            return [(await first).status_code, second.status_code]

    assert asyncio.run(ask()) == [200, 503]


def test_a_key_cannot_take_the_slots_of_another_and_the_page_is_always_answered() -> None:
    slots = Slots(4, 2, 10**6)
    app = Access(Limits(inner(), 4, 10_000, 60, slots=slots), KEYS, 100)

    async def ask() -> dict[str, list[int]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:

            async def get(key: str, path: str = "/wait") -> int:
                return (await client.get(path, headers={"x-api-key": key * 32})).status_code

            first = [asyncio.ensure_future(get("a")) for _ in range(4)]
            await asyncio.sleep(0.1)
            assert len(slots) == 2
            others = await asyncio.gather(get("b"), get("b"), get("c", "/"), get("c", "/healthz"))
            return {"a": list(await asyncio.gather(*first)), "others": list(others)}

    assert asyncio.run(ask()) == {"a": [200, 200, 503, 503], "others": [200, 200, 200, 200]}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/organise/j/names", "application/json"),
        ("/v1/organise/j/names", "multipart/form-data; boundary=x"),
        ("/v1/identify", "application/x-www-form-urlencoded"),
        ("/v1/identify", "application/json"),
    ],
)
def test_a_body_without_photos_may_have_only_kilobytes_whatever_its_type(path: str, kind: str) -> None:
    client = TestClient(Limits(inner(), 9, 10**8, 60), base_url="http://x")

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b'{"a": ' + b" " * 1000

    for content in (b"x" * 100_000, pieces()):
        answer = client.post(path, content=content, headers={"content-type": kind})
        # an urlencoded body is never received, because the route does not read it
        assert answer.status_code in ((413,) if content == b"x" * 100_000 else (413, 422)), answer.text
    assert client.post("/v1/organise/j/names", json={"a": 1}).json() == 1


def test_the_bytes_of_all_requests_together_are_limited() -> None:
    with listening(Limits(inner(), 9, 10_000, 60, slots=Slots(9, 9, 12_000))) as port:
        held = begun(port, start=HEAD + b"y" * 7_000)
        time.sleep(0.3)
        files = {"files": b"z" * 7_000}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/identify", files=files, timeout=20)
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        time.sleep(1.0)  # now the waiting request gives way
        assert httpx.post(f"http://127.0.0.1:{port}/v1/identify", files=files, timeout=20).json() == 1
        assert answer_on(held)[0] == 503


def test_a_request_may_contain_as_many_files_as_the_server_allows() -> None:
    client = TestClient(Limits(inner(1500), 9, 10**8, 60), base_url="http://x")
    files = [("files", ("image.jpg", b"x"))] * 1500
    assert client.post("/v1/identify", files=files).json() == 1500
    refused = client.post("/v1/identify", files=[*files, files[0]])
    assert refused.status_code == 413 and "at most 1500 photos" in refused.json()["detail"]


def test_a_form_may_have_only_few_and_short_fields() -> None:
    client = TestClient(Limits(inner(), 9, 10**8, 60), base_url="http://x")
    for fields in ({f"f{k}": "x" for k in range(9)}, {"f": "x" * 5_000}):
        assert client.post("/v1/identify", files={"files": b"x"}, data=fields).status_code == 400


def _limited(app: Any, **limits: Any) -> Limits:
    return Limits(app, 1, 1000, limits.pop("seconds", 30.0), **limits)


SCOPE = {"type": "http", "method": "GET", "path": "/v1/x", "query_string": b"", "headers": [], "state": {}}


def test_a_client_that_does_not_read_its_answer_holds_no_slot_and_is_given_up() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def run() -> tuple[int, float]:
        slots = Slots(1, 1, 1000)
        limits, stuck = _limited(app, slots=slots, patience=0.2), asyncio.Event()

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                stuck.set()
                await asyncio.sleep(60)

        began = time.monotonic()
        answering = asyncio.ensure_future(limits(SCOPE, receive, send))  # type: ignore[arg-type]
        await stuck.wait()
        held = len(slots)
        await answering
        return held, time.monotonic() - began

    held, seconds = asyncio.run(run())
    assert held == 0 and seconds < 5


def test_work_for_a_client_that_is_gone_ends() -> None:
    ended: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def run() -> None:
        messages = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(_message: dict[str, Any]) -> None:
            raise AssertionError("nothing can be sent to a client that is gone")

        await asyncio.wait_for(_limited(app)(SCOPE, receive, send), 5)  # type: ignore[arg-type]

    asyncio.run(run())
    assert ended == ["cancelled"]
