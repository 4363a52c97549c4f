"""What is to be done to forget a person: worked out and written down before anything is deleted."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
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
from identity.runs.unenrolment import without


@dataclass(frozen=True)
class ForgettingRecord:
    """What is to be done to forget a person, written down before anything is deleted; plain values.

    Attributes:
        name: of the person, as the run had it.
        names: all names under which files may hold the person: this one and earlier ones, if nobody else has them now.
        photos: the training photos, as the run called them.
        sha256: of these photos.
        sets: the balanced sets: paths or URIs.
        caches: folders of features.
        elsewhere: places that the run was made from, but in which this copy of it must not delete anything.
        albums: albums folder to the photos there that show the person, relative to their folder.
        originals: the user's own photos of the person.
        searched: reports, exports and tables that were there in an earlier call.
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
    searched: list[str] = field(default_factory=list)


def write_down(
    run: Path, name: str, people: PeopleFile, data: Path | None, deleted: Collection[Path] = ()
) -> ForgettingRecord:
    """Write down what is to be done, together with what an interrupted call wrote down, and return it.

    Args:
        run: folder of the run.
        name: of somebody who is enrolled, or whose forgetting did not end.
        people: the run's file.
        data: a balanced set, beside the one that the run knows, or instead of it if that is not there.
        deleted: files and folders that somebody deleted for good: nothing at or below them is looked for.

    Raises:
        InputError: there is nobody of this name, or it is the only person of the run; `data` is no balanced set, or
            something that was said to be deleted is there.
    """
    if data is not None and not (data / MANIFEST).is_file() and not (data / WORK).is_dir():
        raise InputError(f"{data}: no balanced set; --data takes the folder that jobs/augment.py wrote")
    for place in deleted:
        if os.path.lexists(place):
            raise InputError(f"{place}: is there, so it was not deleted; delete it, or leave --deleted out")
    with people.exclusive():
        bundle = Bundle.load(run)
        pending = people.forgetting()
        label, known = found_name(name, bundle.labels), found_name(name, pending)
        if label is None and known is None:
            bundle.people.name_of(name)  # says what is wrong
        records = [_record_from(pending[known])] if known is not None else []
        if label is not None:
            without(bundle, label)  # what cannot be done is said before anything is written down
            records.append(_record_of(run, bundle, label, people))
        record = _without_deleted(_joined(records, data), deleted)
        for collection in people.collections():
            if collection.own and is_below(collection.albums, deleted):
                people.drop_collection(collection.number)
        for path in people.outputs():
            if is_local(path) and is_below(Path(path), deleted):
                people.drop_output(path)
        people.keep_forgetting(record.name, asdict(record))
    return record


def _record_of(run: Path, bundle: Bundle, label: str, people: PeopleFile) -> ForgettingRecord:
    """What is to be done to forget somebody who is enrolled."""
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
            seen = _shown_in(bundle, collection, sorted(names), people)
            albums[str(collection.albums)] = seen
            originals += [str(collection.photos / path) for path in seen]
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
    """Read what was written down, also by a version that knew one set."""
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
    """Return whether a path is one of some places, or lies in one; `..` and links are followed."""
    # as it is written, too: a link on the way may be gone
    places = {Path(os.path.abspath(folder)) for folder in folders}  # noqa: PTH100 | {folder.resolve() for folder in folders}
    return any(place in (path, *path.parents) for place in places)


def _joined(records: Sequence[ForgettingRecord], data: Path | None) -> ForgettingRecord:
    """One record with all that several have; the last one says where things are."""
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
        # A set that is not where it was is taken for moved to the folder that the caller names.
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
        searched=all_of(record.searched for record in records),
        elsewhere=elsewhere,
    )


def _places_of(run: Path, bundle: Bundle) -> tuple[str | None, list[Path], list[str]]:
    """The balanced set, the folders of caches, and places in which nothing may be deleted.

    A run knows in which folder it was made. Elsewhere it is a copy, and what it was made from belongs to the original:
    only what lies beside the copy, as it lay beside the original, is the copy's own. A run of an earlier version does
    not know its folder; what lies beside it is taken for its own.
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
    """Where a place that a run was made with is now; None if it is not this run's own."""
    if not is_local(place) or home == str(here):
        return place
    path = Path(place)
    if home is None:
        return place if path.is_absolute() and here.parent in path.parents else None
    try:
        beside = here.parent / path.relative_to(Path(home).parent)
    except ValueError:  # it did not lie beside the original either
        return None
    return str(beside) if beside.exists() else None


def _shown_in(
    bundle: Bundle, collection: PhotoCollection, names: Sequence[str], people: PeopleFile
) -> list[str]:
    """Paths of the photos of a collection that show a person, as far as the run can tell."""
    placed = {file.photo for file in people.placed(collection.number) if is_album_of(file.album, names)}
    if collection.space != bundle.space:  # embeddings of another space tell nothing; all of them go
        return sorted(placed | {photo.path for photo in people.photos(collection.number)})
    own = albums_of_people(bundle, names)
    before = decide(bundle, people, collection.number, bundle.thresholds["fpir_1"])
    shown = {path for path, faces in before.faces.items() if any(face.album in own for face in faces)}
    return sorted(placed | shown)


def is_album_of(album: str, names: Collection[str]) -> bool:
    """Whether an album is one of a person's: the folder of a name, or the one for photos that may show the person."""
    folder = album.removeprefix(f"{REVIEW}/")
    return any(folder in possible_folders(name) for name in names)
