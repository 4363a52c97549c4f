"""The faces pre-training looks at: cut from a zip or folder, what the teachers say of them, renders of them.

Everything is cached in one folder, so that training starts at once the second time:
    chips.npy    (N, E, E, 3) uint8, faces in the order of their paths, as `identity.pretraining.cut` cuts them (E 150
    or 200)
    faces.npz    paths (N,), landmarks (N, 68, 2) float32 in photo pixels, teacher (N, D) what all teachers say, side by
                 side, teachers and widths (T,) whose columns these are, cut, points (N, 5, 2) where that needs them
    renders.npy, render_of.npy, render_yaw.npy    (R, 150, 150, 3) uint8, the row of chips.npy each shows, its yaw;
                 while they are made, renders.npy is longer than the others
    rendering.npz    how far the renders are made
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

from augmentor.errors import InputError, PhotoError
from augmentor.faces.chip import chip_landmarks, warp_chip
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.faces.five_points import five_of_68, five_point_transform
from augmentor.faces.landmark_source import DlibLandmarks
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.photos.images import list_photos, load_image
from augmentor.rendering.render import prepare_photo, render_views
from augmentor.views.head_view import make_view
from augmentor.views.view import View
from augmentor.views.view_key import AS_PHOTO, VIEW_SHAPES, ViewKey, allowed, spread_view_keys
from identity.chips.photo_faces import PhotoReader
from identity.pretraining.cut import CUTS, LANDMARKS68, POINTS5, Cut
from identity.pretraining.held_out import held_out_rows
from identity.pretraining.teacher_file import Answers, read_answers

CHIP = 150  # of dlib's net, pixels
SMALLEST_FACE = 24
TURNED_BANDS, VIEWS_PER_SIDE = (20, 35, 50, 65, 80), 20  # degrees, each +- 7
VIEW_EDGE, VIEW_PADDING = 225, 0.75  # as many pixels for each of the face's as a picture of POINTS5
SAVED_EVERY = 1000  # faces rendered
FARTHEST_APART = 10.0  # of landmarks and five points, root mean square in pixels of a chip of 150


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


def cache_faces(
    source: Path,
    teachers: Sequence[Path],
    work: Path,
    cut: Cut = LANDMARKS68,
    faces: FaceSource | None = None,
) -> None:
    """Cut all faces and pair them with what the teachers say of them, unless `work` has them already.

    Args:
        source: zip or folder.
        teachers: files of their answers (`identity.pretraining.teacher_file`); none: dlib's net is run on chips and
        mirror images. work: folder of the cache.
        cut: how the faces are cut; where it is placed by five points, one of `teachers` has to know them.
        faces: finds the faces; by default without a second opinion, since every photo shows a person.

    Raises:
        InputError: no photos, no face in any, teachers that know none of them or no points, or another cache in `work`.
    """
    answers = [read_answers(file) for file in teachers]
    if (work / "faces.npz").is_file():
        _same_cache(work, [a.name for a in answers], cut)
        return
    work.mkdir(parents=True, exist_ok=True)
    known, points = _joined(answers, cut)
    paths = Photos(source).paths
    if answers:
        paths = [p for p in paths if p in known]
        if not paths:
            raise InputError(f"{teachers[0]}: knows none of the photos in {source}")
    embed = None if answers else _Teacher()
    temporary = work / "chips.tmp.npy"
    stored = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(paths), cut.edge, cut.edge, 3))
    kept: list[str] = []
    landmarks: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    tasks = [(path, cut, points.get(path)) for path in paths]
    for (path, _, _), found in _in_processes(_cut, source, faces or face_source(), tasks, "cutting faces"):
        if found is None:
            continue
        chip, face = found
        stored[len(kept)] = chip
        kept.append(path)
        landmarks.append(face)
        targets.append(known[path] if answers else chip)
        if embed is not None and len(targets) % 256 == 0:
            targets[-256:] = embed(targets[-256:])
    if not kept:
        raise InputError(f"{source}: no face in any of its {len(paths)} photos")
    if embed is not None and len(targets) % 256:
        targets[-(len(targets) % 256) :] = embed(targets[-(len(targets) % 256) :])
    stored.flush()
    chips = np.lib.format.open_memmap(work / "chips.npy", "w+", np.uint8, (len(kept), *stored.shape[1:]))
    for start in range(0, len(kept), 4096):
        chips[start : start + 4096] = stored[start : min(start + 4096, len(kept))]
    chips.flush()
    temporary.unlink()
    np.savez(
        work / "faces.tmp.npz",
        paths=np.array(kept),
        landmarks=np.stack(landmarks),
        teacher=np.stack(targets),
        teachers=np.array([a.name for a in answers] or ["dlib"]),
        widths=np.array([a.embeddings.shape[1] for a in answers] or [len(targets[0])]),
        cut=np.array(cut.name),
        points=np.array([points.get(path, np.zeros((5, 2), np.float32)) for path in kept]),
    )
    (work / "faces.tmp.npz").replace(work / "faces.npz")
    tqdm.write(
        f"{len(kept)} faces; unreadable or without a face: {len(paths) - len(kept)} of {len(paths)} photos"
    )


def _same_cache(work: Path, teachers: Sequence[str], cut: Cut) -> None:
    """Check that a cache holds what is asked for; one that this program's earlier versions made is dlib's.

    Raises:
        InputError: it does not.
    """
    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        its_cut = str(saved["cut"]) if "cut" in saved.files else LANDMARKS68.name
        its_teachers = saved["teachers"].tolist() if "teachers" in saved.files else ["dlib"]
    if its_cut != cut.name or (teachers and its_teachers != list(teachers)):
        raise InputError(
            f"{work}: a cache of the chips {its_cut} and the teachers {', '.join(its_teachers)}; name another --work"
        )


def _joined(answers: Sequence[Answers], cut: Cut) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return path -> what all teachers say side by side, zeros where one has no answer, and path -> five points.

    Where faces are placed by five points, those whose points nobody knows are left out.

    Raises:
        InputError: two teachers of one name, or no points where the cut needs them.
    """
    names = [a.name for a in answers]
    if len(set(names)) < len(names):
        raise InputError(f"--teacher: {', '.join(names)}; each of them once")
    rows = [dict(zip(a.paths, a.embeddings, strict=True)) for a in answers]
    none = [np.zeros(a.embeddings.shape[1], np.float32) for a in answers]
    paths = sorted(set().union(*rows))
    points: dict[str, np.ndarray] = {}
    if cut.name == POINTS5.name:
        for a in answers:
            found = zip(a.paths, a.points, strict=True) if a.points is not None else ()
            points |= {path: five for path, five in found if five.any()}
        if not points:
            raise InputError(f"--chips {cut.name}: no --teacher whose file has `points`")
        paths = [path for path in paths if path in points]
    joined = {
        path: np.concatenate([own.get(path, empty) for own, empty in zip(rows, none, strict=True)])
        for path in paths
    }
    return joined, points


def cache_renders(source: Path, work: Path, count: int, seed: int) -> None:
    """Render `count` pictures of the cached faces at other poses, spread over them, unless `work` has that many.

    What is there can be learnt from while the rest is made; a rendering that was killed goes on.
    """
    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        paths, landmarks = saved["paths"], saved["landmarks"]
        cut = CUTS[str(saved["cut"])] if "cut" in saved.files else LANDMARKS68
        points = saved["points"] if cut == POINTS5 else None
    usable = np.arange(len(paths))
    if points is not None:
        usable = usable[[_agree(*both) for both in zip(landmarks, points, strict=True)]]
    per_face = max(1, round(count / max(1, len(usable))))
    rows = np.random.default_rng(seed).permutation(usable)[: -(-count // per_face)]
    held_out = np.isin(rows, held_out_rows(paths.tolist()))
    rows = np.concatenate([rows[held_out], rows[~held_out]])  # what is measured by is there first
    shape = (len(rows) * per_face, cut.rendered, cut.rendered, 3)
    made = _Renders(work, shape, [count, seed])
    if made.faces == len(rows):
        return
    tasks = [(int(row), str(paths[row]), landmarks[row], per_face, seed, cut) for row in rows[made.faces :]]
    for task, pictures in _in_processes(_render, source, face_source(), tasks, "rendering"):
        made.add(task[0], pictures or ())
        if made.faces % SAVED_EVERY == 0:
            made.save()
    made.save()
    tqdm.write(f"{len(made.shown)} renders of {len(set(made.shown))} faces")


class _Renders:
    """The renders of a cache while they are made.

    Args:
        work: folder of the cache.
        shape: of the array of all of them.
        asked: what tells one rendering from another.
    """

    def __init__(self, work: Path, shape: tuple[int, ...], asked: list[int]) -> None:
        self._work, self._asked = work, asked
        self.faces = 0
        self.shown: list[int] = []
        self._yaws: list[float] = []
        progress, file = work / "rendering.npz", work / "renders.npy"
        if progress.is_file() and file.is_file():
            with np.load(progress, allow_pickle=False) as saved:
                if saved["asked"].tolist() == asked:
                    self.faces, self.shown, self._yaws = (
                        int(saved["faces"]),
                        saved["of"].tolist(),
                        saved["yaw"].tolist(),
                    )
        if self.shown or self.faces:
            self._stored = np.load(file, mmap_mode="r+", allow_pickle=False)
        else:
            (work / "render_of.npy").unlink(missing_ok=True)
            self._stored = np.lib.format.open_memmap(file, "w+", np.uint8, shape)

    def add(self, row: int, pictures: Sequence[tuple[float, np.ndarray]]) -> None:
        """Keep the yaws and pictures of the next face."""
        for yaw, picture in pictures:
            self._stored[len(self.shown)] = picture
            self.shown.append(row)
            self._yaws.append(yaw)
        self.faces += 1

    def save(self) -> None:
        """Make what is there usable: first the pictures, then what they show."""
        self._stored.flush()
        of, yaw = np.array(self.shown, np.int64), np.array(self._yaws, np.float32)
        for name, array in (("render_yaw", yaw), ("render_of", of)):
            np.save(self._work / f"{name}.tmp.npy", array)
            (self._work / f"{name}.tmp.npy").replace(self._work / f"{name}.npy")
        temporary = self._work / "rendering.tmp.npz"
        np.savez(temporary, asked=self._asked, faces=self.faces, of=of, yaw=yaw)
        temporary.replace(self._work / "rendering.npz")


def _agree(landmarks: np.ndarray, points: np.ndarray) -> bool:
    """Whether 68 landmarks found in the box that five points suggest belong to the same face, as far as they tell."""
    moved = five_point_transform(points)
    apart = chip_landmarks(five_of_68(landmarks), moved) - chip_landmarks(points, moved)
    return bool(np.sqrt(np.square(apart).sum(1).mean()) < FARTHEST_APART)


def turned_views(head: HeadModel, seed: int) -> dict[int, list[View]]:
    """Return the views that faces cut by five points are rendered into, by the yaw of their band.

    They are turned much farther than those of the augmentor (`augmentor.views.view_key`): the student shall know a
    face from the side, too. They show more than the chip, so that the five points can place it.
    """
    rng = np.random.default_rng([seed, 5])
    views: dict[int, list[View]] = {}
    for band in TURNED_BANDS:
        for number in range(2 * VIEWS_PER_SIDE):
            yaw = (-1.0) ** number * min(90.0, band + rng.integers(-7, 8))
            pitch = float(np.clip(rng.normal(0, 12), -35, 35).round())
            key = ViewKey(number // 2 % VIEW_SHAPES, AS_PHOTO, yaw, pitch, float(rng.integers(-6, 7)))
            views.setdefault(band, []).append(make_view(head, key, VIEW_EDGE, VIEW_PADDING))
    return views


class _Teacher:
    """dlib's embedding, photo and mirror image averaged."""

    def __init__(self) -> None:
        from identity.networks.dlib_embedding import DlibEmbedding

        self.net = DlibEmbedding()

    def __call__(self, chips: Sequence[np.ndarray]) -> list[np.ndarray]:
        stacked = np.stack(chips)
        return list((self.net(stacked) + self.net(np.ascontiguousarray(stacked[:, :, ::-1]))) / 2)


class _Worker:
    """What a process of the pool keeps: the photos, the source of faces, and the views once they are needed."""

    def __init__(self, source: Path, faces: FaceSource) -> None:
        self.photos = Photos(source)
        self.faces = faces
        self.landmarks = DlibLandmarks()
        self.head: HeadModel | None = None
        self.bands: dict[int, list[View]] = {}

    def cut(self, task: tuple[str, Cut, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray] | None:
        """Picture and landmarks; None without a face."""
        path, cut, points = task
        try:
            image = self.photos.load(path)
        except PhotoError:
            return None
        if points is not None:
            landmarks = self.landmarks(image, face_box(points))
            return warp_chip(image, cut.transform(points, cut.edge), cut.edge), landmarks
        reader = PhotoReader(
            cut.edge,
            policy="central",
            source=self.faces,
            min_face=SMALLEST_FACE,
            poses=False,
            transform=cut.transform,
        )
        found = reader.image(image, path)
        return None if found.chip is None else (found.chip, found.faces[0].landmarks)

    def render(self, task: tuple[int, str, np.ndarray, int, int, Cut]) -> list[tuple[float, np.ndarray]]:
        """Yaws and pictures of one face at views drawn for it; none where the pose cannot be found."""
        row, path, landmarks, per_face, seed, cut = task
        if self.head is None:
            self.head = load_head_model().with_landmark_offsets(self.faces.offsets)
            if cut == POINTS5:
                self.bands = turned_views(self.head, seed)
            else:
                self.bands = {0: [make_view(self.head, key, CHIP) for key in spread_view_keys(seed)]}
        size = self.bands[next(iter(self.bands))][0].size
        try:
            prepared = prepare_photo(self.photos.load(path), landmarks, self.head, size)
        except PhotoError:
            return []
        yaw, rng = prepared.fit.camera.pose.yaw, np.random.default_rng([seed, row])
        bands = [[v for v in views if allowed(yaw, v.key)] for views in self.bands.values()]
        if cut != POINTS5:
            chosen = [bands[0][k] for k in rng.permutation(len(bands[0]))[:per_face]]
            pairs = zip(chosen, render_views(prepared, chosen), strict=True)
            return [(view.key.yaw, rendered.image) for view, rendered in pairs]
        order = [k for k in rng.permutation(len(bands)) if bands[k]]
        chosen = [bands[k][rng.integers(len(bands[k]))] for k in order * per_face][:per_face] if order else []
        return [
            (view.key.yaw, warp_chip(rendered.image, transform, cut.rendered))
            for view, rendered in zip(chosen, render_views(prepared, chosen), strict=True)
            for transform in [cut.transform(five_of_68(rendered.landmarks_2d), cut.rendered)]
        ]


def face_box(points: np.ndarray) -> tuple[float, float, float, float]:
    """Return the box (x, y, width, height) that dlib's detector usually draws around a face with these five points.

    Its side is 2.33 times the distance of the eyes, its middle half that distance below them: medians of 120 faces.
    """
    apart = float(np.linalg.norm(points[1] - points[0]))
    x, y = points[:2].mean(0)
    side = 2.33 * apart
    return float(x) - side / 2, float(y) + 0.5 * apart - side / 2, side, side


_worker: list[_Worker] = []


def _start(source: Path, faces: FaceSource) -> None:
    _worker.append(_Worker(source, faces))


def _cut(task: tuple[str, Cut, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray] | None:
    return _worker[0].cut(task)


def _render(task: tuple[int, str, np.ndarray, int, int, Cut]) -> list[tuple[float, np.ndarray]]:
    return _worker[0].render(task)


def _in_processes(
    function: Callable[[Any], Any], source: Path, faces: FaceSource, tasks: Sequence[Any], what: str
) -> Iterator[tuple[Any, Any]]:
    """(task, result) in order, computed in one process a core."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, _start, (source, faces)) as pool:
        results = pool.map(function, tasks, chunksize=32)
        yield from zip(tasks, tqdm(results, what, len(tasks), unit="face"), strict=True)
