"""All the work on one partition of people: list and scan their photos, plan, make the images, write them.

Only the account leaves the machine that does the work. It reads the photos and writes the images itself, so the traffic
between machines does not grow with the set. An unchanged partition is left alone; in a changed one, photos are scanned
and images made only where something changed. Doing the work twice gives the same files, so a worker that takes over
from one that died need not know how far that one came.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from augmentor.balanced_set.failures import NO_PHOTO, Failure
from augmentor.balanced_set.layout import HELD_OUT, held_out_file
from augmentor.balanced_set.manifest import SCHEMA, ManifestRow, sorted_table, table_of
from augmentor.balanced_set.part_records import Account
from augmentor.balancing.plan import PhotoRecord, Plan, PlannedImage, hold_out, plan
from augmentor.errors import InputError, PhotoError
from augmentor.photos.images import LeftOut
from augmentor.photos.names import normalised
from augmentor.photos.people_folder import photos_of
from augmentor.photos.place import FileStamp, Place, place_of
from augmentor.rendering.effects import draw_effects
from augmentor.views.view_key import allowed
from augmentor.views.view_set import ViewSet
from jobs.balancing.careful_scan import CarefulScanner
from jobs.balancing.image_sink import image_sink
from jobs.balancing.partition import Partition
from jobs.balancing.partition_state import (
    Known,
    end_making,
    read_account,
    read_known,
    read_making,
    write_making,
    write_state,
)
from jobs.balancing.photo_worker import PhotoWorker, PreparedFace, RenderSettings, Scanned
from jobs.balancing.view_shelf import ViewSource

# Photos of one identity that are kept ready to be rendered, some MB each; if there are more, they are decoded twice.
KEPT_PHOTOS = 100
STAGES = ("storage", "scan", "render")
_log = logging.getLogger("likeness.augment")
T = TypeVar("T")


@dataclass(frozen=True)
class SetSettings:
    """Sources and settings of a set; plain values that can be sent to workers."""

    data: str
    out: str
    per_class: int
    hold_out: int
    format: str
    effects: tuple[str, ...]
    render: RenderSettings


@dataclass
class Done:
    """The result of a worker's work on a partition.

    Attributes:
        name: name of the partition.
        account: what became of its photos.
        scanned: photos that were scanned in this run.
        made: images that were made in this run.
        removed: images that were removed.
        not_photos: files that are not photos and were left out.
        unchanged: nothing had to be done.
        seconds: seconds by stage (`STAGES`): waiting time for storage, core time for the others.
        bytes_read: bytes of photos.
        bytes_written: bytes of images.
    """

    name: str
    account: Account
    scanned: int = 0
    made: int = 0
    removed: int = 0
    not_photos: int = 0
    unchanged: bool = False
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    bytes_read: int = 0
    bytes_written: int = 0


class Scanner(Protocol):
    """Scans photos: a `PhotoWorker` or a `CarefulScanner`."""

    def scan(self, identity: str, photo: str, content: bytes | PhotoError) -> Scanned:
        """Scan a photo, see `PhotoWorker.scan`."""
        ...


class PartitionLook:
    """Compares the files of a partition with what is remembered of it; needs no model.

    Args:
        settings: the settings of the set.
    """

    def __init__(self, settings: SetSettings) -> None:
        self.settings = settings
        self.data: Place = place_of(settings.data)
        self.out: Place = place_of(settings.out)
        self.sink = image_sink(settings.format, self.out, settings.render.seed)

    def photos(self, partition: Partition, left_out: LeftOut) -> dict[str, dict[str, FileStamp]]:
        """Return the photos of each identity, relative to the data folder; counts files that are not photos."""
        return {name: photos_of(self.data, name, left_out) for name in partition.identities}

    def unchanged(self, partition: Partition, photos: dict[str, dict[str, FileStamp]]) -> Done | None:
        """Return the account if nothing has changed since the partition was done, else None."""
        known = read_account(self.out, partition.name)
        if known is None or known.account is None:
            return None
        stamps = {photo: stamp for own in photos.values() for photo, stamp in own.items()}
        as_it_was = (known.stamps, known.labels) == (stamps, list(partition.labels))
        if not as_it_was or list(known.account.photos) != sorted(partition.identities):
            return None
        if known.digest != self.digest(partition):
            return None
        return Done(partition.name, known.account, unchanged=True)

    def digest(self, partition: Partition) -> str:
        """Return a digest of the images and of the photos set aside."""
        digest = self.sink.digest(partition)
        if self.settings.hold_out:
            aside = [
                f"{stamp.size} {path}"
                for name in partition.identities
                for path, stamp in self.out.files(f"{HELD_OUT}/{name}").items()
            ]
            digest += " " + sha256("\n".join(aside).encode()).hexdigest()
        return digest


class PartitionWorker:
    """Works on one partition after the other.

    Args:
        settings: the settings of the set.
        view_set: the head and its views.
        views: where the views come from.

    Raises:
        InputError: a model is missing or damaged.
    """

    def __init__(self, settings: SetSettings, view_set: ViewSet, views: ViewSource) -> None:
        self._settings = settings
        self._view_set = view_set
        self._views = views
        self._look = PartitionLook(settings)
        self._worker = PhotoWorker(settings.render, view_set)

    def run(self, partition: Partition, known: Sequence[str] = (), careful: bool = False) -> Done:
        """Do what has to be done for a partition.

        Args:
            partition: the partition.
            known: names of partitions whose memory may help (`jobs.balancing.partition.known_names`).
            careful: scan photos in a separate process.

        Raises:
            InputError: the input cannot be read, or the output cannot be written.
        """
        left_out = LeftOut()
        photos = self._look.photos(partition, left_out)
        done = self._look.unchanged(partition, photos)
        if not done:
            with _scanner(careful, self._settings.render) as careful_scanner:
                work = _Work(self._look, self._view_set, self._views, self._worker, partition, photos, known)
                done = work.do(careful_scanner or self._worker)
        done.not_photos = left_out.not_photos
        return done


def _scanner(careful: bool, settings: RenderSettings) -> AbstractContextManager[CarefulScanner | None]:
    return closing(CarefulScanner(settings)) if careful else nullcontext()


class _Work:
    """The work on one partition that has changed.

    Args:
        look: the files of the set.
        view_set: the head and its views.
        views: where the views come from.
        worker: renders.
        partition: the partition.
        photos: the stamps of each person's photos.
        known: names of partitions whose memory may help.
    """

    def __init__(
        self,
        look: PartitionLook,
        view_set: ViewSet,
        views: ViewSource,
        worker: PhotoWorker,
        partition: Partition,
        photos: dict[str, dict[str, FileStamp]],
        known: Sequence[str],
    ) -> None:
        self._settings, self._look, self._view_set = look.settings, look, view_set
        self._views, self._worker = views, worker
        self._partition, self._photos = partition, photos
        self._known = read_known(look.out, known)
        self._making = read_making(look.out, partition.name)
        columns = (self._known.rows[column].to_pylist() for column in ("file", "source_sha256", "bytes"))
        self._old = {file: (sha, size) for file, sha, size in zip(*columns, strict=True)}
        self._there = look.sink.there(partition)
        self._done = Done(partition.name, Account({}, {}, 0, 0, 0, [], []))
        self._scans: dict[str, list[PhotoRecord]] = {}
        self._rows: list[ManifestRow] = []
        self._kept: list[str] = []
        self._plans: list[Plan] = []

    def do(self, scanner: Scanner) -> Done:
        """Set photos aside, make the images of each person, and remember what was made.

        Args:
            scanner: scans the photos.
        """
        settings, partition, done = self._settings, self._partition, self._done
        names = {name: list(own) for name, own in self._photos.items()}
        kept, held = hold_out(names, settings.hold_out, settings.render.seed)
        for name in partition.identities:
            unreadable = self._set_aside(name, held.get(name, ()))
            kept[name] = sorted([*kept[name], *unreadable])
            held[name] = [photo for photo in held.get(name, ()) if photo not in unreadable]
        for name in partition.identities:
            self._identity(name, {photo: self._photos[name][photo] for photo in kept[name]}, scanner)
        planned = {image.file for one in self._plans for image in one.images}
        done.removed = self._timed(self._look.sink.close, partition, planned, {*self._old, *self._making})
        done.account = self._account(self._photos, held)
        self._remember(partition, self._photos)
        return done

    def _timed(self, action: Callable[..., T], *arguments: Any) -> T:
        """Run an action and count its time as storage."""
        start = time.perf_counter()
        try:
            return action(*arguments)
        finally:
            self._done.seconds["storage"] += time.perf_counter() - start

    def _read(self, photo: str) -> bytes | PhotoError:
        try:
            content = self._timed(self._look.data.read, photo)
        except OSError as error:
            return PhotoError("unreadable", photo, error.strerror or str(error))
        self._done.bytes_read += len(content)
        return content

    def _set_aside(self, name: str, held: Sequence[str]) -> list[str]:
        """Copy the photos set aside, remove earlier copies of others, and return the photos that cannot be read."""
        out = self._look.out
        there = out.files(f"{HELD_OUT}/{name}") if self._settings.hold_out else {}
        copied, unreadable = set(), []
        for photo in held:
            content = self._read(photo)
            if isinstance(content, PhotoError):
                unreadable.append(photo)
                continue
            # The folder of the person may be spelled in another Unicode form than the name.
            path = held_out_file(name, photo.split("/", 1)[1])
            copied.add(path)
            if path not in there or there[path].size != len(content) or out.read(path) != content:
                self._intend([path])
                self._timed(out.write, path, content)
        for path in (there.keys() - copied) & self._set_aside_before(name):
            out.remove(path)
        return unreadable

    def _set_aside_before(self, name: str) -> set[str]:
        """Return the copies of a person's photos that this job made; other files there belong to the user."""
        stamps = self._known.stamps
        own = [photo.split("/", 1)[1] for photo in stamps if normalised(photo.split("/")[0]) == name]
        return {held_out_file(name, photo) for photo in own} | self._making

    def _intend(self, files: Iterable[str]) -> None:
        """Remember files that are about to be written."""
        new = set(files) - self._making
        if new:
            self._making |= new
            self._timed(write_making, self._look.out, self._partition.name, self._making)

    def _identity(self, name: str, photos: dict[str, FileStamp], scanner: Scanner) -> None:
        """Scan, plan and make the images of one person."""
        prepared: dict[str, Sequence[PreparedFace]] = {}
        for photo, stamp in photos.items():
            ready = self._scan(name, photo, stamp, scanner)
            if len(photos) <= KEPT_PHOTOS and ready:
                prepared[photo] = ready
        planned = self._plan(name, photos)
        self._plans.append(planned)
        missing: dict[str, list[PlannedImage]] = {}
        for image in planned.images:
            there = (self._scans[image.photo][0].sha256, self._there.get(image.file))
            if self._old.get(image.file) == there:
                self._kept.append(image.file)
            else:
                missing.setdefault(image.photo, []).append(image)
        if self._look.sink.single_files:
            self._intend(image.file for images in missing.values() for image in images)
        views = self._views.views(image.view for images in missing.values() for image in images if image.view)
        for photo, images in missing.items():
            faces = [face for face in self._scans[photo] if face.reason is None]
            ready = prepared.pop(photo, []) or self._prepare_again(faces)
            start = time.process_time()
            for row, image_bytes in self._worker.make_images(faces, ready, images, views):
                self._done.seconds["render"] += time.process_time() - start
                self._timed(self._look.sink.put, row, image_bytes)
                self._rows.append(row)
                self._done.bytes_written += len(image_bytes)
                start = time.process_time()
            self._done.made += len(images)

    def _scan(self, name: str, photo: str, stamp: FileStamp, scanner: Scanner) -> Sequence[PreparedFace]:
        """Scan one photo unless its result is known; returns the prepared faces."""
        known = self._known.scans.get(photo)
        if known and self._known.stamps.get(photo) == stamp:
            self._scans[photo] = known
            return []
        content = self._read(photo)
        if known and not isinstance(content, PhotoError) and known[0].sha256 == sha256(content).hexdigest():
            self._scans[photo] = known
            return []
        scanned = scanner.scan(name, photo, content)
        self._done.scanned += 1
        self._done.seconds["scan"] += scanned.seconds
        self._scans[photo] = list(scanned.faces)
        for face in scanned.faces:
            if face.reason:
                _log.warning("%s: %s %s", self._look.data.name(photo), face.reason, face.detail)
        return scanned.prepared

    def _plan(self, name: str, photos: dict[str, FileStamp]) -> Plan:
        records = [face for photo in photos for face in self._scans[photo]]
        settings = self._settings
        effects = partial(draw_effects, settings.effects, settings.render.seed) if settings.effects else None
        return plan(
            records,
            self._view_set.keys,
            settings.per_class,
            settings.render.seed,
            allowed=allowed,
            identities=[name],
            effects=effects,
        )

    def _prepare_again(self, faces: Sequence[PhotoRecord]) -> list[PreparedFace]:
        photo = faces[0].photo
        content = self._read(photo)
        if isinstance(content, PhotoError):
            raise InputError(f"{content}; it could be read before, so run the same command again")
        if sha256(content).hexdigest() != faces[0].sha256:
            raise InputError(f"{photo}: changed while the job ran; run the same command again")
        try:
            return self._worker.prepare_again(faces, content)
        except PhotoError as error:
            raise InputError(f"{error}; it could be read before, so run the same command again") from error

    def _account(self, photos: dict[str, dict[str, FileStamp]], held: dict[str, list[str]]) -> Account:
        failures = [
            Failure(face.photo, face.identity, face.reason, face.detail)
            for faces in self._scans.values()
            for face in faces
            if face.reason is not None
        ]
        failures += [Failure("", name, NO_PHOTO, "") for name, own in photos.items() if not own]
        images = [image for one in self._plans for image in one.images]
        counts = dict.fromkeys(sorted(photos), 0)
        for image in images:
            counts[image.identity] += 1
        return Account(
            photos={name: len(photos[name]) for name in sorted(photos)},
            images=counts,
            held_out=sum(map(len, held.values())),
            rejected=sum(all(face.reason for face in faces) for faces in self._scans.values()),
            renders=sum(image.kind == "render" for image in images),
            lacking=sorted(n for one in self._plans for n in (*one.empty_identities, *one.short_identities)),
            failures=sorted(failures),
            more_pages=sum(any(f.detail and not f.reason for f in faces) for faces in self._scans.values()),
        )

    def _remember(self, partition: Partition, photos: dict[str, dict[str, FileStamp]]) -> None:
        wanted = set(self._kept)
        # The newest row of a file, if several partitions remember it.
        newest = {file: n for n, file in enumerate(self._known.rows["file"].to_pylist()) if file in wanted}
        kept = self._known.rows.take(pa.array(sorted(newest.values()), pa.int64()))
        rows = sorted_table([kept, table_of(self._rows) if self._rows else SCHEMA.empty_table()])
        self._timed(
            write_state,
            self._look.out,
            partition.name,
            Known(
                stamps={photo: stamp for own in photos.values() for photo, stamp in own.items()},
                labels=list(partition.labels),
                digest=self._look.digest(partition),
                account=self._done.account,
                scans=self._scans,
                rows=rows,
            ),
        )
        if self._making:
            self._timed(end_making, self._look.out, partition.name)
