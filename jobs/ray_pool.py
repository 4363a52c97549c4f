"""Ray for the jobs: where it runs, and workers that are never given more than they can hold.

Alone, a job starts a Ray of its own on this machine and stops it at the end. With `RAY_ADDRESS` in the environment
(`ray job submit` sets it, `jobs/cluster.yaml` does) it uses the cluster that is there.
"""

import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Ray reads this when it is imported; without it, it warns on every machine without a GPU.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Ray tells its makers how it is used, every hour, unless it is told not to.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# And these: let nobody else into a Ray that is started here. Ray would do so by itself, but with a token that it leaves
# in the home folder; from then on clusters started by hand ask for it, and `ray job submit` is turned away.
if not {"RAY_ADDRESS", "RAY_AUTH_MODE"} & os.environ.keys() and "ray" not in sys.modules:
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

import ray  # here only: others take it from this module, so that Ray finds its settings

from augmentor.errors import InputError, LikenessError

OBJECT_STORE_BYTES = 1_500_000_000  # views take 0.3 GB at 150 px, photos in flight less
IN_FLIGHT = 2  # calls per worker: one at work, one waiting, so that no worker waits for the driver


def is_submitted_job() -> bool:
    """Whether this process was started by `ray job submit`, in a copy of the working directory."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextmanager
def ray_session(workers: int | None) -> Iterator[int]:
    """Ray, for as long as the context lasts; gives the number of workers to start.

    Where this process is connected to Ray already, that is used and left as it is.

    Args:
        workers: how many; None for one per CPU.

    Raises:
        InputError: Ray does not start, or there is no cluster at `RAY_ADDRESS`.
    """
    if ray.is_initialized():
        yield workers or _cluster_cores()
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            ray.init(
                address="local",
                num_cpus=workers or _cores(),
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=_object_store_bytes(),
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise InputError(f"Ray does not start: {error}") from error
    try:
        yield workers or _cluster_cores()
    finally:
        ray.shutdown()


def _cluster_cores() -> int:
    """The cores of all nodes."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _object_store_bytes() -> int:
    """As much as needed, but no more than half of the shared memory that is free."""
    try:
        shared = os.statvfs("/dev/shm")
    except OSError:
        return OBJECT_STORE_BYTES
    return max(100_000_000, min(OBJECT_STORE_BYTES, shared.f_bavail * shared.f_frsize // 2))


@contextmanager
def ray_errors() -> Iterator[None]:
    """Turn what Ray makes of an error into the error itself, where it is meant for the user.

    Raises:
        LikenessError: the one a worker raised.
        InputError: a worker died again and again.
    """
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LikenessError):
            raise error.cause from None
        raise
    except (
        ray.exceptions.RayActorError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    ) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"a worker died and could not be replaced ({first}); if memory is short, use fewer --workers; "
            "start the job again, it goes on from here"
        ) from error


@dataclass(frozen=True)
class Call:
    """One call for a worker.

    `arguments` is asked when the call goes out. With `results` 2 the second result stays in the object store: `sent`
    gets the reference to it at once. `done` gets the first result when it is there, and that reference. A
    `LikenessError` as the first result is raised.
    """

    method: str
    arguments: Callable[[], tuple[Any, ...]]
    sent: Callable[[Any], None] | None = None
    done: Callable[[Any, Any], None] | None = None
    results: int = 1


class WorkerPool:
    """Runs calls on actors. Urgent calls go first; others are drawn from a source only when a worker is free.

    Args:
        actors: handles of equal actors.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = actors
        self._load = [0] * len(actors)
        self._urgent: deque[Call] = deque()
        self._running: dict[Any, tuple[Call, int, Any]] = {}

    def add_urgent(self, call: Call) -> None:
        """Run a call before any of the source."""
        self._urgent.append(call)

    def run(self, source: Iterator[Call]) -> None:
        """Run all calls of `source`, and those that become urgent meanwhile.

        Raises:
            LikenessError: a worker raised it.
        """
        with ray_errors():
            while True:
                self._fill(source)
                if not self._running:
                    return
                finished, _ = ray.wait(list(self._running), num_returns=1)
                if len(self._running) > 1:
                    finished, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
                for reference in finished:
                    call, actor, kept = self._running.pop(reference)
                    self._load[actor] -= 1
                    result = ray.get(reference)  # also where nobody wants it: errors come to light here
                    if isinstance(result, LikenessError):
                        raise result
                    if call.done:
                        call.done(result, kept)

    def _fill(self, source: Iterator[Call]) -> None:
        while min(self._load) < IN_FLIGHT:
            call = self._urgent.popleft() if self._urgent else next(source, None)
            if call is None:
                return
            actor = self._load.index(min(self._load))
            method = getattr(self._actors[actor], call.method)
            answer = method.options(num_returns=call.results).remote(*call.arguments())
            reference, kept = answer if call.results == 2 else (answer, None)
            if call.sent:
                call.sent(kept)
            self._running[reference] = (call, actor, kept)
            self._load[actor] += 1
