"""Draw photos of people who do not exist, with the true pose and landmarks of each.

    python -m datasets.synthetic --out DIR --identities 20 [--photos 1-6] [--seed 0] [--strangers N] [--size 256]

writes

    DIR/photos/<identity>/01.jpg ...     a folder per person, as users have them
    DIR/strangers/<name>.jpg             one photo each of other people
    DIR/truth.parquet                    photo, identity, yaw, pitch, roll, landmarks (136 float32: x0, y0, x1, ...)
    DIR/truth/<path of the photo>.json   the same for each photo, and how it was taken

Landmarks are pixels of the photo (pixel centres have integer coordinates), angles are degrees, as everywhere in this
project. Person k is the same however many people are drawn. The same seed gives the same bytes. See
datasets/synthetic.md.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError, LikenessError
from augmentor.head.head_model import load_head_model
from augmentor.made_up.person import Person, Shot, make_person, plan_shot
from augmentor.made_up.render import Photo, Studio
from augmentor.photos.images import encode_jpeg, write_whole

PEOPLE, STRANGERS = 0, 1  # streams of random numbers, so that no stranger is one of the people

_STARTS = (
    *(
        "Al",
        "Be",
        "Bor",
        "Ca",
        "Da",
        "El",
        "Fe",
        "Gu",
        "Ha",
        "Il",
        "Jo",
        "Ka",
        "Lu",
        "Ma",
        "Ne",
        "O",
        "Pe",
        "Ra",
    ),
    *("Sa", "Ti", "Ul", "Vi", "Wa", "Yo", "Ze", "Ö", "Mü", "Sø", "Ño", "Ço"),
)
_MIDDLES = ("la", "ri", "no", "mi", "de", "va", "so", "ke", "li", "ta", "", "", "rä", "né")
_ENDS = ("n", "ra", "s", "na", "m", "lo", "th", "ne", "ka", "do", "el", "is")
_FAMILY_ENDS = (
    "ström",
    "well",
    "ovic",
    "mann",
    "ardi",
    "ez",
    "ton",
    "ura",
    "ley",
    "ić",
    "ová",
    "ko",
    "berg",
    "ault",
)


@dataclass(frozen=True)
class PeopleOptions:
    """The number of people and photos to draw.

    Attributes:
        identities: number of people with a folder of photos.
        photos: smallest and largest number of photos of each.
        strangers: number of other people, with one photo each.
        seed: seed of everything.
        size: width and height of a photo, pixels.

    Raises:
        InputError: a value is out of range.
    """

    identities: int = 20
    photos: tuple[int, int] = (1, 6)
    strangers: int = 0
    seed: int = 0
    size: int = 256

    def __post_init__(self) -> None:
        if self.identities < 0 or self.strangers < 0 or self.identities + self.strangers == 0:
            raise InputError(
                "--identities and --strangers: at least one person is needed; use --identities 1 or more"
            )
        if not 1 <= self.photos[0] <= self.photos[1]:
            raise InputError(
                f"--photos {self.photos[0]}-{self.photos[1]}: must be a number or a range such as 1-6"
            )
        if not 64 <= self.size <= 2048:
            raise InputError(f"--size {self.size}: must lie between 64 and 2048")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: must not be negative")


@dataclass(frozen=True)
class Truth:
    """The truth about one photo.

    Attributes:
        photo: path below the output folder, with slashes.
        identity: name of the person.
        yaw: degrees.
        pitch: degrees.
        roll: degrees.
        landmarks: (68, 2) float32 in (x, y) pixels, dlib's order.
    """

    photo: str
    identity: str
    yaw: float
    pitch: float
    roll: float
    landmarks: np.ndarray


def people_names(seed: int, count: int, stream: int = PEOPLE) -> list[str]:
    """Return different made-up names; name k does not depend on `count`."""
    names: list[str] = []
    taken: set[str] = set()
    for index in range(count):
        rng = np.random.default_rng([seed, stream, index, 0])
        while True:
            first = "".join(str(rng.choice(part)) for part in (_STARTS, _MIDDLES, _ENDS))
            family = "".join(str(rng.choice(part)) for part in (_STARTS, _MIDDLES, _FAMILY_ENDS))
            name = f"{first} {family}"
            if name.casefold() not in taken:
                break
        taken.add(name.casefold())
        names.append(name)
    return names


def photos_of(options: PeopleOptions, index: int) -> int:
    """Return how many photos person `index` has."""
    rng = np.random.default_rng([options.seed, PEOPLE, index, 0, 1])
    return int(rng.integers(options.photos[0], options.photos[1] + 1))


def draw_photos(
    studio: Studio, options: PeopleOptions, index: int, name: str, stream: int = PEOPLE
) -> Iterator[tuple[Person, Shot, Photo]]:
    """Render all photos of one person.

    Args:
        studio: the studio that takes the photos.
        options: the options of the whole set.
        index: number of the person.
        name: folder name of the person.
        stream: PEOPLE or STRANGERS.
    """
    person = make_person(options.seed, index, len(studio.head.identity_modes), name=name, stream=stream)
    looks = studio.looks(person)
    for photo in range(photos_of(options, index) if stream == PEOPLE else 1):
        shot = plan_shot(person, options.seed, index, photo, stream=stream)
        yield person, shot, studio.take(person, looks, shot, options.size)


def write_people(
    out: Path, options: PeopleOptions, *, workers: int | None = None, progress: bool = True
) -> list[Truth]:
    """Draw people and write their photos; the truth is written and returned.

    Args:
        out: a folder that does not exist yet, is empty, or was written by this function.
        options: how many people and photos to draw.
        workers: number of processes; None for one per processor.
        progress: show a progress bar.

    Raises:
        InputError: `out` holds something else, or cannot be written.
    """
    _prepare(out)
    jobs = [
        (str(out), options, index, name, stream)
        for stream, count in ((PEOPLE, options.identities), (STRANGERS, options.strangers))
        for index, name in enumerate(people_names(options.seed, count, stream))
    ]
    processes = min(workers or os.cpu_count() or 1, len(jobs))
    truths: list[Truth] = []
    with tqdm(total=len(jobs), desc="people", unit="", disable=not progress) as bar:
        if processes == 1:
            for job in jobs:
                truths += _write_person(job)
                bar.update()
        else:
            with get_context("spawn").Pool(processes, initializer=_one_thread) as pool:
                for done in pool.imap(_write_person, jobs):
                    truths += done
                    bar.update()
    write_whole(out / "truth.parquet", _parquet(truths))
    return truths


_studio: Studio | None = None


def _one_thread() -> None:
    """Use one thread: there is a process for each processor, and more threads would only compete."""
    cv2.setNumThreads(1)


def _write_person(job: tuple[str, PeopleOptions, int, str, int]) -> list[Truth]:
    """Write one person's photos and their truth."""
    global _studio
    if _studio is None:
        _studio = Studio(load_head_model())
    out, options, index, name, stream = job
    truths = []
    for number, (person, shot, photo) in enumerate(draw_photos(_studio, options, index, name, stream), 1):
        stem = f"photos/{name}/{number:02d}" if stream == PEOPLE else f"strangers/{name}"
        truth = Truth(f"{stem}.jpg", name, photo.yaw, photo.pitch, photo.roll, photo.landmarks)
        write_whole(Path(out) / truth.photo, encode_jpeg(photo.image, shot.quality))
        beside = json.dumps(_as_json(truth, person, shot), ensure_ascii=False, indent=1)
        write_whole(Path(out) / "truth" / f"{stem}.json", beside.encode())
        truths.append(truth)
    return truths


def _as_json(truth: Truth, person: Person, shot: Shot) -> dict[str, Any]:
    """Return the truth about one photo in the form that people read."""
    return {
        "photo": truth.photo,
        "identity": truth.identity,
        "yaw": round(truth.yaw, 3),
        "pitch": round(truth.pitch, 3),
        "roll": round(truth.roll, 3),
        "landmarks": np.round(truth.landmarks.astype(float), 3).tolist(),
        "expression": {name: round(value, 3) for name, value in shot.expression.items()},
        "hair": shot.hair.style if shot.hair else "bald",
        "beard": round(shot.beard, 3),
        "moustache": round(shot.moustache, 3),
        "glasses": shot.glasses is not None,
        "light": {key: np.round(value, 3).tolist() for key, value in asdict(shot.light).items()},
        "shape": np.round(person.shape.astype(float), 4).tolist(),
    }


def _parquet(truths: list[Truth]) -> bytes:
    table = pa.table(
        {
            "photo": pa.array([t.photo for t in truths], pa.string()),
            "identity": pa.array([t.identity for t in truths], pa.string()),
            "yaw": pa.array([t.yaw for t in truths], pa.float32()),
            "pitch": pa.array([t.pitch for t in truths], pa.float32()),
            "roll": pa.array([t.roll for t in truths], pa.float32()),
            "landmarks": pa.array([t.landmarks.ravel() for t in truths], pa.list_(pa.float32(), 136)),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


_OURS = ("photos", "strangers", "truth", "truth.parquet")


def _prepare(out: Path) -> None:
    """Make `out`, or empty it if this function wrote it.

    Raises:
        InputError: `out` holds something else, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        entries = sorted(entry.name for entry in out.iterdir())
        foreign = [name for name in entries if name not in _OURS]
        if foreign or (entries and "truth.parquet" not in entries):
            raise InputError(f"{out}: not empty, and not written by this command; choose a new folder")
        (out / "truth.parquet").unlink(missing_ok=True)
        for name in _OURS[:3]:
            if (out / name).exists():
                shutil.rmtree(out / name)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error


def photo_range(text: str) -> tuple[int, int]:
    """Read the smallest and largest number of photos from "4" or "1-6".

    Raises:
        argparse.ArgumentTypeError: the text is neither a number nor a range.
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number or a range such as 1-6")
    return int(match[1]), int(match[2] or match[1])


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m datasets.synthetic"), description="Draw photos of people who do not exist."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--identities", type=int, default=20, help="number of people with a folder of photos (20)"
    )
    parser.add_argument(
        "--photos", type=photo_range, default=(1, 6), help="number of photos of each, N or N-M (1-6)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (0)")
    parser.add_argument("--strangers", type=int, default=0, help="number of other people, one photo each (0)")
    parser.add_argument("--size", type=int, default=256, help="width and height of a photo, pixels (256)")
    parser.add_argument("--workers", type=int, default=None, help="number of processes (one per processor)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = make_parser().parse_args(arguments)
    try:
        options = PeopleOptions(given.identities, given.photos, given.strangers, given.seed, given.size)
        if given.workers is not None and given.workers < 1:
            raise InputError(f"--workers {given.workers}: must be at least 1")
        truths = write_people(given.out, options, workers=given.workers)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{len(truths)} photos of {options.identities} people and {options.strangers} strangers in {given.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
