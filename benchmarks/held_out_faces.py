"""Measure how well weights of the B0 embed held-out faces of a pre-training, and renders of them, by yaw.

    python -m benchmarks.held_out_faces --work WORK [--weights face FILE...] [--json]

WORK is the cache of `identity.pretrain`, preferably of `--chips points5` with renders and two teachers. No student has
learnt from the held-out faces (`identity.pretraining.held_out`). For each file of weights, for the unchanged photos and
for each band of |yaw|:

    agreement   mean cosine to each centred teacher's embedding of the photo. If the weights have not learnt from the
                teacher, a ridge regression from pooled maps, fitted to 8,000 other faces, stands in
    EER         over all pairs of a photo and a render in the band, in the weights' space; same face or different faces
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError, LikenessError
from identity.decisions.metrics import eer
from identity.networks.backbone import FACE_WEIGHTS, load_weights
from identity.networks.face_space import unit
from identity.pretrain import begin_training, prepare_keras
from identity.pretraining.distillation import agreements
from identity.pretraining.faces_to_learn import load_faces
from identity.pretraining.recipe import Recipe
from identity.pretraining.student import Pretraining
from identity.pretraining.student_weights import YAWS


def measure(training: Pretraining, file: Path, most: int) -> list[dict[str, Any]]:
    """Measure the photos and each band of yaw, and return a row for each.

    Args:
        training: the training whose student gets the weights.
        file: file of the weights.
        most: largest number of renders in a band.
    """
    training.start_from(file)
    faces, size, space = training.faces, training.recipe.sizes[-1], load_weights(file).space
    held = faces.held_out
    agreed = agreements(training.embedded(held, size), faces.targets[held], faces.teachers, faces.widths)
    rows: list[dict[str, Any]] = [{"band": "photos", "faces": len(held), **agreed, "eer": None}]
    place = np.full(len(faces.chips), -1)
    place[held] = np.arange(len(held))
    photos = unit(space(training.embedded(held, size, "pool")))
    shown = np.flatnonzero(place[faces.render_of[: len(faces.render_yaw)]] >= 0)
    for low, high in pairwise(YAWS):
        turned = np.abs(faces.render_yaw[shown])
        chosen = shown[(turned >= low) & (turned < high)][:most]
        if not len(chosen):
            continue
        of = faces.render_of[chosen]
        embedded = training.embedded_pictures(lambda part: faces.renders[part], chosen, size)
        pooled = training.embedded_pictures(lambda part: faces.renders[part], chosen, size, "pool")
        cosines = photos @ space(pooled).T
        same = np.zeros(cosines.shape, bool)
        same[place[of], np.arange(len(of))] = True
        agreed = agreements(embedded, faces.targets[of], faces.teachers, faces.widths)
        rate = float(eer(cosines[same], cosines[~same]))
        rows.append({"band": f"{low} to {high - 1}", "faces": len(chosen), **agreed, "eer": rate})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.held_out_faces", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="cache of identity.pretrain")
    parser.add_argument("--weights", nargs="+", default=["face"], help="face, or files of identity.pretrain")
    parser.add_argument("--renders", type=int, default=400, help="largest number of renders in a band (400)")
    parser.add_argument("--threads", type=int, default=0, help="number of threads; 0 for all cores")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    table: list[dict[str, Any]] = []
    try:
        prepare_keras(options.threads)
        faces = load_faces(options.work)
        for name in options.weights:
            file = FACE_WEIGHTS if name == "face" else Path(name)
            weights = load_weights(file)
            if not weights.embeds or weights.size is None:
                raise InputError(f"{file}: these weights do not embed faces; use a file of identity.pretrain")
            recipe = Recipe(sizes=(weights.size,), first_shares=(1.0,), zoom=weights.zoom)
            rows = measure(begin_training(faces, recipe, options.work), file, options.renders)
            if not table:
                print(f"| weights | yaw | faces | {' | '.join(faces.teachers)} | EER |")
                print(f"|---|---|---|{'---|' * len(faces.teachers)}---|")
            for row in rows:
                cells = " | ".join(f"{row[teacher]:.3f}" for teacher in faces.teachers)
                rate = "" if row["eer"] is None else f"{row['eer']:.1%}"
                print(f"| {name} | {row['band']} | {row['faces']} | {cells} | {rate} |", flush=True)
            table += [{"weights": name, **row} for row in rows]
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
