"""Options and limits of a server."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from augmentor.errors import InputError
from identity.chips.many_photos import available_cores

LEAST_KEY = 16  # characters
# Fewer than the commands accept (`augmentor.photos.images.MAX_PIXELS`), because the largest possible upload decides how
# much memory a server needs; enough for photos of 108 megapixels.
SERVED_PIXELS = 120_000_000
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Settings:
    """Options and limits of a server.

    Attributes:
        model: folder of the run.
        host: address to listen on; addresses that other machines can reach need `keys`.
        port: TCP port.
        fpir: share of strangers who may be given a name, for requests that do not set it.
        keys: accepted keys; without any, only requests from this machine are answered.
        open: answer everybody who can reach the server, without a key; something in front decides who can.
        workers: number of processes that detect faces.
        threads: threads of the networks. They share the cores with the workers; on busy cores, more threads are slower.
        max_body: largest request with photos, bytes; other requests may have only some kilobytes.
        max_bodies: bytes that all requests being answered may have together.
        max_files: most photos in a request, those in zips included.
        max_file: largest photo, bytes.
        max_unzipped: bytes that all files in all zips of a request may have together.
        max_pixels: most pixels in a photo.
        photo_memory: bytes of address space that reading a photo may add to its process; if None, enough for
            `max_pixels`. Only Linux enforces this, see `identity.server.photo_pool`.
        photo_seconds: seconds after which reading a photo is given up.
        request_seconds: seconds after which a request is given up.
        idle_seconds: seconds without a byte of a request's body after which it is given up.
        max_requests: requests answered at the same time; further ones get 503.
        max_requests_of_a_key: requests with one key answered at the same time; if None, half of `max_requests`, so that
            no key can keep others out.
        rate: requests per minute and key.
        job_minutes: minutes for which albums are kept, counted from the first photo.
        sweep_seconds: seconds between two searches for albums whose time is over.
        max_jobs: largest number of album jobs, finished ones included.
        max_job: bytes that the photos of one job may have.
        max_stored: bytes that the photos and zips of all jobs may have together.

    Raises:
        InputError: Both `keys` and `open` are given.
    """

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    fpir: float = 0.01
    keys: frozenset[str] = field(default=frozenset(), repr=False)
    open: bool = False
    workers: int = field(default_factory=available_cores)
    threads: int = field(default_factory=lambda: max(1, available_cores() // 4))
    max_body: int = 512 * MEGABYTE
    max_bodies: int = 1024 * MEGABYTE
    max_files: int = 5000
    max_file: int = 256 * MEGABYTE
    max_unzipped: int = 2000 * MEGABYTE
    max_pixels: int = SERVED_PIXELS
    photo_memory: int | None = None
    photo_seconds: float = 30.0
    request_seconds: float = 600.0
    idle_seconds: float = 20.0
    max_requests: int = 64
    max_requests_of_a_key: int | None = None
    rate: int = 600
    job_minutes: float = 60.0
    sweep_seconds: float = 30.0
    max_jobs: int = 8
    max_job: int = 20_000 * MEGABYTE
    max_stored: int = 20_000 * MEGABYTE

    def __post_init__(self) -> None:
        if self.open and self.keys:
            raise InputError(
                "both keys and open are given; give keys to require a key, or open to require none"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings of a server that Ray Serve runs; Ray Serve decides where it listens.

        `LIKENESS_MODEL` is the folder of the run, `LIKENESS_KEYS` a file of keys, and `LIKENESS_FPIR` the share of
        strangers who may be given a name. `LIKENESS_OPEN=1` replaces the keys where something in front of the server
        decides who may use it.

        Args:
            environment: the environment variables.

        Raises:
            InputError: `LIKENESS_MODEL` is not set, neither `LIKENESS_KEYS` nor `LIKENESS_OPEN` is set, or a value is
                unusable.
        """
        if "LIKENESS_MODEL" not in environment:
            raise InputError("LIKENESS_MODEL: not set; set it to the folder of the run to serve")
        keys, opened = environment.get("LIKENESS_KEYS"), environment.get("LIKENESS_OPEN", "0")
        if opened not in ("0", "1", ""):
            raise InputError(f"LIKENESS_OPEN: {opened!r} is neither 0 nor 1")
        if not keys and opened != "1":
            raise InputError(
                "LIKENESS_KEYS: not set; set it to a file with one key per line, or set LIKENESS_OPEN=1 if something "
                "in front of the server decides who may use it"
            )
        try:
            fpir = float(environment.get("LIKENESS_FPIR", cls.fpir))
        except ValueError as error:
            raise InputError(f"LIKENESS_FPIR: {environment['LIKENESS_FPIR']!r} is not a number") from error
        return cls(
            Path(environment["LIKENESS_MODEL"]),
            fpir=fpir,
            keys=read_keys(Path(keys)) if keys else frozenset(),
            open=opened == "1",
        )


def read_keys(file: Path) -> frozenset[str]:
    """Read keys from a file with one key per line; empty lines and lines that start with # are ignored.

    Raises:
        InputError: The file cannot be read, contains no key, or contains a key that is too short to be safe.
    """
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: the file of keys cannot be read ({error})") from error
    keys = frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise InputError(
            f"{file}: no key in it; write one key per line, for example from `openssl rand -hex 32`"
        )
    if any(len(key) < LEAST_KEY or not key.isascii() for key in keys):
        raise InputError(f"{file}: a key is shorter than {LEAST_KEY} characters or is not ASCII")
    return keys
