"""Who the people of an unknown album are, in one go: enrolled from the faces that were grouped there."""

from dataclasses import replace
from pathlib import Path

from augmentor.errors import InputError, PhotoError
from identity.albums.photo_work import InProcess, PhotoWork
from identity.albums.sorting import UNKNOWN, Albums
from identity.chips.photo_faces import PhotoFaces


def group_photos(
    found: Albums, album: str, photos: Path, size: int, work: PhotoWork | None = None
) -> list[PhotoFaces]:
    """The grouped face of each photo of an unknown album, for `identity.runs.enrolment.enrol`.

    Args:
        found: the albums, as `identity.albums.sorting.decide` gives them.
        album: such as `unknown/001`.
        photos: folder of the photos.
        size: edge of the chips, pixels.
        work: decodes photos; by default this process.

    Returns:
        One for each photo in which the face is found again; a photo with two of the album's faces gives the larger.

    Raises:
        InputError: no such album, or not one of unknown people, or no face is found again.
    """
    if not album.startswith(f"{UNKNOWN}/"):
        raise InputError(
            f"{album}: only albums of unknown people are named; rename others with identity.people"
        )
    members = {
        path: next(face for face in faces if face.album == album)
        for path, faces in found.faces.items()
        if any(face.album == album for face in faces)
    }
    if not members:
        raise InputError(f"{album}: no such album")
    work = work or InProcess()
    chips = []
    for path, member in members.items():
        try:
            again = work.face_again(photos / path, member.face.box, size)
        except PhotoError as error:
            raise InputError(f"{error}; run identity.organise again") from error
        if again is not None:
            stored = found.photos[path]
            chips.append(replace(again, sha256=stored.sha256, phash=stored.phash))
    if not chips:
        raise InputError(f"{album}: the faces are not found again; run identity.organise again")
    return chips
