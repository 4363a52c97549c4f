"""Record what must be done to forget a person, before anything is deleted."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from augmentor.balanced_set.layout import MANIFEST, WORK
from augmentor.errors import InputError
from augmentor.photos.names import found_name, possible_folders
from augmentor.photos.place import is_local
from identity.albums.sorting import REVIEW, albums_of_people, decide
from identity.forgetting.balanced_set import names_in_set
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile, PhotoCollection
from identity.runs.moving import is_set_of
from identity.runs.unenrolment import without


@dataclass(frozen=True)
class ForgettingRecord:
    """The work that forgetting a person takes; all values can be stored as JSON.

    Attributes:
        name: name of the person in the run.
        names: all names under which files may contain the person: the name and earlier ones that nobody else has now.
        photos: the person's training photos, as the run names them.
        sha256: SHA-256 of these photos' files.
        sets: paths or URIs of the balanced sets.
        caches: folders with caches of features.
        elsewhere: places that the run was made from but in which this copy of the run must not delete anything.
        albums: the photos that show the person, relative to their folder, by the folder of their albums.
        originals: the user's own photos of the person.
    """

    name: str
    names: list[str]
    photos: list[str]
    sha256: list[str]
    sets: list[str]
    caches: list[str]
    elsewhere: list[str]
    albums: dict[str, list[str]]
    originals: list[str]


def write_down(
    run: Path, name: str, people: PeopleFile, data: Path | None, deleted: Collection[Path] = ()
) -> ForgettingRecord:
    """Work out and record what must be done, together with what an interrupted call recorded; return the record.

    Args:
        run: folder of the run.
        name: name of an enrolled person, or of a person whose forgetting did not end.
        people: people file of the run.
        data: another balanced set. If it has photos that the run was trained on, it replaces the run's own set where
            that is not there.
        deleted: files and folders that the user deleted for good; they and everything below them are left out.

    Raises:
        InputError: Nobody has this name, it is the only person of the run, `data` is no balanced set, or something in
            `deleted` exists.
    """
    _check_places(data, deleted)
    with people.exclusive():
        bundle = Bundle.load(run)
        pending = people.forgetting()
        label, known = found_name(name, bundle.labels), found_name(name, pending)
        if label is None and known is None:
            bundle.people.name_of(name)  # raises an error that explains what is wrong
        records = [_record_from(pending[known])] if known is not None else []
        if label is not None:
            without(bundle, label)  # raises an error if this is impossible, before anything is recorded
            records.append(_record_of(run, bundle, label, people))
        record = _without_deleted(_joined(records, data, bundle), deleted)
        _drop_deleted(people, deleted)
        people.keep_forgetting(record.name, asdict(record))
    return record


def _check_places(data: Path | None, deleted: Collection[Path]) -> None:
    """Raise an `InputError` if `data` is no balanced set, or if something in `deleted` exists."""
    if data is not None and not (data / MANIFEST).is_file() and not (data / WORK).is_dir():
        raise InputError(f"{data}: no balanced set; give --data the folder that jobs/augment.py wrote")
    for place in deleted:
        if os.path.lexists(place):
            raise InputError(f"{place}: exists, so it was not deleted; delete it or omit --deleted")


def _drop_deleted(people: PeopleFile, deleted: Collection[Path]) -> None:
    """Remove albums and outputs that were deleted for good from the people file."""
    for collection in people.collections():
        if collection.own and is_below(collection.albums, deleted):
            people.drop_collection(collection.number)
    for path in people.outputs():
        if is_local(path) and is_below(Path(path), deleted):
            people.drop_output(path)


def _record_of(run: Path, bundle: Bundle, label: str, people: PeopleFile) -> ForgettingRecord:
    """Work out what must be done to forget an enrolled person."""
    sources = [row for row in bundle.sources.to_pylist() if row["identity"] == label]
    sha256 = sorted({row["sha256"] for row in sources})
    data, caches, elsewhere = _places_of(run, bundle)
    others = {*bundle.labels} - {label}
    names = {label, *bundle.former_names.get(label, ())}
    if data and is_local(data):
        names |= names_in_set(Path(data), sha256, [row["photo"] for row in sources])
    names -= others
    albums, originals = {}, []
    for collection in people.collections():
        if collection.own:
            shown = _shown_in(bundle, collection, sorted(names), people)
            albums[str(collection.albums)] = shown
            originals += [str(collection.photos / path) for path in shown]
        else:
            elsewhere.append(str(collection.albums))
    return ForgettingRecord(
        name=label,
        names=sorted(names),
        photos=[row["photo"] for row in sources],
        sha256=sha256,
        sets=[data] if data else [],
        caches=[str(folder) for folder in caches],
        elsewhere=elsewhere,
        albums=albums,
        originals=originals,
    )


def _record_from(values: dict[str, Any]) -> ForgettingRecord:
    """Return a stored record; earlier versions stored only one set, as `data`."""
    if "sets" not in values:
        values = values | {"sets": [values["data"]] if values.get("data") else []}
    return ForgettingRecord(
        **{one.name: values[one.name] for one in fields(ForgettingRecord) if one.name in values}
    )


def _without_deleted(record: ForgettingRecord, deleted: Collection[Path]) -> ForgettingRecord:
    """Return the record without the places that were deleted for good."""

    def kept(places: Iterable[str]) -> list[str]:
        return [place for place in places if not (is_local(place) and is_below(Path(place), deleted))]

    albums = set(kept(record.albums))
    return replace(
        record,
        sets=kept(record.sets),
        caches=kept(record.caches),
        elsewhere=kept(record.elsewhere),
        albums={folder: paths for folder, paths in record.albums.items() if folder in albums},
    )


def is_below(path: Path, folders: Collection[Path]) -> bool:
    """Return whether a path is one of some folders or lies in one.

    Args:
        path: an absolute path.
        folders: files or folders, which need not exist; `..` and symbolic links in them are followed.
    """
    # the folders as they are written count as well, because a symbolic link on the way may be gone
    written = {Path(os.path.abspath(folder)) for folder in folders}  # noqa: PTH100
    places = written | {folder.resolve() for folder in folders}
    return any(place in (path, *path.parents) for place in places)


def _joined(records: Sequence[ForgettingRecord], data: Path | None, bundle: Bundle) -> ForgettingRecord:
    """Join records into one; where they can have only one value, it is that of the last record."""
    last = records[-1]
    albums: dict[str, list[str]] = {}
    for record in records:
        for folder, paths in record.albums.items():
            albums[folder] = sorted({*albums.get(folder, ()), *paths})

    def all_of(values: Iterator[list[str]]) -> list[str]:
        return list(dict.fromkeys(value for own in values for value in own))

    elsewhere = all_of(record.elsewhere for record in records)
    sets = all_of(record.sets for record in records)
    if data is not None:
        trained_on = {
            *bundle.sources["sha256"].to_pylist(),
            *(sha for record in records for sha in record.sha256),
        }
        if is_set_of(data, trained_on):  # a set that is not there any more was moved to `data`
            sets = [place for place in sets if not is_local(place) or Path(place).is_dir()]
        sets = list(dict.fromkeys([*sets, str(data.resolve())]))
        elsewhere = [
            place for place in elsewhere if Path(place).is_absolute() and place != str(data.resolve())
        ]
    return replace(
        last,
        names=all_of(record.names for record in records),
        photos=all_of(record.photos for record in records),
        sha256=all_of(record.sha256 for record in records),
        albums=albums,
        originals=all_of(record.originals for record in records),
        sets=sets,
        elsewhere=elsewhere,
    )


def _places_of(run: Path, bundle: Bundle) -> tuple[str | None, list[Path], list[str]]:
    """Return the balanced set, the folders of caches, and places in which nothing may be deleted.

    A run knows the folder in which it was made. In any other folder it is a copy, and the places it was made from
    belong to the original run. The copy owns only what lies next to it in the same way as it lay next to the original.
    A run of an earlier version does not know its folder; it owns what lies next to it.
    """
    config = bundle.about.get("config", {})
    here, home = run.resolve(), bundle.about.get("home")
    caches = [here / "features", here / "evaluation_cache"]
    elsewhere: list[str] = []
    data: str | None = None
    for kind in ("data", "cache"):
        place = config.get(kind)
        if not place or bundle.align == "whole":
            continue
        own = _own_place(place, here, home)
        if own != place and is_local(place):
            elsewhere.append(place)
        if own and kind == "data":
            data = own
        elif own:
            caches.append(Path(own))
    return data, caches, elsewhere


def _own_place(place: str, here: Path, home: str | None) -> str | None:
    """Return where a place that a run was made with is now, or None if it does not belong to this run."""
    if not is_local(place) or home == str(here):
        return place
    path = Path(place)
    if home is None:
        return place if path.is_absolute() and here.parent in path.parents else None
    try:
        beside = here.parent / path.relative_to(Path(home).parent)
    except ValueError:  # it did not lie next to the original either
        return None
    return str(beside) if beside.exists() else None


def _shown_in(
    bundle: Bundle, collection: PhotoCollection, names: Sequence[str], people: PeopleFile
) -> list[str]:
    """Return the paths of the photos in a collection that show a person, as far as the run can tell."""
    placed = {file.photo for file in people.placed(collection.number) if is_album_of(file.album, names)}
    if collection.space != bundle.space:  # embeddings of another space cannot be compared, so all are deleted
        return sorted(placed | {photo.path for photo in people.photos(collection.number)})
    own = albums_of_people(bundle, names)
    before = decide(bundle, people, collection.number, bundle.thresholds["fpir_1"])
    shown = {path for path, faces in before.faces.items() if any(face.album in own for face in faces)}
    return sorted(placed | shown)


def is_album_of(album: str, names: Collection[str]) -> bool:
    """Return whether an album belongs to a person: the person's own album, or the one of photos to review.

    Args:
        album: the album.
        names: names of the person.
    """
    folder = album.removeprefix(f"{REVIEW}/")
    return any(folder in possible_folders(name) for name in names)
