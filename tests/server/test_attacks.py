"""Malicious requests, all at once, on a real server: its memory stays bounded and other requests are answered."""

import io
import json
import os
import socket
import struct
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from tests.made_up_run import MadeUp, serving

pytestmark = [pytest.mark.server, pytest.mark.timeout(1800)]
MOST_MEMORY = 3e9  # bytes for the server and all its processes together
MOST_SECONDS = 5.0  # for one identify with all its repetitions
EDGE = 10_900  # 119 million pixels
ODD = ["写" * 90 + ".jpg", "./holiday.jpg", "a//b.jpg", "x/.", "x/", "..", "holiday.jpg", "holiday.jpg"]


@dataclass
class Watch:
    """Measurements of a server from outside while it is attacked.

    Attributes:
        url: address of the server.
        process: number of its process.
        tmp: its folder for temporary files.
        face: a photo of an enrolled person.
        made: the malicious uploads.
        peak: largest memory of all its processes together, bytes.
        at_peak: memory of each process at that time, bytes.
        answered: seconds that each identify took.
        page: statuses of the page and of healthz.
        stop: set to end the measurements.
    """

    url: str
    process: int
    tmp: Path
    face: bytes
    made: "Made"
    peak: int = 0
    at_peak: list[int] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    page: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def memory(self) -> None:
        """Measure the memory of all processes again and again; shared memory counts once."""
        server = psutil.Process(self.process)
        while not self.stop.wait(0.2):
            had = []
            with suppress(psutil.NoSuchProcess):
                for one in [server, *server.children(recursive=True)]:
                    with suppress(OSError, psutil.Error):
                        had.append(own_memory(one.pid))
            if sum(had) > self.peak:
                self.peak, self.at_peak = sum(had), had

    def ask(self) -> None:
        """Send requests like a client that waits when the server asks it to."""
        while not self.stop.wait(0.5):
            started = time.monotonic()
            while True:
                answer = self.post("/v1/identify", ("face.jpg", self.face))
                if answer.status_code != 503 or time.monotonic() - started > 60:
                    break
                time.sleep(float(answer.headers["retry-after"]))
            self.answered.append(time.monotonic() - started)
            assert answer.json()["results"][0]["status"] == "ok", answer.text
            for path in ("/", "/healthz"):
                self.page.add(requests.get(self.url + path, timeout=60).status_code)

    def post(self, path: str, *files: tuple[str, bytes]) -> requests.Response:
        return requests.post(self.url + path, files=[("files", file) for file in files], timeout=300)

    def get(self, where: str) -> dict[str, Any]:
        """Return a JSON document; repeats the request while the server is busy."""
        while (answer := requests.get(where, timeout=60)).status_code == 503:
            time.sleep(float(answer.headers["retry-after"]))
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def results(self, *files: tuple[str, bytes]) -> list[dict[str, Any]]:
        """Name the people in photos; return the result of each photo."""
        answer = self.post("/v1/identify", *files)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def delete(self, where: str) -> None:
        """Delete a job; repeats the request while the server is busy."""
        while (answer := requests.delete(where, timeout=60)).status_code == 503:
            time.sleep(float(answer.headers["retry-after"]))
        assert answer.status_code == 204, answer.text

    def finished(self, answer: requests.Response) -> str:
        """Wait until the job that was just started is done; return its address."""
        assert answer.status_code == 202, answer.text
        where = f"{self.url}/v1/organise/{answer.json()['job']}"
        while (job := self.get(where))["status"] == "running":
            time.sleep(0.2)
        assert job["status"] == "done", job["detail"]
        return where


def own_memory(process: int) -> int:
    """Return the bytes that a process has in memory, including its share of memory used by several processes."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (9, 120, 200)).save(file, "PNG", compress_level=9)
    return file.getvalue()


def float_tiff(edge: int) -> bytes:
    """Return a small TIFF of floating-point pixels that takes half a gigabyte when it is decoded."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((edge, edge), np.float32)).save(file, "TIFF", compression="tiff_adobe_deflate")
    return file.getvalue()


def equal_names(photos: int, photo: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of equal names
        for _ in range(photos):
            archive.writestr("holiday.jpg", photo)
    return file.getvalue()


def million_entries() -> bytes:
    """Return a zip whose directory contains the same entry a million times."""
    content = zlib.compress(b"x")[2:-4]
    local = struct.pack(
        "<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, zlib.crc32(b"x"), len(content), 1, 1, 0
    )
    entry = struct.pack(
        "<4sHHHHHHIIIHHHHHII",
        *(b"PK\x01\x02", 20, 20, 0, 8, 0, 0, zlib.crc32(b"x"), len(content), 1, 1, 0, 0, 0, 0, 0, 0),
    )
    start = local + b"a" + content
    directory = (entry + b"a") * 1_000_000
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFE, 0xFFFE, len(directory), len(start), 0)
    return start + directory + end


@dataclass(frozen=True)
class Made:
    """The malicious uploads; they are made before the measurements, which making them would delay."""

    huge: bytes = field(default_factory=lambda: png(EDGE, EDGE))
    tiff: bytes = field(default_factory=lambda: float_tiff(EDGE))
    equal: bytes = field(default_factory=lambda: equal_names(2_500, b"no photo"))
    small: bytes = field(default_factory=lambda: equal_names(1_200, b"no photo"))
    million: bytes = field(default_factory=million_entries)
    json: bytes = field(default_factory=lambda: b'{"album": "' + b"x" * 60_000_000 + b'"}')


@pytest.fixture(scope="module")
def attacked(made_up: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watch, Path]]:
    tmp = tmp_path_factory.mktemp("tmp")
    log = tmp_path_factory.mktemp("attacked") / "log"
    face = next(made_up.photos.rglob("*.jpg")).read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp))
        with serving(made_up.run, log, ["--workers", "2", "--photo-seconds", "300"]) as (url, process):
            watch = Watch(url, process.pid, tmp, face, Made())
            threads = [threading.Thread(target=watch.memory), threading.Thread(target=watch.ask)]
            for thread in threads:
                thread.start()
            yield watch, log
            watch.stop.set()
            for thread in threads:
                thread.join()


def thumbnails_of_a_huge_photo(watch: Watch) -> None:
    where = watch.finished(watch.post("/v1/organise", ("huge.png", watch.made.huge)))
    (photo,) = watch.get(where)["albums"]["photos"]
    assert photo["status"] == "no_face", photo
    with ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(requests.get, f"{where}/thumbnails/0", timeout=300) for _ in range(12)]
    assert {one.result().status_code for one in answers} <= {200, 503}, answers[0].result().content
    assert any(one.result().status_code == 200 for one in answers)
    watch.delete(where)


def photos_that_decode_to_gigabytes(watch: Watch) -> None:
    results = watch.results(*[(f"{k}.tiff", watch.made.tiff) for k in range(3)])
    states = {(one["status"], (one["reason"] or "").partition(":")[0]) for one in results}
    assert states <= {("no_face", "no_face"), ("error", "too_large"), ("error", "unreadable")}, results


def a_zip_of_equal_names(watch: Watch) -> None:
    where = watch.finished(watch.post("/v1/organise", ("holiday.zip", watch.made.equal)))
    assert watch.get(where)["photos"] == 2_500
    watch.delete(where)


def uploads_of_many_equal_names(watch: Watch) -> None:
    content = watch.made.small
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(watch.post, "/v1/organise?more=true", ("z.zip", content)) for _ in range(6)]
    for one in answers:
        assert one.result().status_code in (202, 503), one.result().text
        if one.result().status_code == 202:
            job = one.result().json()["job"]
            watch.delete(f"{watch.url}/v1/organise/{job}")


def large_json(watch: Watch) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        with suppress(requests.ConnectionError):  # the server may close the connection early
            answer = requests.post(
                f"{watch.url}/v1/organise/x/names",
                data=watch.made.json,
                headers={"content-type": kind},
                timeout=60,
            )
            assert answer.status_code in (413, 503)


def zips_of_a_million_entries(watch: Watch) -> None:
    content = watch.made.million
    for _ in range(3):
        (result,) = watch.results(("z.zip", content))
        assert result["reason"].startswith("too_large"), result


def slow_uploads(watch: Watch) -> None:
    host, port = watch.url.removeprefix("http://").split(":")
    head = f"POST /v1/identify HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9000\r\n"
    kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    for _ in range(3):
        slow = []
        for _ in range(90):
            connection = socket.create_connection((host, int(port)))
            connection.sendall((head + kind).encode())
            slow.append(connection)
        time.sleep(5)
        for connection in slow:
            connection.close()


def ranges_of_a_zip(watch: Watch) -> None:
    where = watch.finished(watch.post("/v1/organise", ("face.jpg", watch.face)))
    for wanted in ["x", "bytes=0-0", "bytes=9-1", "bytes=" + ",".join(["0-"] * 500)] * 10:
        answer = requests.get(f"{where}/albums.zip", headers={"range": wanted}, timeout=60)
        assert answer.status_code in (200, 206, 416, 503), answer.text
    (job,) = [one for one in watch.tmp.glob("likeness-server-*/*") if list(one.glob("photos/face.jpg"))]
    assert len(list(job.glob("*.zip"))) == 1
    watch.delete(where)


def odd_names(watch: Watch) -> None:
    files = [(name, watch.face) for name in ODD]
    assert [one["status"] for one in watch.results(*files)] == ["ok"] * len(ODD)
    where = watch.finished(watch.post("/v1/organise", *files))
    assert watch.get(where)["photos"] == len(ODD)
    watch.delete(where)


ATTACKS: tuple[Callable[[Watch], None], ...] = (
    thumbnails_of_a_huge_photo,
    photos_that_decode_to_gigabytes,
    a_zip_of_equal_names,
    uploads_of_many_equal_names,
    large_json,
    zips_of_a_million_entries,
    slow_uploads,
    ranges_of_a_zip,
    odd_names,
)


def test_simultaneous_attacks_take_little_memory_and_other_requests_are_answered(
    attacked: tuple[Watch, Path],
) -> None:
    watch, log = attacked
    with ThreadPoolExecutor(len(ATTACKS)) as threads:
        under_way = {attack.__name__: threads.submit(patient, attack, watch) for attack in ATTACKS}
    slowest = max(watch.answered)
    print(f"peak {watch.peak / 1e9:.2f} GB, {len(watch.answered)} answers, slowest {slowest:.2f} s")
    print([f"{one / 1e9:.2f}" for one in watch.at_peak], [round(s, 1) for s in watch.answered if s > 2])
    print({name: one.exception() or f"{one.result():.1f} s" for name, one in under_way.items()})
    for attack in under_way.values():
        attack.result()
    assert watch.peak < MOST_MEMORY
    assert len(watch.answered) > 5 and slowest < MOST_SECONDS, watch.answered
    assert watch.page == {200}
    assert requests.get(f"{watch.url}/readyz", timeout=10).text == "ready"
    left = [Path(where, name) for where, _, names in os.walk(watch.tmp) for name in names]
    assert {file.name for file in left} == {"lock"}, left
    lines = log.read_text("utf-8").splitlines()[1:]
    assert lines and not any("holiday" in line or "写" in line or "\\u5199" in line for line in lines)
    assert {json.loads(line)["level"] for line in lines} == {"info"}, [
        line for line in lines if '"error"' in line
    ]


def patient(attack: Callable[[Watch], None], watch: Watch) -> float:
    """Run an attack and return its seconds; if the server is busy, the attack is repeated later."""
    started = time.monotonic()
    while True:
        try:
            attack(watch)
            return time.monotonic() - started
        except AssertionError as error:
            if '"status": 503' not in str(error) or time.monotonic() - started > 600:
                raise
            time.sleep(2)


def test_temporary_files_of_a_killed_server_are_deleted_by_the_next(made_up: MadeUp, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        with serving(made_up.run, tmp_path / "log1", ["--workers", "1"]) as (url, process):
            files: list[Any] = [("files", ("a.jpg", b"x"))]
            assert requests.post(f"{url}/v1/organise?more=true", files=files, timeout=60).status_code == 202
            assert list(tmp_path.glob("likeness-server-*/*/photos/a.jpg"))
            readers = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait(60)
            psutil.wait_procs(readers, 30)
        with serving(made_up.run, tmp_path / "log2", ["--workers", "1"]):
            assert not list(tmp_path.glob("likeness-server-*/*/photos/a.jpg"))
            assert len(list(tmp_path.glob("likeness-server-*"))) == 1
        assert not list(tmp_path.glob("likeness-*"))
