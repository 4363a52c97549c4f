"""Workers that may die: what one was at is done by another, until all is done.

The pool gives a worker two units at a time, so that none waits for the driver, and draws further units only when one
has come back: nothing piles up, however many there are. A worker is an actor that loads its models once. When it dies
(killed, out of memory, its node lost), its units go to others, to be done with care: a unit that did it once may do it
again, and the worker then looks for the photo at fault (`jobs.balancing.careful_scan`). Ray's own retries are not
used, because
they do not know of that. Another worker is started for each that died; the work goes on with those that are there.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from augmentor.errors import InputError, LikenessError
from jobs.cluster.ray_session import cluster_cores, ray

IN_FLIGHT = 2  # units of a worker: one at work, one waiting
MOST_DEATHS = 12  # of workers with the same unit; a photo that crashes them is found after the first
_STARTS_IN_VAIN = 8  # one after the other
_LOOK_SECONDS = 10.0  # how often to look whether the cluster has grown
_DIED = (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)
_LOST = (ray.exceptions.ObjectLostError, ray.exceptions.WorkerCrashedError)

Unit = TypeVar("Unit")


@dataclass(eq=False)
class _Worker:
    """An actor; `units` are those it has."""

    actor: Any
    ready: bool = False
    units: int = 0


@dataclass
class _Task(Generic[Unit]):
    unit: Unit
    deaths: int = 0


@dataclass
class Losses:
    """What died on the way."""

    workers: int = 0
    units_again: int = 0
    started_in_vain: int = 0
    told: list[str] = field(default_factory=list)


class WorkerPool(Generic[Unit]):
    """Runs units on actors.

    Args:
        start: starts an actor, which has `ready()`, called once, and `run(unit, careful)`. Both may return a
            `LikenessError`, which is raised here.
        workers: how many; None for one per core of the cluster, also of those that join it later.
        name: what a unit is called in messages.
    """

    def __init__(self, start: Callable[[], Any], workers: int | None, name: Callable[[Unit], str]) -> None:
        self._start = start
        self._wanted = workers
        self._name = name
        self._workers: list[_Worker] = []
        self._waiting: deque[_Task[Unit]] = deque()
        self._running: dict[Any, tuple[_Worker, _Task[Unit] | None]] = {}
        self._looked_at = 0.0
        self.losses = Losses()

    def run(self, units: Iterator[Unit], done: Callable[[Any], None]) -> None:
        """Run all units; `done` gets what each gives, in whatever order.

        Raises:
            LikenessError: a worker returned it.
            InputError: workers die again and again.
        """
        self._grow()
        try:
            while True:
                self._fill(units)
                if not any(task for _, task in self._running.values()) and not self._waiting:
                    if (task := next(units, None)) is None:
                        return
                    self._waiting.append(_Task(task))
                finished, _ = ray.wait(list(self._running), num_returns=1, timeout=_LOOK_SECONDS)
                if time.monotonic() - self._looked_at > _LOOK_SECONDS:
                    self._grow()
                for reference in finished:
                    self._receive(reference, done)
        finally:
            for worker in self._workers:
                ray.kill(worker.actor)

    def _grow(self) -> None:
        """Start workers until there are as many as wanted."""
        self._looked_at = time.monotonic()
        while len(self._workers) < (self._wanted or cluster_cores()):
            worker = _Worker(self._start())
            self._workers.append(worker)
            self._running[worker.actor.ready.remote()] = worker, None

    def _fill(self, units: Iterator[Unit]) -> None:
        """Give every worker that is ready what it can hold, those with least first."""
        while free := [w for w in self._workers if w.ready and w.units < IN_FLIGHT]:
            if self._waiting:
                task = self._waiting.popleft()
            elif (unit := next(units, None)) is not None:
                task = _Task(unit)
            else:
                return
            worker = min(free, key=lambda one: one.units)
            worker.units += 1
            self._running[worker.actor.run.remote(task.unit, task.deaths > 0)] = worker, task

    def _receive(self, reference: Any, done: Callable[[Any], None]) -> None:
        if reference not in self._running:
            return  # of a worker given up meanwhile
        worker, task = self._running.pop(reference)
        try:
            result = ray.get(reference)
        except _DIED as error:
            self._bury(worker, task, str(error).strip().splitlines()[0])
            return
        except _LOST:
            worker.units -= 1
            self._again(task)
            return
        if isinstance(result, LikenessError):
            raise result
        if task is None:
            worker.ready = True
            self.losses.started_in_vain = 0
            return
        worker.units -= 1
        done(result)

    def _bury(self, worker: _Worker, task: _Task[Unit] | None, why: str) -> None:
        """Take back what a dead worker had, and start another."""
        with suppress(ValueError):
            self._workers.remove(worker)
        ray.kill(worker.actor)  # if it is only out of reach, nobody waits for it any more
        self.losses.workers += 1
        self.losses.told.append(why)
        lost = [reference for reference, (of, _) in self._running.items() if of is worker]
        for one in [task, *(self._running.pop(reference)[1] for reference in lost)]:
            self._again(one, died=True)
        if not worker.ready:
            self.losses.started_in_vain += 1
            if self.losses.started_in_vain > _STARTS_IN_VAIN:
                raise InputError(f"workers die as soon as they start ({why}); start the job again")
        self._grow()

    def _again(self, task: _Task[Unit] | None, died: bool = False) -> None:
        if task is None:
            return
        task.deaths += died
        self.losses.units_again += 1
        if task.deaths > MOST_DEATHS:
            raise InputError(
                f"{self._name(task.unit)}: {task.deaths} workers died with it ({self.losses.told[-1]}); if memory is "
                "short, use fewer --workers; start the job again, it goes on from here"
            )
        self._waiting.appendleft(task)


def actor_options(cores: float = 1) -> dict[str, Any]:
    """For `ray.remote`: spread over the nodes, and left to the pool when it dies."""
    return {
        "num_cpus": cores,
        "max_restarts": 0,
        "max_task_retries": 0,
        "scheduling_strategy": "SPREAD",
    }


def on_this_node() -> Any:
    """A place for an actor: the node of this process."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)


def deaths_told(losses: Losses) -> Sequence[str]:
    """Why workers died, each reason once, at most five."""
    return list(dict.fromkeys(losses.told))[:5]
