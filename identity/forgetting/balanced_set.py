"""Delete a person's files from a balanced set, one by one, and look for what is left of the person there.

A file is deleted only if the set's own records give it to the person: rows of `manifest.parquet` for images and their
landmark files, what `jobs/augment.py` remembers of its partitions for photos that were held out and for shards. A file
that is not as it was written, or that no record names, may be the user's: it stays, and it is told. No folder is ever
deleted unless it is empty.
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
from augmentor.balanced_set.manifest import read_manifest, write_manifest
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
from augmentor.photos.images import remove_half_written, write_whole
from augmentor.photos.names import checked_name, normalised
from identity.forgetting.mentions import Mentions


@dataclass
class SetRemoval:
    """What was deleted in a set, and what was not.

    Attributes:
        removed: what was deleted, in words.
        left: files that were not deleted and why, one line each.
    """

    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def forget_in_set(root: Path, names: Collection[str], others: Collection[str] = ()) -> SetRemoval:
    """Delete what a balanced set holds of a person; repeatable after an interruption.

    Args:
        root: folder of the set.
        names: every name under which the set may know the person.
        others: the names of other people (`identity.forgetting.mentions`).

    Raises:
        OSError: a file cannot be deleted or written.
    """
    told = SetRemoval()
    known = {normalised(name) for name in names}
    try:
        rows = read_manifest(root / layout.MANIFEST) if (root / layout.MANIFEST).is_file() else None
    except InputError as error:
        told.left.append(f"{error}; its images of the person, if it has any, were not deleted")
        rows = None
    if rows is not None:
        _delete_images(root, rows, known, told)
    _delete_parts(root, known, told)
    _delete_unfinished(root, known, told)
    _delete_failures(root, known)
    if rows is not None:
        mine = _of(rows, known)
        if pc.any(mine).as_py():  # last: until then the images can be found again
            write_manifest(root / layout.MANIFEST, rows.filter(pc.invert(mine)))
    for folder in (root, root / layout.WORK, root / layout.PARTS):
        remove_half_written(folder)  # of this call's earlier, killed turns
    for folder in _folders_of(root, known):
        _remove_if_empty(folder, root)  # a killed turn may have come no further than to its files
    told.left += _still_there(root, known)
    told.left += _still_mentioned(root, known, others)
    return told


def names_in_set(root: Path, sha256: Collection[str], photos: Collection[str]) -> set[str]:
    """Return the names under which a balanced set has images of some photos; none if there is no readable manifest.

    Args:
        root: folder of the set.
        sha256: of the photos' files.
        photos: their paths, as the set calls them.
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
    """Whether a folder is a balanced set with images of a person, or its manifest cannot be read."""
    if not (root / layout.MANIFEST).is_file():
        return False
    try:
        rows = read_manifest(root / layout.MANIFEST)
    except InputError:
        return True
    known = {normalised(name) for name in names}
    return bool(pc.any(_of(rows, known)).as_py()) or any(_still_there(root, known))


def _of(rows: pa.Table, known: Set[str]) -> pa.Array:
    """(N,) which rows of a manifest are of the person."""
    return pa.array([normalised(name) in known for name in rows["identity"].to_pylist()], pa.bool_())


def _delete_images(root: Path, rows: pa.Table, known: Set[str], told: SetRemoval) -> None:
    own = rows.filter(_of(rows, known)).select(["file", "bytes"]).to_pylist()
    count = 0
    for row in own:
        for folder in [root / folder for folder in layout.IMAGE_FOLDERS]:
            file = _inside(folder, row["file"])
            if file is None or not _is_file(file):
                continue
            if file.stat().st_size != row["bytes"]:
                told.left.append(f"{file}: not as it was made, so it was not deleted; delete it yourself")
                continue
            labels = file.with_suffix(".mat")
            if folder != root and _is_file(labels):
                _delete(labels, root)
            _delete(file, root)
            count += 1
    if count:
        told.removed.append(f"{count} images in {root}")


def _delete_parts(root: Path, known: Set[str], told: SetRemoval) -> None:
    """Delete photos that were held out, shards, and what the job remembers of partitions with the person."""
    folder = root / layout.PARTS
    parts = sorted({file.stem for file in folder.glob(f"*{RECORD}")} if folder.is_dir() else ())
    held, shards = 0, 0
    for part in parts:
        file = root / part_file(part, RECORD)
        record = _record(file)
        if record is None:
            told.left.append(f"{file}: damaged, it may tell of the person; run jobs/augment.py again")
            continue
        if known.isdisjoint(map(normalised, record.account.photos)):
            continue
        held += sum(
            _delete_held_out(root, photo, stamp.size, known) for photo, stamp in record.stamps.items()
        )
        shards += _delete_shards(root, part, record.digest, told)
        for picture in (
            layout.BALANCE_PICTURE,
            layout.RENDERS_PICTURE,
        ):  # may show the person; the job draws them again
            if _is_file(root / layout.REPORT / picture):
                _delete(root / layout.REPORT / picture, root)
                told.removed.append(f"{root / layout.REPORT / picture}")
        (root / layout.FINISHED).unlink(missing_ok=True)
        _rewrite_part(root, part, record, lambda name: normalised(name) in known)
    if held:
        told.removed.append(f"{held} photos that were held out in {root / layout.HELD_OUT}")
    if shards:
        told.removed.append(
            f"{shards} of the shards in {root / layout.SHARDS}, with other people's images: the command that made them "
            "makes them again without the person"
        )


def _delete_unfinished(root: Path, known: Set[str], told: SetRemoval) -> None:
    """Delete what workers that were killed wrote for the person; `PART.making` names such files."""
    count = 0
    for record in sorted((root / layout.PARTS).glob(f"*{MAKING}")):
        try:
            files = making_from_bytes(record.read_bytes())
        except (OSError, ValueError):
            told.left.append(f"{record}: damaged, it may tell of the person; run jobs/augment.py again")
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
        told.removed.append(f"{count} images of a job in {root} that did not end")


def _rewrite_part(root: Path, part: str, record: PartRecord, is_gone: Callable[[str], bool]) -> None:
    """Take a person out of what the job remembers of a part; it remembers the others in it."""
    others = record.without(is_gone)
    if not others.account.photos:
        for kind in (SCAN, ROWS, RECORD):
            (root / part_file(part, kind)).unlink(missing_ok=True)
        return
    for kind in (SCAN, ROWS):
        file = root / part_file(part, kind)
        if file.is_file():
            try:
                write_whole(file, table_without(file.read_bytes(), is_gone), durable=True)
            except ValueError:  # the job does without a damaged table
                file.unlink()
    # The record goes last: until it is rewritten, the other files can be found again.
    write_whole(root / part_file(part, RECORD), others.to_bytes(), durable=True)


def _delete_held_out(root: Path, photo: str, size: int, known: Set[str]) -> bool:
    """Delete the copy of a photo of the person that was held out, if it is the one that was put there."""
    folder, _, rest = photo.partition("/")
    if normalised(folder) not in known:
        return False
    file = _inside(root / layout.HELD_OUT, f"{normalised(folder)}/{rest}")
    if file is None or not _is_file(file) or file.stat().st_size != size:
        return False
    _delete(file, root)
    return True


def _delete_shards(root: Path, part: str, digest: str, told: SetRemoval) -> int:
    """Delete the shard of a partition; how many files went."""
    count = 0
    for shard in sorted((root / layout.SHARDS).glob(f"{part}.*")):
        if digest and not digest.startswith(f"{shard.stat().st_size} bytes"):
            told.left.append(f"{shard}: not as it was made, so it was not deleted; delete it yourself")
            continue
        _delete(shard, root)
        count += 1
    return count


def _delete_failures(root: Path, known: Set[str]) -> None:
    """Take the person's rows out of the list of failures."""
    file = root / layout.FAILURES
    if not file.is_file():
        return
    rows = list(csv.reader(io.StringIO(file.read_text("utf-8"), newline="")))
    others = [row for row in rows if len(row) < 2 or normalised(row[1]) not in known]
    if len(others) < len(rows):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(others)
        write_whole(file, text.getvalue().encode())


def _folders_of(root: Path, known: Set[str]) -> Iterator[Path]:
    """The folders of a person in a set, there or not."""
    for name in sorted(known):
        try:
            checked_name(name)
        except InputError:  # a path, or the name of something else: its folder would not be the person's
            continue
        yield from (place / name for place in (root, root / layout.HELD_OUT, root / layout.LANDMARK_SET))


def _still_there(root: Path, known: Set[str]) -> Iterator[str]:
    """What is left of the person in a set, found by names of folders and in the records, one line each."""
    for folder in _folders_of(root, known):
        for file in sorted(folder.rglob("*")):
            if not file.is_dir():
                yield f"{file}: no record of this set says that it was made for the person; delete it yourself"
    for shard in sorted((root / layout.SHARDS).glob("*")):
        if not (root / part_file(shard.stem, RECORD)).is_file() and _shows(shard, known):
            yield f"{shard}: holds images of the person, and no record of this set names it; delete it yourself"


def _still_mentioned(root: Path, known: Set[str], others: Collection[str]) -> Iterator[str]:
    """Files that describe the set and still have the name, one line each."""
    mentions = Mentions(known, others)
    described = [root / layout.MANIFEST, root / layout.FAILURES, root / layout.SUMMARY]
    for file in (*described, *sorted((root / layout.WORK).rglob("*"))):
        if file.is_file() and mentions.in_file(file):
            yield f"{file}: mentions the person; run jobs/augment.py again without the person's photos"


def _shows(shard: Path, known: Set[str]) -> bool:
    """Whether a shard that no partition accounts for has images of the person, or cannot be read."""
    try:
        images = read_shard(shard.read_bytes(), str(shard))
        return any(normalised(file.split("/")[0]) in known for file, _ in images)
    except (InputError, OSError):
        return False  # not a shard of ours


def _record(file: Path) -> PartRecord | None:
    """Return what the job remembers of a part; None if the record is damaged."""
    try:
        return PartRecord.from_bytes(file.read_bytes())
    except (OSError, ValueError):
        return None


def _inside(folder: Path, path: str) -> Path | None:
    """The file that a relative path names below a folder; None if the path leads elsewhere."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0] == "/" or "\0" in path:
        return None
    file = folder.joinpath(*parts)
    # a linked folder on the way would lead out of the set
    return file if file.parent.resolve() == folder.resolve().joinpath(*parts[:-1]) else None


def _is_file(path: Path) -> bool:
    """Whether there is a file of its own, no link."""
    return path.is_file() and not path.is_symlink()


def _delete(file: Path, root: Path) -> None:
    """Delete a file, and the folders above it below `root` that are empty then."""
    file.unlink()
    _remove_if_empty(file.parent, root)


def _remove_if_empty(folder: Path, root: Path) -> None:
    """Remove a folder without files, and those above it below `root` that are empty then."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for below in sorted((f for f in folder.rglob("*") if f.is_dir() and not f.is_symlink()), reverse=True):
        _remove_empty(below)
    for above in (folder, *folder.parents):
        if above == root or not _remove_empty(above):
            return


def _remove_empty(folder: Path) -> bool:
    remove_half_written(folder)
    if any(folder.iterdir()):
        return False
    folder.rmdir()
    return True
