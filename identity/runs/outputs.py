"""Files that commands write outside of a run.

No file of the user's is overwritten, and the run remembers the files that may name its people, because
`identity.forget` searches them. If the run cannot be written to, it cannot remember them, and a line on stderr says so.
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
        mark: the file whose presence shows that an earlier call wrote the others.

    Raises:
        InputError: a file exists, and the mark does not.
    """
    if (folder / mark).is_file():
        return
    for name in files:
        if os.path.lexists(folder / name):
            raise InputError(
                f"{folder / name}: this file would be overwritten, and this command did not make it; choose another "
                "folder"
            )


def remember_output(run: Path, output: Path | str, kind: str) -> None:
    """Make a run remember a file or folder that was made with it.

    Args:
        run: folder of the run.
        output: the file or folder, or its URI.
        kind: of the output, such as `report`.
    """
    path = str(Path(output).resolve()) if is_local(str(output)) else str(output)
    if is_local(path) and run.resolve() in Path(path).parents:
        return  # it lies in the run, which is searched as a whole
    try:
        with PeopleFile(run) as people:
            if people.outputs().get(path) != kind:
                people.keep_output(path, kind)
    except InputError as error:
        print(f"{error}; identity.forget will not search {output}", file=sys.stderr)
