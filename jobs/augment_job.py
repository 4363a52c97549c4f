"""The augment job: scan the photos, plan each identity, make its images, over Ray.

One decode and one search for faces per photo, in actors that load their models once. Views are made once and shared
through the object store. As soon as all photos of an identity are scanned it is planned (`augmentor.balance` plans
each by itself) and its images are made from the faces that still lie in the object store; images go before scans, so
that few faces wait there. What is done is remembered in `OUT/.work` (`jobs.work_folder`).
"""

import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from augmentor.balance import Plan, PlannedImage, hold_out, plan
from augmentor.balance_report import balance_picture, contact_sheet
from augmentor.effects import draw_effects
from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.images import list_identities, sha256_of, write_whole
from augmentor.landmark_source import model_path
from augmentor.manifest import sorted_table
from augmentor.render import RENDERER
from augmentor.view import View
from augmentor.view_key import ViewKey, allowed
from augmentor.view_set import load_view_set
from jobs.augment_settings import AugmentSettings, parse_arguments
from jobs.failures import NO_PHOTO, Failure, by_reason, failures_csv
from jobs.image_shards import write_shards
from jobs.landmark_set import FOLDER_NAME as LANDMARK_SET
from jobs.landmark_set import write_landmark_set
from jobs.photo_worker import PhotoWorker, PreparedFace, Scanned, WorkerSettings, Written
from jobs.ray_pool import Call, WorkerPool, is_submitted_job, ray, ray_errors, ray_session
from jobs.scan_table import ScannedFace
from jobs.work_folder import FOLDER, WorkFolder, sizes_of_files

SAVE_SECONDS = 15.0  # what a kill costs at most, beside the photos in work
PHOTOS_PER_CALL = 8  # of one identity; a call to a worker costs some milliseconds, whatever it does
KEPT_PHOTOS = 256  # identities with more photos are not kept in memory between scan and render
BYTES_PER_PIXEL = 0.25  # of a JPEG here, at least: to say early that the disk is too small


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job from a command line; returns the exit code."""
    try:
        settings = parse_arguments(arguments, submitted=is_submitted_job())
        signal.signal(signal.SIGTERM, _interrupt)
        return augment(settings)
    except LikenessError as error:
        print(f"augment: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("augment: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def augment(settings: AugmentSettings) -> int:
    """Make the set.

    Returns:
        0, or 1 if an identity has too few images or too many photos failed.

    Raises:
        InputError: the input cannot be used, or the output cannot be written.
    """
    photos = _photos(settings)
    kept, held = hold_out(photos, settings.hold_out, settings.seed)
    views = load_view_set(settings.head_model, settings.size, settings.seed, settings.views)
    model_path("shape_predictor_68_face_landmarks.dat")  # says now, and once, that it is missing
    made_with = {
        "per_class": settings.per_class,
        "size": settings.size,
        "seed": settings.seed,
        "hold_out": settings.hold_out,
        "faces": settings.faces,
        "format": settings.format,
        "views": views.digest[:16],
        "renderer": RENDERER,
        "effects": list(settings.effects),
    }
    with WorkFolder(settings.out, made_with) as work:
        work.remove_partial_files()
        set_aside = _copy_held_out(settings, held)
        job = _Job(settings, kept, views.keys, work)
        job.run()
        return job.finish(photos, set_aside)


def _photos(settings: AugmentSettings) -> dict[str, list[str]]:
    """Identity → its photos relative to the data folder, with slashes."""
    found = list_identities(settings.data)
    if FOLDER in found:
        raise InputError(
            f"{settings.data / FOLDER}: the output keeps its notes under that name; rename the folder"
        )
    if not any(found.values()):
        raise InputError(f"{settings.data}: no photos in any of its {len(found)} folders")
    return {
        identity: [path.relative_to(settings.data).as_posix() for path in paths]
        for identity, paths in found.items()
    }


def _copy_held_out(settings: AugmentSettings, held: Mapping[str, Sequence[str]]) -> set[str]:
    """Copy the photos set aside, as they are; returns their paths below `OUT/holdout`."""
    copied = {photo for photos in held.values() for photo in photos}
    for photo in sorted(copied):
        source = settings.data / photo
        try:
            content = source.read_bytes()
        except OSError as error:
            raise InputError(
                f"{source}: cannot read it to set it aside ({error.strerror or error})"
            ) from error
        _write_if_new(settings.out / "holdout" / photo, content)
    return copied


def _write_if_new(path: Path, content: bytes) -> None:
    """Write a file unless it is there already with this content: a second run changes nothing."""
    if not (path.is_file() and path.read_bytes() == content):
        write_whole(path, content)


class _PhotoActor(PhotoWorker):
    """A photo worker whose views lie in the object store; it fetches each when it needs it first.

    They come with the calls, not the constructor: Ray can replace an actor whose constructor takes plain values only.
    """

    def make_view(self, key: ViewKey) -> tuple[str, View]:
        """The name of a view and the view itself."""
        return key.name, self._view_set.view(key)

    def scan_photos(
        self, identity: str, photos: Sequence[str], keep: bool
    ) -> tuple[list[Scanned], list[list[PreparedFace]]]:
        """See `PhotoWorker.scan`, of several photos."""
        scanned, prepared = zip(*(self.scan(identity, photo, keep) for photo in photos), strict=True)
        return list(scanned), list(prepared)

    def make_images_of(
        self, parts: Sequence["_Part"], prepared: Sequence[list[PreparedFace]] = (), views: Any = None
    ) -> Written | LikenessError:
        """See `PhotoWorker.make_images`, of several photos. An error meant for the user (a full disk) is returned, not
        raised: Ray would print it with its traceback.

        `prepared` is what `scan_photos` gave beside, or nothing. `views` are the references by name of those that are
        needed, or, in a list, a reference to those of all.
        """
        images = [image for part in parts for image in part.images]
        needed = {image.view.name for image in images if image.view} - self._views.keys()
        if needed:
            references = ray.get(views[0]) if isinstance(views, list) else views
            names = sorted(references) if isinstance(views, list) else sorted(needed)
            self._views |= zip(names, ray.get([references[name] for name in names]), strict=True)
        try:
            made = [
                self.make_images(part.faces, part.images, prepared[part.number] if prepared else ())
                for part in parts
            ]
        except LikenessError as error:
            return error
        return Written(pa.concat_tables([one.rows for one in made]), sum(one.seconds for one in made))


@dataclass(frozen=True)
class _Part:
    """What is to be made of one photo: its usable faces, the images, and its number among those scanned with it."""

    faces: list[ScannedFace]
    images: list[PlannedImage]
    number: int


def _chunks(photos: Sequence[str]) -> Iterator[list[str]]:
    """Photos in parts that one call deals with."""
    for start in range(0, len(photos), PHOTOS_PER_CALL):
        yield list(photos[start : start + PHOTOS_PER_CALL])


class _Job:
    """One run: what is known of the photos, what is planned, what is made."""

    def __init__(
        self,
        settings: AugmentSettings,
        photos: Mapping[str, Sequence[str]],
        keys: Sequence[ViewKey],
        work: WorkFolder,
    ) -> None:
        self._settings = settings
        self._photos = photos
        self._keys = keys
        self._work = work
        # Shards are packed from single files that need not be in the way.
        self._images = settings.out if settings.format == "folder" else settings.out / FOLDER / "images"
        self._started = time.perf_counter()
        self._seconds = {"scan": 0.0, "images": 0.0}
        self._scans = self._still_valid(work.scanned())
        self._scanned_before = len(self._scans)
        self._old_rows = work.rows()
        self._sizes = sizes_of_files(self._images)
        self._old = {
            file: (sha256, length)
            for file, sha256, length in zip(
                *(self._old_rows[name].to_pylist() for name in ("file", "source_sha256", "bytes")),
                strict=True,
            )
        }
        self._plans: dict[str, Plan] = {}
        self._new_rows: list[pa.Table] = []
        self._unsaved: tuple[list[ScannedFace], list[pa.Table]] = ([], [])
        self._saved_at = time.monotonic()
        self._prepared: dict[str, tuple[Any, int]] = {}  # photo → what its scan prepared, its number there
        self._views: dict[str, Any] = {}
        self._all_views: list[Any] = []
        self._unscanned = {
            identity: {photo for photo in photos if photo not in self._scans}
            for identity, photos in self._photos.items()
        }
        self._progress: tqdm[Any] = tqdm(disable=True)

    def _still_valid(self, scans: Mapping[str, list[ScannedFace]]) -> dict[str, list[ScannedFace]]:
        """The scans of photos that are there and have not changed since."""
        known = [photo for photos in self._photos.values() for photo in photos if photo in scans]
        with ThreadPoolExecutor(4) as threads:
            hashes = list(threads.map(self._hash, known))
        return {
            photo: scans[photo]
            for photo, sha in zip(known, hashes, strict=True)
            if scans[photo][0].sha256 == sha
        }

    def _hash(self, photo: str) -> str:
        """SHA-256 of a photo, empty if it cannot be read (as the scan has it)."""
        try:
            return sha256_of(self._settings.data / photo)
        except PhotoError:
            return ""

    def run(self) -> None:
        """Scan and make what is missing; does not even start Ray if nothing is."""
        for identity, missing in self._unscanned.items():
            if not missing:
                self._plan(identity)
        unplanned = sum(self._settings.per_class for identity, missing in self._unscanned.items() if missing)
        to_make = {identity: self._to_make(planned) for identity, planned in self._plans.items()}
        missing_images = unplanned + sum(
            len(images) for parts in to_make.values() for images in parts.values()
        )
        if not missing_images and not any(self._unscanned.values()):
            return
        self._require_space(missing_images)
        self._progress = tqdm(
            total=missing_images, unit="image", desc="augment", file=sys.stderr, mininterval=1.0
        )
        with ray_session(self._settings.workers) as workers:
            try:
                self._run_on(workers, to_make)
            finally:
                self._progress.close()
                with suppress(InputError):  # of a full disk, which is reported already
                    self._save()

    def _run_on(self, workers: int, to_make: Mapping[str, dict[str, list[PlannedImage]]]) -> None:
        settings = self._settings
        worker_settings = WorkerSettings(
            data=str(settings.data.resolve()),
            images=str(self._images.resolve()),
            size=settings.size,
            seed=settings.seed,
            faces=settings.faces,  # type: ignore[arg-type]
            head_model=settings.head_model,
            views=settings.views,
        )
        with ray_errors():
            actor = ray.remote(num_cpus=1, max_restarts=3, max_task_retries=3)(_PhotoActor)
            self._pool = WorkerPool([actor.remote(worker_settings) for _ in range(workers)])
            self._pool.run(self._calls(to_make))

    def _calls(self, to_make: Mapping[str, dict[str, list[PlannedImage]]]) -> Iterator[Call]:
        """What there is to do, identity by identity."""
        for identity, photos in self._photos.items():
            if identity in to_make:
                yield from self._image_calls(to_make[identity])
            keep = len(photos) <= KEPT_PHOTOS
            for together in _chunks(sorted(self._unscanned[identity])):
                arguments = (identity, together, keep)
                yield Call("scan_photos", partial(tuple, arguments), done=self._on_scan, results=2)

    def _on_scan(self, scanned: list[Scanned], prepared: Any) -> None:
        for number, photo in enumerate(scanned):
            face = photo.faces[0]
            self._seconds["scan"] += photo.seconds
            self._scans[face.photo] = list(photo.faces)
            self._unsaved[0].extend(photo.faces)
            self._unscanned[face.identity].remove(face.photo)
            if len(self._photos[face.identity]) <= KEPT_PHOTOS:
                self._prepared[face.photo] = prepared, number
        if not self._unscanned[face.identity]:
            missing = self._to_make(self._plan(face.identity))
            self._progress.total += sum(map(len, missing.values())) - self._settings.per_class
            for call in self._image_calls(missing):
                self._pool.add_urgent(call)
            for name in self._photos[face.identity]:
                self._prepared.pop(name, None)

    def _plan(self, identity: str) -> Plan:
        records = [face.record for photo in self._photos[identity] for face in self._scans[photo]]
        settings = self._settings
        planned = plan(
            records,
            self._keys,
            settings.per_class,
            settings.seed,
            allowed=allowed,
            identities=[identity],
            effects=partial(draw_effects, settings.effects, settings.seed) if settings.effects else None,
        )
        self._plans[identity] = planned
        return planned

    def _to_make(self, planned: Plan) -> dict[str, list[PlannedImage]]:
        """The planned images, by photo, that are not there yet or show a photo that has changed since."""
        missing: dict[str, list[PlannedImage]] = {}
        for image in planned.images:
            there = (self._scans[image.photo][0].sha256, self._sizes.get(image.file))
            if self._old.get(image.file) != there:
                self._old.pop(image.file, None)
                missing.setdefault(image.photo, []).append(image)
        return missing

    def _image_calls(self, missing: Mapping[str, list[PlannedImage]]) -> Iterator[Call]:
        """Calls that make these images, after those that make the views they are the first to need."""
        by_scan: dict[Any, list[str]] = {}
        for photo in missing:
            by_scan.setdefault(self._prepared.get(photo, (None,))[0], []).append(photo)
        for prepared, photos in by_scan.items():
            for together in _chunks(photos):
                images = [image for photo in together for image in missing[photo]]
                needed = {image.view.name: image.view for image in images if image.view}
                for name, key in needed.items():
                    if name not in self._views:
                        self._views[name] = None  # asked for
                        yield Call(
                            "make_view",
                            partial(tuple, [key]),
                            sent=partial(self._views.__setitem__, name),
                            results=2,
                        )
                parts = [
                    _Part(
                        [face for face in self._scans[photo] if face.reason is None],
                        missing[photo],
                        self._prepared.get(photo, (None, 0))[1],
                    )
                    for photo in together
                ]
                arguments = partial(self._image_arguments, parts, prepared or (), list(needed))
                yield Call("make_images_of", arguments, done=self._on_images)

    def _image_arguments(self, parts: list[_Part], prepared: Any, needed: list[str]) -> tuple[Any, ...]:
        """Arguments for `_PhotoActor.make_images_of`, when it is called: the views have been asked for by then."""
        if len(self._views) < len(self._keys):
            return parts, prepared, {name: self._views[name] for name in needed}
        if not self._all_views and None not in self._views.values():
            self._all_views = [ray.put(self._views)]  # one reference is cheaper to send than a hundred
        return parts, prepared, self._all_views or {name: self._views[name] for name in needed}

    def _on_images(self, written: Written, _: object) -> None:
        self._seconds["images"] += written.seconds
        self._new_rows.append(written.rows)
        self._unsaved[1].append(written.rows)
        self._progress.update(written.rows.num_rows)
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        """Remember what was done since the last time."""
        if any(self._unsaved):
            self._work.save_part(*self._unsaved)
            self._unsaved = ([], [])
        self._saved_at = time.monotonic()

    def _require_space(self, images: int) -> None:
        need = images * self._settings.size**2 * BYTES_PER_PIXEL
        free = shutil.disk_usage(self._settings.out).free
        if free < need:
            raise InputError(
                f"{self._settings.out}: {images} images need at least {need / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
                "free; free some space or choose another --out"
            )

    def finish(self, photos: Mapping[str, Sequence[str]], set_aside: set[str]) -> int:
        """Write what describes the set, remove what no longer belongs to it, and say how it went."""
        settings = self._settings
        planned = {image.file for one in self._plans.values() for image in one.images}
        numbers = [
            i
            for i, file in enumerate(self._old_rows["file"].to_pylist())
            if file in self._old and file in planned
        ]
        rows = sorted_table([self._old_rows.take(pa.array(numbers, pa.int64())), *self._new_rows])
        if rows.num_rows != len(planned):
            raise RuntimeError(f"{len(planned)} images planned, {rows.num_rows} made")
        failures = self._failures()
        _write_if_new(settings.out / "failures.csv", failures_csv(failures))
        self._work.finish((face for faces in self._scans.values() for face in faces), rows)
        removed = self._work.remove_stale(self._images, planned, set_aside)
        after = {identity: len(one.images) for identity, one in self._plans.items()}
        before = {identity: len(paths) for identity, paths in photos.items()}
        if settings.format == LANDMARK_SET:
            write_landmark_set(settings.out / LANDMARK_SET, self._images, rows)
        elif settings.format != "folder":
            write_shards(settings.out / "shards", self._images, rows, settings.format, settings.seed)
        report = settings.out / "report"
        _write_if_new(report / "balance.png", balance_picture(before, after))
        if planned:
            _write_if_new(report / "renders.jpg", contact_sheet(self._images, rows))
        return self._summary(len(set_aside), removed, failures)

    def _failures(self) -> list[Failure]:
        failures = [
            Failure(face.photo, face.identity, face.reason, face.detail)
            for faces in self._scans.values()
            for face in faces
            if face.reason is not None
        ]
        return failures + [
            Failure("", name, NO_PHOTO, "") for name, photos in self._photos.items() if not photos
        ]

    def _summary(self, set_aside: int, removed: int, failures: Sequence[Failure]) -> int:
        """Print the table; returns the exit code."""
        settings = self._settings
        photos = sum(map(len, self._photos.values()))
        failed = sum(all(face.reason is not None for face in faces) for faces in self._scans.values())
        images = sum(len(one.images) for one in self._plans.values())
        renders = sum(image.kind == "render" for one in self._plans.values() for image in one.images)
        made = sum(table.num_rows for table in self._new_rows)
        scanned = photos - self._scanned_before
        wall = time.perf_counter() - self._started
        each = {"scan": scanned, "images": made}
        ms = {stage: 1e3 * self._seconds[stage] / count if count else 0.0 for stage, count in each.items()}
        lines = [
            ("identities", f"{len(self._photos)}"),
            ("photos", f"{photos}, and {set_aside} held out"),
            ("rejected", f"{failed}" + (f": {by_reason(failures)}" if failures else "")),
            ("images", f"{images}: {images - renders} photos, {renders} renders, {settings.size} px"),
            ("this run", f"{made} made, {images - made} there before, {removed} removed"),
            (
                "scanning",
                f"{self._seconds['scan']:.1f} core seconds, {ms['scan']:.1f} ms for each of {scanned} photos",
            ),
            (
                "images",
                f"{self._seconds['images']:.1f} core seconds, {ms['images']:.2f} ms for each of {made}",
            ),
            ("all in all", f"{wall:.1f} s, {made / wall:.0f} images/s"),
        ]
        for name, value in lines:
            print(f"{name:<12}{value}")
        code = 0
        lacking = [n for one in self._plans.values() for n in (*one.empty_identities, *one.short_identities)]
        if lacking:
            some = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            print(f"augment: {len(lacking)} identities without enough images: {some}", file=sys.stderr)
            code = 1
        if photos and failed / photos > settings.max_failed:
            share = f"{failed} of {photos} photos failed, more than --max-failed {settings.max_failed:g}"
            print(f"augment: {share}", file=sys.stderr)
            code = 1
        reasons = f" ({by_reason(failures)}), see {settings.out / 'failures.csv'}" if failures else ""
        print(
            f"{images} images of {len(self._photos)} identities in {settings.out}; {failed} photos rejected{reasons}"
        )
        return code
