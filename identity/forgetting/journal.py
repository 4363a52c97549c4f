"""Record what must be done to forget a person, before anything is deleted."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from augmentor.photos.names import found_name, possible_folders
from augmentor.photos.place import is_local
from identity.albums.sorting import REVIEW, albums_of_people, decide
from identity.forgetting.balanced_set import names_in_set
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile, PhotoCollection
from identity.runs.unenrolment import enrolled_name, without


@dataclass(frozen=True)
class ForgettingRecord:
    """What must be done to forget a person; all values can be stored as JSON.

    Attributes:
        name: name of the person in the run.
        names: all names under which files may contain the person: the name and earlier ones that nobody else has now.
        photos: the person's training photos, as the run names them.
        sha256: SHA-256 of these photos' files.
        data: path or URI of the balanced set; None if there is none.
        caches: folders with caches of features.
        elsewhere: places that the run was made from but in which this copy of the run must not delete anything.
        albums: the photos that show the person, relative to their folder, by the folder of their albums.
        originals: the user's own photos of the person.
    """

    name: str
    names: list[str]
    photos: list[str]
    sha256: list[str]
    data: str | None
    caches: list[str]
    elsewhere: list[str]
    albums: dict[str, list[str]]
    originals: list[str]


def write_down(run: Path, name: str, people: PeopleFile, data: Path | None) -> ForgettingRecord:
    """Work out and record what must be done, together with what an interrupted call recorded; return the record.

    Args:
        run: folder of the run.
        name: name of an enrolled person, or of a person whose forgetting did not end.
        people: people file of the run.
        data: the balanced set, if the run does not know it or may not touch the one that it knows.

    Raises:
        InputError: Nobody has this name, or it is the only person of the run.
    """
    with people.exclusive():
        bundle = Bundle.load(run)
        pending = people.forgetting()
        label, known = found_name(name, bundle.labels), found_name(name, pending)
        if label is None and known is None:
            enrolled_name(bundle, name)  # raises an error that explains what is wrong
        records = [_record_from(pending[known])] if known is not None else []
        if label is not None:
            without(bundle, label)  # raises an error if this is impossible, before anything is recorded
            records.append(_record_of(run, bundle, label, people))
        record = _joined(records, data)
        people.keep_forgetting(record.name, asdict(record))
    return record


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
        data=data,
        caches=[str(folder) for folder in caches],
        elsewhere=elsewhere,
        albums=albums,
        originals=originals,
    )


def _record_from(values: dict[str, Any]) -> ForgettingRecord:
    return ForgettingRecord(**{one.name: values[one.name] for one in fields(ForgettingRecord)})


def _joined(records: Sequence[ForgettingRecord], data: Path | None) -> ForgettingRecord:
    """Join records into one; where they can have only one value, it is that of the last record."""
    last = records[-1]
    albums: dict[str, list[str]] = {}
    for record in records:
        for folder, paths in record.albums.items():
            albums[folder] = sorted({*albums.get(folder, ()), *paths})

    def all_of(values: Iterator[list[str]]) -> list[str]:
        return list(dict.fromkeys(value for own in values for value in own))

    elsewhere = all_of(record.elsewhere for record in records)
    if data is not None:
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
        data=str(data.resolve()) if data is not None else last.data,
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
