"""The identify job: draw batches of photos, have workers name who is in them, and put the table together.

The driver knows paths and counts, never photos; workers read, detect, name and write (`jobs.naming.batch_worker`). The
driver holds a few batches at a time, so its memory does not grow with the archive. What is done is remembered by batch,
beside the table, so that another machine can continue a job whose machine is lost.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.faces.face_source import face_source, source_note
from augmentor.photos.images import pixel_limit
from augmentor.photos.place import Place, is_local, place_of
from identity.runs.outputs import remember_output
from jobs.cluster.command_line import absolute, run_command, stop_when_asked
from jobs.cluster.ray_session import is_submitted_job, ray, ray_session
from jobs.cluster.work_folder import WorkFolder
from jobs.cluster.worker_pool import WorkerPool, actor_options
from jobs.naming.batch_worker import BatchDone, BatchWorker, NamingSettings
from jobs.naming.identify_metrics import IdentifyMetrics
from jobs.naming.identify_settings import IdentifySettings, parse_arguments
from jobs.naming.identify_summary import IdentifyTotals, identify_lines, identify_summary
from jobs.naming.names_table import Counts
from jobs.naming.photo_batches import Batch, PhotoBatches, photos_below
from jobs.naming.table_join import join_parts
from jobs.naming.table_place import TablePlace
from jobs.naming.trained_run import check_run

COLUMNS = 1  # version of the table's columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job from a command line and return its exit code."""

    def run() -> int:
        settings = parse_arguments(arguments, submitted=is_submitted_job())
        stop_when_asked()
        return identify(settings)

    return run_command("identify", run)


def identify(settings: IdentifySettings) -> int:
    """Make the table.

    Args:
        settings: the checked command line.

    Returns:
        0, or 1 if too many photos could not be read.

    Raises:
        InputError: the input cannot be used, or the table cannot be written.
    """
    table = TablePlace(absolute(settings.out))
    digest, detector = check_run(absolute(settings.model), settings.fpir)
    source = face_source(detector, second_opinion=True)
    source.check_models()  # raises now, and only once, if a model is missing
    made_with = {
        "columns": COLUMNS,
        "run": digest[:16],
        "fpir": settings.fpir,
        "faces": settings.faces,
        **source_note(source),
    }
    data = place_of(settings.data)
    if next(photos_below(data), None) is None:
        raise InputError(f"{data.name()}: no photos")
    about = table.about()
    if about is not None:
        counts = _counts_if_same(table, about, made_with, data)
        if counts is not None:
            return _report(counts, table, settings.max_failed)
    if is_local(absolute(settings.model)):
        remember_output(Path(absolute(settings.model)), table.name(), "table of names")
    with WorkFolder(table.parts, made_with) as work:
        work.remove_partial_files()
        try:
            return _Job(settings, table, digest, made_with).run()
        except LikenessError:
            if not table.has_parts():
                table.remove_parts()
            raise


def _counts_if_same(
    table: TablePlace, about: Mapping[str, Any], made_with: Mapping[str, Any], data: Place
) -> Counts | None:
    """Return the counts of an existing table if it is what this call would make; also remove what a killed run left.

    Returns:
        None if photos were added, removed or changed since the table was made. Then it is made again, and unchanged
        photos keep their rows.

    Raises:
        InputError: the table is something else.
    """
    way_out = "choose another --out, or delete this one"
    before = about.get("made_with")
    if not isinstance(before, dict):
        raise InputError(f"{table.name()}: not made by this job; {way_out}")
    other = [
        f"{k} {before.get(k)!r} instead of {made_with.get(k)!r}"
        for k in {**made_with, **before}
        if before.get(k) != made_with.get(k)
    ]
    if other:
        raise InputError(
            f"{table.name()}: made with {', '.join(other)}; {way_out}, or run the job with the earlier settings"
        )
    batches = PhotoBatches(data, made_with)
    for _ in batches:
        pass
    if batches.fingerprint != about.get("fingerprint"):
        if not any(data.stamp(photo) for photo in table.some_photos()):
            raise InputError(f"{table.name()}: made from other photos; {way_out}")
        _say(
            "photos were added, removed or changed since the table was made; unchanged photos keep their rows"
        )
        return None
    table.remove_parts()
    _say(batches.left_out.line())
    return Counts.from_dict(about["counts"])


class _BatchActor:
    """A batch worker as a Ray actor."""

    def __init__(self, settings: NamingSettings) -> None:
        self._settings = settings

    def ready(self) -> LikenessError | None:
        """Load the run and the models, and return an error meant for the user instead of raising it."""
        try:
            self._worker = BatchWorker(self._settings)
        except LikenessError as error:
            return error
        self._metrics = IdentifyMetrics()
        return None

    def run(self, batch: Batch, careful: bool) -> BatchDone | LikenessError:
        """Work on a batch, see `BatchWorker.run`.

        An error meant for the user (a full disk) is returned, not raised, because Ray would print its traceback.
        """
        try:
            done = self._worker.run(batch, careful)
        except LikenessError as error:
            return error
        self._metrics.add(done)
        return done


class _Job:
    """One run of the job."""

    def __init__(
        self,
        settings: IdentifySettings,
        table: TablePlace,
        digest: str,
        made_with: Mapping[str, Any],
    ) -> None:
        self._settings, self._table, self._made_with = settings, table, made_with
        self._naming = NamingSettings(
            model=absolute(settings.model),
            data=absolute(settings.data),
            out=absolute(settings.out),
            digest=digest,
            fpir=settings.fpir,
            faces=settings.faces,
            max_pixels=pixel_limit(),
        )
        self._batches = PhotoBatches(place_of(settings.data), made_with)
        self._totals = IdentifyTotals()

    def run(self) -> int:
        """Name all photos, write the table, and return the exit code."""
        started = time.perf_counter()
        actor = ray.remote(**actor_options())(_BatchActor)
        pool: WorkerPool[Batch] = WorkerPool(
            lambda: actor.remote(self._naming),
            self._settings.workers,
            lambda batch: f"{batch.photos[0]}, ... (batch {batch.number})",
        )
        with (
            ray_session(self._settings.workers) as workers,
            tqdm(unit="photo", desc="identify", file=sys.stderr, mininterval=1.0) as progress,
        ):
            threading.Thread(target=_count, args=(self._settings.data, progress), daemon=True).start()
            pool.run(iter(self._batches), lambda done: self._received(done, progress))
        counts = self._totals.counts
        join_parts(
            self._table,
            self._batches.batches,
            {
                "fingerprint": self._batches.fingerprint,
                "made_with": self._made_with,
                "counts": counts.as_dict(),
            },
        )
        wall = time.perf_counter() - started
        summary = identify_summary(self._totals, wall, workers, pool.losses)
        self._table.place.write(
            self._table.summary, (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode()
        )
        self._table.remove_parts()
        for line in identify_lines(self._totals, wall, pool.losses):
            print(line)
        _say(self._batches.left_out.line())
        if self._totals.more_pages:
            _say(f"pages after the first were ignored, in {self._totals.more_pages} photos")
        return _report(counts, self._table, self._settings.max_failed)

    def _received(self, done: BatchDone, progress: "tqdm[Any]") -> None:
        self._totals.add(done)
        progress.set_postfix_str(_by_status(self._totals.counts), refresh=False)
        progress.update(done.counts.total)


def _count(data: str, progress: "tqdm[Any]") -> None:
    """Set the total of the progress bar; counting the photos takes much less time than naming them."""
    try:
        progress.total = sum(1 for _ in photos_below(place_of(data)))
    except LikenessError:
        return  # the iterator of batches meets the same error and reports it


def _say(line: str) -> None:
    """Print a line of the job on stderr, or nothing if it is empty."""
    if line:
        print(f"identify: {line}", file=sys.stderr)


def _by_status(counts: Counts) -> str:
    without, failed = counts.photos["no_face"], counts.photos["error"]
    return f"{counts.photos['ok']} with faces, {without} without, {failed} unreadable"


def _report(counts: Counts, table: TablePlace, max_failed: float) -> int:
    """Print the last line and return the exit code."""
    code = 0
    failed = counts.photos["error"]
    if failed > max_failed * counts.total:
        share = f"{failed} of {counts.total} photos cannot be read, more than --max-failed {max_failed:g}"
        print(f"identify: {share}", file=sys.stderr)
        code = 1
    print(f"{counts.total} photos in {table.name()}: {_by_status(counts)}")
    return code
