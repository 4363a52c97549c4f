"""Train a model on a balanced set, name the people in photos with it, and measure it. Never imports Ray.

The names below are for other programs, and docs/api.md explains them. They are loaded when they are first used, so that
`import identity` reads no file and loads no network.

    from identity import load_run, name_faces

    for photo in name_faces(load_run("runs/mine"), ["party.jpg"]):
        print(photo.photo, [face.name for face in photo.faces])
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augmentor.errors import InputError, LikenessError, PhotoError
    from identity.api import (
        Enrolment,
        compare_photos,
        enrol_person,
        enrolled_people,
        forget_person,
        load_run,
        name_faces,
    )
    from identity.client import Client, ServerError
    from identity.forgetting.forget_person import Forgotten
    from identity.runs.bundle import Bundle
    from identity.runs.recogniser import NamedFace, Recogniser, Recognition

__all__ = [
    "Bundle",
    "Client",
    "Enrolment",
    "Forgotten",
    "InputError",
    "LikenessError",
    "NamedFace",
    "PhotoError",
    "Recogniser",
    "Recognition",
    "ServerError",
    "compare_photos",
    "enrol_person",
    "enrolled_people",
    "forget_person",
    "load_run",
    "name_faces",
]

_HOMES = {
    "augmentor.errors": ("InputError", "LikenessError", "PhotoError"),
    "identity.client": ("Client", "ServerError"),
    "identity.forgetting.forget_person": ("Forgotten",),
    "identity.runs.bundle": ("Bundle",),
    "identity.runs.recogniser": ("NamedFace", "Recogniser", "Recognition"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF.get(name, "identity.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
