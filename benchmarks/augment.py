"""Measure where the time of `jobs/augment.py` goes, what Ray costs, and what a second worker gains.

    python -m benchmarks.augment --data DIR [--identities 60] [--per-class 128] [--workers 1,2] [--rounds 3] [--json]

Protocol: the first `--identities` people of DIR are linked into a temporary folder. Every round does, one after the
other, the work in a plain loop (one process, no Ray) and `python jobs/augment.py` with each number of workers. The
start-up time is subtracted from the job's time; it is the time of the same command for one image of one person. Figures
are medians over rounds. `overhead` compares the job with one worker to the plain loop (0.1 means a tenth more),
`speed_up` compares one worker to the largest number. The parts are timed separately on the photos of the plain loop:
read (and hash), detect (with landmarks), prepare, plan, render, encode, write, rows; in ms for each photo or image.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported; Ray does the same for its workers

import cv2
from tqdm import tqdm

from augmentor.balancing.plan import plan
from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.faces.chip import cut_chip
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.photos.images import encode_jpeg, list_identities, load_image, perceptual_hash, write_whole
from augmentor.rendering.prepared_photo import prepare_photo
from augmentor.rendering.render import render_views
from augmentor.views.view import View
from augmentor.views.view_key import allowed
from augmentor.views.view_set import ViewSet, load_view_set
from jobs.balancing.photo_worker import RENDER_QUALITY, PhotoWorker, RenderSettings

SIZE, SEED = 150, 0


class Stopwatch:
    """Seconds spent on each part, and the number of times."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    @contextmanager
    def time(self, part: str, count: int = 1) -> Iterator[None]:
        """Time what happens inside, and count it as `count` times `part`."""
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0) + time.perf_counter() - started
        self.counts[part] = self.counts.get(part, 0) + count

    def milliseconds(self) -> dict[str, float]:
        """Return the milliseconds of each part, for one time."""
        return {part: 1000 * self.seconds[part] / self.counts[part] for part in self.seconds}


def plain_loop(data: Path, out: Path, per_class: int) -> float:
    """Do all the work of the job in one process, including the views, and return the seconds it took."""
    started = time.perf_counter()
    view_set = load_view_set("built-in", SIZE, SEED)
    views = {key.name: view_set.view(key) for key in view_set.keys}
    worker = PhotoWorker(RenderSettings(SIZE, SEED, "central"), view_set)
    for identity, photos in list_identities(data).items():
        scans = [
            worker.scan(identity, photo.relative_to(data).as_posix(), photo.read_bytes()) for photo in photos
        ]
        records = [face for scanned in scans for face in scanned.faces]
        images = plan(records, view_set.keys, per_class, SEED, allowed=allowed).images
        for scanned in scans:
            faces = [face for face in scanned.faces if face.reason is None]
            own = [image for image in images if image.photo == scanned.faces[0].photo]
            for row, image in worker.make_images(faces, scanned.prepared, own, views):
                write_whole(out / row.file, image)
    return time.perf_counter() - started


def job(data: Path, out: Path, per_class: int, workers: int) -> float:
    """Run the command and return the seconds it took.

    Raises:
        InputError: the command failed.
    """
    command = [sys.executable, "jobs/augment.py", "--data", str(data), "--out", str(out)]
    command += ["--per-class", str(per_class), "--workers", str(workers), "--max-failed", "1"]
    started = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1):
        raise InputError(ended.stderr.strip().splitlines()[-1])
    return time.perf_counter() - started


def parts(data: Path, folder: Path, per_photo: int, most: int = 60) -> dict[str, float]:
    """Return the milliseconds of each part, measured on up to `most` photos."""
    watch = Stopwatch()
    finder, view_set = face_source(), load_view_set("built-in", SIZE, SEED)
    with watch.time("view", len(view_set.keys)):
        views = [view_set.view(key) for key in view_set.keys]
    photos = [photo for own in list_identities(data).values() for photo in own][:most]
    finder(load_image(photos[0]))  # loads the models
    for number, photo in enumerate(tqdm(photos, "parts")):
        _parts_of(photo, folder / f"{number}", finder, view_set, views, per_photo, watch)
    return watch.milliseconds()


def _parts_of(
    photo: Path,
    folder: Path,
    finder: FaceSource,
    view_set: ViewSet,
    views: Sequence[View],
    per_photo: int,
    watch: Stopwatch,
) -> None:
    with watch.time("read"):
        content = photo.read_bytes()
        sha256(content).hexdigest()
        image = load_image(content, name=str(photo))
        perceptual_hash(image)
    with watch.time("detect"):
        search = finder(image)
    if not search:
        return
    landmarks = search.faces[0].landmarks
    with watch.time("prepare"):
        try:
            prepared = prepare_photo(image, landmarks, view_set.head, SIZE)
        except PhotoError:
            return
        cut_chip(image, search.faces[0].points, SIZE)
    yaw = prepared.fit.camera.pose.yaw
    chosen = [view for view in views if allowed(yaw, view.key)][:: max(1, len(views) // per_photo)]
    with watch.time("render", len(chosen)):
        rendered = [one.image for one in render_views(prepared, chosen)]
    with watch.time("encode", len(rendered)):
        encoded = [encode_jpeg(pixels, RENDER_QUALITY) for pixels in rendered]
    with watch.time("write", len(encoded)):
        for number, data in enumerate(encoded):
            write_whole(folder / f"{number}.jpg", data)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Measure everything."""
    cv2.setNumThreads(1)
    people = list_identities(options.data)
    if len(people) < options.identities:
        raise InputError(
            f"{options.data}: has {len(people)} people, but --identities is {options.identities}"
        )
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        some, one = folder / "some", folder / "one"
        for target, names in ((some, list(people)[: options.identities]), (one, list(people)[:1])):
            target.mkdir()
            for name in names:
                (target / name).symlink_to((options.data / name).resolve())
        for number in tqdm(range(options.rounds), "rounds"):
            out = folder / f"out{number}"
            times.setdefault("plain", []).append(plain_loop(some, out / "plain", options.per_class))
            for workers in options.workers:
                start = job(one, out / f"one{workers}", 1, workers)
                whole = job(some, out / f"some{workers}", options.per_class, workers)
                times.setdefault(f"start_{workers}", []).append(start)
                times.setdefault(f"job_{workers}", []).append(whole - start)
        photos = sum(len(list(people.values())[k]) for k in range(options.identities))
        renders_per_photo = max(1, options.identities * options.per_class // photos)
        part_ms = parts(some, folder / "parts", renders_per_photo)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    images = options.identities * options.per_class
    result: dict[str, object] = {"photos": photos, "images": images, **seconds, "ms": part_ms}
    if 1 in options.workers:
        result["overhead"] = statistics.median(
            j / p - 1 for j, p in zip(times["job_1"], times["plain"], strict=True)
        )
        most = max(options.workers)
        result["speed_up"] = statistics.median(
            a / b for a, b in zip(times["job_1"], times[f"job_{most}"], strict=True)
        )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augment", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="one folder of photos per person")
    parser.add_argument("--identities", type=int, default=60, help="number of people (%(default)s)")
    parser.add_argument("--per-class", type=int, default=128, help="images of each person (%(default)s)")
    parser.add_argument(
        "--workers",
        type=lambda text: [int(n) for n in text.split(",")],
        default=[1, 2],
        help="numbers of workers, separated by commas (1,2)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in result.items():
        if isinstance(value, dict):
            for part, ms in value.items():
                print(f"{part:10} {ms:.3g} ms each")
        else:
            print(f"{name:10} {value:.4g}" if isinstance(value, float) else f"{name:10} {value}")
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
