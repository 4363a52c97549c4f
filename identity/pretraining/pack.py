"""Compress the cache of pre-training, to move it to a machine that is available only for minutes.

    python -m identity.pretraining.pack make --work WORK --out .pack [--also DIR] [--renders N]
    python -m identity.pretraining.pack open --pack DIR --work WORK

A pack consists of folders 1, 2, ... with a few files each. No folder is larger than --megabytes, so that they can be
moved one after the other where the size of a transfer is limited. Pictures are stored as WebP with about the detail of
the photos, and the teachers' embeddings with 8 bits per number.

`open` makes the folder that `identity.pretrain --work` needs. It needs all faces, but works without some or all of the
renders, and can be repeated when more folders have arrived. A pack contains faces, so it must stay outside of version
control like the photos themselves.
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

_IN_FILE = 12_000  # pictures in a file
_STEP = 1 / 8  # resolution of a teacher's embeddings, relative to their standard deviation
_EDGES = (112, 200)  # smallest and largest side of a face's picture in a pack, pixels


def make_pack(work: Path, out: Path, options: argparse.Namespace) -> list[int]:
    """Compress a cache into a pack.

    Args:
        work: folder of the cache.
        out: folder of the pack, which must not exist yet.
        options: further options of the command, see `parser`.

    Returns:
        Size of each folder of the pack in bytes.

    Raises:
        InputError: `work` does not contain a usable cache, `out` exists already, or a file is larger than a folder may
            be.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; remove it or name another folder")
    try:
        with np.load(work / "faces.npz", allow_pickle=False) as saved:
            faces = {name: saved[name] for name in saved.files}
        chips = np.load(work / "chips.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{work}: not a cache of identity.pretrain ({error})") from error
    if "teachers" not in faces:
        raise InputError(f"{work}: a cache of an earlier version; make a new one in another folder")
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
        raise InputError(f"{out}: one of its files is larger than --megabytes {options.megabytes}")
    return sizes


def open_pack(pack: Path, work: Path) -> str:
    """Make a cache from the folders of a pack that have arrived.

    Args:
        pack: folder of the pack.
        work: folder of the cache to make.

    Returns:
        A line that says how many faces and renders the cache contains.

    Raises:
        InputError: The teachers' embeddings or some faces are missing, or a file contains too many pictures.
    """
    work.mkdir(parents=True, exist_ok=True)
    files = {path.name: path for path in sorted(pack.glob("*/*"))}
    if "answers.npz" not in files:
        raise InputError(f"{pack}: none of its folders contains answers.npz")
    with np.load(files["answers.npz"], allow_pickle=False) as saved:
        answers = {name: saved[name] for name in saved.files}
    cut = CUTS[str(answers["cut"])]
    count = len(answers["paths"])
    faces = [path for name, path in files.items() if name.startswith("faces-")]
    done = _decoded(faces, work / "chips.npy", (count, cut.edge), "faces")
    if done != count:
        raise InputError(f"{pack}: contains {done} of {count} faces; copy its other folders, too")
    renders = [path for name, path in files.items() if name.startswith("renders-")]
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
    """Folders 1, 2, ... that are filled with files.

    Args:
        out: the folder that contains them; made if missing.
        limit: largest size of each in bytes.
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
        """Return the size of each folder in bytes."""
        return self._sizes


def _edges(points: np.ndarray, cut: Cut) -> np.ndarray:
    """Return the side of each face's picture, in pixels, that keeps the detail of its photo, by the eyes' distance."""
    apart = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    detail = apart / 54.9 * cut.edge / cut.density  # in a chip of 150 px, the eyes are 54.9 px apart
    return np.clip((detail / 8).round() * 8, _EDGES[0], min(_EDGES[1], cut.edge)).astype(int)


def _rounded(answers: np.ndarray, widths: Sequence[int]) -> dict[str, np.ndarray]:
    """Return embeddings as unit rows with 8 bits per number: a mean, step sizes, and the steps from the mean."""
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
    """Return the embeddings (N, D) float32 that `_rounded` stored."""
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
    """Encode pictures as WebP; yield parts with `data`, the `lengths` of the pictures in it, and their `rows`."""
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
    """Write the pictures of some files, one after the other, into an array; return how many there are.

    Raises:
        InputError: There are more than the array has room for.
    """
    count, edge = shape
    temporary = out.with_suffix(".tmp.npy")
    stored = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, edge, edge, 3))
    done = 0
    for file in tqdm(files, what, unit="file"):
        with np.load(file, allow_pickle=False) as saved:
            data, ends = saved["data"].tobytes(), np.cumsum(saved["lengths"]).tolist()
        if done + len(ends) > count:
            raise InputError(
                f"{file}: together with the files before, it contains more than {count} pictures"
            )
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
    """Yield the results of tasks in order, computed in one process per core."""
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("forkserver")) as pool:
        yield from pool.map(function, tasks, chunksize=64)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(
        prog="python -m identity.pretraining.pack", description=(__doc__ or "").split("\n")[0]
    )
    commands = p.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="compress a cache into a pack")
    make.add_argument("--work", type=Path, required=True, help="cache of identity.pretrain, with its renders")
    make.add_argument("--out", type=Path, required=True, help="folder of the pack to write")
    make.add_argument(
        "--also", type=Path, help="folder of files to add unchanged, such as the teachers' networks or wheels"
    )
    make.add_argument(
        "--renders", type=int, default=120_000, help="largest number of renders in the pack (120000)"
    )
    make.add_argument("--megabytes", type=float, default=48.0, help="largest size of each folder (48)")
    make.add_argument("--quality", type=int, default=40, help="WebP quality of the faces (40)")
    make.add_argument("--render-quality", type=int, default=30, help="WebP quality of the renders (30)")
    make.add_argument("--render-edge", type=int, default=104, help="largest side of a render in pixels (104)")
    unpack = commands.add_parser("open", help="make a cache from a pack")
    unpack.add_argument("--pack", type=Path, required=True, help="folder of the pack")
    unpack.add_argument("--work", type=Path, required=True, help="folder of the cache to make")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "make":
            sizes = make_pack(options.work, options.out, options)
            listed = ", ".join(f"{k} has {size / 1e6:.1f} MB" for k, size in enumerate(sizes, start=1))
            print(f"{options.out}: folder {listed}")
        else:
            print(f"{options.work}: {open_pack(options.pack, options.work)}")
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
