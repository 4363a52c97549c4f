"""What is left of a job whose workers are killed again and again: `python -m benchmarks.worker_kills --data DIR`.

The job runs twice over the first people of DIR: undisturbed, and with SIGKILL sent to a process drawn from all that
work for it (workers, the shelf of views) whenever a further share of the images has come, as many times as `--kills`
says. Then both outputs are compared file by file. One line per kill, and the account; `--json` for one object.
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
    """One kill: after how many images on disk, seconds since the start, and what the process was."""

    images: int
    seconds: float
    victim: str


def images_in(out: Path) -> int:
    """Images on disk."""
    return sum(path.parent.name != "report" for path in out.glob("*/*.jpg"))


def victims(job: int) -> list[tuple[int, str]]:
    """Processes of the job's own Ray that may be killed: number and name."""
    found = subprocess.run(["pgrep", "-af", VICTIMS], capture_output=True, text=True, check=False)
    processes = []
    for line in sorted(found.stdout.splitlines()):
        pid, _, name = line.partition(" ")
        if name.startswith("ray::") and _descends(int(pid), job):
            processes.append((int(pid), name.removeprefix("ray::").split(".")[0]))
    return processes


def _descends(pid: int, ancestor: int) -> bool:
    """Whether a process was started by another, or by one that that started."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def run_job(data: Path, out: Path, per_class: int, kills: int, seed: int) -> tuple[float, list[Kill]]:
    """Run the job, killing; seconds, and what was killed.

    Raises:
        InputError: it failed.
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
    """How many files are missing, further, different or half-written, and images that are in the manifest twice."""
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
    """Both runs and their comparison."""
    people = list_identities(options.data)
    needed = -(-options.images // options.per_class)
    if len(people) < needed:
        raise InputError(
            f"{options.data}: {len(people)} people; {needed} are needed for {options.images} images"
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        some = folder / "some"
        some.mkdir()
        for name in list(people)[:needed]:
            (some / name).symlink_to((options.data / name).resolve())
        calm, _ = run_job(some, folder / "calm", options.per_class, 0, options.seed)
        wild, kills = run_job(some, folder / "wild", options.per_class, options.kills, options.seed)
        told = json.loads((folder / "wild" / "summary.json").read_text())["this_run"]
        return {
            "seconds_undisturbed": round(calm, 1),
            "seconds": round(wild, 1),
            "kills": [asdict(kill) for kill in kills],
            "workers_died": told["workers_died"],
            "partitions_done_again": told["partitions_done_again"],
            **compare(folder / "calm", folder / "wild"),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.worker_kills", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="one folder of photos per person")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--per-class", type=int, default=128)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of victims")
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
