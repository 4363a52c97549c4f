"""The augment job: deal the people to partitions, have workers make each, and write what describes the whole set.

The driver knows names and accounts, never photos or images; workers list, read, render and write
(`jobs.balancing.partition_worker`). The driver's memory does not grow with the images, and workers send it little. What
is done is remembered by partition, beside the images, so that another machine can continue a job whose machine is lost.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from augmentor.balanced_set.failures import by_reason, failures_csv
from augmentor.balanced_set.layout import (
    BALANCE_PICTURE,
    FAILURES,
    FINISHED,
    FOLDERS_OF_THE_SET,
    HELD_OUT,
    IMAGE_FOLDERS,
    LANDMARK_SET,
    MANIFEST,
    RENDERS_PICTURE,
    REPORT,
    SHARD_SUFFIXES,
    SHARDS,
    SUMMARY,
    held_out_file,
    labels_file,
)
from augmentor.balanced_set.manifest import schema_noting
from augmentor.balancing.balance_report import SHEET_PEOPLE, balance_picture, contact_sheet, evenly
from augmentor.errors import InputError, LikenessError
from augmentor.faces.face_source import face_source, source_note
from augmentor.photos.images import LeftOut, pixel_limit
from augmentor.photos.in_order import read_in_order
from augmentor.photos.names import normalised
from augmentor.photos.people_folder import people_of, photos_of
from augmentor.photos.place import Place, is_local, place_of
from augmentor.rendering.render import RENDERER
from augmentor.views.view_set import load_view_set
from identity.chips.shared_photos import shared_line, shared_photos
from jobs.balancing.augment_settings import AugmentSettings, parse_arguments
from jobs.balancing.image_shards import SHARD_IMAGES
from jobs.balancing.image_sink import FOLDER
from jobs.balancing.partition import Partition, is_partition_name, known_names, partitions_of
from jobs.balancing.partition_state import known_parts, read_account, read_rows, remove_state
from jobs.balancing.partition_worker import Done, PartitionLook, PartitionWorker, SetSettings
from jobs.balancing.photo_worker import RenderSettings
from jobs.balancing.run_metrics import RunMetrics
from jobs.balancing.run_summary import RunTotals, summary, table
from jobs.balancing.view_shelf import SharedViews, ViewShelf
from jobs.cluster.command_line import absolute, run_command, stop_when_asked
from jobs.cluster.ray_session import is_submitted_job, ray, ray_session
from jobs.cluster.work_folder import WorkFolder
from jobs.cluster.worker_pool import Losses, WorkerPool, actor_options, on_this_node

FOLDER_IMAGES = 512  # images of a partition in a format of single files; some seconds of work
BYTES_PER_PIXEL = 0.25  # least size of a JPEG here, to notice early that the disk is too small
Unit = tuple[Partition, list[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job from a command line and return its exit code."""

    def run() -> int:
        settings = parse_arguments(arguments, submitted=is_submitted_job())
        stop_when_asked()
        return augment(settings)

    return run_command("augment", run)


def augment(settings: AugmentSettings) -> int:
    """Make the set.

    Args:
        settings: the checked command line.

    Returns:
        0, or 1 if an identity has too few images or too many photos failed.

    Raises:
        InputError: the input cannot be used, or the output cannot be written.
    """
    people = _people(place_of(settings.data))
    source = face_source(settings.detector)
    views = load_view_set(settings.head_model, settings.size, settings.seed, settings.views, source.offsets)
    source.check_models()  # raises now, and only once, if a model is missing
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
        **source_note(source),
    }
    with WorkFolder(place_of(settings.out), made_with) as work:
        work.remove_partial_files()
        work.remove_earlier_form()
        job = _Job(settings, people)
        if job.run():
            work.remove_partial_files()  # left by workers that died
        return job.finish()


def _people(data: Place) -> list[str]:
    """Return the names of all people.

    Raises:
        InputError: nobody has a photo.
    """
    people = people_of(data)
    if not any(photos_of(data, name) for name in people):
        raise InputError(f"{data.name()}: no photos in any of its {len(people)} folders")
    return people


class _PartitionActor:
    """A partition worker as a Ray actor, with views from the object store."""

    def __init__(self, settings: SetSettings, shelf: Any) -> None:
        self._settings, self._shelf = settings, shelf

    def ready(self) -> LikenessError | None:
        """Load the models, and return an error meant for the user instead of raising it."""
        render = self._settings.render
        try:
            view_set = load_view_set(
                render.head_model, render.size, render.seed, render.views, render.source.offsets
            )
            self._worker = PartitionWorker(self._settings, view_set, SharedViews(view_set, self._shelf))
        except LikenessError as error:
            return error
        self._metrics = RunMetrics()
        return None

    def run(self, unit: Unit, careful: bool) -> Done | LikenessError:
        """Work on a partition, see `PartitionWorker.run`.

        An error meant for the user (a full disk) is returned, not raised, because Ray would print its traceback.
        """
        partition, known = unit
        try:
            done = self._worker.run(partition, known, careful)
        except LikenessError as error:
            return error
        self._metrics.add(done)
        return done


class _Job:
    """One run of the job."""

    def __init__(self, settings: AugmentSettings, people: Sequence[str]) -> None:
        self._settings = settings
        self._out = place_of(settings.out)
        self._set = SetSettings(
            data=absolute(settings.data),
            out=absolute(settings.out),
            per_class=settings.per_class,
            hold_out=settings.hold_out,
            format=settings.format,
            effects=settings.effects,
            render=RenderSettings(
                settings.size,
                settings.seed,
                settings.faces,
                settings.head_model,
                settings.views,
                pixel_limit(),
                face_source(settings.detector),
            ),
        )
        single = settings.format in (FOLDER, LANDMARK_SET)
        images = FOLDER_IMAGES if single else SHARD_IMAGES
        self._partitions = partitions_of(people, settings.per_class, images)
        self._remembered = known_parts(self._out)
        self._of_gone_people = self._files_of_gone_people()  # read now, because workers forget them
        self._look = PartitionLook(self._set)
        self._photos: list[pa.Table] = []  # about 150 bytes for each photo
        self._started = time.perf_counter()
        self._done: dict[str, Done] = {}
        self._workers = 0
        self._losses: Losses | None = None

    def run(self) -> bool:
        """Make what is missing, and return whether a worker died. Does not start Ray if nothing is missing."""
        if is_local(self._settings.data) and is_local(self._settings.out):
            for done in read_in_order(self._unchanged, self._partitions):
                if done:
                    self._done[done.name] = done
        to_do = [partition for partition in self._partitions if partition.name not in self._done]
        if not to_do:
            return False
        images = sum(len(partition.identities) for partition in to_do) * self._settings.per_class
        self._require_space(images)
        with (
            ray_session(self._settings.workers) as self._workers,
            tqdm(total=images, unit="image", desc="augment", file=sys.stderr, mininterval=1.0) as progress,
        ):
            self._make(to_do, progress)
        return bool(self._losses and self._losses.workers)

    def _unchanged(self, partition: Partition) -> Done | None:
        if partition.name not in self._remembered:
            return None
        left_out = LeftOut()
        done = self._look.unchanged(partition, self._look.photos(partition, left_out))
        if done:
            done.not_photos = left_out.not_photos
        return done

    def _make(self, partitions: Sequence[Partition], progress: "tqdm[Any]") -> None:
        # The driver's node holds the shelf. If that node is lost, so is the job.
        shelf = (
            ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=on_this_node())(
                ViewShelf
            )
        ).remote()
        actor = ray.remote(**actor_options())(_PartitionActor)
        rejected = 0

        def received(done: Done) -> None:
            nonlocal rejected
            self._done[done.name] = done
            rejected += done.account.rejected
            progress.update(sum(done.account.images.values()))
            progress.set_postfix_str(f"{rejected} photos rejected" if rejected else "", refresh=False)

        pool: WorkerPool[Unit] = WorkerPool(
            lambda: actor.remote(self._set, shelf),
            self._settings.workers,
            lambda unit: f"{', '.join(unit[0].identities[:3])}, ... (partition {unit[0].name})",
        )
        self._losses = pool.losses
        units = ((partition, known_names(partition, self._remembered)) for partition in partitions)
        pool.run(units, received)

    def _require_space(self, images: int) -> None:
        need = images * self._settings.size**2 * BYTES_PER_PIXEL
        free = self._out.free_bytes()
        if free is not None and free < need:
            raise InputError(
                f"{self._settings.out}: {images} images need at least {need / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
                "free; free some space or choose another --out"
            )

    def finish(self) -> int:
        """Write what describes the set, remove what no longer belongs to it, report, and return the exit code."""
        totals = RunTotals()
        for partition in self._partitions:
            totals.add(self._done[partition.name])
        totals.removed += self._remove_stale()
        write_if_new(self._out, FAILURES, failures_csv(totals.failures))
        started = time.perf_counter()
        self._write_manifest(totals.images)
        totals.manifest_seconds = time.perf_counter() - started
        self._draw()
        wall = time.perf_counter() - self._started
        if totals.unchanged < totals.partitions or totals.removed or self._out.stamp(SUMMARY) is None:
            content = summary(totals, wall, self._workers, self._losses)
            self._out.write(SUMMARY, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        return self._report(totals, wall)

    def _remove_stale(self) -> int:
        """Remove what belongs to people or partitions that no longer exist; returns the number of images removed."""
        wanted = {partition.name for partition in self._partitions}
        for name in self._remembered - wanted:
            remove_state(self._out, name)
        for file in self._out.entries(SHARDS)[1]:
            stem, _, suffix = file.rpartition(".")
            if stem not in wanted and is_partition_name(stem) and suffix in SHARD_SUFFIXES.values():
                self._out.remove(f"{SHARDS}/{file}")
        removed = 0
        for path, size in self._of_gone_people.items():
            stamp = self._out.stamp(path)
            if stamp is not None and size in (None, stamp.size):
                self._out.remove(path)
                removed += path.endswith(".jpg") and not path.startswith(f"{HELD_OUT}/")
        return removed

    def _files_of_gone_people(self) -> dict[str, int | None]:
        """Return the files that the last run made for people who are no longer in the data.

        Files that its records do not name belong to the user, and stay.

        Returns:
            path → bytes, None where the size is not known.
        """
        people = {name for partition in self._partitions for name in partition.identities}
        gone = {
            name
            for root in (*IMAGE_FOLDERS, HELD_OUT)
            for name in self._out.entries(root)[0]
            if name not in people and (root or name.lower() not in FOLDERS_OF_THE_SET)
        }
        if not gone:
            return {}
        files: dict[str, int | None] = {}
        for name in self._remembered:
            known = read_account(self._out, name)
            for photo, stamp in known.stamps.items() if known else ():
                folder, _, rest = photo.partition("/")
                if normalised(folder) in gone:
                    files[held_out_file(normalised(folder), rest)] = stamp.size
        content = _read_or_none(self._out, MANIFEST)
        if content is None:
            return files
        try:
            rows = pq.read_table(pa.BufferReader(content), columns=["file", "identity", "bytes"])
        except pa.ArrowException:  # a damaged manifest names no file, and is written again
            return files
        for row in rows.filter(pc.is_in(rows["identity"], pa.array(sorted(gone)))).to_pylist():
            files |= {row["file"]: row["bytes"], f"{LANDMARK_SET}/{row['file']}": row["bytes"]}
            files[f"{LANDMARK_SET}/{labels_file(row['file'])}"] = None
        return files

    def _write_manifest(self, images: int) -> None:
        """Write the rows of all partitions one after the other, each as a row group, holding only one in memory."""
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            rows, schema = 0, schema_noting(self._settings.detector)
            with pq.ParquetWriter(file.name, schema, compression="zstd") as writer:
                for part in read_in_order(self._rows_of, self._partitions):
                    writer.write_table(part.combine_chunks().cast(schema))
                    rows += part.num_rows
                    self._photos.append(_photos_in(part))
            if rows != images:
                raise RuntimeError(f"{images} images planned, {rows} made")
            digest = hashlib.sha256()
            with Path(file.name).open("rb") as written:
                while block := written.read(1 << 20):
                    digest.update(block)
            finished = json.dumps({"manifest": digest.hexdigest()}).encode()
            there = self._out.stamp(MANIFEST)
            same = there is not None and there.size == Path(file.name).stat().st_size
            if not (same and _read_or_none(self._out, FINISHED) == finished):
                self._out.write_file(MANIFEST, Path(file.name))
                self._out.write(FINISHED, finished)

    def _rows_of(self, partition: Partition) -> pa.Table:
        try:
            return read_rows(self._out, partition.name)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{self._out.name()}: the rows of partition {partition.name} cannot be read ({error}); "
                "run the same command again"
            ) from error

    def _draw(self) -> None:
        """Draw the pictures of the report."""
        before: dict[str, int] = {}
        after: dict[str, int] = {}
        for done in self._done.values():
            before |= done.account.photos
            after |= done.account.images
        write_if_new(self._out, f"{REPORT}/{BALANCE_PICTURE}", balance_picture(before, after))
        shown = sorted(name for name, images in after.items() if images)
        chosen = {shown[i] for i in evenly(len(shown), SHEET_PEOPLE)}
        rows = []
        readers: dict[str, Callable[[str], bytes]] = {}
        for partition in self._partitions:
            if mine := chosen.intersection(partition.identities):
                own = self._rows_of(partition)
                rows.append(own.filter(pc.is_in(own["identity"], pa.array(sorted(mine)))))
                readers |= dict.fromkeys(mine, self._look.sink.reader(partition, mine))
        if rows:
            sheet = contact_sheet(lambda file: readers[file.split("/")[0]](file), pa.concat_tables(rows))
            write_if_new(self._out, f"{REPORT}/{RENDERS_PICTURE}", sheet)

    def _report(self, totals: RunTotals, wall: float) -> int:
        """Print the table and return the exit code."""
        settings = self._settings
        for line in table(totals, settings.size, wall, self._losses):
            print(line)
        if left_out := LeftOut(totals.not_photos).line():
            print(f"augment: {left_out}", file=sys.stderr)
        if shared := shared_line(shared_photos(pa.concat_tables(self._photos))):
            print(f"augment: {shared}", file=sys.stderr)
        if totals.more_pages:
            print(
                f"augment: pages after the first were ignored, in {totals.more_pages} photos",
                file=sys.stderr,
            )
        code = 0
        if totals.lacking:
            lacking = sorted(totals.lacking)
            some = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            print(f"augment: {len(lacking)} identities without enough images: {some}", file=sys.stderr)
            code = 1
        if totals.used and totals.rejected / totals.used > settings.max_failed:
            share = f"{totals.rejected} of {totals.used} photos failed, more than --max-failed {settings.max_failed:g}"
            print(f"augment: {share}", file=sys.stderr)
            code = 1
        failures = totals.failures
        reasons = f" ({by_reason(failures)}), see {self._out.name(FAILURES)}" if failures else ""
        print(
            f"{totals.images} images of {totals.identities} identities in {self._out.name()}; "
            f"{totals.rejected} photos rejected{reasons}"
        )
        return code


def _photos_in(rows: pa.Table) -> pa.Table:
    """Return the photos of a manifest's rows, once for each person: columns `photo, sha256, phash, identity`."""
    columns = ["source", "source_sha256", "source_phash", "identity"]
    once = rows.select(columns).group_by(columns, use_threads=False).aggregate([])
    return once.select(columns).rename_columns(["photo", "sha256", "phash", "identity"])


def _read_or_none(place: Place, path: str) -> bytes | None:
    try:
        return place.read(path)
    except OSError:
        return None


def write_if_new(place: Place, path: str, content: bytes) -> None:
    """Write a file unless it exists with this content, so that a second run changes nothing.

    Raises:
        InputError: it cannot be written.
    """
    if _read_or_none(place, path) != content:
        place.write(path, content)
