"""A bucket on an S3 server in its own process, which refuses some requests, or all for a while."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from augmentor.photos.place import FolderPlace, place_of

RATE = 0.05  # share of requests that are refused


@dataclass(frozen=True)
class Bucket:
    """A bucket on the server; while the file `closed` exists, every request is refused."""

    port: int
    closed: Path

    def uri(self, prefix: str) -> str:
        return f"s3://bucket/{prefix}?region=us-east-1&endpoint_override=http://127.0.0.1:{self.port}"

    def counts(self) -> tuple[int, int]:
        """Return the numbers of requests that were let through and that were refused."""
        let, refused = (self.closed.parent / (self.closed.name + ".count")).read_text().split()
        return int(let), int(refused)


@contextmanager
def bucket_of(closed: Path) -> Iterator[Bucket]:
    """Start a server with an empty bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.bucket_server", str(port), str(RATE), str(closed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline and server.poll() is None, "the server does not start"
            time.sleep(0.1)
        import boto3

        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1").create_bucket(
            Bucket="bucket"
        )
        yield Bucket(port, closed)
    finally:
        server.kill()
        server.wait(10)


def upload(folder: Path, uri: str) -> None:
    """Upload all files below a folder."""
    place = place_of(uri)
    for path in FolderPlace(folder).files():
        place.write(path, (folder / path).read_bytes())
