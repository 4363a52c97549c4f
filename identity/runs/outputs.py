"""Files that commands write: none in place of a user's, and the run remembers those that may name its people.

`identity.forget` searches what was written outside of the run. A run that cannot be written to cannot remember it; a
line on stderr says so.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.errors import InputError
from augmentor.photos.place import is_local
from identity.runs.collection import PeopleFile


def refuse_foreign(folder: Path, files: Sequence[str], mark: str) -> None:
    """Refuse to write into a folder in which the user has files of the same names.

    Args:
        folder: where files are to be written.
        files: their names.
        mark: the one of them that shows, if it is there, that an earlier call wrote the others.

    Raises:
        InputError: a file is there, and the mark is not.
    """
    if (folder / mark).is_file():
        return
    for name in files:
        if os.path.lexists(folder / name):
            raise InputError(
                f"{folder / name}: would be overwritten, and was not made by this command; choose another folder"
            )


def remember_output(run: Path, output: Path | str, kind: str) -> None:
    """Let a run remember a file or folder that was made with it.

    Args:
        run: folder of the run.
        output: the file or folder, or its URI.
        kind: what it is, such as `report`.
    """
    path = str(Path(output).resolve()) if is_local(str(output)) else str(output)
    if is_local(path) and run.resolve() in Path(path).parents:
        return  # inside of the run, which is searched as a whole
    try:
        with PeopleFile(run) as people:
            if people.outputs().get(path) != kind:
                people.keep_output(path, kind)
    except InputError as error:
        print(f"{error}; so identity.forget will not search {output}", file=sys.stderr)
