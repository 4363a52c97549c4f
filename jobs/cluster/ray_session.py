"""Start Ray for a job, or connect to a cluster.

Without a cluster, a job starts a Ray of its own on this machine and stops it at the end. If `RAY_ADDRESS` is in the
environment (`ray job submit` sets it, and so does `jobs/cluster.yaml`), the job uses that cluster.
"""

import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

# Ray reads this when it is imported; without it, Ray warns on every machine without a GPU.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# By default Ray sends usage statistics to its makers every hour.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A token keeps everybody else out of a Ray that is started here. Ray would make one itself, but leave it in the home
# folder; from then on clusters that are started by hand would ask for it and turn `ray job submit` away.
if not {"RAY_ADDRESS", "RAY_AUTH_MODE"} & os.environ.keys() and "ray" not in sys.modules:
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

import ray  # imported only here; other modules take it from this one, so that Ray finds its settings

from augmentor.errors import InputError
from jobs.cluster.session_folder import session_folder

ANSWER_SECONDS = 10.0  # how long a cluster may take to answer, because its head may be starting
OBJECT_STORE_BYTES = 1_500_000_000  # views take 0.3 GB at 150 px, photos in flight take less


def is_submitted_job() -> bool:
    """Return whether `ray job submit` started this process, in a copy of the working directory."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextmanager
def ray_session(workers: int | None) -> Iterator[int]:
    """Connect to Ray for as long as the context lasts, and yield the number of workers to start.

    If this process is connected to Ray already, that connection is used and left as it is.

    Args:
        workers: number of workers; None for one per CPU.

    Raises:
        InputError: Ray does not start, or no cluster answers at `RAY_ADDRESS`.
    """
    if ray.is_initialized():
        yield workers or cluster_cores()
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    with ExitStack() as stack:
        if address := cluster_address():
            require_answer(address)
            settings: dict[str, Any] = {}
        else:
            settings = {
                "address": "local",
                "num_cpus": workers or _cores(),
                "num_gpus": 0,
                "include_dashboard": False,
                "object_store_memory": _object_store_bytes(),
                "_temp_dir": str(stack.enter_context(session_folder())),
            }
        try:
            ray.init(**quiet, **settings)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            raise InputError(f"Ray does not start: {error}") from error
        stack.callback(ray.shutdown)
        yield workers or cluster_cores()


def cluster_address() -> str:
    """Return the address of the cluster to work on; empty if the job has to start a Ray of its own."""
    address = os.environ.get("RAY_ADDRESS", "")
    return "" if address == "local" else address


def require_answer(address: str) -> None:
    """Connect to the port of a cluster to see that it answers; Ray itself would try for a quarter of an hour.

    Raises:
        InputError: nothing answers at the address.
    """
    place = address.removeprefix("ray://")
    if "://" in place:
        raise InputError(
            f"RAY_ADDRESS={address}: that is for `ray job submit`; to start a job from here use HOST:6379, or unset it"
        )
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        return  # `auto` and the like, which Ray resolves
    until = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS / 2):
                return
        except (OSError, OverflowError) as error:
            if time.monotonic() + 1 > until:
                reason = getattr(error, "strerror", None) or error
                raise InputError(
                    f"RAY_ADDRESS={address}: no cluster answers there ({reason}); start it, or unset "
                    "RAY_ADDRESS to work on this machine alone"
                ) from error
        time.sleep(1)


def cluster_cores() -> int:
    """Return the number of cores of all nodes."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _cores() -> int:
    """Return the number of cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _object_store_bytes() -> int:
    """Return the size of Ray's object store: at most half of the free shared memory."""
    try:
        shared = os.statvfs("/dev/shm")
    except OSError:
        return OBJECT_STORE_BYTES
    return max(100_000_000, min(OBJECT_STORE_BYTES, shared.f_bavail * shared.f_frsize // 2))
