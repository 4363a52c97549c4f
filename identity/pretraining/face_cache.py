"""Make the cache of pre-training: faces cropped from a zip or folder, the teachers' embeddings, and renders.

Everything is cached in one folder, so that the next training starts at once:

    chips.npy        (N, E, E, 3) uint8 RGB faces in the order of their paths, cropped by `identity.pretraining.cut`
                     (E is 150 or 200)
    faces.npz        paths (N,); landmarks (N, 68, 2) float32 as (x, y) in photo pixels; teacher (N, D), the embeddings
                     of all teachers side by side; teachers (T,) and widths (T,), the names and numbers of columns of
                     the teachers; cut, the name of the crop; points (N, 5, 2), zeros if the crop does not need them
    renders.npy      (R, 150, 150, 3) uint8 RGB renders; longer than the next two while renders are still made
    render_of.npy    (R,) row of chips.npy whose face each render shows
    render_yaw.npy   (R,) yaw of each render, degrees
    rendering.npz    how many renders are made
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
from augmentor.faces.chip import chip_landmarks, chip_transform, usual_places, warp_chip
from augmentor.faces.face_search import Detection
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.faces.five_points import five_of_68
from augmentor.faces.landmark_source import DlibLandmarks
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.photos.images import list_photos, load_image
from augmentor.rendering.render import prepare_photo, render_views
from augmentor.views.head_view import make_view
from augmentor.views.view import View
from augmentor.views.view_key import AS_PHOTO, VIEW_SHAPES, ViewKey, allowed, spread_view_keys
from identity.chips.photo_faces import PhotoReader
from identity.pretraining.cut import CUTS, PLAIN, POINTS5, Cut
from identity.pretraining.held_out import held_out_faces
from identity.pretraining.teacher_file import Answers, read_answers

CHIP = 150  # side of dlib's chip, pixels
SMALLEST_FACE = 24  # pixels
TURNED_BANDS, VIEWS_PER_SIDE = (20, 35, 50, 65, 80), 20  # bands of yaw, degrees, each +- 7
VIEW_EDGE, VIEW_PADDING = 225, 0.75  # give a face as many pixels as in a picture of POINTS5
SAVED_EVERY = 1000  # number of rendered faces after which the renders are saved
FARTHEST_APART = (
    10.0  # largest distance of landmarks and five points, root mean square in pixels of a chip of 150 px
)


class Photos:
    """The photos in a folder or a zip, by their paths inside it; a zip is read but never unpacked to disk.

    Args:
        source: the folder or zip.

    Raises:
        InputError: The source is neither a folder nor a zip, or contains no photo.
    """

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
        """Read a photo as (H, W, 3) uint8 RGB.

        Args:
            path: path of the photo inside the source.

        Raises:
            PhotoError: The photo is unreadable or too large.
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
    cut: Cut = PLAIN,
    faces: FaceSource | None = None,
) -> None:
    """Crop all faces and store them with the teachers' embeddings, unless the cache exists already.

    Args:
        source: zip or folder of photos.
        teachers: files with the teachers' embeddings (`identity.pretraining.teacher_file`). Without any, dlib's network
            embeds the chips and their mirror images.
        work: folder of the cache.
        cut: how the faces are cropped; if by five points, the file of one of the teachers must contain them.
        faces: detects the faces; by default without a second opinion, since every photo shows a person.

    Raises:
        InputError: There is no photo, none of them shows a face, the teachers embedded none of them, the points are
            missing, or `work` contains the cache of other teachers or another crop.
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
            raise InputError(f"{teachers[0]}: contains none of the photos in {source}")
    embed = None if answers else _Teacher()
    temporary = work / "chips.tmp.npy"
    stored = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(paths), cut.edge, cut.edge, 3))
    kept: list[str] = []
    landmarks: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    tasks = [(path, cut, points.get(path)) for path in paths]
    for (path, _, _), cropped in _in_processes(_cut, source, faces or face_source(), tasks, "cropping faces"):
        if cropped is None:
            continue
        chip, face = cropped
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
        f"{len(kept)} faces; {len(paths) - len(kept)} of {len(paths)} photos are unreadable or show no face"
    )


def _same_cache(work: Path, teachers: Sequence[str], cut: Cut) -> None:
    """Check that a cache is for the requested teachers and crop; caches of earlier versions are dlib's.

    Raises:
        InputError: It is for others.
    """
    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        its_cut = str(saved["cut"]) if "cut" in saved.files else PLAIN.name
        its_teachers = saved["teachers"].tolist() if "teachers" in saved.files else ["dlib"]
    if its_cut != cut.name or (teachers and its_teachers != list(teachers)):
        raise InputError(
            f"{work}: contains a cache for --chips {its_cut} and the teachers {', '.join(its_teachers)}; "
            "name another --work"
        )


def _joined(answers: Sequence[Answers], cut: Cut) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the embeddings of all teachers side by side and the five points of each face, by path.

    The columns of a teacher that did not embed a face are zeros. If faces are cropped by five points, those without
    points are left out.

    Raises:
        InputError: A teacher is given twice, or the crop needs points and no file contains any.
    """
    names = [a.name for a in answers]
    if len(set(names)) < len(names):
        raise InputError(f"--teacher: {', '.join(names)}; give each teacher only once")
    rows = [dict(zip(a.paths, a.embeddings, strict=True)) for a in answers]
    none = [np.zeros(a.embeddings.shape[1], np.float32) for a in answers]
    paths = sorted(set().union(*rows))
    points: dict[str, np.ndarray] = {}
    if cut.name == POINTS5.name:
        for a in answers:
            known = zip(a.paths, a.points, strict=True) if a.points is not None else ()
            points |= {path: five for path, five in known if five.any()}
        if not points:
            raise InputError(f"--chips {cut.name}: needs a --teacher whose file has `points`")
        paths = [path for path in paths if path in points]
    joined = {
        path: np.concatenate([own.get(path, empty) for own, empty in zip(rows, none, strict=True)])
        for path in paths
    }
    return joined, points


def cache_renders(source: Path, work: Path, count: int, seed: int) -> None:
    """Render the cached faces at other poses, unless the cache contains these renders already.

    A training can use the first renders while the others are still made. If rendering is interrupted, the next call
    continues it.

    Args:
        source: zip or folder of photos.
        work: folder of the cache.
        count: number of renders, spread evenly over the faces.
        seed: seed of the choice of faces and poses.
    """
    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        paths, landmarks = saved["paths"], saved["landmarks"]
        cut = CUTS[str(saved["cut"])] if "cut" in saved.files else PLAIN
        points = saved["points"] if cut == POINTS5 else None
    usable = np.arange(len(paths))
    if points is not None:
        usable = usable[[_agree(*both) for both in zip(landmarks, points, strict=True)]]
    per_face = max(1, round(count / max(1, len(usable))))
    rows = np.random.default_rng(seed).permutation(usable)[: -(-count // per_face)]
    held_out = np.isin(rows, held_out_faces(paths.tolist()))
    rows = np.concatenate(
        [rows[held_out], rows[~held_out]]
    )  # held-out faces first, because measurements need them
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
        shape: shape of the array of all renders.
        asked: the settings; unfinished renders with other settings are discarded.
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
        """Store the yaws and pictures of the next face, which is in row `row` of the chips."""
        for yaw, picture in pictures:
            self._stored[len(self.shown)] = picture
            self.shown.append(row)
            self._yaws.append(yaw)
        self.faces += 1

    def save(self) -> None:
        """Make the renders made so far usable: write the pictures first, then what they show."""
        self._stored.flush()
        of, yaw = np.array(self.shown, np.int64), np.array(self._yaws, np.float32)
        for name, array in (("render_yaw", yaw), ("render_of", of)):
            np.save(self._work / f"{name}.tmp.npy", array)
            (self._work / f"{name}.tmp.npy").replace(self._work / f"{name}.npy")
        temporary = self._work / "rendering.tmp.npz"
        np.savez(temporary, asked=self._asked, faces=self.faces, of=of, yaw=yaw)
        temporary.replace(self._work / "rendering.npz")


def _agree(landmarks: np.ndarray, points: np.ndarray) -> bool:
    """Return whether the 68 landmarks of a face are close enough to its five points to belong to the same face."""
    moved = chip_transform(points)
    apart = chip_landmarks(five_of_68(landmarks), moved) - chip_landmarks(points, moved)
    return bool(np.sqrt(np.square(apart).sum(1).mean()) < FARTHEST_APART)


def turned_views(head: HeadModel, seed: int) -> dict[int, list[View]]:
    """Return the views into which faces that are cropped by five points are rendered, by their band of yaw.

    They are turned much further than those of the augmentor (`augmentor.views.view_key`), because the student should
    recognise faces from the side, too. They show more than the chip, so that it can be cropped by the five points.

    Args:
        head: the head model.
        seed: seed of the random poses.
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
    """Embeds chips with dlib's network; the embeddings of photo and mirror image are averaged."""

    def __init__(self) -> None:
        from identity.networks.dlib_embedding import DlibEmbedding

        self.net = DlibEmbedding()

    def __call__(self, chips: Sequence[np.ndarray]) -> list[np.ndarray]:
        stacked = np.stack(chips)
        return list((self.net(stacked) + self.net(np.ascontiguousarray(stacked[:, :, ::-1]))) / 2)


class _Worker:
    """The state of a process of the pool: the photos, the source of faces, and the views once they are needed."""

    def __init__(self, source: Path, faces: FaceSource) -> None:
        self.photos = Photos(source)
        self.faces = faces
        self.landmarks = DlibLandmarks()
        self.head: HeadModel | None = None
        self.bands: dict[int, list[View]] = {}

    def cut(self, task: tuple[str, Cut, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray] | None:
        """Crop the face in a photo; return picture and landmarks, or None if there is no face."""
        path, cut, points = task
        try:
            image = self.photos.load(path)
        except PhotoError:
            return None
        if points is not None:
            landmarks = self.landmarks(image, Detection((0.0, 0.0, 1.0, 1.0), 1.0, points)).places
            return warp_chip(image, cut.transform(points, cut.edge), cut.edge), landmarks
        reader = PhotoReader(
            cut.edge,
            policy="central",
            source=self.faces,
            min_face=SMALLEST_FACE,
            poses=False,
            transform=cut.transform,
        )
        cropped = reader.image(image, path)
        return None if cropped.chip is None else (cropped.chip, cropped.faces[0].landmarks)

    def render(self, task: tuple[int, str, np.ndarray, int, int, Cut]) -> list[tuple[float, np.ndarray]]:
        """Render a face into random views; return yaws and pictures, or none if its pose cannot be estimated."""
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
            for transform in [cut.transform(usual_places(view.size, view.padding), cut.rendered)]
        ]


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
    """Yield each task with its result, in order, computed in one process per core."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, _start, (source, faces)) as pool:
        results = pool.map(function, tasks, chunksize=32)
        yield from zip(tasks, tqdm(results, what, len(tasks), unit="face"), strict=True)
