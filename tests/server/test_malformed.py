"""Uploads that are not photos, on a real server: it keeps running, its memory stays flat, answers are documented."""

import io
import json
import os
import random
import signal
import struct
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from augmentor.photos.images import encode_jpeg
from tests.made_up_run import MadeUp, serving

pytestmark = [pytest.mark.server, pytest.mark.timeout(3600)]
UPLOADS = int(os.environ.get("LIKENESS_UPLOADS", "2000"))
PATHS = ("/v1/identify", "/v1/verify", "/upload", "/v1/people", "/v1/organise")
MOST_GROWTH = 150e6  # bytes that the server's own process may add from the 200th upload to the last


def png(width: int, height: int, pixels: bytes) -> bytes:
    """Return a PNG that declares a size, whatever pixels it contains."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + whole


def truncated(photo: bytes, rng: random.Random) -> bytes:
    return photo[: rng.randrange(len(photo))]


def flipped(photo: bytes, rng: random.Random) -> bytes:
    content = bytearray(photo)
    for _ in range(rng.randint(1, 60)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def noise(_photo: bytes, rng: random.Random) -> bytes:
    starts = [
        b"",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"BM",
        b"II*\0",
        b"8BPS",
    ]
    return rng.choice([*starts, b"\0\0\0\x18ftypheic", b"PK\x03\x04"]) + rng.randbytes(rng.randrange(3000))


def bomb(_photo: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return png(60_000, 60_000, b"")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(rng.randint(1, 30)):
            archive.writestr(f"{number}.jpg", bytes(1_000_000))
    return file.getvalue()


def polyglot(photo: bytes, rng: random.Random) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", photo)
    tails = [file.getvalue(), b"<script>alert(1)</script>", b"%PDF-1.4", rng.randbytes(500)]
    return photo + rng.choice(tails) if rng.random() < 0.5 else rng.choice(tails) + photo


def nested(photo: bytes, rng: random.Random) -> bytes:
    content = photo
    for depth in range(rng.randint(2, 5)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(rng.choice(["../../x.zip", "/etc/x.zip", f"{depth}.zip", "C:\\x.zip"]), content)
        content = file.getvalue()
    return content


def empty(_photo: bytes, _rng: random.Random) -> bytes:
    return b""


def huge_dimensions_small_file(_photo: bytes, rng: random.Random) -> bytes:
    return png(rng.choice([1, 20_000]), rng.choice([1, 5_000]), bytes(rng.randrange(1000)))


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    truncated,
    flipped,
    noise,
    bomb,
    polyglot,
    nested,
    empty,
    huge_dimensions_small_file,
)
NAMES = [
    "a.jpg",
    "../../../etc/passwd",
    "..\\..\\boot.ini",
    "/dev/zero",
    "C:\\x.jpg",
    "a\tb.png",
    "x" * 500,
    "ü😀.heic",
    "con",
    ".",
    "%2e%2e%2f",
    "a.zip",
    "'; drop table photos; --",
]


def resident(process: int) -> int:
    """Return the resident memory of a process in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("no VmRSS")


def files_of(path: str, name: str, content: bytes, other: bytes) -> tuple[list[Any], dict[str, str]]:
    if path == "/v1/verify":
        return [("a", (name, content)), ("b", ("b.jpg", other))], {}
    if path == "/upload":
        return [("image", (name, content))], {}
    fields = {"name": "Nobody in particular"} if path == "/v1/people" else {}
    return [("files", (name, content))], fields


def test_malformed_uploads_are_answered_and_the_server_keeps_working(
    server: tuple[str, int], made_up: MadeUp
) -> None:
    url, process = server
    document = requests.get(f"{url}/openapi.json", timeout=10).json()
    photo = next(made_up.photos.rglob("*.jpg")).read_bytes()
    other = encode_jpeg(np.full((80, 80, 3), 90, np.uint8))
    rng = random.Random(0)
    statuses: Counter[tuple[str, int]] = Counter()
    before = 0
    session = requests.Session()
    for number in range(UPLOADS):
        if number == 200:
            before = resident(process)
        path = PATHS[number % len(PATHS)]
        content = WAYS[number // len(PATHS) % len(WAYS)](photo, rng)
        files, fields = files_of(path, rng.choice(NAMES), content, other)
        answer = session.post(url + path, files=files, data=fields, timeout=120)
        statuses[path, answer.status_code] += 1
        assert str(answer.status_code) in document["paths"][path]["post"]["responses"], (path, answer.text)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        elif path == "/v1/people":
            assert session.delete(f"{url}/v1/people/Nobody in particular", timeout=60).ok
        elif path == "/v1/organise":
            assert session.delete(f"{url}/v1/organise/{answer.json()['job']}", timeout=60).status_code == 204
    print(dict(statuses), f"memory {before / 1e6:.0f} to {resident(process) / 1e6:.0f} MB")
    assert requests.get(f"{url}/readyz", timeout=10).ok
    assert resident(process) - before < MOST_GROWTH
    answer = session.post(f"{url}/v1/identify", files=[("files", ("a.jpg", photo))], timeout=60).json()
    assert answer["results"][0]["status"] == "ok"


def test_accepted_requests_are_answered_when_the_server_is_asked_to_end(
    made_up: MadeUp, tmp_path: Path
) -> None:
    photos = sorted(made_up.photos.rglob("*.jpg"))[:12]
    answers: list[Any] = []

    def ask(url: str) -> None:
        files = [("files", (photo.name, photo.read_bytes())) for photo in photos]
        answers.append(requests.post(f"{url}/v1/identify", files=files, timeout=120))

    with serving(made_up.run, tmp_path / "log") as (url, process):
        threads = [threading.Thread(target=ask, args=(url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(120)
        assert process.wait(60) == 0
    assert [len(answer.json()["results"]) for answer in answers] == [12, 12, 12]
    lines = (tmp_path / "log").read_text().splitlines()[1:]
    assert all(json.loads(line)["level"] == "info" for line in lines)


def test_a_photo_that_crashes_its_reader_does_not_affect_other_requests(
    server: tuple[str, int], made_up: MadeUp
) -> None:
    """The reading processes are killed while they read photos, as by a crash of a decoder."""
    url, process = server
    photos = sorted(made_up.photos.rglob("*.jpg"))
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.4):
            for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
                words = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"spawn_main" in words:
                    os.kill(int(child), signal.SIGKILL)
                    break

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        files = [("files", (photo.name, photo.read_bytes())) for photo in photos]
        answer = requests.post(f"{url}/v1/identify", files=files, timeout=120)
    finally:
        stop.set()
        thread.join()
    results = answer.json()["results"]
    states = Counter(result["status"] for result in results)
    assert len(results) == len(photos) and states["ok"] >= 1, states
    lost = [result["reason"] for result in results if result["status"] == "error"]
    assert all(reason.startswith("unreadable: the program that reads it crashed") for reason in lost)
    again = requests.post(f"{url}/v1/identify", files=files[:4], timeout=120).json()["results"]
    assert [result["status"] for result in again] == ["ok"] * 4
