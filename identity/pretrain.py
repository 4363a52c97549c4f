"""Pre-train the EfficientNet-B0 on unlabelled faces: distil dlib's face embedding into it.

`python -m identity.pretrain --photos ZIP_OR_DIR --out WEIGHTS [--teacher NPZ] [--resume]`

The inputs are faces without names and, once cached, renders of them at other poses; the target of a face and of all its
renders is the embedding dlib gives the photo. Small inputs learn faster per minute, but features do not carry over
between sizes by themselves, so batches of several sizes are mixed from the start, and the share of time spent at the
size that is used in the end grows until it is all of it. See docs/pretraining.md for what was tried.

It runs on TensorFlow, and on a machine without it on Keras' JAX backend (`KERAS_BACKEND=jax`), there at one size:
`--set sizes=150 --set first_shares=1`. On a GPU it computes in bfloat16; weights and their average stay float32.

The cache (`--work`, chips of 112 px: 38 kB a face) and the checkpoint in it survive a kill; `--resume` goes on.
"""

import argparse
import csv
import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.images import write_whole
from identity.face_space import FaceSpace, face_space
from identity.tensorflow_loading import load_tensorflow

if TYPE_CHECKING:
    import keras

CHIP = 112
HELD_OUT = 0.025  # of the faces
_SCALED = 0.11
# Of the space that pooled maps are compared in; what they were chosen by: docs/decisions/0019-b0-space.md.
SPACE_FACES, SPACE_DIRECTIONS, SPACE_EVENNESS = 12_000, 768, 0.75


@dataclass(frozen=True)
class Recipe:
    """How long and at which sizes to train.

    Attributes:
        budget: length of the training, in images of `sizes[-1]`: one at another size costs its area's share.
        sizes: input edges in pixels, the last the one used in the end.
        first_shares: share of the time at each size in the beginning.
        mix_from, last_from: progress (0 to 1) from which the share of the last size grows, and from which it is all.
        learning_rate: of AdamW after the warm-up; falls to zero as a cosine of the progress.
        warm_up: steps.
        render_share: probability that a face with a cached render is shown by it.
        frozen_before: name of the first layer of the B0 that is trained; "" for all. The layers before it are the
            ones with large maps: on a CPU they take half of a step, and learn little in a later run.
        drop_connect: how often the last block is left out of a step, earlier ones in proportion (0.2 as published).
        relation_weight: of the loss that holds the cosines of pairs of faces together, see `identity.distillation`.
        zoom: how much closer than the chip the student looks, in use; while it learns, up to `_SCALED` more or less.
    """

    budget: int = 70_000
    sizes: tuple[int, ...] = (64, 96, 150)
    first_shares: tuple[float, ...] = (0.85, 0.15, 0.0)
    mix_from: float = 0.4
    last_from: float = 0.85
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: int = 300
    batch: int = 64
    ema: float = 0.998
    render_share: float = 0.5
    frozen_before: str = ""
    drop_connect: float = 0.2
    relation_weight: float = 1.0
    zoom: float = 1.07
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.first_shares) or abs(sum(self.first_shares) - 1) > 1e-6:
            raise InputError("one share for each size, adding up to 1")
        if not 1 <= self.zoom < 2:
            raise InputError("zoom must be at least 1 and below 2")
        if self.budget < 1 or self.batch < 2 or not 0 <= self.mix_from < self.last_from <= 1:
            raise InputError("--budget must be at least 1, --batch at least 2")

    def size_probabilities(self, progress: float) -> np.ndarray:
        """Probability that the next batch has each of `sizes`: time share over cost."""
        grown = float(np.clip((progress - self.mix_from) / (self.last_from - self.mix_from), 0, 1))
        shares = np.array(self.first_shares) * (1 - grown)
        shares[-1] += grown
        per_batch = shares / np.square(self.sizes)
        return per_batch / per_batch.sum()

    def learning_rate_at(self, step: int, progress: float) -> float:
        """Linear warm-up, then half a cosine over the progress."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * cosine

    def cost(self, size: int) -> float:
        """What a batch of `size` takes off the budget."""
        return self.batch * (size / self.sizes[-1]) ** 2


def jittered(chip: np.ndarray, size: int, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """One chip as the student sees it: mirrored, moved, turned, scaled, recoloured, blurred or grey at random.

    Args:
        chip: (h, h, 3) uint8 RGB.
        size: edge of the result in pixels.
        zoom: of the middle of the range that it is scaled by.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    scale = size / chip.shape[0] * zoom * rng.uniform(1 - _SCALED, 1 + _SCALED)
    turn = rng.normal(0, 4)
    warp = cv2.getRotationMatrix2D((chip.shape[1] / 2, chip.shape[0] / 2), turn, scale)
    warp[:, 2] += size / 2 - np.array(chip.shape[:2][::-1]) / 2 + rng.normal(0, 0.02, 2) * size
    if rng.random() < 0.5:
        chip = chip[:, ::-1]
    out = cv2.warpAffine(
        np.ascontiguousarray(chip),
        warp,
        (size, size),
        flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if rng.random() < 0.25:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 1.2) * size / CHIP)
    if rng.random() < 0.15:
        out = np.repeat(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)
    return np.clip(out * gain + rng.uniform(-20, 20), 0, 255).astype(np.uint8)


@dataclass
class Faces:
    """Chips to learn from with their targets; rows of `renders` show the face of row `render_of`.

    Attributes:
        chips: (N, 112, 112, 3) uint8, on disk.
        targets: (N, 128) float32 unit rows.
        held_out: (M,) rows never trained on, for choosing.
        renders, render_of: (R, 112, 112, 3) uint8 on disk and (R,) rows of `chips`; R may be 0.
        paths: (N,) of the photos.
    """

    chips: np.ndarray
    targets: np.ndarray
    held_out: np.ndarray
    renders: np.ndarray
    render_of: np.ndarray
    paths: np.ndarray

    def __post_init__(self) -> None:
        self.training = np.setdiff1d(np.arange(len(self.chips)), self.held_out)
        order = np.argsort(self.render_of, kind="stable")
        self.first = np.searchsorted(self.render_of[order], np.arange(len(self.chips)))
        self.count = np.bincount(self.render_of, minlength=len(self.chips))
        self.ordered = order

    def batch(self, recipe: Recipe, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(batch, size, size, 3) float32 0-255 and (batch, 128) float32."""
        rows = rng.choice(self.training, recipe.batch, replace=False)
        shown = np.empty((recipe.batch, size, size, 3), np.float32)
        for k, row in enumerate(rows):
            chip = self.chips[row]
            if self.count[row] and rng.random() < recipe.render_share:
                chip = self.renders[self.ordered[self.first[row] + rng.integers(self.count[row])]]
            shown[k] = jittered(chip, size, recipe.zoom, rng)
        return shown, self.targets[rows]


class Pretraining:
    """The student, its optimiser, the moving average of its weights, and where it stands."""

    def __init__(
        self,
        faces: Faces,
        recipe: Recipe,
        work: Path,
        on_top: "Callable[[keras.Model], keras.Model] | None" = None,
    ) -> None:
        """`on_top` makes the student of a backbone; by default what the weights keep, a linear projection."""
        import keras

        from identity.backbone import bare_backbone, default_builder, with_projection
        from identity.distillation import DistillationLoss

        keras.utils.set_random_seed(recipe.seed)
        self.faces, self.recipe, self.work = faces, recipe, work
        any_size = default_builder() == "efficientnet"
        if not any_size and len(recipe.sizes) > 1:
            raise InputError(
                f"several sizes need TensorFlow, this is Keras on {keras.backend.backend()}: "
                f"--set sizes={recipe.sizes[-1]} --set first_shares=1"
            )
        self.model = (on_top or with_projection)(bare_backbone(None if any_size else recipe.sizes[-1]))
        for layer in self.model.get_layer("efficientnet-b0").layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate *= recipe.drop_connect / 0.2
        self.frozen = frozen_layers(self.model, recipe.frozen_before)
        for layer in self.frozen:
            layer.trainable = False
        self.optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, clipnorm=5.0
        )
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.model.compile(
            self.optimizer,
            DistillationLoss(recipe.relation_weight),
            jit_compile="auto" if not any_size else False,
        )
        self.optimizer.build(self.model.trainable_variables)
        self.step, self.spent, self.seconds = 0, 0.0, 0.0
        self.started_from: str | None = None
        self.average = [w.astype("f4") for w in self.model.get_weights()]

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return self.spent / self.recipe.budget

    def train_step(self) -> tuple[int, float]:
        """One batch; its size and loss."""
        began = time.monotonic()
        rng = np.random.default_rng([self.recipe.seed, self.step])
        size = int(rng.choice(self.recipe.sizes, p=self.recipe.size_probabilities(self.progress)))
        shown, targets = self.faces.batch(self.recipe, size, rng)
        self.optimizer.learning_rate.assign(self.recipe.learning_rate_at(self.step, self.progress))
        loss = float(self.model.train_on_batch(shown, targets))
        if not math.isfinite(loss):
            raise InputError(
                f"step {self.step}: the loss is not finite; go on from the checkpoint with a smaller rate"
            )
        kept = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for average, weight in zip(self.average, self.model.get_weights(), strict=True):
            average *= kept
            average += (1 - kept) * weight
        self.step += 1
        self.spent += self.recipe.cost(size)
        self.seconds += time.monotonic() - began
        return size, loss

    def start_from(self, file: Path) -> None:
        """Begin with weights that an earlier pre-training wrote, a new optimiser and a new schedule.

        Raises:
            InputError: no such weights, or they carry no projection.
        """
        from identity.backbone import PROJECTION, fill_backbone, load_weights

        weights = load_weights(file)
        if f"{PROJECTION}/kernel" not in weights.arrays:
            raise InputError(
                f"{file}: no face embedding in these weights; --start takes a file of this program"
            )
        fill_backbone(self.model, weights.arrays, str(file))
        self.model.get_layer(PROJECTION).set_weights(
            [weights.arrays[f"{PROJECTION}/kernel"], weights.arrays[f"{PROJECTION}/bias"]]
        )
        self.average = [w.astype("f4") for w in self.model.get_weights()]
        if self.frozen:  # their batch norm keeps the statistics it has now: make them this size's
            for layer in self.frozen:
                layer.trainable = True
            self.model.set_weights(self.average_at(self.recipe.sizes[-1], batches=20))
            for layer in self.frozen:
                layer.trainable = False
            self.average = [w.astype("f4") for w in self.model.get_weights()]
        self.started_from = weights.digest

    def held_out_agreement(self, size: int, faces: int = 300) -> float:
        """Mean cosine of the averaged student to the teacher on held-out faces at `size`, plain chips.

        While sizes are mixed, batch norm's moving statistics fit none of them, so they are estimated here anew at this
        size from training faces; the final weights get the same treatment.
        """
        from identity.distillation import agreement

        rows = self.faces.held_out[:faces]
        kept = self.model.get_weights()
        self.model.set_weights(self.average_at(size, batches=6))
        found = self.embedded(rows, size)
        self.model.set_weights(kept)
        return agreement(found, self.faces.targets[rows])

    def embedded(self, rows: np.ndarray, size: int) -> np.ndarray:
        """(len(rows), 128) the student's embeddings of plain chips."""
        parts = [rows[k : k + 50] for k in range(0, len(rows), 50)]
        return np.concatenate(
            [
                self.model.predict_on_batch(plain(self.faces.chips[part], size, self.recipe.zoom))
                for part in parts
            ]
        )

    def average_at(self, size: int, batches: int) -> list[np.ndarray]:
        """The averaged weights with batch norm's statistics estimated anew at `size`; the model is left as it was."""
        import keras

        kept = self.model.get_weights()
        self.model.set_weights(self.average)
        norms = [
            layer
            for layer in self.model.get_layer("efficientnet-b0").layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        momenta = [layer.momentum for layer in norms]
        sums: list[np.ndarray] | None = None
        rng = np.random.default_rng(self.recipe.seed)
        try:
            for layer in norms:
                layer.momentum = 0.0
            for _ in range(batches):
                shown, _targets = self.faces.batch(self.recipe, size, rng)
                self.model(shown, training=True)
                found = [
                    keras.ops.convert_to_numpy(value)
                    for layer in norms
                    for value in (layer.moving_mean, layer.moving_variance)
                ]
                sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
            assert sums is not None
            means = [s / batches for s in sums]
            for k, layer in enumerate(norms):
                layer.moving_mean.assign(means[2 * k])
                layer.moving_variance.assign(means[2 * k + 1])
            return self.model.get_weights()
        finally:
            for layer, momentum in zip(norms, momenta, strict=True):
                layer.momentum = momentum
            self.model.set_weights(kept)

    def save(self) -> None:
        """Checkpoint, whole or not at all."""
        arrays: dict[str, Any] = {"step": self.step, "spent": self.spent, "seconds": self.seconds}
        arrays["started_from"] = self.started_from or ""
        for prefix, values in (
            ("w", self.model.get_weights()),
            ("a", self.average),
            ("o", [np.asarray(v) for v in self.optimizer.variables]),
        ):
            arrays |= {f"{prefix}{k}": v for k, v in enumerate(values)}
        temporary = self.work / "checkpoint.tmp.npz"
        np.savez(temporary, **arrays)
        temporary.replace(self.work / "checkpoint.npz")

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: there is none in `--work`.
        """
        file = self.work / "checkpoint.npz"
        if not file.is_file():
            raise InputError(f"{file}: no checkpoint to resume from; start without --resume")
        with np.load(file, allow_pickle=False) as saved:
            self.model.set_weights([saved[f"w{k}"] for k in range(len(self.average))])
            self.average = [saved[f"a{k}"] for k in range(len(self.average))]
            for k, variable in enumerate(self.optimizer.variables):
                variable.assign(saved[f"o{k}"])
            self.started_from = str(saved["started_from"]) or None
            self.step, self.spent, self.seconds = (
                int(saved["step"]),
                float(saved["spent"]),
                float(saved["seconds"]),
            )

    def run(self, checkpoint_seconds: float, log: Path, checkpoints_per_row: int = 4) -> None:
        """Train to the end of the budget, with a checkpoint every `checkpoint_seconds`.

        Every fourth adds a row to `log`: measuring the agreement takes about as long as ten batches at 150 px.
        """
        bar = tqdm(total=self.recipe.budget, initial=round(self.spent), unit="img", desc="pre-training")
        since, losses, checkpoints = time.monotonic(), [], 0
        while self.spent < self.recipe.budget:
            before = self.spent
            size, loss = self.train_step()
            losses.append(loss)
            bar.update(round(self.spent) - round(before))
            bar.set_postfix(step=self.step, size=size, loss=f"{np.mean(losses[-50:]):.3f}")
            if time.monotonic() - since > checkpoint_seconds:
                self.save()
                checkpoints += 1
                if checkpoints % checkpoints_per_row == 0:
                    sizes = sorted({self.recipe.sizes[0], self.recipe.sizes[-1]})
                    found = {s: self.held_out_agreement(s) for s in sizes}
                    append_row(log, self, float(np.mean(losses)), found)
                    told = ", ".join(f"{s} px {a:.3f}" for s, a in found.items())
                    tqdm.write(f"step {self.step}, agreement {told}")
                    losses = []
                since = time.monotonic()
        self.save()
        bar.close()


def frozen_layers(model: "keras.Model", first_trained: str) -> "list[keras.layers.Layer]":
    """The layers of the B0 before `first_trained`, which training leaves as they are.

    Raises:
        InputError: the B0 has no layer of that name.
    """
    if not first_trained:
        return []
    layers = model.get_layer("efficientnet-b0").layers
    names = [layer.name for layer in layers]
    if first_trained not in names:
        raise InputError(f"--set frozen_before={first_trained}: no layer of the B0; e.g. block4a_expand_conv")
    return list(layers[: names.index(first_trained)])


def append_row(log: Path, training: Pretraining, loss: float, agreement: dict[int, float]) -> None:
    """One line of the learning curve."""
    new = not log.exists()
    with log.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(
                ["seconds", "step", "progress", "loss", *(f"agreement_{s}" for s in sorted(agreement))]
            )
        row = [round(training.seconds), training.step, round(training.progress, 4), round(loss, 4)]
        writer.writerow(row + [round(agreement[s], 4) for s in sorted(agreement)])


def plain(chips: np.ndarray, size: int, zoom: float) -> np.ndarray:
    """(N, h, h, 3) uint8 chips as they are looked at in use: their middle, (N, size, size, 3) float32 0-255."""
    from identity.features import middle, resized

    return resized(middle(chips, zoom), size).astype(np.float32)


def held_out_rows(paths: Sequence[str]) -> np.ndarray:
    """Rows of the faces that are never trained on, in an order drawn by lot.

    A face's lot is a hash of its path: where more faces are found, or fewer, those held out stay the same, and a run
    that goes on from an earlier one's weights does not measure on faces that one has seen.
    """
    lots = np.array([int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") for path in paths])
    order = np.argsort(lots)
    return order[lots[order] < HELD_OUT * 2.0**64]


def load_faces(work: Path) -> Faces:
    """The cache that `identity.pretraining_faces` made, its renders if there are any.

    Raises:
        InputError: too few faces to hold any out.
    """
    from identity.distillation import centred

    with np.load(work / "faces.npz", allow_pickle=False) as saved:
        paths, (targets, _mean) = saved["paths"], centred(saved["teacher"])
    chips = np.load(work / "chips.npy", mmap_mode="r", allow_pickle=False)
    held_out = held_out_rows(paths.tolist())
    if not 0 < len(held_out) < len(chips):
        raise InputError(f"{work}: {len(chips)} faces are too few to hold some out; some hundreds will do")
    renders, render_of = np.zeros((0, CHIP, CHIP, 3), np.uint8), np.zeros(0, np.int64)
    if (work / "renders.npy").is_file():
        renders = np.load(work / "renders.npy", mmap_mode="r", allow_pickle=False)
        render_of = np.load(work / "render_of.npy", allow_pickle=False)
    return Faces(chips, targets, held_out, renders, render_of, paths)


def finish(training: Pretraining, out: Path, sources: str) -> str:
    """Write the averaged weights, batch norm fitted to the final size, and say what they reached; the digest."""
    from identity.backbone import PROJECTION, backbone_arrays, save_weights, space_arrays
    from identity.distillation import agreement
    from identity.teacher_agreement import agreement_by_group

    size = training.recipe.sizes[-1]
    training.model.set_weights(training.average_at(size, batches=40))
    arrays = backbone_arrays(training.model)
    projection = training.model.get_layer(PROJECTION)
    arrays[f"{PROJECTION}/kernel"], arrays[f"{PROJECTION}/bias"] = projection.get_weights()
    arrays |= space_arrays(b0_space(training, size))
    rows = training.faces.held_out
    found, targets = training.embedded(rows, size), training.faces.targets[rows]
    card = {
        "name": out.stem,
        "architecture": "EfficientNet-B0, 1280-d mean pooled; linear to 128 while it learns",
        "teacher": "dlib_face_recognition_resnet_model_v1, photo and mirror image averaged, centred",
        "size": size,
        "zoom": training.recipe.zoom,
        "sources": sources,
        "faces": len(training.faces.training),
        "renders": len(training.faces.renders),
        "recipe": asdict(training.recipe),
        "started_from": training.started_from,
        "steps": training.step,
        "seconds": round(training.seconds),
        "held_out_agreement": round(agreement(found, targets), 4),
        "agreement_by_group": agreement_by_group(found, targets, training.faces.paths[rows].tolist()),
        "terms": "for non-commercial research: trained on photos that may be used for that only",
    }
    digest = save_weights(out, arrays, card)
    write_whole(out.with_suffix(".json"), (json_text(card | {"sha256": digest}) + "\n").encode())
    return digest


def b0_space(training: Pretraining, size: int) -> FaceSpace:
    """The space that the pooled maps are compared in, from training faces shown plain; the weights are those in use."""
    import keras

    rng = np.random.default_rng([training.recipe.seed, 1])
    rows = rng.permutation(training.faces.training)[:SPACE_FACES]
    pool = keras.Model(training.model.input, training.model.get_layer("pool").output)
    parts = [rows[start : start + 50] for start in range(0, len(rows), 50)]
    found = [
        pool.predict_on_batch(plain(training.faces.chips[part], size, training.recipe.zoom))
        for part in tqdm(parts, "space", unit="batch")
    ]
    # ten faces for each direction, so that its variance is not only theirs
    keep = min(SPACE_DIRECTIONS, max(1, len(rows) // 10))
    return face_space(np.concatenate(found), centre=1.0, evenness=SPACE_EVENNESS, keep=keep)


def json_text(card: dict[str, Any]) -> str:
    """Readable JSON."""
    import json

    return json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m identity.pretrain", description=(__doc__ or "").split("\n")[0]
    )
    p.add_argument("--photos", type=Path, required=True, help="zip or folder of faces; no names needed")
    p.add_argument(
        "--out", type=Path, required=True, help="weights file to write (.npz); its card goes beside it"
    )
    p.add_argument("--teacher", type=Path, help="npz with `paths` and `embeddings`; computed when not given")
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
    p.add_argument("--batch", type=int, default=Recipe.batch)
    p.add_argument("--renders", type=int, default=0, help="renders to make of the faces, spread over them")
    p.add_argument("--threads", type=int, default=0, help="0: all cores")
    p.add_argument("--checkpoint-minutes", type=float, default=5)
    p.add_argument("--seed", type=int, default=0)
    return p


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe the command line asks for.

    Raises:
        InputError: `--set` names no field of the recipe, or gives it a value of the wrong type.
    """
    values: dict[str, Any] = {"budget": options.budget, "seed": options.seed}
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    options = parser().parse_args(arguments)
    work = options.work or options.out.with_suffix(".work")
    try:
        recipe = recipe_of(options)
        from identity.pretraining_faces import cache_faces, cache_renders

        cache_faces(options.photos, options.teacher, work)
        if options.renders:
            cache_renders(options.photos, work, options.renders, options.seed)
        prepare_keras(options.threads)
        cv2.setNumThreads(1)
        training = Pretraining(load_faces(work), recipe, work)
        if options.resume:
            training.resume()
        elif (work / "checkpoint.npz").exists():
            raise InputError(
                f"{work}/checkpoint.npz: an earlier run's; go on with --resume, or remove it to start anew"
            )
        elif options.start:
            training.start_from(options.start)
        training.run(options.checkpoint_minutes * 60, work / "log.csv")
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
