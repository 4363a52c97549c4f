"""Run units of work on workers that may die; when one dies, others do its units, until all are done.

The pool gives a worker two units at a time, so that it never waits for the driver, and draws further units only when
one has come back. Nothing piles up, however many units there are. A worker is an actor that loads its models once. When
it dies (killed, out of memory, its node lost), its units go to other workers, marked as careful: the same unit may kill
again, so the worker isolates the photo at fault (`jobs.balancing.careful_scan`). Ray's own retries are not used,
because they do not pass this mark. A new worker is started for each that died; meanwhile the others go on.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from augmentor.errors import InputError, LikenessError
from jobs.cluster.ray_session import cluster_cores, ray

IN_FLIGHT = 2  # units of a worker: one that is done, one that waits
MOST_DEATHS = 12  # of workers with the same unit; a photo that crashes them is isolated after the first
_STARTS_IN_VAIN = 8  # workers that may die one after the other while starting
_LOOK_SECONDS = 10.0  # how often to check whether the cluster has grown
_DIED = (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)
_LOST = (ray.exceptions.ObjectLostError, ray.exceptions.WorkerCrashedError)

Unit = TypeVar("Unit")


@dataclass(eq=False)
class _Worker:
    """An actor; `units` is the number of units that it has."""

    actor: Any
    ready: bool = False
    units: int = 0


@dataclass
class _Task(Generic[Unit]):
    unit: Unit
    deaths: int = 0


@dataclass
class Losses:
    """Workers and units that were lost on the way.

    Attributes:
        workers: workers that died.
        units_again: units that were given to another worker.
        started_in_vain: workers that died one after the other while starting.
        causes: the first line of every worker's cause of death.
    """

    workers: int = 0
    units_again: int = 0
    started_in_vain: int = 0
    causes: list[str] = field(default_factory=list)


class WorkerPool(Generic[Unit]):
    """Runs units on actors.

    Args:
        start: starts an actor with the methods `ready()`, which is called once, and `run(unit, careful)`. Both may
            return a `LikenessError`, which is then raised here.
        workers: number of workers; None for one per core of the cluster, including nodes that join later.
        name: returns what messages call a unit.
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
        """Run all units.

        Args:
            units: the units, drawn one by one.
            done: called with the result of each unit, in any order.

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
        """Give units to all workers that are ready and have room, those with the fewest units first."""
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
            return  # the result of a worker that was given up meanwhile
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
        """Take back the units of a dead worker, and start another."""
        with suppress(ValueError):
            self._workers.remove(worker)
        ray.kill(worker.actor)  # if the worker is only unreachable, nobody waits for it any more
        self.losses.workers += 1
        self.losses.causes.append(why)
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
                f"{self._name(task.unit)}: {task.deaths} workers died with it ({self.losses.causes[-1]}); if memory is "
                "short, use fewer --workers; run the same command again to continue"
            )
        self._waiting.appendleft(task)


def actor_options(cores: float = 1) -> dict[str, Any]:
    """Return options for `ray.remote`: spread actors over the nodes, and leave deaths to the pool."""
    return {
        "num_cpus": cores,
        "max_restarts": 0,
        "max_task_retries": 0,
        "scheduling_strategy": "SPREAD",
    }


def on_this_node() -> Any:
    """Return the scheduling strategy that puts an actor on the node of this process."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)


def deaths_told(losses: Losses) -> Sequence[str]:
    """Return why workers died: each reason once, and at most five."""
    return list(dict.fromkeys(losses.causes))[:5]
