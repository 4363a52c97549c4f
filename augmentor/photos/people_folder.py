"""List a place with one folder of photos per person, called like the person (`augmentor.photos.identity_folders`)."""

from augmentor.errors import InputError
from augmentor.photos.file_kinds import is_no_photo
from augmentor.photos.identity_folders import identity_folders, spellings
from augmentor.photos.images import LeftOut
from augmentor.photos.place import FileStamp, FolderPlace, Place


def people_of(place: Place) -> list[str]:
    """Return the names of the people, sorted.

    Raises:
        InputError: as `augmentor.photos.images.list_identities`. The people's photos are not listed.
    """
    if isinstance(place, FolderPlace):
        if not place.folder.exists():
            raise InputError(f"{place.name()}: no such folder")
        if not place.folder.is_dir():
            raise InputError(f"{place.name()}: not a folder")
    return list(identity_folders(place.name(), *place.entries()))


def photos_of(place: Place, person: str, left_out: LeftOut | None = None) -> dict[str, FileStamp]:
    """Return the photos of a person at any depth, by their paths in the place, sorted.

    Args:
        place: the place with the folders of people.
        person: the person's name; the folder may also be spelled decomposed (NFD).
        left_out: counts the files that are not photos.

    Raises:
        InputError: a folder cannot be read.
    """
    files: dict[str, FileStamp] = {}
    for folder in spellings(person):
        if files := place.files(folder):
            break
    photos = {path: stamp for path, stamp in files.items() if not is_no_photo(path)}
    if left_out is not None:
        left_out.not_photos += len(files) - len(photos)
    return photos
