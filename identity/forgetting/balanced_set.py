"""Delete a person's files from a balanced set, one by one, and look for what is left of the person there.

A file is deleted only if the set's own records give it to the person: rows of `manifest.parquet` for images and their
landmark files, what `jobs/augment.py` remembers of its partitions for photos that were held out and for shards. A file
that is not as it was written, or that no record names, may be the user's: it stays, and it is told. No folder is ever
deleted unless it is empty.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from augmentor.balancing.manifest import read_manifest, write_manifest
from augmentor.errors import InputError
from augmentor.photos.images import remove_half_written, write_whole
from augmentor.photos.names import checked_name, normalised
from identity.forgetting.mentions import Mentions
from identity.training.shard_reader import read_shard

_LANDMARK_SET = "300w-lp"
_REPORT = ("balance.png", "renders.jpg")


@dataclass
class SetRemoval:
    """What was deleted in a set, and what was not.

    Attributes:
        removed: what was deleted, in words.
        left: files that were not deleted and why, one line each.
    """

    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def forget_in_set(root: Path, names: Collection[str]) -> SetRemoval:
    """Delete what a balanced set holds of a person; repeatable after an interruption.

    Args:
        root: folder of the set.
        names: every name under which the set may know the person.

    Raises:
        OSError: a file cannot be deleted or written.
    """
    told = SetRemoval()
    known = {normalised(name) for name in names}
    try:
        rows = read_manifest(root / "manifest.parquet") if (root / "manifest.parquet").is_file() else None
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
            write_manifest(root / "manifest.parquet", rows.filter(pc.invert(mine)))
    for folder in (root, root / ".work", root / ".work" / "parts"):
        remove_half_written(folder)  # of this call's earlier, killed turns
    for folder in _folders_of(root, known):
        _remove_if_empty(folder, root)  # a killed turn may have come no further than to its files
    told.left += _still_there(root, known)
    told.left += _still_mentioned(root, known)
    return told


def names_in_set(root: Path, sha256: Collection[str], photos: Collection[str]) -> set[str]:
    """Return the names under which a balanced set has images of some photos; none if there is no readable manifest.

    Args:
        root: folder of the set.
        sha256: of the photos' files.
        photos: their paths, as the set calls them.
    """
    try:
        rows = read_manifest(root / "manifest.parquet")
    except InputError:
        return set()
    mine = pc.and_(
        pc.is_in(rows["source_sha256"], pa.array(sorted(sha256), pa.string())),
        pc.is_in(rows["source"], pa.array(sorted(photos), pa.string())),
    )
    return set(pc.unique(rows.filter(mine)["identity"]).to_pylist())


def holds_person(root: Path, names: Collection[str]) -> bool:
    """Whether a folder is a balanced set with images of a person, or its manifest cannot be read."""
    if not (root / "manifest.parquet").is_file():
        return False
    try:
        rows = read_manifest(root / "manifest.parquet")
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
        for folder in (root, root / _LANDMARK_SET):
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
    folder = root / ".work" / "parts"
    parts = sorted({file.stem for file in folder.glob("*.json")} if folder.is_dir() else ())
    held, shards = 0, 0
    for part in parts:
        record = _record(folder / f"{part}.json")
        if record is None:
            told.left.append(
                f"{folder / part}.json: damaged, it may tell of the person; run jobs/augment.py again"
            )
            continue
        if known.isdisjoint(map(normalised, record["account"]["photos"])):
            continue
        held += sum(
            _delete_held_out(root, photo, int(stamp[0]), known) for photo, stamp in record["stamps"].items()
        )
        shards += _delete_shards(root, part, record.get("digest"), told)
        for picture in _REPORT:  # may show the person; the job draws them again
            if _is_file(root / "report" / picture):
                _delete(root / "report" / picture, root)
                told.removed.append(f"{root / 'report' / picture}")
        (root / ".work" / "finished.json").unlink(missing_ok=True)
        _rewrite_part(folder, part, record, known)
    if held:
        told.removed.append(f"{held} photos that were held out in {root / 'holdout'}")
    if shards:
        told.removed.append(
            f"{shards} of the shards in {root / 'shards'}, with other people's images: the command that made them "
            "makes them again without the person"
        )


def _delete_unfinished(root: Path, known: Set[str], told: SetRemoval) -> None:
    """Delete what workers that were killed wrote for the person; `PART.making` names such files."""
    count = 0
    for record in sorted((root / ".work" / "parts").glob("*.making")):
        try:
            files = [str(file) for file in json.loads(record.read_text("utf-8"))]
        except (OSError, ValueError, TypeError):
            told.left.append(f"{record}: damaged, it may tell of the person; run jobs/augment.py again")
            continue
        own = [file for file in files if normalised(file.removeprefix("holdout/").split("/")[0]) in known]
        for name in own:
            for folder in (root, root / _LANDMARK_SET):
                file = _inside(folder, name)
                for made in (file, file and file.with_suffix(".mat")):
                    if made is not None and _is_file(made) and (made == file or folder != root):
                        _delete(made, root)
                        count += made == file
        if own:
            others = sorted(set(files) - set(own))
            write_whole(record, json.dumps(others, ensure_ascii=False).encode(), durable=True)
    if count:
        told.removed.append(f"{count} images of a job in {root} that did not end")


def _rewrite_part(folder: Path, part: str, record: dict[str, Any], known: Set[str]) -> None:
    """Take a person out of what the job remembers of a partition; the others in it are still known.

    The partition has no digest any more, so that the job makes again what is missing of it.
    """
    for kind in (".scan.parquet", ".rows.parquet"):
        file = folder / f"{part}{kind}"
        if file.is_file():
            try:
                table = pq.read_table(file)
                others = table.filter(pc.invert(_of(table, known)))
            except (pa.ArrowException, KeyError):  # damaged: the job does without it
                file.unlink()
                continue
            packed = io.BytesIO()
            pq.write_table(others, packed, compression="zstd")
            write_whole(file, packed.getvalue(), durable=True)
    account = dict(record["account"])
    for counted in ("photos", "images"):
        if isinstance(account.get(counted), dict):
            account[counted] = {
                n: value for n, value in account[counted].items() if normalised(n) not in known
            }
    if isinstance(account.get("failures"), list):
        account["failures"] = [
            one for one in account["failures"] if normalised(str(one.get("identity"))) not in known
        ]
    if isinstance(account.get("lacking"), list):
        account["lacking"] = [name for name in account["lacking"] if normalised(name) not in known]
    stamps = {
        photo: stamp
        for photo, stamp in record["stamps"].items()
        if normalised(photo.split("/")[0]) not in known
    }
    if not account["photos"]:  # there was nobody else
        for kind in (".scan.parquet", ".rows.parquet", ".json"):
            (folder / f"{part}{kind}").unlink(missing_ok=True)
        return
    content = record | {"account": account, "stamps": stamps, "digest": ""}
    # the record last: until then the other files can be found again
    write_whole(
        folder / f"{part}.json",
        json.dumps(content, ensure_ascii=False, sort_keys=True).encode(),
        durable=True,
    )


def _delete_held_out(root: Path, photo: str, size: int, known: Set[str]) -> bool:
    """Delete the copy of a photo of the person that was held out, if it is the one that was put there."""
    folder, _, rest = photo.partition("/")
    if normalised(folder) not in known:
        return False
    file = _inside(root / "holdout", f"{normalised(folder)}/{rest}")
    if file is None or not _is_file(file) or file.stat().st_size != size:
        return False
    _delete(file, root)
    return True


def _delete_shards(root: Path, part: str, digest: Any, told: SetRemoval) -> int:
    """Delete the shard of a partition; how many files went."""
    count = 0
    for shard in sorted((root / "shards").glob(f"{part}.*")):
        if isinstance(digest, str) and digest and not digest.startswith(f"{shard.stat().st_size} bytes"):
            told.left.append(f"{shard}: not as it was made, so it was not deleted; delete it yourself")
            continue
        _delete(shard, root)
        count += 1
    return count


def _delete_failures(root: Path, known: Set[str]) -> None:
    """Take the person's rows out of the list of failures."""
    file = root / "failures.csv"
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
        yield from (place / name for place in (root, root / "holdout", root / _LANDMARK_SET))


def _still_there(root: Path, known: Set[str]) -> Iterator[str]:
    """What is left of the person in a set, found by names of folders and in the records, one line each."""
    for folder in _folders_of(root, known):
        for file in sorted(folder.rglob("*")):
            if not file.is_dir():
                yield f"{file}: no record of this set says that it was made for the person; delete it yourself"
    for shard in sorted((root / "shards").glob("*")):
        if not (root / ".work" / "parts" / f"{shard.stem}.json").is_file() and _shows(shard, known):
            yield f"{shard}: holds images of the person, and no record of this set names it; delete it yourself"


def _still_mentioned(root: Path, known: Set[str]) -> Iterator[str]:
    """Files that describe the set and still have the name, one line each."""
    mentions = Mentions(known)
    described = [root / "manifest.parquet", root / "failures.csv", root / "summary.json"]
    for file in (*described, *sorted((root / ".work").rglob("*"))):
        if file.is_file() and mentions.in_file(file):
            yield f"{file}: mentions the person; run jobs/augment.py again without the person's photos"


def _shows(shard: Path, known: Set[str]) -> bool:
    """Whether a shard that no partition accounts for has images of the person, or cannot be read."""
    try:
        images = read_shard(shard.read_bytes(), str(shard))
        return any(normalised(file.split("/")[0]) in known for file, _ in images)
    except (InputError, OSError):
        return False  # not a shard of ours


def _record(file: Path) -> dict[str, Any] | None:
    """What the job remembers of a partition; None if it is damaged."""
    try:
        record: dict[str, Any] = json.loads(file.read_text("utf-8"))
        photos, stamps = record["account"]["photos"], record.setdefault("stamps", {})
        return record if isinstance(photos, dict) and isinstance(stamps, dict) else None
    except (OSError, ValueError, KeyError, TypeError):
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
