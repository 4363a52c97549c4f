"""Functions for programs that use trained runs; import them from `identity`, as in `from identity import load_run`.

`identity/__init__.py` lists everything that is public, and docs/api.md explains it. Networks are loaded when the first
face is embedded.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from augmentor.photos.images import load_image
from augmentor.photos.names import checked_name
from identity.chips.many_photos import find_chips
from identity.chips.photo_lists import photos_at
from identity.forgetting.forget_person import Forgotten, forget, refuse_forgotten
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from identity.runs.comparison import load_comparer, verify
from identity.runs.enrolment import enrol, taken_for
from identity.runs.recogniser import Recogniser, Recognition
from identity.runs.renaming import photo_counts


@dataclass(frozen=True)
class Enrolment:
    """The outcome of `enrol_person`.

    Attributes:
        name: name of the person, as it is stored in the run.
        photos: the photos that the person was enrolled from.
        left_out: reason why a photo was not used, for example "no_face", by photo.
        looks_like: name of another enrolled person whom the run recognises in a photo, by photo.
    """

    name: str
    photos: tuple[Path, ...]
    left_out: dict[Path, str]
    looks_like: dict[Path, str]


def load_run(folder: Path | str) -> Bundle:
    """Load a run that `likeness train` wrote.

    The networks are loaded when the first photo is named.

    Args:
        folder: folder of the run.

    Returns:
        The run. Its `labels` are the names of the enrolled people, and its `model_card` says how it was trained.

    Raises:
        InputError: The folder contains no run, a damaged one, or one that another version wrote.
    """
    return Bundle.load(Path(folder))


def name_faces(
    run: Bundle,
    photos: Iterable[Path | str],
    *,
    fpir: float = 0.01,
    faces: Literal["all", "central", "largest"] = "all",
    workers: int = 1,
) -> Iterator[Recognition]:
    """Name the faces in photos. A `Recogniser` does the same for images in memory.

    Args:
        run: a run from `load_run`.
        photos: files, or folders of photos.
        fpir: share of strangers who may be given a name.
        faces: which faces of a photo to name.
        workers: number of processes that detect faces.

    Yields:
        One answer for each photo, in order, also for photos that cannot be read.

    Raises:
        InputError: A path does not exist, or the run was calibrated with too few strangers for this rate.
    """
    paths = photos_at([Path(photo) for photo in photos])
    yield from Recogniser(run, fpir, faces).files(paths, workers)


def compare_photos(
    photo_a: Path | str,
    photo_b: Path | str,
    *,
    model: Path | str = "both",
    fmr: float = 0.001,
    face: Literal["largest", "best-pair", "reject"] = "largest",
) -> dict[str, Any]:
    """Compare the faces in two photos.

    Args:
        photo_a: the first photo.
        photo_b: the second photo.
        model: folder of a run, or the name of bare features, which need no run: "both", "dlib" or "face".
        fmr: share of pairs of different people that may be accepted.
        face: which face to use in a photo with several; "best-pair" compares all and uses the most similar pair.

    Returns:
        The values that `likeness verify` prints. `same` is the answer; it is None if a photo shows no face.

    Raises:
        PhotoError: A photo cannot be read.
        InputError: The run does not exist, or it was calibrated with too few pairs for this rate.
    """
    images = [load_image(Path(photo)) for photo in (photo_a, photo_b)]
    return verify(load_comparer(str(model)), images, fmr, face)


def enrolled_people(folder: Path | str) -> dict[str, int]:
    """Return the number of photos of each person in a run, by name.

    Args:
        folder: folder of the run.

    Raises:
        InputError: The folder contains no usable run.
    """
    return photo_counts(Bundle.load(Path(folder)))


def enrol_person(
    folder: Path | str,
    name: str,
    photos: Iterable[Path | str],
    *,
    face: Literal["central", "largest", "reject"] = "central",
) -> Enrolment:
    """Add a person to a run, without training. The run on disk changes only if everything succeeds.

    Args:
        folder: folder of the run.
        name: name of the person.
        photos: photos of this one person, or folders of them.
        face: which face to use in a photo with several; "reject" leaves such photos out.

    Raises:
        InputError: The name is already enrolled or not allowed, a path does not exist, or no photo shows a face.
    """
    folder, name = Path(folder), checked_name(name)
    paths = photos_at([Path(photo) for photo in photos])
    bundle = Bundle.load(folder)
    probes = find_chips(paths, bundle.size, "whole" if bundle.align == "whole" else face, source=bundle.faces)
    usable = [photo for photo in probes if photo.chip is not None]
    with PeopleFile(folder) as people, people.exclusive():
        refuse_forgotten(people, name)
        bundle = Bundle.load(folder)  # the run may have changed while faces were detected
        enrol(bundle, name, usable).save(folder)
    return Enrolment(
        name,
        tuple(photo.path for photo in usable),
        {photo.path: photo.reason for photo in probes if photo.reason is not None},
        {photo.path: other for other, photo in taken_for(bundle, usable)},
    )


def forget_person(
    folder: Path | str,
    name: str,
    *,
    data: Path | str | None = None,
    deleted: Iterable[Path | str] = (),
) -> Forgotten:
    """Delete a person from a run, and everything that was made from the person's photos.

    As soon as the run is saved, the person is no longer named. The user's own photos stay.

    Args:
        folder: folder of the run.
        name: name of the person.
        data: a balanced set that the run does not know, or the run's own set if it was moved.
        deleted: sets, albums, reports and exports that the user deleted for good. Other places that the run knows and
            that are missing are listed as left, because they may be on a disk that is not connected.

    Returns:
        What was deleted, the user's own photos of the person, and what is left. If anything is left, remove it and call
        the function again.

    Raises:
        InputError: Nobody in the run has this name, or a file cannot be deleted.
    """
    with PeopleFile(Path(folder)) as people:
        set_folder = None if data is None else Path(data)
        return forget(Path(folder), name, people, data=set_folder, deleted=[Path(path) for path in deleted])
