"""Measure the nets' images per second on the device that Keras computes on: a GPU, or the CPU.

    [KERAS_BACKEND=jax] python -m benchmarks.device [--batch 256] [--seconds 5] [--json]

Pixels come from the host's memory as float32, and maps or embeddings return to it, as when features are made. Whole
batches after the first are timed, because the first one compiles. On a GPU the B0 computes in bfloat16 and dlib's net
in float32. `identity.pretrain` reports its own images per second while it runs.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from identity.pretrain import prepare_keras


def images_per_second(model: Any, edge: int, batch: int, seconds: float) -> tuple[float, list[float]]:
    """Return the median over batches, and the 10 % and 90 % quantiles."""
    chips = np.random.default_rng(0).uniform(0, 255, (batch, edge, edge, 3)).astype(np.float32)
    model.predict_on_batch(chips)
    rates: list[float] = []
    began = time.monotonic()
    while len(rates) < 5 or time.monotonic() - began < seconds:
        started = time.monotonic()
        model.predict_on_batch(chips)
        rates.append(batch / (time.monotonic() - started))
    return float(np.median(rates)), np.quantile(rates, (0.1, 0.9)).tolist()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--batch", type=int, default=256, help="images in a batch (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="duration for each net (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    prepare_keras(0)
    import keras

    from augmentor.model_files.model_store import model_path
    from identity.networks.backbone import build_backbone, load_weights
    from identity.networks.dlib_embedding import CHIP_SIZE, WEIGHTS_NAME, build_dlib_net, read_dlib_weights

    weights = load_weights("face")
    size = weights.size or CHIP_SIZE
    nets = {
        f"B0 at {size} px, maps": (build_backbone(weights, size), size),
        f"dlib's net at {CHIP_SIZE} px": (
            build_dlib_net(read_dlib_weights(model_path(WEIGHTS_NAME))),
            CHIP_SIZE,
        ),
    }
    result: dict[str, Any] = {
        "backend": keras.backend.backend(),
        "devices": keras.distribution.list_devices(),
    }
    result["batch"] = options.batch
    print(f"Keras on {result['backend']}: {', '.join(result['devices'])}; batches of {options.batch}")
    for name, (model, edge) in nets.items():
        median, (low, high) = images_per_second(model, edge, options.batch, options.seconds)
        result[name] = {"images_per_second": median, "tenths": [low, high]}
        print(f"{name}: {median:,.0f} images/s ({low:,.0f}-{high:,.0f})")
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
