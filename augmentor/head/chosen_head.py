"""Load the head model that a command line names: the built-in one, or the ICT model fitted to this project's grid."""

from pathlib import Path

from augmentor.errors import InputError
from augmentor.head.head_fit import fit_head
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.ict_facekit import read_ict


def load_chosen_head(spec: str) -> HeadModel:
    """Load the head model that `spec` names.

    Args:
        spec: "built-in" or "ict:DIR". DIR is an ICT-FaceKit checkout, its FaceXModel folder, or a folder with the same
            model as arrays in `ict_head.npz`; the model is fitted to the grid at load time, which takes several
            seconds.

    Raises:
        InputError: the spec is unknown, or files are missing or damaged.
        InputError: unknown spec; missing or damaged files.
    """
    if spec == "built-in":
        return load_head_model()
    kind, _, directory = spec.partition(":")
    if kind == "ict" and directory:
        return fit_head(read_ict(Path(directory)))
    raise InputError(f"unknown head model {spec!r}: use built-in or ict:DIR")
