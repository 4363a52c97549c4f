"""Measure how long recognising a face takes, part by part, and compare it with dlib's own embedding.

    python -m benchmarks.recognise [--photos DIR] [--faces 32] [--rounds 7] [--threads 1,0] [--json]

Protocol: made-up people (or the photos under DIR), 250 x 250. Every part is timed separately on the same faces, one
view of each (no mirror image, no jitter), in each of `--rounds` rounds; milliseconds a face, medians over rounds, in
batches of 1 and of 32. Each number of threads (0 for all cores) gets its own process, because TensorFlow and OpenBLAS
read it when they start. Parts: detect (the face and its 68 landmarks), align (cropping the chip), b0 (EfficientNet-B0
to its map), head (a cosine head of 1,000 people on the map, and the map pooled and in its space), dlib_net (dlib's net
as this project runs it, in TensorFlow), dlib (the library itself), b0_lite and dlib_net_lite (the same two nets
exported to TensorFlow Lite, `identity.export`). `dlib_over_b0` is dlib's time divided by that of b0 and head.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

BATCHES = (1, 32)
PEOPLE = 1000
PHOTO_SIZE, CHIP = 250, 150


def measure(options: argparse.Namespace, threads: int) -> dict[str, float]:
    """Return the milliseconds a face of every part, with this number of threads, measured in this process."""
    import cv2

    cv2.setNumThreads(threads or (os.cpu_count() or 1))
    from identity.networks.tensorflow_loading import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 0)
    from augmentor.faces.chip import cut_chip
    from augmentor.faces.face_source import face_source
    from identity.export import LiteModel, lite_model
    from identity.networks.backbone import load_weights
    from identity.networks.chip_variants import resized
    from identity.networks.dlib_embedding import DlibEmbedding
    from identity.networks.features import FrozenBackbone, pooled
    from identity.networks.heads import HeadConfig, build_head, embedding_model
    from identity.networks.inference import Inference

    images = photos(options)
    finder = face_source()
    detected = [(image, search.faces[0].points) for image in images if (search := finder(image))]
    chips = np.stack([cut_chip(image, points, CHIP) for image, points in detected])
    backbone = FrozenBackbone(load_weights("face"), CHIP)
    maps = backbone.maps(chips)
    head = Inference(embedding_model(build_head(HeadConfig("cosine", PEOPLE, backbone.map_shape)), "cosine"))
    space = backbone.weights.space
    net, library = DlibEmbedding(), dlib_library()
    cores = threads or (os.cpu_count() or 1)
    b0_lite, net_lite = (LiteModel(lite_model(model), cores) for model in (backbone.model, net.net))
    small = resized(backbone.middle(chips), backbone.size)

    def in_batches(work: Callable[[np.ndarray], object], rows: np.ndarray, batch: int) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, len(rows), batch):
                work(rows[start : start + batch])

        return run

    def b0_head(part: np.ndarray) -> None:
        head(part)
        space(pooled(part))

    parts: dict[str, Callable[[], object]] = {
        "detect": lambda: [finder(image) for image in images],
        "align": lambda: [cut_chip(image, points, CHIP) for image, points in detected],
    }
    for batch in BATCHES:
        parts[f"b0_{batch}"] = in_batches(backbone.maps, chips, batch)
        parts[f"head_{batch}"] = in_batches(b0_head, maps, batch)
        parts[f"dlib_net_{batch}"] = in_batches(net, chips, batch)
        parts[f"b0_lite_{batch}"] = in_batches(b0_lite, small, batch)
        parts[f"dlib_net_lite_{batch}"] = in_batches(net_lite, chips, batch)
        parts[f"dlib_{batch}"] = in_batches(library, chips, batch)
    for work in parts.values():
        work()  # whatever is built at the first call does not count
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(options.rounds):
        for name, work in parts.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    of = {name: len(images) if name == "detect" else len(chips) for name in parts}
    result = {name: 1000 * float(np.median(values)) / of[name] for name, values in seconds.items()}
    for batch in BATCHES:
        both = np.array(seconds[f"b0_{batch}"]) + seconds[f"head_{batch}"]
        for other in ("dlib", "dlib_net"):
            result[f"{other}_over_b0_{batch}"] = float(np.median(seconds[f"{other}_{batch}"] / both))
    return result


def photos(options: argparse.Namespace) -> list[np.ndarray]:
    """Return photos, (H, W, 3) uint8 RGB each.

    Raises:
        InputError: there is no photo in the folder.
    """
    from augmentor.errors import InputError
    from augmentor.photos.images import list_photos, load_image

    if options.photos:
        paths = list_photos(options.photos)[: options.faces]
        if not paths:
            raise InputError(f"{options.photos}: no photo in it; name a folder of photos")
        return [load_image(path) for path in paths]
    from augmentor.head.head_model import load_head_model
    from augmentor.made_up.people import PeopleOptions, draw_photos, people_names
    from augmentor.made_up.render import Studio

    people = PeopleOptions(options.faces, (1, 1), seed=11, size=PHOTO_SIZE)
    studio = Studio(load_head_model())
    return [
        photo.image
        for index, name in enumerate(people_names(11, options.faces))
        for _person, _shot, photo in draw_photos(studio, people, index, name)
    ]


def dlib_library() -> Callable[[np.ndarray], object]:
    """Return dlib's own embedding as a function of chips (N, 150, 150, 3)."""
    import dlib

    from augmentor.model_files.model_store import model_path
    from identity.networks.dlib_embedding import WEIGHTS_NAME

    net = dlib.face_recognition_model_v1(str(model_path(WEIGHTS_NAME)))
    return lambda chips: net.compute_face_descriptor(list(chips))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recognise", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--photos", type=Path, help="folder of photos; by default made-up people")
    parser.add_argument("--faces", type=int, default=32, help="number of photos (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds (%(default)s)")
    parser.add_argument(
        "--threads",
        type=lambda text: [int(n) for n in text.split(",")],
        default=[1, 0],
        help="numbers of threads, separated by commas; 0 for all cores (1,0)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument(
        "--alone", type=int, help=argparse.SUPPRESS
    )  # number of threads; measure in this process
    options = parser.parse_args(arguments)
    from augmentor.errors import LikenessError

    try:
        if options.alone is not None:
            print(json.dumps(measure(options, options.alone)))
            return 0
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    table: dict[str, dict[str, float]] = {}
    for threads in options.threads:
        command = [sys.executable, "-m", "benchmarks.recognise", "--alone", str(threads)]
        command += ["--faces", str(options.faces), "--rounds", str(options.rounds)]
        command += ["--photos", str(options.photos)] if options.photos else []
        limit = {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)} if threads else {}
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, **limit}
        )
        if ended.returncode:
            return ended.returncode
        table[f"threads_{threads or 'all'}"] = json.loads(ended.stdout.splitlines()[-1])
    print(f"{'ms a face':20}" + "".join(f"{name:>14}" for name in table))
    for part in next(iter(table.values())):
        print(f"{part:20}" + "".join(f"{column[part]:14.2f}" for column in table.values()))
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
