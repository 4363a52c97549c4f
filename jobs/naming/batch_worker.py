"""All the work on one batch of photos: read them, detect the faces, name them, write the rows.

A worker reads photos and writes rows itself; only counts leave it. A batch is left alone if its rows are there and were
made of the same photos. A batch that is done twice gives the same bytes, so whoever takes over from a worker that died
need not know how far that worker got.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from augmentor.errors import PhotoError
from augmentor.faces.face_search import Policy
from augmentor.photos.images import MAX_PIXELS
from augmentor.photos.in_order import read_in_order
from augmentor.photos.place import place_of
from identity.chips.many_photos import use_one_core
from identity.chips.photo_faces import PhotoFaces, failed
from identity.networks.tensorflow_loading import load_tensorflow
from jobs.naming.careful_seeing import CarefulReader
from jobs.naming.names_table import Counts, part_bytes, rows_of
from jobs.naming.photo_batches import Batch
from jobs.naming.table_place import TablePlace
from jobs.naming.trained_run import check_unchanged, run_folder

STAGES = ("read", "see", "name")
_NO_ROWS: list[dict[str, Any]] = []
_AHEAD = 4  # Photos that are read from storage while one is searched for faces.


@dataclass(frozen=True)
class NamingSettings:
    """The settings of a naming job; plain values that can be sent to other machines.

    Attributes:
        model, data, out: paths or URIs of the run, the photos and the table.
        digest: of the run (`jobs.naming.trained_run.check_run`).
        fpir: share of strangers who may be given a name.
        faces: which faces of a photo count.
        max_pixels: a photo with more is refused.
    """

    model: str
    data: str
    out: str
    digest: str
    fpir: float
    faces: Policy
    max_pixels: int = MAX_PIXELS


@dataclass
class BatchDone:
    """The outcome of the work on one batch.

    Attributes:
        counts: of its rows.
        unchanged: whether the rows were there already.
        seconds: by stage (`STAGES`), by the clock: waiting for storage; decoding photos and detecting faces; naming
            the faces.
        bytes_read: of photos.
        kept: number of photos whose rows came from an earlier table.
        more_pages: number of photos with pages after the first, which were not read.
    """

    counts: Counts
    unchanged: bool = False
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    bytes_read: int = 0
    kept: int = 0
    more_pages: int = 0


class _Reader(Protocol):
    """A `PhotoReader` or a `CarefulReader`."""

    def content(self, content: bytes, name: str, max_pixels: int) -> PhotoFaces:
        """Return the faces of the photo whose file has this content; see `PhotoReader.content`."""
        ...


class BatchWorker:
    """Works on one batch after the other, on one core.

    Args:
        settings: of the job.

    Raises:
        InputError: there is no run, it is another one than the settings say, or its networks cannot be loaded.
    """

    def __init__(self, settings: NamingSettings) -> None:
        self._settings = settings
        use_one_core()
        load_tensorflow(threads=1)
        from identity.runs.bundle import Bundle
        from identity.runs.recogniser import Recogniser

        with run_folder(settings.model, settings.digest) as folder:
            bundle = Bundle.load(folder)
            networks = bundle.networks  # loads them while the folder is there
        if not folder.is_dir():  # it was a copy of a run in a bucket, which `check_unchanged` watches instead
            bundle = replace(bundle, folder=None, _embedder=networks)
        self._recogniser = Recogniser(bundle, settings.fpir, settings.faces)
        self._reader = self._recogniser.reader
        self._reader.load()
        self._max_pixels = settings.max_pixels
        self._data = place_of(settings.data)
        self._table = TablePlace(settings.out)

    def run(self, batch: Batch, careful: bool = False) -> BatchDone:
        """Name the photos of a batch, unless its rows are there already.

        Args:
            batch: of photos.
            careful: whether to read each photo in a process of its own.

        Raises:
            InputError: the storage cannot be read, the rows cannot be written, or the run in a bucket was changed.
        """
        check_unchanged(self._settings.model, self._settings.digest)
        nobody = self._recogniser.nobody
        there = self._table.part_if_of(batch.number, batch.fingerprint)
        if there is not None:
            return BatchDone(Counts.of(there, nobody), unchanged=True)
        done = BatchDone(Counts())
        rows = dict.fromkeys(batch.photos, _NO_ROWS)
        digests: list[str | None] = []
        with self._careful_reader(careful) as reader:
            start = time.perf_counter()
            photos = self._detected(batch, reader or self._reader, done, digests, rows)
            answers = [answer.as_json() for answer in self._recogniser.seen(photos)]
            whole = time.perf_counter() - start
        done.seconds["name"] = whole - done.seconds["read"] - done.seconds["see"]
        for answer, digest in zip(answers, digests, strict=True):
            rows[answer["photo"]] = rows_of(answer, digest)
        content, table = part_bytes(
            (row for own in rows.values() for row in own), {"fingerprint": batch.fingerprint}
        )
        self._table.write_part(batch.number, content)
        done.counts = Counts.of(table, nobody)
        return done

    def _careful_reader(self, careful: bool) -> AbstractContextManager[CarefulReader | None]:
        return closing(CarefulReader(self._reader)) if careful else nullcontext()

    def _detected(
        self,
        batch: Batch,
        reader: _Reader,
        done: BatchDone,
        digests: list[str | None],
        rows: dict[str, list[dict[str, Any]]],
    ) -> Iterator[PhotoFaces]:
        """Yield the photos of a batch with their faces, in order, and put their digests into `digests`.

        A photo that an earlier table has with the same content is not searched: its rows go into `rows`.
        """
        known = self._table.rows_of(batch.photos)
        contents = read_in_order(self._read, batch.photos, _AHEAD)
        for photo in batch.photos:
            start = time.perf_counter()
            content = next(contents)
            read = time.perf_counter()
            if isinstance(content, PhotoError):
                digests.append(None)
                found = failed(content, photo)
            else:
                digest = hashlib.sha256(content).hexdigest()
                done.bytes_read += len(content)
                if photo in known and _is_answered(known[photo][0], digest):
                    rows[photo] = known[photo]
                    done.kept += 1
                    done.seconds["read"] += read - start
                    continue
                digests.append(digest)
                found = reader.content(content, photo, self._max_pixels)
                done.more_pages += bool(found.detail and found.status != "error")
            done.seconds["read"] += read - start
            done.seconds["see"] += time.perf_counter() - read
            yield found

    def _read(self, photo: str) -> bytes | PhotoError:
        try:
            return self._data.read(photo)
        except OSError as error:
            return PhotoError("unreadable", photo, error.strerror or str(error))


def _is_answered(row: Mapping[str, Any], digest: str) -> bool:
    """Return whether a row of an earlier table is of this content; a photo that could not be read is tried again."""
    return bool(row["sha256"] == digest and row["status"] != "error")
