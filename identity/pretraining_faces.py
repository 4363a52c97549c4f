"""The faces pre-training looks at: chips cut from a zip or folder, what the teacher says of them, renders of them.

Everything is cached in one folder, so that training starts at once the second time:
    chips.npy    (N, 150, 150, 3) uint8, faces whose landmarks dlib found, in the order of their paths
    faces.npz    paths (N,), landmarks (N, 68, 2) float32 in photo pixels, teacher (N, 128)
    renders.npy, render_of.npy    (R, 150, 150, 3) uint8 and the row of chips.npy each shows
"""

import multiprocessing
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from augmentor.chip import cut_chip
from augmentor.errors import InputError, PhotoError
from augmentor.faces import FaceFinder
from augmentor.head_model import HeadModel, load_head_model
from augmentor.head_view import make_view
from augmentor.images import list_photos, load_image
from augmentor.render import prepare_photo, render_views
from augmentor.view import View
from augmentor.view_key import allowed, spread_view_keys
from identity.teacher_file import read_teacher

CHIP = 150  # what the teacher takes
SMALLEST_FACE = 24


class Photos:
    """The photos of a folder or a zip by their path inside it; entries of a zip are only ever read, never unpacked."""

    def __init__(self, source: Path) -> None:
        self.source = source
        if source.is_dir():
            self.paths = [p.relative_to(source).as_posix() for p in list_photos(source)]
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                self.paths = sorted(i.filename for i in archive.infolist() if not i.is_dir())
        else:
            raise InputError(f"{source}: neither a folder nor a zip of photos")
        if not self.paths:
            raise InputError(f"{source}: no photos in it")
        self._archive: zipfile.ZipFile | None = None

    def load(self, path: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB.

        Raises:
            PhotoError: unreadable or too large.
        """
        if self.source.is_dir():
            return load_image(self.source / path)
        if self._archive is None:
            self._archive = zipfile.ZipFile(self.source)
        return load_image(self._archive.read(path), name=path)


def cache_faces(source: Path, teacher: Path | None, work: Path) -> None:
    """Cut the chips of all faces and pair them with the teacher's embeddings, unless `work` has them already.

    Args:
        source: zip or folder.
        teacher: npz with `paths` (N,) and `embeddings` (N, 128); None: dlib's net is run on chips and mirror images.
        work: folder of the cache.

    Raises:
        InputError: no photos, no face in any, or a teacher that knows none of them.
    """
    if (work / "faces.npz").is_file():
        return
    work.mkdir(parents=True, exist_ok=True)
    paths = Photos(source).paths
    known = dict(zip(*read_teacher(teacher), strict=True)) if teacher else None
    if known is not None:
        paths = [p for p in paths if p in known]
        if not paths:
            raise InputError(f"{teacher}: knows none of the photos in {source}")
    embed = None if known is not None else _Teacher()
    temporary = work / "chips.tmp.npy"
    stored = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(paths), CHIP, CHIP, 3))
    kept: list[str] = []
    landmarks: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for path, found in _in_processes(_cut, source, paths, "cutting faces"):
        if found is None:
            continue
        chip, points = found
        stored[len(kept)] = chip
        kept.append(path)
        landmarks.append(points)
        targets.append(known[path] if known is not None else chip)
        if embed is not None and len(targets) % 256 == 0:
            targets[-256:] = embed(targets[-256:])
    if not kept:
        raise InputError(f"{source}: dlib finds no face in any of its {len(paths)} photos")
    if embed is not None and len(targets) % 256:
        targets[-(len(targets) % 256) :] = embed(targets[-(len(targets) % 256) :])
    stored.flush()
    chips = np.lib.format.open_memmap(work / "chips.npy", "w+", np.uint8, (len(kept), CHIP, CHIP, 3))
    for start in range(0, len(kept), 4096):
        chips[start : start + 4096] = stored[start : min(start + 4096, len(kept))]
    chips.flush()
    temporary.unlink()
    np.savez(
        work / "faces.tmp.npz", paths=np.array(kept), landmarks=np.stack(landmarks), teacher=np.stack(targets)
    )
    (work / "faces.tmp.npz").replace(work / "faces.npz")
    tqdm.write(
        f"{len(kept)} faces; unreadable or without a face: {len(paths) - len(kept)} of {len(paths)} photos"
    )


def cache_renders(source: Path, work: Path, count: int, seed: int) -> None:
    """Render `count` pictures of the cached faces at other poses, spread over them, unless `work` has that many."""
    if (work / "render_of.npy").is_file() and len(
        np.load(work / "render_of.npy", allow_pickle=False)
    ) >= count:
        return
    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        paths, landmarks = saved["paths"], saved["landmarks"]
    per_face = max(1, round(count / len(paths)))
    rows = np.random.default_rng(seed).permutation(len(paths))[: -(-count // per_face)]
    tasks = [(int(row), str(paths[row]), landmarks[row], per_face, seed) for row in rows]
    temporary = work / "renders.tmp.npy"
    stored = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(rows) * per_face, CHIP, CHIP, 3))
    shown: list[int] = []
    for task, pictures in _in_processes(_render, source, tasks, "rendering"):
        for picture in pictures or ():
            stored[len(shown)] = picture
            shown.append(task[0])
    stored.flush()
    temporary.replace(work / "renders.npy")
    np.save(work / "render_of.npy", np.array(shown, np.int64))
    tqdm.write(f"{len(shown)} renders of {len(set(shown))} faces")


class _Teacher:
    """dlib's embedding, photo and mirror image averaged."""

    def __init__(self) -> None:
        from identity.dlib_embedding import DlibEmbedding

        self.net = DlibEmbedding()

    def __call__(self, chips: Sequence[np.ndarray]) -> list[np.ndarray]:
        stacked = np.stack(chips)
        return list((self.net(stacked) + self.net(np.ascontiguousarray(stacked[:, :, ::-1]))) / 2)


class _Worker:
    """What a process of the pool keeps: the photos, the finder, and the views once they are needed."""

    def __init__(self, source: Path) -> None:
        self.photos = Photos(source)
        self.finder = FaceFinder("central", SMALLEST_FACE)
        self.head: HeadModel | None = None
        self.views: list[View] = []

    def cut(self, path: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Chip and landmarks; None without a face."""
        try:
            image = self.photos.load(path)
        except PhotoError:
            return None
        found = self.finder(image)
        if not found:
            return None
        points = found.faces[0].landmarks
        return cut_chip(image, points, CHIP), points

    def render(self, task: tuple[int, str, np.ndarray, int, int]) -> list[np.ndarray]:
        """Pictures of one face at views drawn for it; none where the pose cannot be found."""
        row, path, landmarks, per_face, seed = task
        if self.head is None:
            self.head = load_head_model()
            self.views = [make_view(self.head, key, CHIP) for key in spread_view_keys(seed)]
        try:
            prepared = prepare_photo(self.photos.load(path), landmarks, self.head, CHIP)
        except PhotoError:
            return []
        usable = [v for v in self.views if allowed(prepared.fit.camera.pose.yaw, v.key)]
        chosen = np.random.default_rng([seed, row]).permutation(len(usable))[:per_face]
        return [rendered.image for rendered in render_views(prepared, [usable[k] for k in chosen])]


_worker: list[_Worker] = []


def _start(source: Path) -> None:
    _worker.append(_Worker(source))


def _cut(path: str) -> tuple[np.ndarray, np.ndarray] | None:
    return _worker[0].cut(path)


def _render(task: tuple[int, str, np.ndarray, int, int]) -> list[np.ndarray]:
    return _worker[0].render(task)


def _in_processes(
    function: Callable[[Any], Any], source: Path, tasks: Sequence[Any], what: str
) -> Iterator[tuple[Any, Any]]:
    """(task, result) in order, computed in one process a core."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, _start, (source,)) as pool:
        results = pool.map(function, tasks, chunksize=32)
        yield from zip(tasks, tqdm(results, what, len(tasks), unit="face"), strict=True)
