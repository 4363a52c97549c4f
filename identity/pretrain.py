"""Pre-train the EfficientNet-B0 on unlabelled faces by distilling teacher networks, dlib's or others, into it.

`python -m identity.pretrain --photos ZIP_OR_DIR --out WEIGHTS [--teacher NPZ]... [--resume]`

The inputs are faces without names and, once they are cached, renders of them at other poses. The targets of a face and
of all its renders are the embeddings that the teachers give the photo; the network has one trunk and a projection for
each teacher. Training at small sizes is faster, but features do not carry over between sizes by themselves. Batches of
several sizes are therefore mixed from the start, and the share of time spent at the final size grows until it is all
of it. docs/pretraining.md describes what was tried.

The command runs on TensorFlow or, where TensorFlow is missing, on Keras' JAX backend (`KERAS_BACKEND=jax`). On JAX it
trains at one size: `--set sizes=128 --set first_shares=1`. There the device also makes the views, and it can blend two
faces into one (`--set blends=0.5`) and embed the blends with the teachers' networks. On a GPU the command computes in
bfloat16; weights and their average stay float32.

`--chips points5` crops the faces by five points, which one of the teachers' files must contain, and renders them turned
by up to 90 degrees. The default chips are those of the weights in the package.

The cache (`--work`, 68 to 120 kB per face) and the checkpoint in it survive a kill; `--resume` continues from them.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError, LikenessError
from identity.networks.tensorflow_loading import load_tensorflow
from identity.pretraining.cut import CUTS, PLAIN, cut_named
from identity.pretraining.recipe import Recipe

if TYPE_CHECKING:
    from identity.pretraining.faces_to_learn import Faces
    from identity.pretraining.student import Pretraining


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = CommandParser(
        prog=called_as("python -m identity.pretrain"), description=(__doc__ or "").split("\n")[0]
    )
    p.add_argument(
        "--photos", type=Path, required=True, help="zip or folder of photos of faces; names are not needed"
    )
    p.add_argument(
        "--out", type=Path, required=True, help="weights file to write (.npz); its card is written beside it"
    )
    p.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        help="npz of one teacher with `paths` and `embeddings`; repeat for more teachers. Without any, dlib's "
        "embeddings are computed",
    )
    p.add_argument(
        "--chips",
        default=PLAIN.name,
        help=f"how faces are cropped: {', '.join(CUTS)} ({PLAIN.name})",
    )
    p.add_argument(
        "--nets", type=Path, help="folder with the teachers' networks, which embed blends (only on JAX)"
    )
    p.add_argument(
        "--work", type=Path, help="folder for the cache and the checkpoint (OUT with the ending .work)"
    )
    p.add_argument(
        "--start", type=Path, help="weights of an earlier training to start from, with a new schedule"
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a field of the recipe, e.g. sizes=96,150",
    )
    p.add_argument("--resume", action="store_true", help="continue from the checkpoint in the --work folder")
    p.add_argument(
        "--budget",
        type=int,
        default=Recipe.budget,
        help=f"length of the training, in images of the final size ({Recipe.budget})",
    )
    p.add_argument(
        "--minutes",
        type=float,
        help="finish this long after the start of the command, compiling included; the budget then follows from the "
        "measured speed",
    )
    p.add_argument("--batch", type=int, default=Recipe.batch, help=f"images per step ({Recipe.batch})")
    p.add_argument(
        "--renders", type=int, default=0, help="number of renders to make of all faces together (0)"
    )
    p.add_argument("--cache-only", action="store_true", help="fill the cache and stop before training")
    p.add_argument("--threads", type=int, default=0, help="threads that TensorFlow uses; 0 for all cores (0)")
    p.add_argument("--checkpoint-minutes", type=float, default=5, help="minutes between checkpoints (5)")
    p.add_argument(
        "--rows-every", type=int, default=4, help="number of checkpoints per row of the learning curve (4)"
    )
    p.add_argument("--seed", type=int, default=0, help="seed of all random choices (0)")
    return p


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the recipe that the command line asks for.

    Raises:
        InputError: `--set` names no field of the recipe, sets a field twice or gives it a value of the wrong type.
    """
    values: dict[str, Any] = {"budget": options.budget, "batch": options.batch, "seed": options.seed}
    defaults = asdict(Recipe())
    for setting in options.set:
        name, _, text = setting.partition("=")
        if name not in defaults or name in values:
            settable = ", ".join(sorted(set(defaults) - set(values)))
            raise InputError(f"--set {setting}: the fields that can be set are {settable}")
        kind = type(defaults[name])
        try:
            if kind is tuple:
                values[name] = tuple(type(defaults[name][0])(part) for part in text.split(","))
            else:
                values[name] = kind(text)
        except ValueError as error:
            raise InputError(f"--set {setting}: {error}") from error
    return Recipe(**values)


def prepare_keras(threads: int) -> None:
    """Load Keras' backend (`KERAS_BACKEND`, TensorFlow by default) and choose bfloat16 if it computes on a GPU.

    Args:
        threads: threads that TensorFlow uses on a CPU; 0 for all cores.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        load_tensorflow()
        import tensorflow as tf

        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    if any("gpu" in device for device in keras.distribution.list_devices()):
        keras.mixed_precision.set_global_policy("mixed_bfloat16")


def begin_training(faces: "Faces", recipe: Recipe, work: Path, nets: Path | None = None) -> "Pretraining":
    """Return the training for the Keras backend in use; on JAX, all of it runs on the device.

    Args:
        faces: faces to learn from.
        recipe: settings of the training.
        work: folder of the cache and the checkpoint.
        nets: folder of the teachers' networks, which embed blends on JAX.
    """
    import keras

    if keras.backend.backend() == "jax":
        from identity.pretraining.on_device import DevicePretraining

        return DevicePretraining(faces, recipe, work, nets)
    from identity.pretraining.student import Pretraining

    return Pretraining(faces, recipe, work)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    began = time.monotonic()
    options = make_parser().parse_args(arguments)
    work = options.work or options.out.with_suffix(".work")
    try:
        recipe = recipe_of(options)
        from identity.pretraining.face_cache import cache_faces, cache_renders

        cache_faces(options.photos, options.teacher, work, cut_named(options.chips))
        if options.renders:
            cache_renders(options.photos, work, options.renders, options.seed)
        if options.cache_only:
            print(f"{work}: faces{' and renders' if options.renders else ''} cached")
            return 0
        prepare_keras(options.threads)
        from identity.pretraining.faces_to_learn import load_faces  # imports Keras
        from identity.pretraining.student_weights import finish

        cv2.setNumThreads(1)
        training = begin_training(load_faces(work), recipe, work, options.nets)
        if options.resume:
            training.resume()
        elif (work / "checkpoint.npz").exists():
            raise InputError(
                f"{work}/checkpoint.npz: left by an earlier training; continue it with --resume, or delete the file "
                "to start again"
            )
        elif options.start:
            training.start_from(options.start)
        training.run(
            options.checkpoint_minutes * 60,
            work / "log.csv",
            options.rows_every,
            None if options.minutes is None else options.minutes * 60 - (time.monotonic() - began),
        )
        digest = finish(training, options.out, options.photos.name)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{options.out}: weights written after {training.step} steps and {training.seconds / 60:.0f} minutes, "
        f"sha256 {digest[:12]}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
