"""From a folder of photos to an album for each person: what goes where, and making it so.

    ALBUMS/<name>/            photos with a face that is surely this person's
    ALBUMS/review/<name>/     photos with a face that may be this person's
    ALBUMS/unknown/001/ ...   photos of one unnamed person each, the most frequent first; the rest in unknown/single/
    ALBUMS/no face/           photos in which no face was found

A photo with several people is in each of their albums. Photos are linked or copied, never moved or changed; which file
was put where is kept in the run's `people.sqlite`, so that a later call changes only what has to change, and `undo`
takes away what was put there and nothing else.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from augmentor.images import list_photos, sha256_of
from identity.bundle import Bundle
from identity.decision import accept_score
from identity.hash_distance import same_pictures
from identity.likeness_groups import likeness_groups
from identity.people_file import PeopleFile, Placed, StoredFace, StoredPhoto
from identity.photo_work import InProcess, PhotoWork
from identity.recognise import Recognition

REVIEW, UNKNOWN, SINGLE, NO_FACE, NOTHING_SEEN = "review", "unknown", "single", "no face", "not readable"
HOW = ("hard", "symlink", "copy")
PAGES = frozenset(["albums.csv", "albums.json", "index.html", ".thumbnails"])
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
        score, probability: of that name, see `identity.recognise`.
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
        left: files in the albums that are not as they were put there, and were left alone.
        new: how many photos were looked at in this call.
        moved: path of a photo without a face to the album somebody chose for it.
    """

    photos: dict[str, StoredPhoto]
    faces: dict[str, list[AlbumFace]]
    placed: list[Placed] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    new: int = 0
    moved: dict[str, str] = field(default_factory=dict)

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
    """What names the faces of photos: `identity.recognise.Recogniser`, or somebody who asks it."""

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
    paths = list_photos(photos)
    if not paths:
        raise InputError(f"{photos}: no photo in it")
    try:
        albums.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{albums}: cannot be made ({error.strerror or error})") from error
    bundle = recogniser.bundle
    number = people.collection(albums, photos, bundle.space)
    new = _refresh(recogniser, people, number, photos, paths, workers, progress, work or InProcess())
    found = decide(bundle, people, number, recogniser.threshold)
    found.new = new
    _place(found, people, number, photos, albums, how, progress)
    return found


def undo(albums: Path, people: PeopleFile) -> tuple[int, list[str]]:
    """Take everything out of `albums` that `organise` put there.

    Returns:
        How many files went, and those that are not as they were put there and stay.

    Raises:
        InputError: nothing was organised there.
    """
    albums = albums.resolve()
    found = people.find_collection(albums)
    if found is None:
        raise InputError(f"{albums}: not made by identity.organise with this run")
    number, photos = found
    files = people.placed(number)
    left = take_out(files, people, number, photos, albums)
    for page in PAGES:
        if (albums / page).is_dir():
            shutil.rmtree(albums / page)
        else:
            (albums / page).unlink(missing_ok=True)
    people.drop_collection(number)
    people.clean()
    return len(files) - len(left), left


def _refresh(
    recogniser: Namer,
    people: PeopleFile,
    number: int,
    photos: Path,
    paths: Sequence[Path],
    workers: int,
    progress: bool,
    work: PhotoWork,
) -> int:
    """Look at photos that are new or changed, forget those that are gone; how many were looked at."""
    known = {photo.path: photo for photo in people.photos(number)}
    listed = {path.relative_to(photos).as_posix(): path for path in paths}
    people.drop(number, [path for path in known if path not in listed])
    states = {name: path.stat() for name, path in listed.items()}
    new = [
        name
        for name, state in states.items()
        if name not in known or (known[name].bytes, known[name].changed) != (state.st_size, state.st_mtime_ns)
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
            state = states[name]
            waiting.append(
                StoredPhoto(
                    name, sha256, phash, state.st_size, state.st_mtime_ns, seen.status, seen.reason, faces
                )
            )
            if len(waiting) == _KEPT_AT_ONCE:
                people.keep(number, waiting)
                waiting = []
    finally:  # what was seen is kept when the call is interrupted
        people.keep(number, waiting)
    return len(new)


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
    found = Albums(photos, faces, moved={path: album for (path, face), album in chosen.items() if face < 0})
    if not stored:
        return found
    doubtful = min(threshold, bundle.decision.threshold(REVIEW_FPIR))
    embeddings = np.stack([face.embedding for _, _, face in stored])
    best, score = accept_score(bundle.similarities(embeddings), bundle.crowding, bundle.constants)
    probability = bundle.decision.probability(score)
    unnamed = np.flatnonzero(score < doubtful)
    unknown = dict(zip(unnamed.tolist(), _unknown_albums(bundle, stored, embeddings, unnamed), strict=True))
    for row, (path, face_number, face) in enumerate(stored):
        name = bundle.labels[best[row]]
        sure = score[row] >= threshold
        album = unknown.get(row) or (album_name(name) if sure else f"{REVIEW}/{album_name(name)}")
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
        plain = album_name(target) == target
        if not plain and not (kind == REVIEW and album_name(rest) == rest):
            raise InputError(f"{target}: no album can be called so")
    faces = [face.number for face in found.faces.get(photo, ()) if face.album == source]
    people.keep_moved(number, photo, faces or [-1], target)


def place_again(found: Albums, people: PeopleFile, number: int, photos: Path, albums: Path) -> None:
    """Make the albums of a collection as `decide` wants them now, linked as they are.

    Raises:
        InputError: the albums cannot be written.
    """
    before = people.placed(number)
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


def album_name(name: str) -> str:
    """The folder of a person: the name, but for what no folder can be called or what albums of other kinds are."""
    folder = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in name).strip(" .") or "_"
    taken = {REVIEW, UNKNOWN, NO_FACE, *PAGES}
    return f"{folder} (person)" if folder.lower() in taken else folder


def _place(
    found: Albums, people: PeopleFile, number: int, photos: Path, albums: Path, how: str, progress: bool
) -> None:
    """Make the albums as they should be: take out what no longer belongs, put in what is missing."""
    before = people.placed(number)
    wanted = {
        (album, path): found.photos[path].sha256 for path in found.photos for album in found.albums_of(path)
    }
    gone, kept = [], []
    for file in before:
        stays = wanted.get((file.album, file.photo)) == file.sha256 and file.how == how
        if stays and (albums / file.file).exists():
            kept.append(file)
        elif _remove(file, photos, albums):
            gone.append(file.file)
        else:
            found.left.append(file.file)
            gone.append(file.file)
    people.drop_placed(number, gone)
    _remove_empty_folders(albums, {(albums / file).parent for file in gone})
    have = {(file.album, file.photo) for file in kept}
    taken = {file.file for file in kept}
    missing = [key for key in wanted if key not in have]
    for start in range(0, len(missing), _KEPT_AT_ONCE):
        files = []
        for album, path in missing[start : start + _KEPT_AT_ONCE]:
            name = _free_name(albums, album, path, taken)
            taken.add(name)
            files.append(Placed(name, album, path, wanted[album, path], how))
        people.add_placed(number, files)  # first: an interrupted call leaves no file that nobody knows of
        for placed in tqdm(files, "placing", leave=False, disable=not progress or len(missing) < 500):
            _put(photos / placed.photo, albums / placed.file, how)
        kept += files
    found.placed = sorted(kept, key=lambda file: file.file)


def _free_name(albums: Path, album: str, path: str, taken: set[str]) -> str:
    """A file name in an album that nothing has yet."""
    name = Path(path)
    for turn in range(1, 1_000_000):
        file = f"{album}/{name.name}" if turn == 1 else f"{album}/{name.stem} ({turn}){name.suffix}"
        if file not in taken and not os.path.lexists(albums / file):
            return file
    raise InputError(f"{albums / album}: too many photos are called {name.name}")


def _put(photo: Path, file: Path, how: str) -> None:
    """Link or copy a photo.

    Raises:
        InputError: the album cannot be written, or the photo is gone.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if how == "symlink":
            file.symlink_to(photo)
            return
        if how == "hard":
            try:
                file.hardlink_to(photo)
                return
            except OSError:  # another file system, or one without links
                pass
        temporary = file.with_name(f".{file.name}.part")
        shutil.copyfile(photo, temporary)
        shutil.copystat(photo, temporary)
        temporary.replace(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror or error})") from error


def _remove(file: Placed, photos: Path, albums: Path) -> bool:
    """Take a file out of the albums; False if it is not what was put there."""
    path = albums / file.file
    if not os.path.lexists(path):
        return True
    if path.is_symlink():
        same = path.readlink() == photos / file.photo
    else:
        try:
            same = path.samefile(photos / file.photo) or sha256_of(path) == file.sha256
        except OSError:  # the photo is gone
            same = sha256_of(path) == file.sha256
    if same:
        path.unlink()
    return same


def take_out(
    files: Sequence[Placed], people: PeopleFile, number: int, photos: Path, albums: Path
) -> list[str]:
    """Take files out of the albums and forget that they were there; those that are not as they were put there stay."""
    left = [file.file for file in files if not _remove(file, photos, albums)]
    people.drop_placed(number, [file.file for file in files])
    _remove_empty_folders(albums, {(albums / file.file).parent for file in files})
    return left


def _remove_empty_folders(albums: Path, folders: set[Path]) -> None:
    """Remove the folders that are empty, and those above them, up to the albums."""
    for folder in sorted(folders, key=lambda f: -len(f.parts)):
        while folder != albums and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


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
