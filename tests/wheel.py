"""Install the wheel into a clean environment and call every command outside the checkout: `make test-wheel`.

The plain installation must do everything on one machine. What needs an extra has to say so in one line; then the extra
`server` is added and the server is asked whether it is ready.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from jobs.likeness import COMMANDS
from tests.pythons import install

_READY_SECONDS = 180.0
PEOPLE, RUN = "people/photos", "demo/run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test; returns 0 if everything works."""
    parser = argparse.ArgumentParser(prog="python -m tests.wheel", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("wheel", type=Path, help="the wheel, as make wheel builds it")
    parser.add_argument("--environment", type=Path, help="where to make the environment (a temporary folder)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="likeness-wheel-") as scratch:
        home = options.environment or Path(scratch, "environment")
        wheel = options.wheel.resolve()
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        install(home / "bin" / "python", [str(wheel)])
        folder = Path(scratch, "somewhere else")
        folder.mkdir()
        tried = Trial(home / "bin" / "likeness", folder)
        tried.plain()
        install(home / "bin" / "python", [f"likeness[server] @ {wheel.as_uri()}"])
        tried.server()
    print(f"{tried.passed} passed, {tried.failed} failed")
    return 1 if tried.failed else 0


class Trial:
    """Calls of the installed command, counted.

    Args:
        likeness: the installed command.
        folder: an empty folder to work in.
    """

    def __init__(self, likeness: Path, folder: Path) -> None:
        self._likeness, self._folder = likeness, folder
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.passed = self.failed = 0

    def plain(self) -> None:
        """Call every command of a plain installation, the demo first: the others use what it makes."""
        self.call("demo")
        words = ["--out", "people", "--identities", 2, "--photos", "2", "--strangers", 4]
        self.call("synthetic", *words, "--seed", 7)  # other people than those of the demo
        people = sorted((self._folder / PEOPLE).iterdir()) if (self._folder / PEOPLE).is_dir() else []
        photos = [photo for person in people for photo in sorted(person.iterdir())]
        if len(photos) != 4:
            self._count("synthetic", False, f"{len(photos)} photos instead of 4")
            return
        for name, words in smoke(photos).items():
            self.call(name, *words)
        self.call("serve", "--model", RUN, code=2, line="pip install 'likeness[server]'")
        self.call("preflight", "--cluster", "any.yaml", code=2, line="pip install 'likeness[cluster]'")
        missing = {command.name for command in COMMANDS} - {*smoke(photos), "demo", "synthetic", "serve"}
        self._count("every command is called", not missing, ", ".join(sorted(missing)))

    def call(self, name: str, *words: object, code: int = 0, line: str = "") -> None:
        """Call a command.

        Args:
            name: of the command.
            words: its arguments.
            code: the exit code that is right.
            line: the end of the one line on stderr that is right, if there has to be one.
        """
        started = time.monotonic()
        command = [str(self._likeness), name, *map(str, words)]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, env=self._environment, check=False
        )
        right = done.returncode == code
        if line:
            right = right and done.stderr.endswith(f"{line}\n") and done.stderr.count("\n") == 1
        said = "" if right else f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        self._count(f"likeness {name} ({time.monotonic() - started:.0f} s)", right, said)

    def server(self) -> None:
        """Start the server, wait until it says that it is ready, and end it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [str(self._likeness), "serve", "--model", RUN, "--port", str(port), "--workers", "1"]
        with subprocess.Popen(
            words, cwd=self._folder, stderr=subprocess.PIPE, text=True, env=self._environment
        ) as server:
            ready = _ready(f"http://127.0.0.1:{port}/readyz", server)
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=60)
        self._count("likeness serve answers /readyz and ends", ready and server.returncode == 0, said[-2000:])

    def _count(self, what: str, right: bool, said: str) -> None:
        self.passed += right
        self.failed += not right
        print(f"{'ok' if right else 'FAILED'}: {what}{'' if right else f': {said}'}", flush=True)


def smoke(photos: Sequence[Path]) -> dict[str, list[object]]:
    """Return arguments for commands, in an order in which they can be called after the demo.

    Args:
        photos: two photos of each of two people whom the demo's run does not know.
    """
    model = ["--model", RUN]
    return {
        "augment": ["--data", PEOPLE, "--out", "set", "--per-class", 4],
        "show": [photos[0], "--out", "sheet.jpg"],
        "lfw": ["--help"],
        "train": [
            *("--data", "demo/balanced", "--out", "run", "--features", "dlib"),
            *("--strangers", "demo/strangers_calibration"),
        ],
        "pretrain": ["--photos", "people/strangers", "--out", "weights.npz", "--cache-only"],
        "export": [*model, "--out", "exported"],
        "identify": [*model, photos[0], photos[2]],
        "verify": [photos[0], photos[1]],
        "identify-archive": [*model, "--data", "people/strangers", "--out", "names.parquet"],
        "evaluate": [*model, "--probes", "demo/balanced/holdout", "--json"],
        "people": model,
        "enrol": [*model, "--name", "Newcomer", photos[0].parent],
        "organise": [*model, PEOPLE, "albums"],
        "forget": [*model, "--name", "Newcomer"],
        "preflight": ["--here", "--data", PEOPLE],
        "models": ["--fetch"],
        "completion": ["bash"],
    }


def _ready(url: str, server: subprocess.Popen[str]) -> bool:
    until = time.monotonic() + _READY_SECONDS
    while server.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    return False


if __name__ == "__main__":
    sys.exit(main())
