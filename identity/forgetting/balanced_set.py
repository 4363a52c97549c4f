"""Delete a person's files from a balanced set one by one, and search the set for what is left of the person.

A file is deleted only if the set's own records assign it to the person. For images and their landmark files these are
the rows of `manifest.parquet`; for held-out photos and shards they are the records that `jobs/augment.py` keeps of its
partitions. A file that was changed, or that no record names, may belong to the user: it stays and is reported. A folder
is deleted only if it is empty.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from augmentor.balanced_set import layout
from augmentor.balanced_set.layout import person_of
from augmentor.balanced_set.manifest import detector_of, read_manifest, write_manifest
from augmentor.balanced_set.part_records import (
    MAKING,
    RECORD,
    ROWS,
    SCAN,
    PartRecord,
    making_from_bytes,
    making_to_bytes,
    part_file,
    table_without,
)
from augmentor.balanced_set.shard_reader import read_shard
from augmentor.errors import InputError
from augmentor.path_text import as_cell
from augmentor.photos.images import remove_half_written, write_whole
from augmentor.photos.names import checked_name, normalised
from identity.forgetting.mentions import Mentions


@dataclass
class SetRemoval:
    """The outcome of forgetting a person in a balanced set.

    Attributes:
        removed: lines that describe what was deleted.
        left: a line for each file that was not deleted, with the reason.
    """

    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def forget_in_set(root: Path, names: Collection[str], others: Collection[str] = ()) -> SetRemoval:
    """Delete everything of a person in a balanced set; an interrupted call can be repeated.

    Args:
        root: folder of the set.
        names: all names under which the set may contain the person.
        others: names of other people (`identity.forgetting.mentions`).

    Returns:
        What was deleted and what is left.

    Raises:
        OSError: A file cannot be deleted or written.
    """
    outcome = SetRemoval()
    known = {normalised(name) for name in names}
    try:
        rows = read_manifest(root / layout.MANIFEST) if (root / layout.MANIFEST).is_file() else None
    except InputError as error:
        outcome.left.append(f"{error}; images of the person, if the set has any, were not deleted")
        rows = None
    if rows is not None:
        _delete_images(root, rows, known, outcome)
    _delete_parts(root, known, outcome)
    _delete_unfinished(root, known, outcome)
    _delete_failures(root, known)
    if rows is not None:
        mine = _of(rows, known)
        if pc.any(mine).as_py():  # last, because a repeated call needs these rows to identify the images
            write_manifest(root / layout.MANIFEST, rows.filter(pc.invert(mine)), detector_of(rows))
    for folder in (root, root / layout.WORK, root / layout.PARTS):
        remove_half_written(folder)  # an earlier, killed call may have left partial files
    for folder in _folders_of(root, known):
        _remove_if_empty(folder, root)  # an earlier, killed call may have deleted only the files in it
    outcome.left += _still_there(root, known)
    outcome.left += _still_mentioned(root, known, others)
    return outcome


def names_in_set(root: Path, sha256: Collection[str], photos: Collection[str]) -> set[str]:
    """Return the names under which a balanced set contains images made from some photos.

    Args:
        root: folder of the set.
        sha256: SHA-256 of the photos' files.
        photos: paths of the photos, as in the set's manifest.

    Returns:
        The names; none if the manifest cannot be read.
    """
    try:
        rows = read_manifest(root / layout.MANIFEST)
    except InputError:
        return set()
    mine = pc.and_(
        pc.is_in(rows["source_sha256"], pa.array(sorted(sha256), pa.string())),
        pc.is_in(rows["source"], pa.array(sorted(photos), pa.string())),
    )
    return set(pc.unique(rows.filter(mine)["identity"]).to_pylist())


def holds_person(root: Path, names: Collection[str]) -> bool:
    """Return whether a folder is a balanced set that contains a person, or may contain one.

    Args:
        root: the folder.
        names: names of the person.

    Returns:
        True also if the set's manifest cannot be read.
    """
    if not (root / layout.MANIFEST).is_file():
        return False
    try:
        rows = read_manifest(root / layout.MANIFEST)
    except InputError:
        return True
    known = {normalised(name) for name in names}
    return bool(pc.any(_of(rows, known)).as_py()) or any(_still_there(root, known))


def _of(rows: pa.Table, known: Set[str]) -> pa.Array:
    """Return (N,) booleans: which rows of a table belong to the person."""
    return pa.array([normalised(name) in known for name in rows["identity"].to_pylist()], pa.bool_())


def _delete_images(root: Path, rows: pa.Table, known: Set[str], outcome: SetRemoval) -> None:
    own = rows.filter(_of(rows, known)).select(["file", "bytes"]).to_pylist()
    count = 0
    for row in own:
        for folder in [root / folder for folder in layout.IMAGE_FOLDERS]:
            file = _inside(folder, row["file"])
            if file is None or not _is_file(file):
                continue
            if file.stat().st_size != row["bytes"]:
                outcome.left.append(f"{file}: not deleted, because it was changed; delete it yourself")
                continue
            labels = file.with_suffix(".mat")
            if folder != root and _is_file(labels):
                _delete(labels, root)
            _delete(file, root)
            count += 1
    if count:
        outcome.removed.append(f"{count} images in {root}")


def _delete_parts(root: Path, known: Set[str], outcome: SetRemoval) -> None:
    """Delete held-out photos, shards, and the job's records of the person in its partitions."""
    folder = root / layout.PARTS
    parts = sorted({file.stem for file in folder.glob(f"*{RECORD}")} if folder.is_dir() else ())
    held, shards = 0, 0
    for part in parts:
        file = root / part_file(part, RECORD)
        record = _record(file)
        if record is None:
            outcome.left.append(
                f"{file}: damaged, so it may still mention the person; run jobs/augment.py again"
            )
            continue
        if known.isdisjoint(map(normalised, record.account.photos)):
            continue
        held += sum(
            _delete_held_out(root, photo, stamp.size, known) for photo, stamp in record.stamps.items()
        )
        shards += _delete_shards(root, part, record.digest, outcome)
        _delete_pictures(root, outcome)
        (root / layout.FINISHED).unlink(missing_ok=True)
        _rewrite_part(root, part, record, lambda name: normalised(name) in known)
    if held:
        outcome.removed.append(f"{held} held-out photos in {root / layout.HELD_OUT}")
    if shards:
        outcome.removed.append(
            f"{shards} of the shards in {root / layout.SHARDS}, which also contained other people's images; the "
            "command that made them makes them again without the person"
        )


def _delete_pictures(root: Path, outcome: SetRemoval) -> None:
    """Delete the pictures in the set's report, which may show the person; the job draws them again."""
    for name in (layout.BALANCE_PICTURE, layout.RENDERS_PICTURE):
        picture = root / layout.REPORT / name
        if _is_file(picture):
            _delete(picture, root)
            outcome.removed.append(str(picture))


def _delete_unfinished(root: Path, known: Set[str], outcome: SetRemoval) -> None:
    """Delete files that killed workers wrote for the person; they are listed in files named `PART.making`."""
    count = 0
    for record in sorted((root / layout.PARTS).glob(f"*{MAKING}")):
        try:
            files = making_from_bytes(record.read_bytes())
        except (OSError, ValueError):
            outcome.left.append(
                f"{record}: damaged, so it may still mention the person; run jobs/augment.py again"
            )
            continue
        own = [file for file in files if normalised(person_of(file)) in known]
        for name in own:
            for folder in [root / folder for folder in layout.IMAGE_FOLDERS]:
                file = _inside(folder, name)
                for made in (file, file and file.with_suffix(".mat")):
                    if made is not None and _is_file(made) and (made == file or folder != root):
                        _delete(made, root)
                        count += made == file
        if own:
            others = sorted(set(files) - set(own))
            write_whole(record, making_to_bytes(others), durable=True)
    if count:
        outcome.removed.append(f"{count} images of an unfinished job in {root}")


def _rewrite_part(root: Path, part: str, record: PartRecord, is_gone: Callable[[str], bool]) -> None:
    """Remove a person from the job's records of a partition and keep the records of the other people."""
    others = record.without(is_gone)
    if not others.account.photos:  # the partition contained nobody else
        for kind in (SCAN, ROWS, RECORD):
            (root / part_file(part, kind)).unlink(missing_ok=True)
        return
    for kind in (SCAN, ROWS):
        file = root / part_file(part, kind)
        if file.is_file():
            try:
                write_whole(file, table_without(file.read_bytes(), is_gone), durable=True)
            except ValueError:  # the job can do without a damaged table
                file.unlink()
    # the record comes last, because a repeated call needs it to identify the other files
    write_whole(root / part_file(part, RECORD), others.to_bytes(), durable=True)


def _delete_held_out(root: Path, photo: str, size: int, known: Set[str]) -> bool:
    """Delete the copy of a held-out photo of the person if it was not changed; return whether it was deleted."""
    folder, _, rest = photo.partition("/")
    if normalised(folder) not in known:
        return False
    file = _inside(root / layout.HELD_OUT, f"{normalised(folder)}/{rest}")
    if file is None or not _is_file(file) or file.stat().st_size != size:
        return False
    _delete(file, root)
    return True


def _delete_shards(root: Path, part: str, digest: str, outcome: SetRemoval) -> int:
    """Delete the shard of a partition; return the number of deleted files."""
    count = 0
    for shard in sorted((root / layout.SHARDS).glob(f"{part}.*")):
        if digest and not digest.startswith(f"{shard.stat().st_size} bytes"):
            outcome.left.append(f"{shard}: not deleted, because it was changed; delete it yourself")
            continue
        _delete(shard, root)
        count += 1
    return count


def _delete_failures(root: Path, known: Set[str]) -> None:
    """Remove the person's rows from the list of failures."""
    file = root / layout.FAILURES
    if not file.is_file():
        return
    rows = list(csv.reader(io.StringIO(file.read_text("utf-8"), newline="")))
    cells = {*known, *map(as_cell, known)}
    others = [row for row in rows if len(row) < 2 or normalised(row[1]) not in cells]
    if len(others) < len(rows):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(others)
        write_whole(file, text.getvalue().encode())


def _folders_of(root: Path, known: Set[str]) -> Iterator[Path]:
    """Yield the folders that a person has in a set, whether they exist or not."""
    for name in sorted(known):
        try:
            checked_name(name)
        except InputError:  # a path, or the name of another folder of the set
            continue
        yield from (place / name for place in (root, root / layout.HELD_OUT, root / layout.LANDMARK_SET))


def _still_there(root: Path, known: Set[str]) -> Iterator[str]:
    """Yield a line for each file of the person that is left in a set, by the names of folders and the records."""
    for folder in _folders_of(root, known):
        for file in sorted(folder.rglob("*")):
            if not file.is_dir():
                yield f"{file}: not deleted, because no record assigns it to the person; delete it yourself"
    for shard in sorted((root / layout.SHARDS).glob("*")):
        if not (root / part_file(shard.stem, RECORD)).is_file() and _shows(shard, known):
            yield f"{shard}: contains images of the person, but no record names this shard; delete it yourself"


def _still_mentioned(root: Path, known: Set[str], others: Collection[str]) -> Iterator[str]:
    """Yield a line for each file that describes the set and still mentions the person."""
    mentions = Mentions(known, others)
    described = [root / layout.MANIFEST, root / layout.FAILURES, root / layout.SUMMARY]
    for file in (*described, *sorted((root / layout.WORK).rglob("*"))):
        if file.is_file() and mentions.in_file(file):
            yield f"{file}: mentions the person; run jobs/augment.py again without the person's photos"


def _shows(shard: Path, known: Set[str]) -> bool:
    """Return whether a file is a shard that contains images of the person."""
    try:
        images = read_shard(shard.read_bytes(), str(shard))
        return any(normalised(file.split("/")[0]) in known for file, _ in images)
    except (InputError, OSError):
        return False  # not a shard that this software wrote


def _record(file: Path) -> PartRecord | None:
    """Return the job's record of a partition, or None if it is damaged."""
    try:
        return PartRecord.from_bytes(file.read_bytes())
    except (OSError, ValueError):
        return None


def _inside(folder: Path, path: str) -> Path | None:
    """Return the file that a relative path names in a folder, or None if the path leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0] == "/" or "\0" in path:
        return None
    file = folder.joinpath(*parts)
    # a symbolic link on the way would lead out of the folder
    return file if file.parent.resolve() == folder.resolve().joinpath(*parts[:-1]) else None


def _is_file(path: Path) -> bool:
    """Return whether a path is a file and not a symbolic link."""
    return path.is_file() and not path.is_symlink()


def _delete(file: Path, root: Path) -> None:
    """Delete a file, and then the folders between it and `root` that are empty."""
    file.unlink()
    _remove_if_empty(file.parent, root)


def _remove_if_empty(folder: Path, root: Path) -> None:
    """Remove a folder that contains no files, and then the folders between it and `root` that are empty."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for below in sorted((f for f in folder.rglob("*") if f.is_dir() and not f.is_symlink()), reverse=True):
        _remove_empty(below)
    for above in (folder, *folder.parents):
        if above == root or not _remove_empty(above):
            return


def _remove_empty(folder: Path) -> bool:
    """Remove a folder that is empty or contains only partial files; return whether it was removed."""
    remove_half_written(folder)
    if any(folder.iterdir()):
        return False
    folder.rmdir()
    return True
