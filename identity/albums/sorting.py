"""Sort a folder of photos into an album for each person.

    ALBUMS/<name>/            photos with a face that is certainly this person's
    ALBUMS/review/<name>/     photos with a face that may be this person's
    ALBUMS/unknown/001/ ...   photos of one unnamed person each, the most frequent person first
    ALBUMS/unknown/single/    photos of unnamed people who are in one photo only
    ALBUMS/no face/           photos in which no face was detected

A photo of several people is in the album of each. Photos are linked or copied, never moved or changed. The run's
`people.sqlite` records which files were put where. Therefore a later call changes only what must change, and `undo`
removes what was put there and nothing else.
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
from identity.runs.recogniser import TOO_SMALL, Recognition

REVIEW, UNKNOWN, SINGLE, NO_FACE = "review", "unknown", "single", "no face"
REVIEW_FPIR = 0.1
GROUP_FMR = 1e-4  # docs/decisions/0021-likeness-groups.md
_KEPT_AT_ONCE = 64
_BITS_OF_A_PICTURE = 16


@dataclass(frozen=True)
class AlbumFace:
    """A face in a photo and the album it belongs to.

    Attributes:
        number: index of the face in its photo; the largest face is 0.
        face: box, quality and embedding of the face.
        name: name of the most similar person.
        score: acceptance score of that name, see `identity.runs.recogniser`.
        probability: probability that the name is right, see `identity.runs.recogniser`.
        album: the album that the photo belongs to because of this face.
    """

    number: int
    face: StoredFace
    name: str
    score: float
    probability: float
    album: str


@dataclass
class Albums:
    """All photos of a collection and the albums they belong to.

    Attributes:
        photos: the photos by path.
        faces: the faces of each photo by path.
        placed: the files in the albums.
        left: files in the albums that were changed since they were put there; they were left alone.
        only_copies: files in the albums whose originals are gone; they stay.
        gone: photos that are no longer in their folder but still have a file in the albums.
        new: number of photos that were processed in this call.
        moved: the album that the user chose for a photo without a face, by path.
        collection: number of the collection in the run's people file.
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
        """Return the albums that a photo belongs to; none if it cannot be read.

        Args:
            path: path of the photo.
        """
        photo = self.photos[path]
        if photo.status == "error":
            return []
        without_face = [self.moved.get(path, NO_FACE)]
        return list(dict.fromkeys(face.album for face in self.faces.get(path, ()))) or without_face

    def counts(self) -> Counter[str]:
        """Return the number of photos in each album."""
        return Counter(album for path in self.photos for album in self.albums_of(path))

    def copies(self) -> list[list[str]]:
        """Return groups of two or more photos with the same content, as lists of paths."""
        same: dict[str, list[str]] = {}
        for path, photo in self.photos.items():
            if photo.sha256:
                same.setdefault(photo.sha256, []).append(path)
        return [paths for paths in same.values() if len(paths) > 1]

    def near_copies(self) -> list[list[str]]:
        """Return groups of two or more photos that show the same picture, re-encoded or resized, as lists of paths.

        Of exact copies, only the first is listed.
        """
        first: dict[str, tuple[str, int]] = {}
        for path, photo in self.photos.items():
            # A picture sets about half of the bits. An empty page sets almost none, and all empty pages look alike.
            if photo.phash is not None and photo.phash.bit_count() >= _BITS_OF_A_PICTURE:
                first.setdefault(photo.sha256, (path, photo.phash))
        paths = [path for path, _ in first.values()]
        hashes = np.array([phash for _, phash in first.values()], np.uint64)
        return [[paths[k] for k in group] for group in same_pictures(hashes)]


class Namer(Protocol):
    """Names the faces in photo files, like `identity.runs.recogniser.Recogniser`."""

    @property
    def bundle(self) -> Bundle:
        """The run that names the faces."""
        ...

    @property
    def threshold(self) -> float:
        """Smallest acceptance score of a name that is certain."""
        ...

    def files(self, paths: Sequence[Path], workers: int = 1) -> Iterator[Recognition]:
        """Name the faces in photo files; yield an answer for each, in order."""
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
    """Sort the photos in a folder into albums.

    Args:
        recogniser: names the faces; its `threshold` decides which names are certain.
        photos: folder of photos, of any depth; it is never changed.
        albums: folder of the albums, made if missing; files in it that this function did not put there stay unchanged.
        people: people file of the run.
        how: one of `HOW`; if a hard link cannot be made, the photo is copied.
        workers: number of processes that detect faces.
        progress: whether to show progress bars on stderr.
        work: decodes photos; this process if None.

    Returns:
        The contents of the albums.

    Raises:
        InputError: One folder is inside the other, there are no photos, the albums cannot be written, or the run was
            trained again meanwhile.
    """
    photos, albums = photos.resolve(), albums.resolve()
    if photos == albums or photos in albums.parents or albums in photos.parents:
        raise InputError(f"{albums}: must not lie inside the folder of photos ({photos}) or contain it")
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
    work = work or InProcess(bundle.faces)
    new, gone = _refresh(recogniser, people, number, photos, albums, paths, workers, progress, moved, work)
    contents = decide(_as_it_is_now(recogniser), people, number, recogniser.threshold)
    contents.new, contents.gone = new, gone
    _place(contents, people, number, photos, albums, how, progress)
    return contents


@dataclass(frozen=True)
class Undone:
    """The outcome of `undo`.

    Attributes:
        removed: number of files that were removed.
        left: files that were changed since they were put there; they stay.
        only_copies: files whose originals are gone; they stay, and another `undo` removes them once the originals are
            back.
    """

    removed: int
    left: list[str]
    only_copies: list[str]


def undo(albums: Path, people: PeopleFile) -> Undone:
    """Remove everything from `albums` that `organise` put there.

    Args:
        albums: folder of the albums.
        people: people file of the run.

    Raises:
        InputError: The albums were not made with this run, or cannot be changed.
    """
    albums = albums.resolve()
    collection = people.find_collection(albums)
    if collection is None:
        raise InputError(f"{albums}: not made by identity.organise with this run")
    number, _photos = collection
    taken = take_out(people.placed(number), people, number, albums)
    left = WrittenFiles(people, number, albums).remove_others()
    if left or taken.changed:  # what stays may hold names, so forgetting has to search it
        people.keep_output(str(albums), "albums that were undone")
    if taken.only_copies:  # these files stay recorded, but the faces in them do not
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
    """Return the run as it is on disk, without people who were forgotten while photos were processed.

    Raises:
        InputError: The run was trained again, so that the stored embeddings cannot be compared with it.
    """
    now = recogniser.bundle.as_it_is_now()
    if now.space != recogniser.bundle.space:
        raise InputError(f"{now.folder}: was trained again while photos were processed; repeat the command")
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
    """Process photos that are new or changed, and forget those that are gone and have no file in the albums.

    Args:
        recogniser: names the faces.
        people: people file of the run.
        number: number of the collection.
        photos: folder of the photos.
        albums: folder of the albums.
        paths: the photos.
        workers: number of processes that detect faces.
        progress: whether to show a progress bar on stderr.
        moved: whether the folder of photos is another one than before; then the content of a photo decides whether it
            is known.
        work: decodes photos.

    Returns:
        The number of photos that were processed, and the photos that are gone but still have files in the albums.
    """
    known = {photo.path: photo for photo in people.photos(number)}
    # A name that is not UTF-8 is stored as messages show it. Its photo cannot be read and is in no album.
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
    bar = tqdm(zip(new, answers, strict=True), "naming faces", len(new), unit="photo", disable=not progress)
    try:
        for name, answer in bar:
            sha256, phash = work.hashes(listed[name], answer.status)
            usable = [face for face in answer.faces if face.reason != TOO_SMALL]
            faces = tuple(StoredFace(f.box, f.quality, f.embedding) for f in usable)
            if answer.faces and not usable:
                answer = replace(answer, status="no_face", reason=TOO_SMALL, faces=())
            waiting.append(
                StoredPhoto(name, sha256, phash, *states[name], answer.status, answer.reason, faces)
            )
            if len(waiting) == _KEPT_AT_ONCE:
                people.keep(number, waiting)
                waiting = []
    finally:  # answers are kept even if the call is interrupted
        people.keep(number, waiting)
    return len(new), frozenset(path for path in gone if path in kept)


def _state(path: Path) -> tuple[int, int]:
    """Return the size of a file and the time of its last change in nanoseconds; zeros for a broken link."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def decide(bundle: Bundle, people: PeopleFile, number: int, threshold: float) -> Albums:
    """Decide which album each face of a collection belongs to, from its stored embedding.

    Args:
        bundle: the run with the people who are enrolled now.
        people: people file of the run.
        number: number of the collection.
        threshold: smallest acceptance score of a name that is certain.
    """
    photos = {photo.path: photo for photo in people.photos(number)}
    stored = list(people.faces(number))
    chosen = people.moved(number)
    faces: dict[str, list[AlbumFace]] = {}
    without_face = {path: album for (path, face), album in chosen.items() if face < 0}
    contents = Albums(photos, faces, moved=without_face, collection=number)
    if not stored:
        return contents
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
    return contents


def move_photo(
    contents: Albums, people: PeopleFile, number: int, photo: str, source: str, target: str
) -> None:
    """Record that the user moved a photo from one album to another; from then on, `decide` follows this.

    Args:
        contents: the contents of the albums.
        people: people file of the run.
        number: number of the collection.
        photo: path of the photo.
        source: the album it is in.
        target: the album to move it to. It need not exist yet, except if it is one of an unknown person.

    Raises:
        InputError: The photo is not in that album, or the target is not a possible name of an album.
    """
    if photo not in contents.photos or source not in contents.albums_of(photo):
        raise InputError(f"{photo}: not in the album {source}")
    kind, _, rest = target.partition("/")
    if target != NO_FACE and target not in contents.counts():
        name = checked_name(rest if kind == REVIEW else target)
        target = f"{REVIEW}/{folders_of([name])[name]}" if kind == REVIEW else folders_of([name])[name]
    faces = [face.number for face in contents.faces.get(photo, ()) if face.album == source]
    people.keep_moved(number, photo, faces or [-1], target)


def place_again(contents: Albums, people: PeopleFile, photos: Path, albums: Path) -> None:
    """Change the albums of a collection to what `decide` says now; new files are linked like those there.

    Args:
        contents: what the albums should contain.
        people: people file of the run.
        photos: folder of the photos.
        albums: folder of the albums.

    Raises:
        InputError: The albums cannot be written.
    """
    number = contents.collection
    before = people.placed(number)
    # a photo that is gone cannot be placed again
    contents.gone = contents.gone | {path for path in contents.photos if not (photos / path).exists()}
    _place(contents, people, number, photos, albums, before[0].how if before else HOW[0], False)


def _unknown_albums(
    bundle: Bundle, stored: Sequence[tuple[str, int, StoredFace]], embeddings: np.ndarray, rows: np.ndarray
) -> list[str]:
    """Return the album of each unnamed face; people who are in at least two photos get an album with a number."""
    same = bundle.same_person
    if same is None:  # the run was calibrated with too few photos to compare two faces
        return [f"{UNKNOWN}/{SINGLE}"] * len(rows)
    threshold = same.threshold(float(np.clip(GROUP_FMR, same.rates[0], same.rates[-1])))
    groups = likeness_groups(embeddings[rows], threshold)
    photos = [{stored[row][0] for row in rows[groups == k]} for k in range(groups.max(initial=-1) + 1)]
    several = [k for k, paths in enumerate(photos) if len(paths) > 1]
    numbered = {k: f"{UNKNOWN}/{number:03d}" for number, k in enumerate(several, 1)}
    return [numbered.get(int(k), f"{UNKNOWN}/{SINGLE}") for k in groups]


def albums_of_people(bundle: Bundle, names: Collection[str]) -> set[str]:
    """Return the albums of some enrolled people, those for review included.

    Args:
        bundle: the run.
        names: names of the people; names that are not enrolled are ignored.
    """
    folders = folders_of(bundle.labels)
    own = {folders[name] for name in names if name in folders}
    return own | {f"{REVIEW}/{folder}" for folder in own}


def _place(
    contents: Albums, people: PeopleFile, number: int, photos: Path, albums: Path, how: str, progress: bool
) -> None:
    """Change the albums to what they should contain: remove files that do not belong there and add missing ones."""
    before = people.placed(number)
    for folder in {albums, *((albums / file.file).parent for file in before)}:
        remove_half_written(folder)
    wanted = {
        (album, path): contents.photos[path].sha256
        for path in contents.photos
        for album in contents.albums_of(path)
    }
    kept, unwanted = [], []
    for file in before:
        stays = wanted.get((file.album, file.photo)) == file.sha256 and file.how == how
        if stays and file.source == str(photos) and (albums / file.file).exists():
            kept.append(file)
        elif (
            stays and how != "symlink" and (albums / file.file).is_file()
        ):  # only the folder of photos was moved
            kept.append(replace(file, source=str(photos)))
        else:
            unwanted.append(file)
    people.add_placed(number, [file for file in kept if file not in before])
    readable = {path for path, photo in contents.photos.items() if photo.status != "error"}
    taken = take_out(unwanted, people, number, albums, readable - contents.gone)
    contents.left += [file.file for file in taken.changed]
    contents.only_copies += [file.file for file in taken.only_copies]
    contents.only_copies += [file.file for file in kept if file.photo in contents.gone]
    have = {(file.album, file.photo) for file in kept}
    names = {file.file for file in (*kept, *taken.only_copies)}
    # a photo that is gone cannot be linked or copied again
    missing = [key for key in wanted if key not in have and key[1] not in contents.gone]
    for start in range(0, len(missing), _KEPT_AT_ONCE):
        files = []
        for album, path in missing[start : start + _KEPT_AT_ONCE]:
            name = free_name(albums, album, path, names)
            names.add(name)
            files.append(Placed(name, album, path, wanted[album, path], how, str(photos)))
        people.add_placed(number, files)  # recorded first, so that no file is without a record
        for placed in tqdm(files, "placing", leave=False, disable=not progress or len(missing) < 500):
            put(photos / placed.photo, albums / placed.file, how)
        kept += files
    contents.placed = sorted([*kept, *taken.only_copies], key=lambda file: file.file)


def in_albums(contents: Albums) -> Iterator[tuple[str, list[str]]]:
    """Yield each album with the paths of its photos, in the order in which the page shows them.

    Args:
        contents: the contents of the albums.
    """
    photos: dict[str, list[str]] = {}
    for path in contents.photos:
        for album in contents.albums_of(path):
            photos.setdefault(album, []).append(path)
    for album in sorted(photos, key=_order):
        yield album, photos[album]


def _order(album: str) -> tuple[int, str]:
    """Return a sort key: people by name, then unknown people, then faces to review, then photos without a face."""
    kinds = (f"{UNKNOWN}/", f"{REVIEW}/", NO_FACE)
    return next((k for k, kind in enumerate(kinds, 1) if album.startswith(kind)), 0), album.lower()
