"""A run that is trained on made-up people with the users' commands, and a server for it, for the slower tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class MadeUp:
    """Made-up people and a run trained on some of their photos.

    Attributes:
        run: folder of the run, which was trained on most photos of seven people.
        photos: folder with all photos of the seven people, in one folder per person.
        unseen: folder with one photo of each of them that the run was not trained on, in one folder per person.
        newcomer: photos of the eighth person, who is not enrolled.
        strangers: photos of other people.
    """

    run: Path
    photos: Path
    unseen: Path
    newcomer: list[Path]
    strangers: list[Path]


def make(root: Path) -> MadeUp:
    """Draw photos of eight people, make a balanced set of seven, and train a run on it; all in the folder `root`."""
    _call(
        "-m",
        "augmentor.made_up.people",
        "--out",
        root,
        "--identities",
        8,
        "--photos",
        "5-5",
        "--strangers",
        170,
    )
    people = sorted((root / "photos").iterdir())
    newcomer = people[-1].rename(root / "newcomer")
    _call(
        *(ROOT / "jobs" / "augment.py", "--data", root / "photos", "--out", root / "balanced"),
        *("--per-class", 12, "--hold-out", 1),
    )
    strangers = sorted((root / "strangers").iterdir())
    (root / "calibration").mkdir()
    for photo in strangers[:160]:
        photo.rename(root / "calibration" / photo.name)
    _call(
        *("-m", "identity.train", "--data", root / "balanced", "--out", root / "run", "--features", "dlib"),
        *("--strangers", root / "calibration"),
    )
    return MadeUp(
        root / "run",
        root / "photos",
        root / "balanced" / "holdout",
        sorted(newcomer.iterdir()),
        sorted((root / "strangers").iterdir()),
    )


def _call(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(run: Path, log: Path, options: Sequence[str] = ()) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run `identity.serve` and give its address and process when it is ready; at the end it gets SIGTERM."""
    port = free_port()
    words = [sys.executable, "-m", "identity.serve", "--model", str(run), "--port", str(port), *options]
    with log.open("w") as file:
        process = subprocess.Popen(
            words, cwd=ROOT, stderr=file, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            try:
                if requests.get(f"{url}/readyz", timeout=5).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
