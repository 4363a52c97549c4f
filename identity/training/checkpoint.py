"""The state of a training on disk: weights, optimiser, history and best weights, in one file that is replaced whole."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from augmentor.errors import InputError
from augmentor.photos.images import write_whole
from identity.training.learning_curves import History


def save_checkpoint(path: Path, key: str, model: keras.Model, history: History, best: list) -> None:
    """Write a checkpoint.

    Args:
        path: of the file.
        key: stands for everything that the training depends on.
        model: compiled.
        history: of the finished epochs.
        best: the weights of the best epoch so far.

    Raises:
        InputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {f"head_{i:03d}": w for i, w in enumerate(model.get_weights())}
    arrays |= {f"optimizer_{i:03d}": v for i, v in enumerate(_values(model.optimizer.variables))}
    arrays |= {f"best_{i:03d}": w for i, w in enumerate(best)}
    arrays["about"] = np.frombuffer(json.dumps({"key": key, "history": asdict(history)}).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue(), private=True)


def _values(variables: list) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def load_checkpoint(path: Path, key: str, model: keras.Model) -> History | None:
    """Restore model and optimiser from a checkpoint.

    Returns:
        The history; None where there is no checkpoint, or one with another key.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["key"] != key:
                return None
            weights = [stored[f"head_{i:03d}"] for i in range(len(model.get_weights()))]
            variables = [stored[f"optimizer_{i:03d}"] for i in range(len(model.optimizer.variables))]
    except Exception as error:  # zipfile, zlib and json errors share no base
        raise InputError(f"{path}: damaged checkpoint ({error}); delete it and run again") from error
    model.set_weights(weights)
    for variable, value in zip(model.optimizer.variables, variables, strict=True):
        variable.assign(value)
    return History(**about["history"])


def best_weights(path: Path) -> list[np.ndarray]:
    """Return the weights of the best epoch in a checkpoint that was just read."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files) if name.startswith("best_")]
