"""Where a training stands, on disk: weights, optimiser, history and best weights, in one file that appears whole."""

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
    """Write it.

    Args:
        path: of the file.
        key: what the training depends on.
        model: compiled.
        history: of the finished epochs.
        best: weights to keep.

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
    """Restore model and optimiser; None where there is no checkpoint, or one with another key.

    Raises:
        InputError: it is damaged.
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
    """The best weights in a checkpoint that was just read."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files) if name.startswith("best_")]
