"""Export a trained run for programs without this package: `python -m identity.export --model RUN --out DIR`.

    embedding.tflite   maps chips (N, S, S, 3), float32 RGB 0-255, to unit rows (N, D). It contains everything between
                       the chip and the comparison: the mirror image is averaged in, and dlib's network and its space
                       are included if the run uses them.
    templates.npy      (C, D) float32 unit rows; their dot products with embeddings are similarities.
    side_templates.npy (2, C, D) float32 unit rows, in a run that has templates of the sides of the face. A person's
                       similarity is the largest of three: with the row of templates.npy, and with the two rows here
                       less `side_margin`.
    people.json        the names in the order of the templates, the crowding of each person, `side_margin`, the
                       constants and thresholds of the acceptance score, and how to crop the chips.

Before anything is written, the exported model is compared with the run: embeddings of noise and of smooth colours must
differ by less than 1e-3. For a single face on one core, TensorFlow Lite needs about half the time of TensorFlow
(`python -m benchmarks.recognise`).
"""

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import write_whole
from identity.networks.inference import folded
from identity.networks.tensorflow_loading import load_tensorflow

TOLERANCE = 1e-3


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m identity.export"),
        description="Export a trained run as a TensorFlow Lite model.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        load_tensorflow()
        from identity.runs.bundle import Bundle
        from identity.runs.outputs import refuse_foreign, remember_output

        refuse_foreign(
            options.out, ("people.json", "templates.npy", "side_templates.npy"), "embedding.tflite"
        )
        difference = export(Bundle.load(options.model), options.out)
        remember_output(options.model, options.out, "export")
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: exported; embeddings differ from the run's by at most {difference:.1e}")
    return 0


def export(bundle: Any, out: Path) -> float:
    """Write the files of an exported run.

    Args:
        bundle: an `identity.runs.bundle.Bundle`.
        out: folder to write to; made if missing.

    Returns:
        Largest absolute difference between an entry of the exported model's embeddings and of the run's.

    Raises:
        InputError: The folder cannot be written, or the exported model gives other embeddings than the run.
    """
    content = lite_model(embedding_graph(bundle))
    difference = compare(bundle, content)
    if not difference < TOLERANCE:
        raise InputError(
            f"{out}: nothing was written, because the exported embeddings differ from the run's by {difference:.1e}"
        )
    people = {
        "names": list(bundle.labels),
        **_score_for_people(bundle.decision.acceptance.as_dict()),
        "thresholds": bundle.thresholds,
        "side_margin": bundle.people.side_margin,
        "chip": {"size": bundle.size, "padding": 0.25, "cut": "dlib.get_face_chip with dlib's 68 landmarks"},
        "terms": "The terms of the run apply, see its model_card.md; dlib's landmarks are for research only.",
    }
    templates = bundle.pose_templates
    write_whole(out / "embedding.tflite", content)
    write_whole(out / "templates.npy", _npy(templates.front))
    if templates.sides is None:
        (out / "side_templates.npy").unlink(missing_ok=True)  # of an earlier export
    else:
        write_whole(out / "side_templates.npy", _npy(templates.sides))
    write_whole(out / "people.json", json.dumps(people, indent=1, ensure_ascii=False).encode())
    return difference


def _npy(rows: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


def _score_for_people(score: dict[str, Any]) -> dict[str, Any]:
    """Return what the acceptance score consists of, the numbers that belong to each person rounded."""
    return {
        key: [round(float(value), 6) for value in values] if isinstance(values, list) else values
        for key, values in score.items()
    }


def embedding_graph(bundle: Any) -> Any:
    """Return a Keras model of all that a run does with chips: (N, S, S, 3) float32 RGB 0-255 to (N, D) unit rows."""
    import keras
    from keras import ops

    networks = bundle.networks
    chips = keras.Input((bundle.size, bundle.size, 3), name="rgb_0_255")
    upright, mirrored = networks.graph(chips), networks.graph(ops.flip(chips, axis=2))
    joined = [
        float(np.sqrt(bundle.shares[part])) * networks.compared_graph(part, upright[part] + mirrored[part])
        for part in upright
    ]
    return keras.Model(chips, joined[0] if len(joined) == 1 else ops.concatenate(joined, axis=1))


def lite_model(model: Any) -> bytes:
    """Convert a Keras model to a float32 TensorFlow Lite model; return the file's content."""
    import tensorflow as tf

    # from_keras_model prints every variable, and converting the function with its variables gives NaNs.
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([folded(model)], model).convert())


class LiteModel:
    """A TensorFlow Lite model with one input and one output.

    Args:
        content: content of the model's file.
        threads: number of threads to run it with.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        import warnings

        import tensorflow as tf

        with (
            warnings.catch_warnings()
        ):  # TensorFlow warns that a later version moves it to a separate package
            warnings.simplefilter("ignore")
            self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads)
        self._shape: tuple[int, ...] = ()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Run the model on rows (N, *shape) of any dtype; return (N, *out) float32."""
        net = self._interpreter
        input_index = net.get_input_details()[0]["index"]
        if rows.shape != self._shape:
            net.resize_tensor_input(input_index, rows.shape)
            net.allocate_tensors()
            self._shape = rows.shape
        net.set_tensor(input_index, rows.astype(np.float32))
        net.invoke()
        return np.array(net.get_tensor(net.get_output_details()[0]["index"]))


def compare(bundle: Any, content: bytes) -> float:
    """Return the largest absolute difference between the exported model's embeddings and the run's.

    The chips are noise and smooth colours; the exported model gets one of them alone and two in a batch.

    Args:
        bundle: an `identity.runs.bundle.Bundle`.
        content: content of the exported model's file.
    """
    rng = np.random.default_rng(0)
    size = bundle.size
    noise = rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, size)
    smooth = np.stack(
        np.broadcast_arrays(ramp[:, None], ramp[None, :], 0.5 * (ramp[:, None] + ramp[None, :])), -1
    )
    chips = np.concatenate([noise, smooth[None].astype(np.uint8)])
    lite = LiteModel(content)
    exported = np.concatenate([lite(chips[:1]), lite(chips[1:])])
    return float(np.abs(exported - bundle.embed(chips)).max())


if __name__ == "__main__":
    sys.exit(main())
