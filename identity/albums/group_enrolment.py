"""Collect the faces that were grouped into an album of an unknown person, to enrol this person from them."""

from dataclasses import replace
from pathlib import Path

from augmentor.errors import InputError, PhotoError
from identity.albums.photo_work import PhotoWork
from identity.albums.sorting import UNKNOWN, Albums
from identity.chips.photo_faces import PhotoFaces


def group_photos(contents: Albums, album: str, photos: Path, size: int, work: PhotoWork) -> list[PhotoFaces]:
    """Return the chips of the faces in an unknown album, for `identity.runs.enrolment.enrol`.

    Args:
        contents: the contents of the albums, from `identity.albums.sorting.decide`.
        album: the album, for instance `unknown/001`.
        photos: folder of the photos.
        size: side of the chips, pixels.
        work: decodes photos.

    Returns:
        One chip for each photo in which the face is detected again. If two of the album's faces are in one photo, the
        chip shows the larger one.

    Raises:
        InputError: The album does not exist or is not one of an unknown person, a photo cannot be read, or no face is
            detected again.
    """
    if not album.startswith(f"{UNKNOWN}/"):
        raise InputError(
            f"{album}: only albums of unknown people can be named; rename other people with identity.people"
        )
    members = {
        path: next(face for face in faces if face.album == album)
        for path, faces in contents.faces.items()
        if any(face.album == album for face in faces)
    }
    if not members:
        raise InputError(f"{album}: no such album")
    chips = []
    for path, member in members.items():
        try:
            again = work.face_again(photos / path, member.face.box, size)
        except PhotoError as error:
            raise InputError(f"{error}; run identity.organise again") from error
        if again is not None:
            stored = contents.photos[path]
            chips.append(replace(again, sha256=stored.sha256, phash=stored.phash))
    if not chips:
        raise InputError(f"{album}: its faces are no longer in the photos; run identity.organise again")
    return chips
