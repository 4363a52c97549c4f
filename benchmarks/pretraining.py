"""Compare short pre-trainings with equal numbers of steps, to see what each part of the recipe is worth.

    python -m benchmarks.pretraining --photos ZIP --work WORK [--made-up WORK2] [--steps 700] [--size 64] [--seeds 1]
        [--only NAME ...]

WORK is the cache that `identity.pretrain --renders N` made from ZIP, WORK2 one that it made from photos of
`augmentor.made_up.people`. Every student starts from the same random weights and learns from the same number of faces,
with a schedule of that length. Such a short run is far from the end, so differences here may vanish later. Measured on
faces that no student has learnt from (`identity.pretraining.held_out`):

    agreement   mean cosine to the centred teacher, over their photos
    turned      mean cosine of renders of 300 of them, whose yaw differs from the photo's by more than 30 degrees, to
                the teacher's embedding of the photo
    EER         of these 300 pairs of photo and render, against all pairs of a photo and a render of different faces
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.head.head_model import load_head_model
from augmentor.rendering.render import prepare_photo, render_views
from augmentor.views.head_view import make_view
from augmentor.views.view_key import ViewKey, allowed
from identity.decisions.metrics import eer
from identity.networks.backbone import EMBEDDING_SIZE, PROJECTION
from identity.networks.chip_variants import JITTERS, jittered, mirrored, resized
from identity.networks.dlib_embedding import DlibEmbedding
from identity.networks.face_space import load_face_space, unit
from identity.pretrain import prepare_keras
from identity.pretraining.cut import PLAIN
from identity.pretraining.distillation import agreement, centred
from identity.pretraining.face_cache import CHIP, Photos
from identity.pretraining.faces_to_learn import Faces, load_faces
from identity.pretraining.recipe import Recipe
from identity.pretraining.student import Pretraining
from identity.pretraining.student_view import jittered_view as crop
from identity.pretraining.student_view import plain

FEW = 6144
SELF_SUPERVISED = "a third of the steps without a teacher first"
MADE_UP = "made-up people three times in ten"
TURNED, LEAST_TURN, YAWS = 300, 30.0, (-55.0, -40.0, 40.0, 55.0)


def hidden_head(backbone: Any) -> Any:
    """Add a hidden layer of 512 with batch normalisation between the pooled maps and the embedding."""
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(512, use_bias=False)(pooled))
    hidden = keras.layers.Activation("swish")(hidden)
    return keras.Model(backbone.input, keras.layers.Dense(EMBEDDING_SIZE, name=PROJECTION)(hidden))


def conv_head(backbone: Any) -> Any:
    """Add a 1x1 convolution of 512 with batch normalisation on the maps, before they are pooled."""
    x = keras.layers.Conv2D(512, 1, use_bias=False)(backbone.output)
    x = keras.layers.Activation("swish")(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(backbone.input, keras.layers.Dense(EMBEDDING_SIZE, name=PROJECTION)(x))


def sharpest_half(faces: Faces, _teacher: np.ndarray) -> Faces:
    """Keep only the half of the training faces with the sharpest chips."""
    sharp = np.array(
        [
            cv2.Laplacian(cv2.cvtColor(faces.chips[row], cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()
            for row in faces.training
        ]
    )
    chosen = replace(faces)
    chosen.training = faces.training[sharp >= np.median(sharp)]
    return chosen


def half_of_faces(faces: Faces, _teacher: np.ndarray) -> Faces:
    """Keep every second training face."""
    chosen = replace(faces)
    chosen.training = faces.training[::2]
    return chosen


def few_faces(faces: Faces, _teacher: np.ndarray) -> Faces:
    """Keep only as many training faces as there is time to embed again with the teacher, see `jittered_teacher`."""
    chosen = replace(faces)
    chosen.training = np.random.default_rng(0).permutation(faces.training)[:FEW]
    return chosen


def jittered_teacher(faces: Faces, teacher: np.ndarray) -> Faces:
    """Keep the faces of `few_faces`, with the teacher's embeddings averaged over three more jittered chips of each."""
    chosen = few_faces(faces, teacher)
    net, rows = DlibEmbedding(), chosen.training
    summed = 2 * teacher[rows]  # photo and mirror image
    for start in tqdm(range(0, FEW, 256), "teacher of jittered chips", unit="batch"):
        part = slice(start, start + 256)
        chips = resized(faces.chips[rows[part]], CHIP)
        for number in range(JITTERS):
            summed[part] += net(jittered(chips if number % 2 else mirrored(chips), start * JITTERS + number))
    averaged = teacher.copy()
    averaged[rows] = summed / (2 + JITTERS)
    mean = unit(teacher).mean(axis=0)
    chosen.targets = centred(averaged, mean)[0]
    return chosen


def with_made_up(work: Path) -> Callable[[Faces, np.ndarray], Faces]:
    """Return a change that makes three faces in ten those of made-up people, whose cache is `work`."""

    def change(faces: Faces, teacher: np.ndarray) -> Faces:
        with np.load(work / "faces.npz", allow_pickle=False) as saved:
            paths, embedded = saved["paths"], saved["teacher"].astype(np.float32)
        chips = np.load(work / "chips.npy", allow_pickle=False)
        targets, _ = centred(embedded, unit(teacher).mean(axis=0))  # by the mean of the real people
        both = Faces(
            np.concatenate([faces.chips, chips]),
            np.concatenate([faces.targets, targets]),
            faces.held_out,
            faces.renders,
            faces.render_of,
            np.concatenate([faces.paths, paths]),
            faces.centre,
        )
        times = round(0.3 / 0.7 * len(faces.training) / len(chips))
        both.training = np.concatenate(
            [faces.training, np.tile(len(faces.chips) + np.arange(len(chips)), times)]
        )
        return both

    return change


class Contrastive(keras.losses.Loss):
    """Rows 2k and 2k + 1 show one face in two ways; each must pick the other among all rows (NT-Xent, temperature 0.1).

    Source:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, equation 1.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the losses (N,) of embeddings (N, D); `y_true` (N,) is the row of the other picture."""
        rows = ops.normalize(ops.cast(y_pred, "float32"), axis=-1)
        logits = ops.matmul(rows, ops.transpose(rows)) / 0.1 - 1e9 * ops.eye(rows.shape[0])
        partner = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        return ops.sparse_categorical_crossentropy(partner, logits, from_logits=True)


def self_supervised_start(training: Pretraining, steps: int) -> None:
    """Train the student for some steps without a teacher, to embed two crops of a face alike."""
    recipe, faces = training.recipe, training.faces
    student = keras.Model(training.model.input, training.model.output)
    student.compile(keras.optimizers.AdamW(recipe.learning_rate, clipnorm=5.0), Contrastive())
    partner = np.arange(recipe.batch) ^ 1
    for step in tqdm(range(steps), "without a teacher", unit="step"):
        rng = np.random.default_rng([recipe.seed, 7, step])
        rows = np.repeat(rng.choice(faces.training, recipe.batch // 2, replace=False), 2)
        size = recipe.sizes[-1]
        shown = np.stack([crop(faces.chips[row], size, recipe.zoom, rng) for row in rows]).astype(np.float32)
        student.train_on_batch(shown, partner)
    training.average = [w.astype("f4") for w in training.model.get_weights()]


def not_centred(faces: Faces, teacher: np.ndarray) -> Faces:
    """Use the teacher's unit vectors without centring."""
    return replace(faces, targets=unit(teacher))


def in_dlib_space(faces: Faces, teacher: np.ndarray) -> Faces:
    """Use the teacher's embeddings in the space in which they are compared."""
    return replace(faces, targets=load_face_space()(teacher))


# Name → fields of the recipe, a function that changes the faces, a function that makes the student from a backbone
VARIANTS: dict[str, tuple[dict[str, Any], Callable | None, Callable | None]] = {
    "as it is (renders three times in ten)": ({}, None, None),
    "no renders": ({"render_share": 0.0}, None, None),
    "renders six times in ten": ({"render_share": 0.6}, None, None),
    "no relations in the loss": ({"relation_weight": 0.0}, None, None),
    "relations weigh 1": ({"relation_weight": 1.0}, None, None),
    "relations weigh 20": ({"relation_weight": 20.0}, None, None),
    "targets not centred": ({}, not_centred, None),
    "targets in dlib's space": ({}, in_dlib_space, None),
    "half of the faces, the sharpest": ({}, sharpest_half, None),
    "half of the faces, any": ({}, half_of_faces, None),
    "hidden layer on pooled maps": ({}, None, hidden_head),
    "convolution before pooling": ({}, None, conv_head),
    "no stochastic depth": ({"drop_connect": 0.0}, None, None),
    "half the learning rate": ({"learning_rate": 1e-3}, None, None),
    "6,144 faces": ({}, few_faces, None),
    "6,144 faces, teacher of three jitters more": ({}, jittered_teacher, None),
    SELF_SUPERVISED: ({}, None, None),
    MADE_UP: ({}, None, None),
}


def turned_faces(photos: Photos, faces: Faces, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return held-out rows (M,) and renders (M, 150, 150, 3) of them, turned by more than LEAST_TURN degrees."""
    head = load_head_model()
    views = [make_view(head, ViewKey(0, "neutral", yaw, 0.0, 0.0), CHIP) for yaw in YAWS]
    rows: list[int] = []
    renders: list[np.ndarray] = []
    for number, row in enumerate(tqdm(faces.held_out, "turned faces", unit="face")):
        if len(rows) == TURNED:
            break
        try:
            prepared = prepare_photo(photos.load(str(faces.paths[row])), landmarks[row], head, CHIP)
        except PhotoError:
            continue
        yaw = prepared.fit.camera.pose.yaw
        usable = [v for v in views if allowed(yaw, v.key) and abs(v.key.yaw - yaw) > LEAST_TURN]
        if usable:
            rows.append(row)
            renders += [r.image for r in render_views(prepared, [usable[number % len(usable)]])]
    return np.array(rows), np.stack(renders)


def measure(
    training: Pretraining, teacher: np.ndarray, turned: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """Return the rates of a student; `teacher` are centred unit rows."""
    size = training.recipe.sizes[-1]
    training.model.set_weights(training.average_at(size, batches=20))
    held, (rows, renders) = training.faces.held_out, turned
    embedded = training.embedded(held, size)
    mean = embedded.mean(axis=0)  # of a student whose targets were not centred; else next to nothing
    photos = unit(training.embedded(rows, size) - mean)
    parts = [
        training.model.predict_on_batch(plain(renders[k : k + 50], size, training.recipe.zoom))
        for k in range(0, len(rows), 50)
    ]
    shown = unit(np.concatenate(parts) - mean)
    cosines = photos @ shown.T
    same = np.eye(len(rows), dtype=bool)
    return {
        "agreement": agreement(embedded - mean, teacher[held]),
        "turned": agreement(shown, teacher[rows]),
        "eer": float(eer(cosines[same], cosines[~same])),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretraining", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--photos", type=Path, required=True, help="zip or folder of faces")
    parser.add_argument("--work", type=Path, required=True, help="cache of identity.pretrain")
    parser.add_argument("--made-up", type=Path, help="cache of identity.pretrain from made-up people")
    parser.add_argument("--steps", type=int, default=700, help="training steps of each run (%(default)s)")
    parser.add_argument(
        "--size", type=int, default=64, help="edge of the student's input, pixels (%(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="runs of each recipe, with faces in another order"
    )
    parser.add_argument(
        "--only", nargs="*", choices=list(VARIANTS), metavar="NAME", help="recipes to run; by default all"
    )
    parser.add_argument("--threads", type=int, default=0, help="number of threads; 0 for all cores")
    parser.add_argument("--json", action="store_true", help="one JSON array on the last line")
    options = parser.parse_args(arguments)
    try:
        prepare_keras(options.threads)
        faces = load_faces(options.work)
        if faces.teachers != ("dlib",) or faces.cut != PLAIN:
            raise InputError(
                f"{options.work}: these students learn from dlib alone; use a cache with dlib's chips only"
            )
        with np.load(options.work / "faces.npz", allow_pickle=False) as saved:
            raw, landmarks = saved["teacher"].astype(np.float32), saved["landmarks"]
        if options.only is None:  # everything that the caches allow
            options.only = [name for name in VARIANTS if name != MADE_UP or options.made_up]
        if MADE_UP in options.only and not options.made_up:
            raise InputError(f"{MADE_UP}: needs --made-up; otherwise choose other recipes with --only")
        turned = turned_faces(Photos(options.photos), faces, landmarks)
        table = []
        for name in options.only:
            fields, change, on_top = VARIANTS[name]
            runs = []
            started = time.monotonic()
            for seed in range(options.seeds):
                base = Recipe(
                    budget=options.steps * Recipe.batch,
                    sizes=(options.size,),
                    first_shares=(1.0,),
                    render_share=0.3,
                    warm_up=100,
                    relation_weight=5.0,
                    zoom=1.035,
                    seed=seed,
                )
                if name == MADE_UP:
                    change = with_made_up(options.made_up)
                first = options.steps // 3 if name == SELF_SUPERVISED else 0
                base = replace(base, budget=(options.steps - first) * Recipe.batch)
                shown = change(faces, raw) if change else faces
                training = Pretraining(shown, replace(base, **fields), options.work, on_top)
                if first:
                    self_supervised_start(training, first)
                for _ in tqdm(range(options.steps - first), f"{name}, seed {seed}", unit="step"):
                    training.train_step()
                runs.append(measure(training, centred(raw)[0], turned))
            row = {key: [run[key] for run in runs] for key in runs[0]}
            table.append({"recipe": name, "minutes": (time.monotonic() - started) / 60, **row})
            cells = " | ".join(
                f"{np.mean(row[key]):.3f}" if key != "eer" else f"{np.mean(row[key]):.1%}" for key in row
            )
            if len(table) == 1:
                print("| recipe | agreement | turned | EER |\n|---|---|---|---|", flush=True)
            print(f"| {name} | {cells} |", flush=True)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
