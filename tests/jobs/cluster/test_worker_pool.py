"""Tests of `jobs.cluster.worker_pool` and `jobs.balancing.view_shelf`: workers that die, refuse or start slowly."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from augmentor.errors import InputError
from augmentor.views.view_set import load_view_set
from jobs.balancing import view_shelf
from jobs.balancing.view_shelf import SharedViews, ViewShelf
from jobs.cluster.ray_session import ray
from jobs.cluster.worker_pool import MOST_DEATHS, WorkerPool, actor_options

pytestmark = pytest.mark.ray


class Worker:
    """Squares numbers. Dies on odd ones unless careful, always dies on 13, and refuses 99."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ready(self) -> None:
        """Do nothing, because there is nothing to load."""

    def run(self, unit: int, careful: bool) -> Any:
        with (self._folder / f"{unit}").open("a") as tries:
            tries.write("x")
        if unit == 13 or (unit % 2 and not careful):
            os.kill(os.getpid(), signal.SIGKILL)
        return InputError("99 is too much") if unit == 99 else (unit, unit**2)


@pytest.fixture
def pool(two_cpu_ray: None, tmp_path: Path) -> WorkerPool[int]:
    actor = ray.remote(**actor_options(cores=0.5))(Worker)
    return WorkerPool(lambda: actor.remote(tmp_path), 2, lambda unit: f"unit {unit}")


def test_every_unit_is_done_once_though_workers_die(pool: WorkerPool[int], tmp_path: Path) -> None:
    results: list[tuple[int, int]] = []
    pool.run(iter([0, 1, 2, 4, 6, 7, 8]), results.append)
    assert sorted(results) == [(n, n * n) for n in (0, 1, 2, 4, 6, 7, 8)]
    # Workers died on 1 and 7. Each may have taken along a unit that waited, and 7 may itself have waited behind 1.
    assert 1 <= pool.losses.workers <= 2 * 2
    assert pool.losses.units_again >= 2


def test_units_are_drawn_only_as_fast_as_they_are_done(pool: WorkerPool[int]) -> None:
    drawn, done, most = 0, 0, 0

    def units() -> Any:
        nonlocal drawn, most
        for unit in range(0, 80, 2):
            drawn += 1
            most = max(most, drawn - done)
            yield unit

    def received(_: Any) -> None:
        nonlocal done
        done += 1

    pool.run(units(), received)
    assert done == 40 and most <= 2 * 2 + 1


def test_what_a_worker_refuses_stops_the_run_in_one_line(pool: WorkerPool[int]) -> None:
    with pytest.raises(InputError, match="99 is too much"):
        pool.run(iter([0, 99]), lambda result: None)


def test_a_unit_that_always_kills_is_given_up(pool: WorkerPool[int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"unit 13: {MOST_DEATHS + 1} workers died with it"):
        pool.run(iter([13]), lambda result: None)
    assert len((tmp_path / "13").read_text()) == MOST_DEATHS + 1


def test_nothing_to_do_ends_at_once(pool: WorkerPool[int]) -> None:
    pool.run(iter([]), lambda result: pytest.fail("there were no units"))


@ray.remote(num_cpus=0.5)
class Reader:
    """An actor that needs views."""

    def __init__(self, shelf: Any) -> None:
        self._views = SharedViews(load_view_set("built-in", 32, 0), shelf)

    def pid(self) -> int:
        return os.getpid()

    def checksums(self, count: int) -> dict[str, float]:
        keys = load_view_set("built-in", 32, 0).keys[:count]
        return {name: float(view.position.sum()) for name, view in self._views.views(keys).items()}


def test_views_are_shared_outlive_their_maker_and_are_made_again_when_the_shelf_is_gone(
    two_cpu_ray: None,
) -> None:
    view_set = load_view_set("built-in", 32, 0)
    own = {key.name: float(view_set.view(key).position.sum()) for key in view_set.keys[:6]}
    shelf = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ViewShelf).remote()
    first, second = Reader.remote(shelf), Reader.remote(shelf)
    assert ray.get([first.checksums.remote(6), second.checksums.remote(6)]) == [own, own]
    assert ray.get(shelf.claim.remote(sorted(own)))[1] == []  # all are there, so the caller has to make none
    os.kill(ray.get(first.pid.remote()), signal.SIGKILL)
    assert ray.get(shelf.claim.remote(sorted(own)))[1] == []
    assert ray.get(Reader.remote(shelf).checksums.remote(6)) == own
    ray.kill(shelf, no_restart=False)
    assert ray.get(Reader.remote(shelf).checksums.remote(6)) == own


def test_a_worker_goes_on_with_the_views_it_made_when_the_shelf_is_dead(
    two_cpu_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_shelf, "_PATIENCE_SECONDS", 1.5)
    view_set = load_view_set("built-in", 32, 0)
    shelf = ray.remote(num_cpus=0)(ViewShelf).remote()
    views = SharedViews(view_set, shelf)
    made = views.views(view_set.keys[:10])
    ray.wait(list(views._putting), num_returns=len(views._putting), timeout=30)  # all are on the shelf
    assert len(views._putting) >= 6
    ray.kill(shelf)
    began = time.monotonic()
    again = views.views(view_set.keys[:10])
    assert time.monotonic() - began < 3 * 1.5
    assert again.keys() == made.keys()
    assert all((again[name].position == made[name].position).all() for name in made)
