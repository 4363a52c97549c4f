"""Forget a person: delete everything that this software made from their photos.

The following is deleted:

- in the run: the template, the prototype in the head, and the list of the person's training photos
- caches of features; they contain other people's features, too, and are computed again when they are needed
- the person's images and rows in the balanced set (`identity.forgetting.balanced_set`)
- stored faces of organised photos, files in albums, and pages of albums

Afterwards all these places are searched for the person's names, and so is everything that was made elsewhere with the
run (reports, exports, tables). The user's own photos are not touched, only listed.

Before anything is deleted, the run's `people.sqlite` records what must be done (`identity.forgetting.journal`). The
record stays until nothing is left. Therefore a call that was interrupted, or that left something, can be repeated with
the same name. Earlier names of the person are followed. Other processes that use the run are waited for.

The head was trained with the person's images among others. Its prototype of the person is deleted, but the weights that
all people share keep a small influence of these images until the next training.
"""

import io
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.model_files.user_cache import user_cache
from augmentor.photos.images import remove_half_written, write_whole
from augmentor.photos.names import found_name, possible_folders
from augmentor.photos.place import is_local
from identity.albums.page import THUMBNAILS, write_pages
from identity.albums.placing import TakenOut, remove_empty_folders, take_out
from identity.albums.sorting import REVIEW, decide
from identity.albums.written_files import WrittenFiles
from identity.chips.detection_cache import FILES as DETECTIONS
from identity.forgetting.balanced_set import forget_in_set
from identity.forgetting.journal import ForgettingRecord, is_album_of, write_down
from identity.forgetting.mentions import Mentions
from identity.forgetting.traces import (
    left_elsewhere,
    left_in_albums,
    left_in_outputs,
    left_in_run,
    not_there,
)
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile, PhotoCollection
from identity.runs.holders import wait_for_holders
from identity.runs.unenrolment import without
from identity.training.cache_folder import cached_files, is_cache_folder

WAIT_SECONDS = 30.0


@dataclass
class Forgotten:
    """The outcome of forgetting a person.

    Attributes:
        removed: lines that describe what was deleted.
        originals: the user's own photos of the person: training photos, as the run names them, and organised photos.
        left: lines that describe what is left and what to do about it; empty if the person is completely forgotten.
    """

    removed: list[str] = field(default_factory=list)
    originals: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def forget(
    run: Path,
    name: str,
    people: PeopleFile,
    *,
    data: Path | None = None,
    deleted: Collection[Path] = (),
    wait_seconds: float = WAIT_SECONDS,
    let_go: Callable[[], Sequence[str]] = tuple,
    holders: Sequence[int] = (),
) -> Forgotten:
    """Forget a person everywhere that this run knows of.

    Args:
        run: folder of the run.
        name: name of an enrolled person, or of a person whose forgetting was interrupted or left something.
        people: people file of the run.
        data: another balanced set. If it has photos that the run was trained on, it replaces the run's own set where
            that is not there.
        deleted: files and folders that the user deleted for good. Any other place that the run knows but that is not
            there counts as left, because it may be on a disk that is not connected.
        wait_seconds: how long to wait for other processes that use the run, and for readers of the people file.
        let_go: called as soon as the run is without the person, to let this process drop what it keeps itself; returns
            a line for each thing that is left.
        holders: numbers of this process's own entries in `identity.runs.holders`, which are not waited for.

    Returns:
        What was deleted and what is left.

    Raises:
        InputError: Nobody has this name, it is the only person of the run, `data` is no balanced set, something in
            `deleted` exists, or something cannot be read or deleted. In the last case the message says whether anything
            was changed, and the call can be repeated.
    """
    try:
        record = write_down(run, name, people, data, deleted)
    except OSError as error:
        raise InputError(
            f"{error.filename or run}: cannot be read ({error.strerror or error}); nothing was changed: correct this "
            "and repeat the command"
        ) from error
    outcome = Forgotten(originals=list(record.originals))
    _take_out_of_run(run, record, people, outcome)
    outcome.left += let_go()
    outcome.left += wait_for_holders(run, people, wait_seconds, holders)
    bundle = Bundle.load(run)
    names = sorted({*record.names} - {*bundle.labels})
    try:
        _delete_outside_of_run(run, record, bundle, names, people, outcome)
        outcome.left += left_elsewhere(record, names, bundle.labels)
        outcome.left += left_in_run(run, names)
        outcome.left += left_in_albums(names, bundle.labels, people)
        outcome.left += left_in_outputs(names, bundle.labels, people)
    except OSError as error:
        raise InputError(
            f"{error.filename or run}: cannot be read or deleted ({error.strerror or error}); {record.name} is no "
            "longer named, but files are left: correct this and repeat the command"
        ) from error
    outcome.originals = list(dict.fromkeys([*record.photos, *outcome.originals]))
    _close_record(record, people, wait_seconds, outcome)
    return outcome


def refuse_forgotten(people: PeopleFile, name: str) -> None:
    """Refuse the name of a person whose forgetting has not ended, because it would delete a new person's files, too.

    Args:
        people: people file of the run.
        name: the name to be given to a person.

    Raises:
        InputError: A person of this name is still being forgotten.
    """
    for person, record in people.forgetting().items():
        if found_name(name, [person, *record["names"]]) is not None:
            raise InputError(
                f"{name}: a person who has or had this name is being forgotten and something is left; finish that with "
                f"identity.forget --name {shlex.quote(person)}, then give the name"
            )


def _take_out_of_run(run: Path, record: ForgettingRecord, people: PeopleFile, outcome: Forgotten) -> None:
    """Save the run without the person, unless an interrupted call already did."""
    with people.exclusive():  # no other program may put the person back meanwhile
        bundle = Bundle.load(run)
        if record.name in bundle.labels:
            without(bundle, record.name).save(run)  # from here on, nobody is given this name
            outcome.removed.append(
                f"the template, the prototype and the list of {len(record.photos)} training photos in the run"
            )
        else:
            bundle.save(run)  # a killed call may have left files of the earlier run, which saving deletes


def _delete_outside_of_run(
    run: Path,
    record: ForgettingRecord,
    bundle: Bundle,
    names: Sequence[str],
    people: PeopleFile,
    outcome: Forgotten,
) -> None:
    """Delete what was made from the person's photos in albums, caches and the balanced sets.

    Raises:
        OSError: A file cannot be read, deleted or written.
    """
    forget_in_collections(bundle, record.albums, names, people, outcome)
    for folder in map(Path, record.caches):
        _remove_caches(folder, run, outcome)
    for folder in (run, user_cache()):
        if removed := _remove_faces(folder, record.sha256):
            outcome.removed.append(f"faces of the person's photos in {folder}: {', '.join(removed)}")
    for folder in (Path(place) for place in record.sets if is_local(place)):
        if folder.is_dir():
            in_set = forget_in_set(folder, names, bundle.labels)
            outcome.removed += in_set.removed
            outcome.left += in_set.left
        else:
            outcome.left.append(not_there(folder, "the training set", "If it was moved, give --data."))


def _close_record(
    record: ForgettingRecord, people: PeopleFile, wait_seconds: float, outcome: Forgotten
) -> None:
    """Erase deleted rows from the people file and, if nothing is left of the person, the record as well."""
    if not people.clean(wait_seconds):
        outcome.left.append(_still_read(people))
    if outcome.left:
        people.keep_forgetting(record.name, asdict(record))
        return
    people.end_forgetting(record.name)
    if not people.clean(wait_seconds):
        people.keep_forgetting(record.name, asdict(record))
        outcome.left.append(_still_read(people))


def forget_in_collections(
    bundle: Bundle,
    shown: Mapping[str, Sequence[str]],
    names: Collection[str],
    people: PeopleFile,
    outcome: Forgotten,
) -> None:
    """Forget a person in every collection of photos: in its albums, its stored faces and its pages.

    Args:
        bundle: the run without the person.
        shown: photos that show the person, relative to their folder, by the folder of their albums.
        names: names of the person.
        people: people file of the run.
        outcome: records what was deleted and what is left.
    """
    for collection in people.collections():
        if collection.own:
            photos = shown.get(str(collection.albums), ())
            _forget_in_collection(bundle, collection, photos, names, people, outcome)


def _forget_in_collection(
    bundle: Bundle,
    collection: PhotoCollection,
    shown: Sequence[str],
    names: Collection[str],
    people: PeopleFile,
    outcome: Forgotten,
) -> None:
    """Forget a person in one collection; `shown` are the photos known to show the person."""
    number, albums = collection.number, collection.albums
    mentions = Mentions(names, bundle.labels)
    placed = [
        file
        for file in people.placed(number)
        if is_album_of(file.album, names) or mentions.in_text(f"{file.file}\n{file.photo}")
    ]
    paths = {*shown, *(file.photo for file in placed)}
    paths |= {photo.path for photo in people.photos(number) if mentions.in_text(photo.path)}
    _remove_remains(albums, names)
    if not albums.is_dir():
        people.drop(number, sorted(paths))
        outcome.left.append(not_there(albums, "the albums"))
        return
    if not (paths or placed):
        return
    people.drop_moved(number, lambda album: is_album_of(album, names))
    taken = take_out(placed, people, number, albums)
    stored = {photo.path for photo in people.photos(number)} & paths
    people.drop(number, sorted(paths))
    outcome.left += _kept_files(albums, taken)
    outcome.originals += [str(collection.photos / path) for path in sorted(paths)]
    if taken.removed or stored:
        outcome.removed.append(
            f"{len(taken.removed)} files in {albums}, and the stored faces of {len(stored)} photos there"
        )
    _write_pages_again(bundle, people, collection, outcome)


def _remove_remains(albums: Path, names: Collection[str]) -> None:
    """Remove partial files and empty albums of the person, which a killed call may have left."""
    for folder in (albums, albums / THUMBNAILS):
        remove_half_written(folder)
    folders = [folder for name in names for folder in possible_folders(name)]
    remove_empty_folders(albums, {albums / place / folder for folder in folders for place in ("", REVIEW)})


def _kept_files(albums: Path, taken: TakenOut) -> list[str]:
    """Return a line for each file of the person that stays in the albums."""
    reasons = (
        (taken.changed, "it was changed since it was put there"),
        (taken.only_copies, "its original is gone or was changed, so it may be the only copy of the photo"),
    )
    return [
        f"{albums / file.file}: not deleted, because {reason}; delete it yourself"
        for files, reason in reasons
        for file in files
    ]


def _write_pages_again(
    bundle: Bundle, people: PeopleFile, collection: PhotoCollection, outcome: Forgotten
) -> None:
    """Write the pages of the albums without the person; pages that the user changed stay as they are."""
    written = WrittenFiles(people, collection.number, collection.albums)
    if not any(written.is_ours(page) for page in written.files()):
        return
    if collection.space != bundle.space:  # the stored embeddings cannot be compared with this run
        written.remove_others()
        outcome.removed.append(f"pages in {collection.albums}; identity.organise makes them again")
        return
    contents = decide(bundle, people, collection.number, bundle.thresholds["fpir_1"])
    contents.placed = people.placed(collection.number)
    write_pages(contents, people, collection.photos, collection.albums)


def _remove_caches(folder: Path, run: Path, outcome: Forgotten) -> None:
    """Delete what training and `identity.chips.detection_cache` cached in a folder, if a training made the folder."""
    files, ours = cached_files(folder), is_cache_folder(folder, run)
    if not folder.is_dir() and not ours:
        outcome.left.append(not_there(folder, "the cache of the training"))
        return
    if files and not ours:
        outcome.left += [
            f"{file}: may be a cache of the training, but nothing says that the training made it; delete it yourself"
            for file in files
        ]
        return
    for file in files:
        file.unlink()
    if files:
        outcome.removed.append(f"caches of features in {folder}: {', '.join(file.name for file in files)}")


def _remove_faces(folder: Path, sha256: Collection[str]) -> list[str]:
    """Delete the rows of some photos from the caches of faces in a folder; return the names of the changed files."""
    changed = []
    for file in sorted(folder.glob(DETECTIONS)):
        try:
            table = pq.read_table(file)
            mine = pc.is_in(table["sha256"], pa.array(sorted(sha256), pa.string()))
        except (OSError, KeyError, pa.ArrowException):  # a damaged cache is not used but made again
            continue
        if pc.any(mine).as_py():
            packed = io.BytesIO()
            pq.write_table(table.filter(pc.invert(mine)), packed)
            write_whole(file, packed.getvalue(), durable=True, private=True)
            changed.append(file.name)
    return changed


def _still_read(people: PeopleFile) -> str:
    return (
        f"{people.file}: another process reads it, so deleted rows are still on disk; end that process and repeat "
        "the command"
    )
