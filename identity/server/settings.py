"""What may be chosen about a server, and its limits."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from augmentor.errors import InputError
from identity.chips.many_photos import available_cores

LEAST_KEY = 16  # characters
# fewer than commands read (`augmentor.photos.images.MAX_PIXELS`): uploads may be anything, and the largest decides how
# much memory a server may need; enough for 108 megapixels
SERVED_PIXELS = 120_000_000
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Settings:
    """A server.

    Attributes:
        model: folder of the run.
        host: hosts other than the machine itself need `keys`.
        port: TCP port.
        fpir: share of strangers who may be given a name, where a request does not say.
        keys: whoever asks must know one of them; none: whoever is on this machine may ask.
        open: whoever can reach the server may ask, without a key; something in front decides who that is.
        workers: processes that find faces.
        threads: of the networks; with the workers they share the cores, and on busy cores more are slower.
        max_body: bytes of a request with photos; other requests may have few kilobytes.
        max_bodies: bytes of all requests that are under way.
        max_files: photos of a request, those in zips included.
        max_file: bytes of a photo.
        max_unzipped: bytes of all files in all zips of a request.
        max_pixels: of a photo.
        photo_memory: bytes of address space that working on a photo may add to its process; by default what
            `max_pixels` take. Only Linux keeps to it, see `identity.server.photo_pool`.
        photo_seconds: for one photo, then it is given up.
        request_seconds: for a whole request.
        idle_seconds: without a byte of a request's body, then it is given up.
        max_requests: at once; more are sent away with 503.
        max_requests_of_a_key: at once of each key; half of all, so that no key can keep others out.
        rate: requests a minute for each key.
        job_minutes: how long albums are kept, counted from the first photo.
        sweep_seconds: how often albums whose time is over are looked for.
        max_jobs: folders of photos that wait, are sorted or wait to be fetched.
        max_job: bytes of the photos of one.
        max_stored: bytes of the photos and the zips of all of them.
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
                "both keys and open: give one of them, keys to ask for a key, open to ask for none"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings of a server that Ray Serve runs, which listens where Ray Serve was told to.

        `LIKENESS_MODEL` is the run, `LIKENESS_KEYS` a file of keys, `LIKENESS_OPEN=1` stands in their place where
        something in front decides who may ask, `LIKENESS_FPIR` is the share of strangers who may be given a name.

        Raises:
            InputError: no run is named, neither keys nor open, or a value is unusable.
        """
        if "LIKENESS_MODEL" not in environment:
            raise InputError("LIKENESS_MODEL: not set; it names the folder of the run to serve")
        keys, said = environment.get("LIKENESS_KEYS"), environment.get("LIKENESS_OPEN", "0")
        if said not in ("0", "1", ""):
            raise InputError(f"LIKENESS_OPEN: {said!r} is neither 0 nor 1")
        if not keys and said != "1":
            raise InputError(
                "LIKENESS_KEYS: not set; it names a file of keys, one a line, or set LIKENESS_OPEN=1 if something "
                "in front of the server decides who may ask"
            )
        try:
            fpir = float(environment.get("LIKENESS_FPIR", cls.fpir))
        except ValueError as error:
            raise InputError(f"LIKENESS_FPIR: {environment['LIKENESS_FPIR']!r} is no number") from error
        return cls(
            Path(environment["LIKENESS_MODEL"]),
            fpir=fpir,
            keys=read_keys(Path(keys)) if keys else frozenset(),
            open=said == "1",
        )


def read_keys(file: Path) -> frozenset[str]:
    """Keys from a file, one a line; empty lines and those that begin with # do not count.

    Raises:
        InputError: no such file, no key in it, or a key that is too short to be safe.
    """
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: no file of keys ({error})") from error
    keys = frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise InputError(f"{file}: no key in it; write one a line, as `openssl rand -hex 32` makes them")
    if any(len(key) < LEAST_KEY or not key.isascii() for key in keys):
        raise InputError(f"{file}: a key is shorter than {LEAST_KEY} characters or not ASCII")
    return keys
