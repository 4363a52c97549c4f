"""From a folder of photos to an album for each person: what goes where, and making it so.

    ALBUMS/<name>/            photos with a face that is surely this person's
    ALBUMS/review/<name>/     photos with a face that may be this person's
    ALBUMS/unknown/001/ ...   photos of one unnamed person each, the most frequent first; the rest in unknown/single/
    ALBUMS/no face/           photos in which no face was found

A photo with several people is in each of their albums. Photos are linked or copied, never moved or changed; which file
was put where is kept in the run's `people.sqlite`, so that a later call changes only what has to change, and `undo`
takes away what was put there and nothing else.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from augmentor.path_text import shown
from augmentor.photos.images import remove_half_written
from augmentor.photos.names import checked_name, folders_of
from identity.albums.likeness_groups import likeness_groups
from identity.albums.photo_work import InProcess, PhotoWork
from identity.albums.placing import HOW, free_name, put, take_out
from identity.albums.written_files import WrittenFiles
from identity.chips.hash_distance import same_pictures
from identity.chips.photo_lists import photos_in
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile, Placed, StoredFace, StoredPhoto
from identity.runs.recogniser import Recognition

REVIEW, UNKNOWN, SINGLE, NO_FACE, NOTHING_SEEN = "review", "unknown", "single", "no face", "not readable"
REVIEW_FPIR = 0.1
GROUP_FMR = 1e-4  # docs/decisions/0021-likeness-groups.md
_KEPT_AT_ONCE = 64
_BITS_OF_A_PICTURE = 16


@dataclass(frozen=True)
class AlbumFace:
    """A face and where it belongs.

    Attributes:
        number: of the face in its photo, the largest being 0.
        face: what is stored of it.
        name: of the most similar person.
        score, probability: of that name, see `identity.runs.recogniser`.
        album: which one its photo goes to for it.
    """

    number: int
    face: StoredFace
    name: str
    score: float
    probability: float
    album: str


@dataclass
class Albums:
    """All photos of a collection and where they belong.

    Attributes:
        photos: by path.
        faces: path to its faces.
        placed: the files in the albums.
        left: files in the albums that are not as they were put there; they are the user's and were left alone.
        only_copies: files in the albums whose originals are gone; they stay.
        gone: photos that are not in their folder any more, of which the albums still have a file.
        new: how many photos were looked at in this call.
        moved: path of a photo without a face to the album somebody chose for it.
        collection: number of the collection in the run's file.
    """

    photos: dict[str, StoredPhoto]
    faces: dict[str, list[AlbumFace]]
    placed: list[Placed] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    only_copies: list[str] = field(default_factory=list)
    gone: frozenset[str] = frozenset()
    new: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    collection: int = 0

    def albums_of(self, path: str) -> list[str]:
        """The albums of a photo."""
        photo = self.photos[path]
        if photo.status == "error":
            return []
        without_face = [self.moved.get(path, NO_FACE)]
        return list(dict.fromkeys(face.album for face in self.faces.get(path, ()))) or without_face

    def counts(self) -> Counter[str]:
        """How many photos each album has."""
        return Counter(album for path in self.photos for album in self.albums_of(path))

    def copies(self) -> list[list[str]]:
        """Photos with the same content, two or more each."""
        same: dict[str, list[str]] = {}
        for path, photo in self.photos.items():
            if photo.sha256:
                same.setdefault(photo.sha256, []).append(path)
        return [paths for paths in same.values() if len(paths) > 1]

    def near_copies(self) -> list[list[str]]:
        """Photos that show the same picture, encoded or sized anew, two or more each; of copies the first."""
        first: dict[str, tuple[str, int]] = {}
        for path, photo in self.photos.items():
            # of a picture half of the bits are set; of an empty page next to none, and all such are alike
            if photo.phash is not None and photo.phash.bit_count() >= _BITS_OF_A_PICTURE:
                first.setdefault(photo.sha256, (path, photo.phash))
        paths = [path for path, _ in first.values()]
        hashes = np.array([phash for _, phash in first.values()], np.uint64)
        return [[paths[k] for k in group] for group in same_pictures(hashes)]


class Namer(Protocol):
    """What names the faces of photos: `identity.runs.recogniser.Recogniser`, or somebody who asks it."""

    @property
    def bundle(self) -> Bundle:
        """The run."""
        ...

    @property
    def threshold(self) -> float:
        """Acceptance score from which a name is sure."""
        ...

    def files(self, paths: Sequence[Path], workers: int = 1) -> Iterator[Recognition]:
        """Photo files, in order."""
        ...


def organise(
    recogniser: Namer,
    photos: Path,
    albums: Path,
    people: PeopleFile,
    *,
    how: str = "hard",
    workers: int = 1,
    progress: bool = False,
    work: PhotoWork | None = None,
) -> Albums:
    """Put the photos below `photos` into `albums`.

    Args:
        recogniser: decides; its `threshold` is that of the albums.
        photos: folder, any depth; never changed.
        albums: folder, made if missing; files in it that were not put there by this function stay as they are.
        people: of the run.
        how: one of HOW; a hard link that cannot be made is a copy.
        workers: processes that look for faces.
        progress: whether to show bars on stderr.
        work: decodes photos; by default this process.

    Raises:
        InputError: one folder lies in the other, nothing to organise, or the albums cannot be written.
    """
    photos, albums = photos.resolve(), albums.resolve()
    if photos == albums or photos in albums.parents or albums in photos.parents:
        raise InputError(f"{albums}: one folder must not lie in the other ({photos})")
    paths = photos_in(photos)
    if not paths:
        raise InputError(f"{photos}: no photo in it")
    try:
        albums.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{albums}: cannot be made ({error.strerror or error})") from error
    bundle = recogniser.bundle
    before = people.find_collection(albums)
    number = people.collection(albums, photos, bundle.space)
    moved = before is not None and before[1] != photos
    looking = work or InProcess()
    new, gone = _refresh(recogniser, people, number, photos, albums, paths, workers, progress, moved, looking)
    found = decide(_as_it_is_now(recogniser), people, number, recogniser.threshold)
    found.new, found.gone = new, gone
    _place(found, people, number, photos, albums, how, progress)
    return found


@dataclass(frozen=True)
class Undone:
    """What `undo` did.

    Attributes:
        removed: how many files went.
        left: files that are not as they were put there; they are the user's and stay.
        only_copies: files whose originals are gone; they stay, and another `undo` takes them out once the originals
            are back.
    """

    removed: int
    left: list[str]
    only_copies: list[str]


def undo(albums: Path, people: PeopleFile) -> Undone:
    """Take everything out of `albums` that `organise` put there.

    Raises:
        InputError: nothing was organised there.
    """
    albums = albums.resolve()
    found = people.find_collection(albums)
    if found is None:
        raise InputError(f"{albums}: not made by identity.organise with this run")
    number, _photos = found
    taken = take_out(people.placed(number), people, number, albums)
    left = WrittenFiles(people, number, albums).remove_others()
    if taken.only_copies:  # they remain known, but not who is on them
        people.drop(number, [photo.path for photo in people.photos(number)])
    else:
        people.drop_collection(number)
    people.clean()
    return Undone(
        len(taken.removed),
        [*(file.file for file in taken.changed), *left],
        [file.file for file in taken.only_copies],
    )


def _as_it_is_now(recogniser: Namer) -> Bundle:
    """The run without whoever was forgotten while photos were looked at.

    Raises:
        InputError: it was trained anew, so that what was learnt of the photos cannot be compared with it.
    """
    now = recogniser.bundle.as_it_is_now()
    if now.space != recogniser.bundle.space:
        raise InputError(f"{now.folder}: trained anew while photos were looked at; give the command again")
    return now


def _refresh(
    recogniser: Namer,
    people: PeopleFile,
    number: int,
    photos: Path,
    albums: Path,
    paths: Sequence[Path],
    workers: int,
    progress: bool,
    moved: bool,
    work: PhotoWork,
) -> tuple[int, frozenset[str]]:
    """Look at photos that are new or changed, forget those that are gone and of which the albums have no file.

    Args:
        moved: the folder of photos is another one now, so that content decides whether a photo is known.
        work: decodes photos.

    Returns:
        How many photos were looked at, and those that are gone but for their files in the albums.
    """
    known = {photo.path: photo for photo in people.photos(number)}
    # a name that is no UTF-8 is stored as messages show it; its photo cannot be read and is in no album
    listed = {shown(path.relative_to(photos).as_posix()): path for path in paths}
    kept = {
        file.photo
        for file in people.placed(number)
        if file.how != "symlink" and file.source == str(photos) and (albums / file.file).is_file()
    }
    gone = [path for path in known if path not in listed]
    people.drop(number, [path for path in gone if path not in kept])
    states = {name: _state(path) for name, path in listed.items()}
    new = [
        name
        for name, state in states.items()
        if name not in known
        or (known[name].bytes, known[name].changed) != state
        or (moved and known[name].sha256 != work.hashes(listed[name], "error")[0])
    ]
    waiting: list[StoredPhoto] = []
    answers = recogniser.files([listed[name] for name in new], workers)
    bar = tqdm(
        zip(new, answers, strict=True), "looking at photos", len(new), unit="photo", disable=not progress
    )
    try:
        for name, seen in bar:
            sha256, phash = work.hashes(listed[name], seen.status)
            faces = tuple(StoredFace(f.box, f.quality, f.embedding) for f in seen.faces)
            waiting.append(StoredPhoto(name, sha256, phash, *states[name], seen.status, seen.reason, faces))
            if len(waiting) == _KEPT_AT_ONCE:
                people.keep(number, waiting)
                waiting = []
    finally:  # what was seen is kept when the call is interrupted
        people.keep(number, waiting)
    return len(new), frozenset(path for path in gone if path in kept)


def _state(path: Path) -> tuple[int, int]:
    """Size of a file and the time of its last change in nanoseconds; zeros for a link that leads nowhere."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def decide(bundle: Bundle, people: PeopleFile, number: int, threshold: float) -> Albums:
    """Where each face of a collection belongs, from what is stored of it.

    Args:
        bundle: the run, whatever people it has now.
        people: its file.
        number: of the collection.
        threshold: acceptance score from which a name is sure.
    """
    photos = {photo.path: photo for photo in people.photos(number)}
    stored = list(people.faces(number))
    chosen = people.moved(number)
    faces: dict[str, list[AlbumFace]] = {}
    without_face = {path: album for (path, face), album in chosen.items() if face < 0}
    found = Albums(photos, faces, moved=without_face, collection=number)
    if not stored:
        return found
    folders = folders_of(bundle.labels)
    doubtful = min(threshold, bundle.decision.threshold(REVIEW_FPIR))
    embeddings = np.stack([face.embedding for _, _, face in stored])
    best, score = bundle.decision.score(bundle.similarities(embeddings))
    probability = bundle.decision.probability(score)
    unnamed = np.flatnonzero(score < doubtful)
    unknown = dict(zip(unnamed.tolist(), _unknown_albums(bundle, stored, embeddings, unnamed), strict=True))
    for row, (path, face_number, face) in enumerate(stored):
        name = bundle.labels[best[row]]
        sure = score[row] >= threshold
        album = unknown.get(row) or (folders[name] if sure else f"{REVIEW}/{folders[name]}")
        album = chosen.get((path, face_number), album)
        faces.setdefault(path, []).append(
            AlbumFace(face_number, face, name, float(score[row]), float(probability[row]), album)
        )
    return found


def move_photo(found: Albums, people: PeopleFile, number: int, photo: str, source: str, target: str) -> None:
    """Remember that somebody put a photo from one album into another; `decide` goes by it from then on.

    Args:
        found: the albums as they are.
        people: file of the collection.
        number: of the collection.
        photo: its path.
        source: album it is in.
        target: any album, also one that is not there yet; of an unknown group one that is.

    Raises:
        InputError: no such photo in that album, or no album can be called so.
    """
    if photo not in found.photos or source not in found.albums_of(photo):
        raise InputError(f"{photo}: not in the album {source}")
    kind, _, rest = target.partition("/")
    if target != NO_FACE and target not in found.counts():
        name = checked_name(rest if kind == REVIEW else target)
        target = f"{REVIEW}/{folders_of([name])[name]}" if kind == REVIEW else folders_of([name])[name]
    faces = [face.number for face in found.faces.get(photo, ()) if face.album == source]
    people.keep_moved(number, photo, faces or [-1], target)


def place_again(found: Albums, people: PeopleFile, photos: Path, albums: Path) -> None:
    """Make the albums of a collection as `decide` wants them now, linked as they are.

    Raises:
        InputError: the albums cannot be written.
    """
    number = found.collection
    before = people.placed(number)
    # a photo that is gone cannot be placed anew
    found.gone = found.gone | {path for path in found.photos if not (photos / path).exists()}
    _place(found, people, number, photos, albums, before[0].how if before else HOW[0], False)


def _unknown_albums(
    bundle: Bundle, stored: Sequence[tuple[str, int, StoredFace]], embeddings: np.ndarray, rows: np.ndarray
) -> list[str]:
    """The album of each unnamed face: a number for those on two photos or more."""
    same = bundle.same_person
    if same is None:  # too few photos to tell when two faces are one person's
        return [f"{UNKNOWN}/{SINGLE}"] * len(rows)
    threshold = same.threshold(float(np.clip(GROUP_FMR, same.rates[0], same.rates[-1])))
    groups = likeness_groups(embeddings[rows], threshold)
    photos = [{stored[row][0] for row in rows[groups == k]} for k in range(groups.max(initial=-1) + 1)]
    several = [k for k, paths in enumerate(photos) if len(paths) > 1]
    called = {k: f"{UNKNOWN}/{place:03d}" for place, k in enumerate(several, 1)}
    return [called.get(int(k), f"{UNKNOWN}/{SINGLE}") for k in groups]


def albums_of_people(bundle: Bundle, names: Collection[str]) -> set[str]:
    """Return the albums that photos of some enrolled people are put into, the doubtful ones included."""
    folders = folders_of(bundle.labels)
    own = {folders[name] for name in names if name in folders}
    return own | {f"{REVIEW}/{folder}" for folder in own}


def _place(
    found: Albums, people: PeopleFile, number: int, photos: Path, albums: Path, how: str, progress: bool
) -> None:
    """Make the albums as they should be: take out what no longer belongs, put in what is missing."""
    before = people.placed(number)
    for folder in {albums, *((albums / file.file).parent for file in before)}:
        remove_half_written(folder)
    wanted = {
        (album, path): found.photos[path].sha256 for path in found.photos for album in found.albums_of(path)
    }
    kept, unwanted = [], []
    for file in before:
        stays = wanted.get((file.album, file.photo)) == file.sha256 and file.how == how
        if stays and file.source == str(photos) and (albums / file.file).exists():
            kept.append(file)
        elif stays and how != "symlink" and (albums / file.file).is_file():  # the folder of photos was moved
            kept.append(replace(file, source=str(photos)))
        else:
            unwanted.append(file)
    people.add_placed(number, [file for file in kept if file not in before])
    taken = take_out(unwanted, people, number, albums)
    found.left += [file.file for file in taken.changed]
    found.only_copies += [file.file for file in taken.only_copies]
    found.only_copies += [file.file for file in kept if file.photo in found.gone]
    have = {(file.album, file.photo) for file in kept}
    names = {file.file for file in (*kept, *taken.only_copies)}
    # what is gone cannot be linked or copied anew
    missing = [key for key in wanted if key not in have and key[1] not in found.gone]
    for start in range(0, len(missing), _KEPT_AT_ONCE):
        files = []
        for album, path in missing[start : start + _KEPT_AT_ONCE]:
            name = free_name(albums, album, path, names)
            names.add(name)
            files.append(Placed(name, album, path, wanted[album, path], how, str(photos)))
        people.add_placed(number, files)  # first: an interrupted call leaves no file that nobody knows of
        for placed in tqdm(files, "placing", leave=False, disable=not progress or len(missing) < 500):
            put(photos / placed.photo, albums / placed.file, how)
        kept += files
    found.placed = sorted([*kept, *taken.only_copies], key=lambda file: file.file)


def in_albums(found: Albums) -> Iterator[tuple[str, list[str]]]:
    """Each album with its photos, in the order they are shown in."""
    contents: dict[str, list[str]] = {}
    for path in found.photos:
        for album in found.albums_of(path):
            contents.setdefault(album, []).append(path)
    for album in sorted(contents, key=_order):
        yield album, contents[album]


def _order(album: str) -> tuple[int, str]:
    """People by name, then groups of unknown, then the doubtful, then photos without a face."""
    kinds = (f"{UNKNOWN}/", f"{REVIEW}/", NO_FACE)
    return next((k for k, kind in enumerate(kinds, 1) if album.startswith(kind)), 0), album.lower()
