"""Measure how the augment job scales: `python -m benchmarks.scale --data DIR [--what photos,workers,ways] [--json]`.

    photos      the job over the first 1,000, 4,000 and 16,000 photos of DIR, as Parquet shards, with all cores; people
                are repeated under other names if there are too few. Seconds, photos a second, and the largest memory
                that the driver and the largest worker had to themselves (USS, sampled every second)
    workers     the same work (`--identities` people) by one and by two processes of one core without Ray (what these
                cores can do; each makes the views for itself), by the job with one and with two workers on one machine,
                and by the job on two nodes of one core each (`ray.cluster_utils`; they share this machine with Ray's
                own processes). Seconds without the start of Ray and models, which is measured with one person
    ways        the partitions of that work through `jobs.cluster.worker_pool` and through Ray Data (`map_batches` with
                actors), with Ray started in both. Seconds

Figures are medians of `--rounds`, in which the variants take turns.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from threadpoolctl import threadpool_limits

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_identities
from augmentor.views.view import View
from augmentor.views.view_key import ViewKey
from augmentor.views.view_set import ViewSet, load_view_set

PHOTOS = (1000, 4000, 16000)
PARTS = ("photos", "workers", "ways")
_MB = 1e6


def repeated(people: dict[str, list[Path]], photos: int, folder: Path) -> int:
    """Link people into a folder, repeated under numbered names, until there are enough photos; return their number."""
    folder.mkdir(parents=True)
    count, round_ = 0, 0
    while True:
        for name, own in people.items():
            if count >= photos:
                return count
            (folder / (name if not round_ else f"{name}~{round_}")).symlink_to(own[0].parent.resolve())
            count += len(own)
        round_ += 1


class MemoryWatch:
    """Records the largest memory, in MB, that a job's driver and the largest of its workers had to themselves."""

    def __init__(self, pid: int) -> None:
        self.driver, self.worker = 0.0, 0.0
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            try:
                self.driver = max(self.driver, self._process.memory_full_info().uss / _MB)
                for child in self._process.children(recursive=True):
                    if child.cmdline() and child.cmdline()[0].startswith("ray::_PartitionActor"):
                        self.worker = max(self.worker, child.memory_full_info().uss / _MB)
            except psutil.Error:
                continue  # a process ended meanwhile

    def stop(self) -> None:
        """Stop recording."""
        self._stop.set()
        self._thread.join()


def job(
    data: Path, out: Path, options: argparse.Namespace, *more: str, **environment: str
) -> dict[str, float]:
    """Run the command; return its seconds, and the memory of driver and worker in MB.

    Raises:
        InputError: the command failed.
    """
    command = [sys.executable, "jobs/augment.py", "--data", str(data), "--out", str(out), "--max-failed", "1"]
    command += ["--per-class", str(options.per_class), *more]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        watch = MemoryWatch(process.pid)
        errors = process.stderr.read() if process.stderr else ""
    watch.stop()
    if process.returncode not in (0, 1):
        raise InputError(errors.strip().splitlines()[-1])
    return {"seconds": time.perf_counter() - started, "driver_mb": watch.driver, "worker_mb": watch.worker}


def by_photos(
    people: dict[str, list[Path]], folder: Path, options: argparse.Namespace
) -> list[dict[str, float]]:
    """Measure `photos`, see the module."""
    rows = []
    for wanted in options.photos:
        data = folder / f"photos{wanted}"
        count = repeated(people, wanted, data)
        figures = job(data, folder / f"out{wanted}", options, "--format", "parquet")
        rows.append({"photos": count, **figures, "photos_per_second": count / figures["seconds"]})
        print(rows[-1], file=sys.stderr)
    return rows


def without_ray(data: Path, out: Path, options: argparse.Namespace, processes: int) -> float:
    """Divide all partitions among independent processes of one core; return the seconds without loading models."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes + 1, timeout=120)
    own = [
        context.Process(target=_share_of_work, args=(data, out / f"share{k}", options, k, processes, ready))
        for k in range(processes)
    ]
    for process in own:
        process.start()
    ready.wait()
    started = time.perf_counter()
    for process in own:
        process.join()
    seconds = time.perf_counter() - started
    if any(process.exitcode for process in own):
        raise InputError("a process failed; see above")
    return seconds


class _OwnViews:
    """Makes views where they are needed, and keeps them."""

    def __init__(self, view_set: ViewSet) -> None:
        self._view_set = view_set
        self._made: dict[str, View] = {}

    def views(self, keys: Iterable[ViewKey]) -> dict[str, View]:
        wanted = {key.name: key for key in keys}
        for name in wanted.keys() - self._made.keys():
            self._made[name] = self._view_set.view(wanted[name])
        return {name: self._made[name] for name in wanted}


def _share_of_work(
    data: Path, out: Path, options: argparse.Namespace, number: int, of: int, ready: Any
) -> None:
    from jobs.balancing.partition_worker import PartitionWorker

    view_set = load_view_set("built-in", 150, 0)
    worker = PartitionWorker(settings_of(data, out, options), view_set, _OwnViews(view_set))
    # Otherwise BLAS would keep other cores busy with waiting, which it does not in Ray's workers.
    with threadpool_limits(1):
        ready.wait()
        for partition in partitions(data, options)[number::of]:
            worker.run(partition)


def settings_of(data: Path, out: Path, options: argparse.Namespace) -> Any:
    """Return the settings of the set, as the job has them."""
    from jobs.balancing.partition_worker import SetSettings
    from jobs.balancing.photo_worker import RenderSettings

    return SetSettings(
        str(data), str(out), options.per_class, 0, "folder", (), RenderSettings(150, 0, "central")
    )


def partitions(data: Path, options: argparse.Namespace) -> Any:
    """Return the partitions of the people in `data`, as the job deals them."""
    from jobs.balancing.augment_job import FOLDER_IMAGES
    from jobs.balancing.partition import partitions_of

    return partitions_of(list(list_identities(data)), options.per_class, FOLDER_IMAGES)


@contextmanager
def two_nodes() -> Any:
    """Start a cluster of a head without cores and two nodes of one core each, and yield its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=400_000_000)
        yield cluster.address
    finally:
        cluster.shutdown()


def by_workers(people: dict[str, list[Path]], folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Measure `workers`, see the module."""
    some, one = folder / "some", folder / "one"
    for data, names in ((some, list(people)[: options.identities]), (one, list(people)[:1])):
        data.mkdir()
        for name in names:
            (data / name).symlink_to(people[name][0].parent.resolve())
    seconds: dict[str, list[float]] = {}
    for number in range(options.rounds):
        out = folder / f"round{number}"
        for processes in (1, 2):
            alone = without_ray(some, out / f"alone{processes}", options, processes)
            seconds.setdefault(f"{processes} processes", []).append(alone)
        for workers in (1, 2):
            more = ("--workers", str(workers))
            start = job(one, out / f"start{workers}", options, *more)["seconds"]
            whole = job(some, out / f"job{workers}", options, *more)["seconds"]
            seconds.setdefault(f"{workers} workers", []).append(whole - start)
        with two_nodes() as address:
            start = job(one, out / "start-nodes", options, RAY_ADDRESS=address)["seconds"]
            whole = job(some, out / "job-nodes", options, RAY_ADDRESS=address)["seconds"]
        seconds.setdefault("2 nodes", []).append(whole - start)
        print({name: round(times[-1], 1) for name, times in seconds.items()}, file=sys.stderr)
    return {name: statistics.median(times) for name, times in seconds.items()}


def by_ways(people: dict[str, list[Path]], folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Measure `ways`, see the module."""
    from jobs.balancing.augment_job import _PartitionActor
    from jobs.balancing.view_shelf import ViewShelf
    from jobs.cluster.ray_session import ray, ray_session
    from jobs.cluster.worker_pool import WorkerPool, actor_options

    some = folder / "some-ways"
    some.mkdir()
    for name in list(people)[: options.identities]:
        (some / name).symlink_to(people[name][0].parent.resolve())
    units: list[Any] = [(partition, []) for partition in partitions(some, options)]

    class Stage(_PartitionActor):
        """A partition worker that Ray Data can call."""

        def __init__(self, out: str, shelf: Any) -> None:
            super().__init__(settings_of(some, Path(out), options), shelf)
            self.ready()

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            done: list[Any] = [self.run(units[number], False) for number in batch["item"]]
            return {"made": [one.made for one in done]}

    def pool(out: Path, shelf: Any) -> int:
        actor = ray.remote(**actor_options())(_PartitionActor)
        made = []
        workers: WorkerPool[Any] = WorkerPool(
            lambda: actor.remote(settings_of(some, out, options), shelf), 2, str
        )
        workers.run(iter(units), lambda done: made.append(done.made))
        return sum(made)

    def data(out: Path, shelf: Any) -> int:
        ray.data.DataContext.get_current().enable_progress_bars = False
        results = ray.data.from_items(list(range(len(units)))).map_batches(
            Stage, fn_constructor_args=(str(out), shelf), batch_size=1, concurrency=2, num_cpus=1
        )
        return int(sum(row["made"] for row in results.iter_rows()))

    ways: dict[str, Callable[[Path, Any], int]] = {"worker pool": pool, "Ray Data": data}
    seconds: dict[str, list[float]] = {}
    with ray_session(2):
        for number in range(options.rounds):
            for name, way in ways.items():
                shelf = ray.remote(num_cpus=0)(ViewShelf).remote()
                started = time.perf_counter()
                made = way(folder / f"{name}{number}", shelf)
                seconds.setdefault(name, []).append(time.perf_counter() - started)
                if made != options.identities * options.per_class:
                    raise InputError(f"{name}: {made} images made")
            print({name: round(times[-1], 1) for name, times in seconds.items()}, file=sys.stderr)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="one folder of photos per person")
    parser.add_argument(
        "--what",
        type=lambda text: text.split(","),
        default=list(PARTS),
        help=f"what to measure: some of {', '.join(PARTS)}, separated by commas (all)",
    )
    parser.add_argument(
        "--photos",
        type=lambda text: [int(n) for n in text.split(",")],
        default=list(PHOTOS),
        help="numbers of photos, separated by commas",
    )
    parser.add_argument(
        "--identities", type=int, default=120, help="people for workers and ways (%(default)s)"
    )
    parser.add_argument("--per-class", type=int, default=16, help="images of each person (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    measures = {"photos": by_photos, "workers": by_workers, "ways": by_ways}
    if unknown := set(options.what) - measures.keys():
        parser.error(f"--what {', '.join(sorted(unknown))}: must be some of {', '.join(PARTS)}")
    result: dict[str, Any] = {}
    try:
        people = {name: own for name, own in list_identities(options.data).items() if own}
        with tempfile.TemporaryDirectory() as folder:
            for what in options.what:
                (Path(folder) / what).mkdir()
                result[what] = measures[what](people, Path(folder) / what, options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    for what, figures in result.items():
        for row in figures if isinstance(figures, list) else [figures]:
            print(what, "  ".join(f"{name} {value:.4g}" for name, value in row.items()))
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
