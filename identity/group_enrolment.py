"""Who the people of an unknown album are, in one go: enrolled from the faces that were grouped there."""

from pathlib import Path

import numpy as np

from augmentor.chip import cut_chip
from augmentor.errors import InputError, PhotoError
from augmentor.faces import Face, FaceFinder
from augmentor.images import load_image
from identity.organising import UNKNOWN, Albums
from identity.probes import ProbeChip

_SAME_FACE = 0.5  # intersection over union of the box now and when the photo was organised


def group_photos(found: Albums, album: str, photos: Path, size: int) -> list[ProbeChip]:
    """The grouped face of each photo of an unknown album, for `identity.enrolment.enrol`.

    Args:
        found: the albums, as `identity.organising.decide` gives them.
        album: such as `unknown/001`.
        photos: folder of the photos.
        size: edge of the chips, pixels.

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
    finder = FaceFinder("all", second_opinion=True)
    chips = []
    for path, member in members.items():
        try:
            image = load_image(photos / path)
        except PhotoError as error:
            raise InputError(f"{error}; run identity.organise again") from error
        again = [face for face in finder(image).faces if overlap(face, member.face.box) >= _SAME_FACE]
        if again:
            face = max(again, key=lambda f: overlap(f, member.face.box))
            stored = found.photos[path]
            chip = cut_chip(image, face.landmarks, size)
            probe = ProbeChip(
                photos / path, chip, None, stored.sha256, stored.phash, face.landmarks, face.box
            )
            chips.append(probe)
    if not chips:
        raise InputError(f"{album}: the faces are not found again; run identity.organise again")
    return chips


def overlap(face: Face, box: tuple[float, float, float, float]) -> float:
    """Intersection over union of a face's box and another (x, y, width, height)."""
    low = np.maximum(face.box[:2], box[:2])
    high = np.minimum(np.add(face.box[:2], face.box[2:]), np.add(box[:2], box[2:]))
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (face.box[2] * face.box[3] + box[2] * box[3] - shared)
