"""Tests of `jobs.cluster.ray_session` and `jobs.cluster.session_folder`: where Ray runs, and what it leaves behind."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augmentor.errors import InputError
from jobs.cluster import ray_session, session_folder
from jobs.cluster.session_folder import LONGEST, PREFIX

ROOT = Path(__file__).parents[3]
START = (
    "import os, sys\n"
    "from jobs.cluster.ray_session import ray, ray_session\n"
    "with ray_session(1):\n"
    "    folder = ray._private.worker._global_node.get_session_dir_path()\n"
    "    top = os.path.dirname(os.path.dirname(folder))\n"
    "    print(top, oct(os.stat(top).st_mode & 0o777), ray.get(ray.remote(lambda: 7).remote()), flush=True)\n"
    "    if len(sys.argv) > 1: os.kill(os.getpid(), 9)\n"
)


def start(*more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | environment
    return subprocess.run(
        [sys.executable, "-c", START, *more], cwd=ROOT, env=own, capture_output=True, text=True, check=False
    )


@pytest.mark.ray
def test_ray_starts_with_a_long_tmpdir_in_a_private_folder_that_goes(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 85)
    long.mkdir()
    done = start(TMPDIR=str(long))
    assert done.returncode == 0, done.stderr
    folder, mode, answer = done.stdout.split()
    assert (mode, answer) == ("0o700", "7") and Path(folder).name.startswith(PREFIX)
    assert not Path(folder).exists() and not list(long.iterdir())


@pytest.mark.ray
def test_the_folder_of_a_killed_job_is_removed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path("/tmp") / f"lk{os.getpid()}"
    short.mkdir()
    try:
        killed = start("kill", RAY_TMPDIR=str(short))
        folder = Path(killed.stdout.split()[0])
        assert killed.returncode == -9 and folder.is_dir() and folder.parent == short
        monkeypatch.setenv("RAY_TMPDIR", str(short))
        with session_folder.session_folder() as other:
            assert not folder.exists()
            with session_folder.session_folder() as third:  # one that is in use stays
                assert other.parent.is_dir() and third.parent != other.parent
        assert not list(short.iterdir())
    finally:
        shutil.rmtree(short, ignore_errors=True)


def test_an_error_names_the_way_out_if_no_folder_has_a_short_enough_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session_folder, "LONGEST", 5)
    with (
        pytest.raises(InputError, match="set RAY_TMPDIR to a folder with a short path"),
        session_folder.session_folder(),
    ):
        pass
    assert LONGEST + 68 <= 107


def test_a_cluster_that_does_not_answer_is_reported_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(ray_session, "ANSWER_SECONDS", 1.5)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session.ray, "init", lambda **_: pytest.fail("Ray was started"))
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", f"no-such-host.invalid:{port}"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        started = time.monotonic()
        with (
            pytest.raises(
                InputError, match=f"RAY_ADDRESS={address}: no cluster answers there .*unset RAY_ADDRESS"
            ),
            ray_session.ray_session(1),
        ):
            pass
        assert time.monotonic() - started < 20
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(InputError, match="that is for `ray job submit`"), ray_session.ray_session(1):
        pass


def test_a_cluster_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ray_session.require_answer(f"127.0.0.1:{server.getsockname()[1]}")
    for address in ("auto", "local", ""):
        ray_session.require_answer(address)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert ray_session.cluster_address() == ""
