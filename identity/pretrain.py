"""Pre-train the EfficientNet-B0 on unlabelled faces: distil face embeddings, dlib's and others', into it.

`python -m identity.pretrain --photos ZIP_OR_DIR --out WEIGHTS [--teacher NPZ]... [--resume]`

The inputs are faces without names and, once cached, renders of them at other poses; the target of a face and of all its
renders is the embedding that each teacher gives the photo: one trunk, a projection for each of them. Small inputs learn
faster per minute, but features do not carry over between sizes by themselves, so batches of several sizes are mixed
from the start, and the share of time spent at the size that is used in the end grows until it is all of it. See
docs/pretraining.md for what was tried.

It runs on TensorFlow, and on a machine without it on Keras' JAX backend (`KERAS_BACKEND=jax`), there at one size:
`--set sizes=128 --set first_shares=1`. On JAX the device makes the views, too, and can show faces between two faces
(`--set blends=0.5`), for which the teachers' nets are asked. On a GPU it computes in bfloat16; weights and their
average stay float32.

`--chips points5` cuts the faces by five points, which one of the teachers' files has to hold, and renders them turned
up to 90 degrees; the usual chips are those of the weights that ship.

The cache (`--work`, 68 to 120 kB a face) and the checkpoint in it survive a kill; `--resume` goes on.
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

from augmentor.command_line import called_as
from augmentor.errors import InputError, LikenessError
from identity.networks.tensorflow_loading import load_tensorflow
from identity.pretraining.cut import CUTS, LANDMARKS68, cut_named
from identity.pretraining.recipe import Recipe

if TYPE_CHECKING:
    from identity.pretraining.faces_to_learn import Faces
    from identity.pretraining.student import Pretraining


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(
        prog=called_as("python -m identity.pretrain"), description=(__doc__ or "").split("\n")[0]
    )
    p.add_argument("--photos", type=Path, required=True, help="zip or folder of faces; no names needed")
    p.add_argument(
        "--out", type=Path, required=True, help="weights file to write (.npz); its card goes beside it"
    )
    p.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        help="npz with `paths` and `embeddings`, for each teacher one; dlib's is computed when none is given",
    )
    p.add_argument(
        "--chips", default=LANDMARKS68.name, help=f"how faces are cut: {', '.join(CUTS)} ({LANDMARKS68.name})"
    )
    p.add_argument(
        "--nets", type=Path, help="folder with the teachers' nets, to be asked about blends (on JAX)"
    )
    p.add_argument("--work", type=Path, help="cache and checkpoint; by default OUT with .work added")
    p.add_argument("--start", type=Path, help="weights of an earlier run to begin with, with a new schedule")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a field of the recipe, e.g. sizes=96,150",
    )
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in the work folder")
    p.add_argument(
        "--budget", type=int, default=Recipe.budget, help="images at 150 px that the time would do for"
    )
    p.add_argument(
        "--minutes",
        type=float,
        help="train until so long after the call, compiling included; the budget follows from the speed measured",
    )
    p.add_argument("--batch", type=int, default=Recipe.batch)
    p.add_argument("--renders", type=int, default=0, help="renders to make of the faces, spread over them")
    p.add_argument("--cache-only", action="store_true", help="fill the cache, train nothing")
    p.add_argument("--threads", type=int, default=0, help="0: all cores")
    p.add_argument("--checkpoint-minutes", type=float, default=5)
    p.add_argument("--rows-every", type=int, default=4, help="checkpoints for each row of the learning curve")
    p.add_argument("--seed", type=int, default=0)
    return p


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe the command line asks for.

    Raises:
        InputError: `--set` names no field of the recipe, or gives it a value of the wrong type.
    """
    values: dict[str, Any] = {"budget": options.budget, "batch": options.batch, "seed": options.seed}
    usual = asdict(Recipe())
    for setting in options.set:
        name, _, text = setting.partition("=")
        if name not in usual or name in values:
            raise InputError(f"--set {setting}: the recipe has {', '.join(sorted(set(usual) - set(values)))}")
        kind = type(usual[name])
        try:
            if kind is tuple:
                values[name] = tuple(type(usual[name][0])(part) for part in text.split(","))
            else:
                values[name] = kind(text)
        except ValueError as error:
            raise InputError(f"--set {setting}: {error}") from error
    return Recipe(**values)


def prepare_keras(threads: int) -> None:
    """Load Keras' backend (`KERAS_BACKEND`, TensorFlow by default), with bfloat16 where it computes on a GPU.

    Args:
        threads: of TensorFlow on a CPU; 0 for all cores.
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
    """Return a training as the Keras backend in use does it: on JAX the device does all of it.

    Args:
        faces: to learn from.
        recipe: of the training.
        work: folder of the cache and the checkpoint.
        nets: folder of the teachers' nets, asked about blends on JAX.
    """
    import keras

    if keras.backend.backend() == "jax":
        from identity.pretraining.on_device import DevicePretraining

        return DevicePretraining(faces, recipe, work, nets)
    from identity.pretraining.student import Pretraining

    return Pretraining(faces, recipe, work)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
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
            print(f"faces{' and renders' if options.renders else ''} in {work}")
            return 0
        prepare_keras(options.threads)
        from identity.pretraining.faces_to_learn import load_faces  # Keras from here on
        from identity.pretraining.student_weights import finish

        cv2.setNumThreads(1)
        training = begin_training(load_faces(work), recipe, work, options.nets)
        if options.resume:
            training.resume()
        elif (work / "checkpoint.npz").exists():
            raise InputError(
                f"{work}/checkpoint.npz: an earlier run's; go on with --resume, or remove it to start anew"
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
        f"{training.step} steps, {training.seconds / 60:.0f} min, sha256 {digest[:12]}, weights in {options.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
