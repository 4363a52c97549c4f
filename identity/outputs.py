"""Files that commands write outside of a run and that may name its people: the run remembers where they are.

`identity.forget` searches them. A run that cannot be written to cannot remember them; that is said.
"""

import sys
from pathlib import Path

from augmentor.errors import InputError
from augmentor.place import is_local
from identity.people_file import PeopleFile


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
