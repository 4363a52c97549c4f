"""A trained run for programs without this package: `python -m identity.export --model RUN --out DIR`.

    embedding.tflite   chips (N, S, S, 3) float32 RGB 0-255 -> (N, D) unit rows, mirror image averaged in: everything
                       between the crop and the comparison, dlib's net and its space included where the run uses it
    templates.npy      (C, D) float32 unit rows; products with embeddings are similarities
    people.json        names in the order of the templates, their crowding, constants and thresholds of the acceptance
                       score, how to cut the chips

The model is checked against the run before it is written: embeddings of noise and of smooth colours differ by less than
1e-3. On one core TensorFlow Lite needs about half of TensorFlow's time for a single face (`python -m
benchmarks.recognise`).
"""

import argparse
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.command_line import called_as
from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import write_whole
from identity.networks.inference import folded
from identity.networks.tensorflow_loading import load_tensorflow

TOLERANCE = 1e-3


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called_as("python -m identity.export"), description="A trained run as a TensorFlow Lite model."
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        load_tensorflow()
        from identity.runs.bundle import Bundle
        from identity.runs.outputs import refuse_foreign, remember_output

        refuse_foreign(options.out, ("people.json", "templates.npy"), "embedding.tflite")
        difference = export(Bundle.load(options.model), options.out)
        remember_output(options.model, options.out, "export")
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: embeddings differ from the run's by {difference:.1e} at most")
    return 0


def export(bundle: Any, out: Path) -> float:
    """Write the three files of a run.

    Args:
        bundle: an `identity.runs.bundle.Bundle`.
        out: folder, made if missing.

    Returns:
        Largest difference of an embedding's entry between the file and the run.

    Raises:
        InputError: the folder cannot be written, or the model comes out differently.
    """
    content = lite_model(embedding_graph(bundle))
    difference = compare(bundle, content)
    if not difference < TOLERANCE:
        raise InputError(
            f"{out}: the exported embeddings differ from the run's by {difference:.1e}; nothing was written"
        )
    people = {
        "names": list(bundle.labels),
        "crowding": [round(float(value), 6) for value in bundle.crowding],
        "constants": asdict(bundle.constants),
        "thresholds": bundle.thresholds,
        "chip": {"size": bundle.size, "padding": 0.25, "cut": "dlib.get_face_chip with dlib's 68 landmarks"},
        "terms": "as those of the run, see its model_card.md; dlib's landmarks are for research only",
    }
    templates = io.BytesIO()
    np.save(templates, bundle.templates)
    write_whole(out / "embedding.tflite", content)
    write_whole(out / "templates.npy", templates.getvalue())
    write_whole(out / "people.json", json.dumps(people, indent=1, ensure_ascii=False).encode())
    return difference


def embedding_graph(bundle: Any) -> Any:
    """A Keras model of all that a run does with chips: (N, S, S, 3) float32 0-255 -> (N, D) unit rows."""
    import keras
    from keras import ops

    networks = bundle.networks
    chips = keras.Input((bundle.size, bundle.size, 3), name="rgb_0_255")
    seen, mirrored = networks.graph(chips), networks.graph(ops.flip(chips, axis=2))
    joined = [
        float(np.sqrt(bundle.shares[part])) * networks.compared_graph(part, seen[part] + mirrored[part])
        for part in seen
    ]
    return keras.Model(chips, joined[0] if len(joined) == 1 else ops.concatenate(joined, axis=1))


def lite_model(model: Any) -> bytes:
    """A Keras model as a TensorFlow Lite file, float32."""
    import tensorflow as tf

    # not from_keras_model, which prints every variable, nor the function with its variables, which gives NaNs
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([folded(model)], model).convert())


class LiteModel:
    """A TensorFlow Lite model with one input and one output.

    Args:
        content: of the file.
        threads: to run it with.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        import warnings

        import tensorflow as tf

        with warnings.catch_warnings():  # that it will move to a package of its own, in a TensorFlow to come
            warnings.simplefilter("ignore")
            self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads)
        self._shape: tuple[int, ...] = ()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(N, *shape), any type -> (N, *out) float32."""
        net = self._interpreter
        given = net.get_input_details()[0]["index"]
        if rows.shape != self._shape:
            net.resize_tensor_input(given, rows.shape)
            net.allocate_tensors()
            self._shape = rows.shape
        net.set_tensor(given, rows.astype(np.float32))
        net.invoke()
        return np.array(net.get_tensor(net.get_output_details()[0]["index"]))


def compare(bundle: Any, content: bytes) -> float:
    """Largest difference between the exported and the run's embeddings of noise and of smooth colours, alone and two
    at a time."""
    rng = np.random.default_rng(0)
    size = bundle.size
    noise = rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, size)
    smooth = np.stack(
        np.broadcast_arrays(ramp[:, None], ramp[None, :], 0.5 * (ramp[:, None] + ramp[None, :])), -1
    )
    chips = np.concatenate([noise, smooth[None].astype(np.uint8)])
    lite = LiteModel(content)
    told = np.concatenate([lite(chips[:1]), lite(chips[1:])])
    return float(np.abs(told - bundle.embed(chips)).max())


if __name__ == "__main__":
    sys.exit(main())
