"""The cache of a pre-training made small enough to travel to a machine that is lent for minutes, and opened there.

    python -m identity.pretraining.pack make --work WORK --out .pack [--also DIR] [--renders N]
    python -m identity.pretraining.pack open --pack DIR --work WORK

The pack has folders 1, 2, ... of a few files each, none larger than --megabytes: what can be carried is limited, so
they travel one after the other. Pictures become WebP of about the detail that the photos had, the teachers' answers
8 bits for each number. `open` makes the folder that `identity.pretrain --work` takes; renders that did not travel are
done without. It can be called again when more has come. No photo is in the pack by name, but the faces are: it stays
outside of version control like the photos themselves.
"""

import argparse
import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from identity.pretraining.cut import CUTS, Cut
from identity.pretraining.teacher_file import blocks

_IN_FILE = 12_000  # pictures
_STEP = 1 / 8  # of the deviation of a teacher's numbers
_EDGES = (112, 200)  # least and most pixels of a face's picture that travel


def make_pack(work: Path, out: Path, options: argparse.Namespace) -> list[int]:
    """Write the pack of a cache; bytes of each of its folders.

    Raises:
        InputError: `work` is no cache, or `out` is there already.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; remove it, or name another folder")
    try:
        with np.load(work / "faces.npz", allow_pickle=False) as saved:
            faces = {name: saved[name] for name in saved.files}
        chips = np.load(work / "chips.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{work}: no cache of identity.pretrain ({error})") from error
    if "teachers" not in faces:
        raise InputError(f"{work}: a cache of an earlier version; make it anew with another --work")
    cut = CUTS[str(faces["cut"])]
    limit, files = int(options.megabytes * 1e6), Folders(out, int(options.megabytes * 1e6))
    answers = {name: faces[name] for name in ("paths", "teachers", "widths", "cut")}
    files.add("answers.npz", _npz(answers | _rounded(faces["teacher"], faces["widths"].tolist())))
    for name in sorted(path.name for path in options.also.iterdir()) if options.also else ():
        files.add(name, (options.also / name).read_bytes())
    edges = _edges(faces["points"], cut)
    rows = np.arange(len(chips))
    for part, content in _encoded(chips, rows, edges, options.quality, "faces"):
        files.add(f"faces-{part:02}.npz", _npz(content))
    if (work / "render_of.npy").is_file():
        renders = np.load(work / "renders.npy", mmap_mode="r", allow_pickle=False)
        of = np.load(work / "render_of.npy", allow_pickle=False)
        yaw = np.load(work / "render_yaw.npy", allow_pickle=False)
        rows = np.sort(np.random.default_rng(0).permutation(len(of))[: options.renders])
        smaller = (edges * cut.rendered / cut.edge / 8).round().astype(int) * 8
        wanted = np.minimum(smaller[of], options.render_edge)
        for part, content in _encoded(renders, rows, wanted, options.render_quality, "renders"):
            chosen = content.pop("rows")
            files.add(f"renders-{part:02}.npz", _npz(content | {"of": of[chosen], "yaw": yaw[chosen]}))
    sizes = files.close()
    if max(sizes) > limit:
        raise InputError(f"{out}: a file is larger than --megabytes {options.megabytes}")
    return sizes


def open_pack(pack: Path, work: Path) -> str:
    """Make the cache of the folders of a pack that are there; returns what it has.

    Raises:
        InputError: the answers or faces are not there, or damaged.
    """
    work.mkdir(parents=True, exist_ok=True)
    found = {path.name: path for path in sorted(pack.glob("*/*"))}
    if "answers.npz" not in found:
        raise InputError(f"{pack}: no answers.npz in its folders")
    with np.load(found["answers.npz"], allow_pickle=False) as saved:
        answers = {name: saved[name] for name in saved.files}
    cut = CUTS[str(answers["cut"])]
    count = len(answers["paths"])
    faces = [path for name, path in found.items() if name.startswith("faces-")]
    done = _decoded(faces, work / "chips.npy", (count, cut.edge), "faces")
    if done != count:
        raise InputError(f"{pack}: {done} of {count} faces; carry its other folders, too")
    renders = [path for name, path in found.items() if name.startswith("renders-")]
    of, yaw = ([np.load(path)[key] for path in renders] for key in ("of", "yaw"))
    if renders:
        shape = (sum(map(len, of)), cut.rendered)
        _decoded(renders, work / "renders.npy", shape, "renders")
        np.save(work / "render_yaw.npy", np.concatenate(yaw))
        np.save(work / "render_of.npy", np.concatenate(of))
    kept = {name: answers[name] for name in ("paths", "teachers", "widths", "cut")}
    np.savez(work / "faces.npz", teacher=_restored(answers), **kept)
    return f"{count} faces, {sum(map(len, of))} renders"


class Folders:
    """Folders 1, 2, ... that are filled with files in turn.

    Args:
        out: folder of them, made.
        limit: bytes of each.
    """

    def __init__(self, out: Path, limit: int) -> None:
        self._out, self._limit, self._sizes = out, limit, [0]

    def add(self, name: str, content: bytes) -> None:
        """Write a file into the first folder that has room for it."""
        folder = next((k for k, size in enumerate(self._sizes) if size + len(content) <= self._limit), None)
        if folder is None:
            self._sizes.append(0)
            folder = len(self._sizes) - 1
        self._sizes[folder] += len(content)
        path = self._out / str(folder + 1) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def close(self) -> list[int]:
        """Return how many bytes each has."""
        return self._sizes


def _edges(points: np.ndarray, cut: Cut) -> np.ndarray:
    """Return for each face the edge that keeps the detail its photo had, by the distance of its eyes."""
    apart = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    detail = apart / 54.9 * cut.edge / cut.density  # the eyes of a chip of 150 px are 54.9 px apart
    return np.clip((detail / 8).round() * 8, _EDGES[0], min(_EDGES[1], cut.edge)).astype(int)


def _rounded(answers: np.ndarray, widths: Sequence[int]) -> dict[str, np.ndarray]:
    """Return unit rows in 8 bits: a mean, a step for each teacher, and how many steps each number is from the mean."""
    unit = answers.astype(np.float32)
    for own in blocks(widths):
        unit[:, own] /= np.maximum(np.linalg.norm(unit[:, own], axis=1, keepdims=True), 1e-9)
    mean, steps = unit.mean(0), np.empty(unit.shape[1], np.float32)
    for own in blocks(widths):
        steps[own] = _STEP * (unit[:, own] - mean[own]).std()
    rounded = np.clip(np.rint((unit - mean) / steps), -127, 127).astype(np.int8)
    answered = np.stack([np.abs(answers[:, own]).sum(1) > 0 for own in blocks(widths)], axis=1)
    return {"rounded": rounded, "mean": mean, "steps": steps, "answered": answered}


def _restored(stored: dict[str, np.ndarray]) -> np.ndarray:
    """Return what the teachers say, (N, D) float32, as it was rounded."""
    rows = stored["mean"] + stored["rounded"] * stored["steps"]
    for number, own in enumerate(blocks(stored["widths"].tolist())):
        rows[:, own] *= stored["answered"][:, number : number + 1]
    return rows.astype(np.float32)


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _encoded(
    pictures: np.ndarray, rows: np.ndarray, edges: np.ndarray, quality: int, what: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the parts of some pictures as WebP: `data`, the `lengths` of each in it, and their `rows`."""
    for number, start in enumerate(tqdm(range(0, len(rows), _IN_FILE), what, unit="file")):
        part = rows[start : start + _IN_FILE]
        tasks = ((np.ascontiguousarray(pictures[row]), int(edges[row]), quality) for row in part)
        coded = list(_in_processes(_encode, tasks))
        lengths = np.array([len(one) for one in coded], np.int32)
        data = np.frombuffer(b"".join(coded), np.uint8)
        yield number, {"data": data, "lengths": lengths, "rows": part}


def _encode(task: tuple[np.ndarray, int, int]) -> bytes:
    picture, edge, quality = task
    smaller = Image.fromarray(picture).resize((edge, edge), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    smaller.save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


def _decoded(files: Sequence[Path], out: Path, shape: tuple[int, int], what: str) -> int:
    """Write the pictures of some files, one after the other, as an array; how many there are.

    Raises:
        InputError: more than the array has room for.
    """
    count, edge = shape
    temporary = out.with_suffix(".tmp.npy")
    stored = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, edge, edge, 3))
    done = 0
    for file in tqdm(files, what, unit="file"):
        with np.load(file, allow_pickle=False) as saved:
            data, ends = saved["data"].tobytes(), np.cumsum(saved["lengths"]).tolist()
        if done + len(ends) > count:
            raise InputError(f"{file}: more pictures than the {count} that belong to the pack")
        tasks = ((data[a:b], edge) for a, b in zip([0, *ends[:-1]], ends, strict=True))
        for picture in _in_processes(_decode, tasks):
            stored[done] = picture
            done += 1
    stored.flush()
    temporary.replace(out)
    return done


def _decode(task: tuple[bytes, int]) -> np.ndarray:
    data, edge = task
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        picture = np.asarray(image.convert("RGB"))
    return cv2.resize(picture, (edge, edge), interpolation=cv2.INTER_CUBIC)


def _in_processes(function: Callable[[Any], Any], tasks: Iterator[Any]) -> Iterator[Any]:
    """Results in order, computed in one process a core."""
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("forkserver")) as pool:
        yield from pool.map(function, tasks, chunksize=64)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m identity.pretraining.pack", description=(__doc__ or "").split("\n")[0]
    )
    commands = p.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write the pack of a cache")
    make.add_argument("--work", type=Path, required=True, help="cache of identity.pretrain, with its renders")
    make.add_argument("--out", type=Path, required=True, help="folder of the pack")
    make.add_argument(
        "--also", type=Path, help="folder of files that travel as they are: the teachers' nets, wheels"
    )
    make.add_argument("--renders", type=int, default=120_000, help="how many travel at most")
    make.add_argument("--megabytes", type=float, default=48.0, help="of each folder of the pack at most")
    make.add_argument("--quality", type=int, default=40, help="of the faces' WebP")
    make.add_argument("--render-quality", type=int, default=30, help="of the renders'")
    make.add_argument("--render-edge", type=int, default=104, help="pixels of a render at most")
    opened = commands.add_parser("open", help="make a cache of a pack")
    opened.add_argument("--pack", type=Path, required=True)
    opened.add_argument("--work", type=Path, required=True, help="folder of the cache to make")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "make":
            sizes = make_pack(options.work, options.out, options)
            told = ", ".join(f"{k} {size / 1e6:.1f} MB" for k, size in enumerate(sizes, start=1))
            print(f"{options.out}: {told}")
        else:
            print(f"{options.work}: {open_pack(options.pack, options.work)}")
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
