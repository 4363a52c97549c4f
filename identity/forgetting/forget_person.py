"""Take a person out of a run, and everything this software made of the person out of the folders it knows of.

What goes: the template, the prototype in the head, the list of training photos; the caches of features (they hold the
person's among others', and are made again when they are needed); the person's images and rows in the balanced set
(`identity.forgetting.balanced_set`); faces, album files and pages of organised photos. Afterwards every one of these
places, and
every file that was made with the run elsewhere (reports, exports, tables), is searched for the name. The user's own
photos are not touched, they are listed.

What has to be done is written down in the run's `people.sqlite` before anything is deleted, and stays there until
nothing is left. An interrupted call is repeated by the same name; so is one that left something, after that was dealt
with. Names that the person had before are followed. Other processes that have the run open are waited for.

The head was trained with the person's images among others. Its prototype of the person is deleted, but what all people
share in its weights was shaped by these images a little: it forgets them at the next training.
"""

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.photos.images import remove_half_written, write_whole
from augmentor.photos.names import found_name, possible_folders
from augmentor.photos.place import is_local
from identity.albums.page import THUMBNAILS, write_pages
from identity.albums.placing import remove_empty_folders, take_out
from identity.albums.sorting import REVIEW, decide
from identity.albums.written_files import WrittenFiles
from identity.chips.detection_cache import FILES as DETECTIONS
from identity.forgetting.balanced_set import forget_in_set
from identity.forgetting.journal import ForgettingRecord, is_album_of, write_down
from identity.forgetting.mentions import Mentions
from identity.forgetting.traces import left_elsewhere, left_in_albums, left_in_outputs, left_in_run
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile, PhotoCollection
from identity.runs.holders import wait_for_holders
from identity.runs.unenrolment import without
from identity.runs.user_cache import user_cache
from identity.training import unpacked_images

WAIT_SECONDS = 30.0
_CACHES = (
    *("maps.npy", "progress.json", "dlib.npz", "head.checkpoint.npz", "fine_tuning.checkpoint.npz"),
    *unpacked_images.FILES,
)


@dataclass
class Forgotten:
    """What became of a person.

    Attributes:
        removed: what was deleted, in words.
        originals: the user's photos of the person, as the run called them, and in folders that were organised.
        left: places where the name still stands, or files that could not be dealt with; should be none.
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
    wait_seconds: float = WAIT_SECONDS,
    let_go: Callable[[], Sequence[str]] = tuple,
    holders: Sequence[int] = (),
) -> Forgotten:
    """Forget a person, everywhere this run knows of.

    Args:
        run: folder of the run.
        name: of the person, or of one whose forgetting was interrupted or left something.
        people: the run's file.
        data: the balanced set, where the run does not know it or must not touch what it knows.
        wait_seconds: how long to wait for other processes that have the run open, and for readers of its file.
        let_go: called once the run is without the person: lets this process drop what it keeps itself; returns a line
            for each thing that is left.
        holders: numbers of this process's own entries in `identity.runs.holders`, which are not waited for.

    Raises:
        InputError: nobody is called so, or something cannot be deleted; the person is named no more in any case, and
            the same call goes on.
    """
    record = write_down(run, name, people, data)
    told = Forgotten(originals=list(record.originals))
    _take_out_of_run(run, record, people, told)
    told.left += let_go()
    told.left += wait_for_holders(run, people, wait_seconds, holders)
    bundle = Bundle.load(run)
    names = sorted({*record.names} - {*bundle.labels})
    try:
        forget_in_collections(bundle, record.albums, names, people, told)
        for folder in map(Path, record.caches):
            if removed := _remove_caches(folder):
                told.removed.append(f"caches of features in {folder}: {', '.join(removed)}")
        for folder in (run, user_cache()):
            if removed := _remove_faces(folder, record.sha256):
                told.removed.append(f"faces of the person's photos in {folder}: {', '.join(removed)}")
        if record.data and is_local(record.data):
            in_set = forget_in_set(Path(record.data), names)
            told.removed += in_set.removed
            told.left += in_set.left
    except OSError as error:
        raise InputError(
            f"{error.filename or run}: cannot be deleted ({error.strerror or error}); nobody is named "
            f"{record.name} any more, but files are left: mend this and give the same command again"
        ) from error
    told.originals = list(dict.fromkeys([*record.photos, *told.originals]))
    told.left += left_elsewhere(record, names)
    told.left += left_in_run(run, names)
    told.left += left_in_albums(names, people)
    told.left += left_in_outputs(names, people)
    if not people.clean(wait_seconds):
        told.left.append(_still_read(people))
    if not told.left:
        people.end_forgetting(record.name)
        if not people.clean(wait_seconds):
            people.keep_forgetting(record.name, asdict(record))
            told.left.append(_still_read(people))
    return told


def refuse_forgotten(people: PeopleFile, name: str) -> None:
    """Refuse a name whose bearer is still being forgotten: the rest of the work would delete the new person's files.

    Raises:
        InputError: it is such a name.
    """
    if found_name(name, people.forgetting()) is not None:
        raise InputError(
            f"{name}: a person of this name is being forgotten, and something is left; finish that with "
            f"identity.forget --name, then enrol"
        )


def _take_out_of_run(run: Path, record: ForgettingRecord, people: PeopleFile, told: Forgotten) -> None:
    """Save the run without the person, unless an interrupted call did so."""
    with people.exclusive():  # nobody may put the person back while this goes on
        bundle = Bundle.load(run)
        if record.name in bundle.labels:
            without(bundle, record.name).save(run)  # from here on nobody is called so
            told.removed.append(
                f"template, prototype and {len(record.photos)} training photos in the list of the run"
            )
        else:
            bundle.save(run)  # a killed call may have left files of the run as it was


def forget_in_collections(
    bundle: Bundle,
    shown: Mapping[str, Sequence[str]],
    names: Collection[str],
    people: PeopleFile,
    told: Forgotten,
) -> None:
    """Take a person out of every collection: its albums, the photos that show the person, and the pages.

    Args:
        bundle: the run without the person.
        shown: albums folder to photos that show the person.
        names: of the person.
        people: file of the run.
        told: gets what was removed and what is left.
    """
    mentions = Mentions(names)
    for collection in people.collections():
        if not collection.own:
            continue
        number, albums = collection.number, collection.albums
        placed = [
            file
            for file in people.placed(number)
            if is_album_of(file.album, names) or mentions.in_text(f"{file.file}\n{file.photo}")
        ]
        paths = {*shown.get(str(albums), ()), *(file.photo for file in placed)}
        paths |= {photo.path for photo in people.photos(number) if mentions.in_text(photo.path)}
        folders = [folder for name in names for folder in possible_folders(name)]
        # also where a killed turn came no further than to the files, or to half of a page
        for folder in (albums, albums / THUMBNAILS):
            remove_half_written(folder)
        remove_empty_folders(
            albums, {albums / place / folder for folder in folders for place in ("", REVIEW)}
        )
        if not (paths or placed):
            continue
        people.drop_moved(number, lambda album: is_album_of(album, names))
        taken = take_out(placed, people, number, albums)
        people.drop(number, sorted(paths))
        told.left += [
            f"{albums / file.file}: {why}, so it was not deleted; delete it yourself"
            for files, why in (
                (taken.changed, "not as it was put there"),
                (taken.only_copies, "its photo is not there any more, it may be the only copy"),
            )
            for file in files
        ]
        told.originals += [str(collection.photos / path) for path in sorted(paths)]
        told.removed.append(
            f"{len(taken.removed)} files in {albums}, and what was known of {len(paths)} photos there"
        )
        if albums.is_dir():
            _write_pages_again(bundle, people, collection, told)


def _write_pages_again(
    bundle: Bundle, people: PeopleFile, collection: PhotoCollection, told: Forgotten
) -> None:
    """Write the pages of albums without the person; those that are the user's stay as they are."""
    written = WrittenFiles(people, collection.number, collection.albums)
    if not any(written.is_ours(page) for page in written.files()):
        return
    if collection.space != bundle.space:  # the faces cannot be compared with this run any more
        written.remove_others()
        told.removed.append(f"pages in {collection.albums}; identity.organise makes them again")
        return
    found = decide(bundle, people, collection.number, bundle.thresholds["fpir_1"])
    found.placed = people.placed(collection.number)
    write_pages(found, people, collection.photos, collection.albums)


def _remove_caches(folder: Path) -> list[str]:
    """Delete what training and `identity.chips.detection_cache` keep in a folder; return the names of the files."""
    files = [folder / name for name in _CACHES] + sorted(folder.glob(DETECTIONS))
    removed = [file for file in files if file.is_file() and not file.is_symlink()]
    for file in removed:
        file.unlink()
    return [file.name for file in removed]


def _remove_faces(folder: Path, sha256: Collection[str]) -> list[str]:
    """Delete the rows of some photos in caches of faces that serve other people or runs, too; return their names."""
    changed = []
    for file in sorted(folder.glob(DETECTIONS)):
        try:
            table = pq.read_table(file)
            mine = pc.is_in(table["sha256"], pa.array(sorted(sha256), pa.string()))
        except (OSError, KeyError, pa.ArrowException):  # damaged: nobody uses it, and it is made anew
            continue
        if pc.any(mine).as_py():
            packed = io.BytesIO()
            pq.write_table(table.filter(pc.invert(mine)), packed)
            write_whole(file, packed.getvalue(), durable=True, private=True)
            changed.append(file.name)
    return changed


def _still_read(people: PeopleFile) -> str:
    return (
        f"{people.file}: another process reads it, so deleted rows are still on disk; end that process and give the "
        "same command again"
    )
