"""A place with one folder of photos per person, whose name is the person's (`augmentor.images.list_identities`)."""

from augmentor.errors import InputError
from augmentor.images import METADATA_FOLDERS, PHOTO_SUFFIXES, RESERVED_NAMES
from augmentor.place import FileStamp, FolderPlace, Place, is_metadata_name


def people_of(place: Place) -> list[str]:
    """The names of the people, sorted.

    Raises:
        InputError: as `augmentor.images.list_identities`; photos of the people are not looked for.
    """
    if isinstance(place, FolderPlace):
        if not place.folder.exists():
            raise InputError(f"{place.name()}: no such folder")
        if not place.folder.is_dir():
            raise InputError(f"{place.name()}: not a folder")
    folders, files = place.entries()
    people = [name for name in folders if name.lower() not in METADATA_FOLDERS]
    loose = [
        name
        for name in files
        if not is_metadata_name(name)
        and not name.startswith("._")
        and "." + name.lower().rpartition(".")[2] in PHOTO_SUFFIXES
    ]
    if not people:
        found = f"only loose photos ({loose[0]}, ...)" if loose else "no folder"
        raise InputError(f"{place.name()}: {found}; expected one folder of photos per person")
    if loose:
        raise InputError(
            f"{place.name()}: {len(loose)} photo(s) beside the folders, the first is {loose[0]}; "
            "move each into the folder of its person"
        )
    for name in people:
        if name.lower() in RESERVED_NAMES:
            raise InputError(
                f"{place.name(name)}: no person can be called {name!r}, the output keeps other things "
                "under that name; rename the folder"
            )
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{place.name()}: {name!r}: a name that is not valid Unicode; rename it"
            ) from error
    return sorted(people)


def photos_of(place: Place, person: str) -> dict[str, FileStamp]:
    """The photos of a person at any depth, relative to the place, sorted.

    Raises:
        InputError: a folder cannot be read, or a name is not valid Unicode.
    """
    return place.files(person)
