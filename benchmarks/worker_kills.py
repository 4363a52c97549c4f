"""Check what remains of a job whose workers are killed repeatedly: `python -m benchmarks.worker_kills --data DIR`.

The job runs twice over the first people of DIR: undisturbed, and with SIGKILL sent to a random process among all that
work for it (workers, the shelf of views) each time another share of the images is done, `--kills` times in total. Then
both outputs are compared file by file. Prints a line per kill, and the result; `--json` prints one object.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import InputError, LikenessError
from augmentor.photos.file_kinds import PARTIAL_PREFIX
from augmentor.photos.images import list_identities

VICTIMS = "ray::_PartitionActor|ray::ViewShelf"
OWN = ("lock", "summary.json")


@dataclass(frozen=True)
class Kill:
    """One kill: the number of images on disk, the seconds since the start, and what the process was."""

    images: int
    seconds: float
    victim: str


def images_in(out: Path) -> int:
    """Return the number of images on disk."""
    return sum(path.parent.name != "report" for path in out.glob("*/*.jpg"))


def victims(job: int) -> list[tuple[int, str]]:
    """Return the processes of the job's own Ray that may be killed: process id and name."""
    listed = subprocess.run(["pgrep", "-af", VICTIMS], capture_output=True, text=True, check=False)
    processes = []
    for line in sorted(listed.stdout.splitlines()):
        pid, _, name = line.partition(" ")
        if name.startswith("ray::") and _descends(int(pid), job):
            processes.append((int(pid), name.removeprefix("ray::").split(".")[0]))
    return processes


def _descends(pid: int, ancestor: int) -> bool:
    """Return whether a process is a descendant of another."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def run_job(data: Path, out: Path, per_class: int, kills: int, seed: int) -> tuple[float, list[Kill]]:
    """Run the job while killing processes; return the seconds it took, and what was killed.

    Raises:
        InputError: the job failed.
    """
    command = [sys.executable, "jobs/augment.py", "--data", str(data), "--out", str(out)]
    command += ["--per-class", str(per_class), "--max-failed", "1"]
    total = len(list_identities(data)) * per_class
    lots = random.Random(seed)
    done: list[Kill] = []
    started = time.perf_counter()
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as job,
        tqdm(total=kills, desc=f"{kills} kills", unit="kill", disable=not kills) as bar,
    ):
        while job.poll() is None:
            due = len(done) < kills and images_in(out) >= total * (len(done) + 0.5) / (kills + 1)
            if due and (processes := victims(job.pid)):
                pid, name = lots.choice(processes)
                os.kill(pid, signal.SIGKILL)
                done.append(Kill(images_in(out), round(time.perf_counter() - started, 1), name))
                bar.update()
            time.sleep(0.1)
        errors = job.stderr.read() if job.stderr else ""
    if job.returncode != 0:
        raise InputError(f"the job ended with {job.returncode}: {errors.strip().splitlines()[-1:]}")
    return time.perf_counter() - started, done


def compare(undisturbed: Path, disturbed: Path) -> dict[str, int]:
    """Count files that are missing, extra, different or half-written, and images that are in the manifest twice."""
    one, other = (
        {p.relative_to(out).as_posix(): p for p in out.rglob("*") if p.is_file() and p.name not in OWN}
        for out in (undisturbed, disturbed)
    )
    listed = Counter(read_manifest(disturbed / "manifest.parquet")["file"].to_pylist())
    return {
        "images": len(listed),
        "missing": len(one.keys() - other.keys()),
        "further": len(other.keys() - one.keys()),
        "different": sum(
            one[name].read_bytes() != other[name].read_bytes() for name in one.keys() & other.keys()
        ),
        "twice": sum(count > 1 for count in listed.values()),
        "half_written": sum(path.name.startswith(PARTIAL_PREFIX) for path in other.values()),
    }


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Run the job both ways and compare the results."""
    people = list_identities(options.data)
    needed = -(-options.images // options.per_class)
    if len(people) < needed:
        raise InputError(
            f"{options.data}: has {len(people)} people, but {options.images} images need {needed} people"
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        some = folder / "some"
        some.mkdir()
        for name in list(people)[:needed]:
            (some / name).symlink_to((options.data / name).resolve())
        calm, _ = run_job(some, folder / "calm", options.per_class, 0, options.seed)
        wild, kills = run_job(some, folder / "wild", options.per_class, options.kills, options.seed)
        this_run = json.loads((folder / "wild" / "summary.json").read_text())["this_run"]
        return {
            "seconds_undisturbed": round(calm, 1),
            "seconds": round(wild, 1),
            "kills": [asdict(kill) for kill in kills],
            "workers_died": this_run["workers_died"],
            "partitions_done_again": this_run["partitions_done_again"],
            **compare(folder / "calm", folder / "wild"),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.worker_kills", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="one folder of photos per person")
    parser.add_argument("--images", type=int, default=20_000, help="number of images (%(default)s)")
    parser.add_argument("--per-class", type=int, default=128, help="images of each person (%(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="number of kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of victims (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    kills = result["kills"]
    assert isinstance(kills, list)
    print("| kill | seconds | images there | victim |\n|---|---|---|---|")
    for number, kill in enumerate(kills, 1):
        print(f"| {number} | {kill['seconds']} | {kill['images']} | {kill['victim']} |")
    for name, value in result.items():
        if name != "kills":
            print(f"{name:24}{value}")
    if options.json:
        print(json.dumps(result))
    lost = ("missing", "further", "different", "twice", "half_written")
    return int(any(result[name] for name in lost))


if __name__ == "__main__":
    sys.exit(main())
