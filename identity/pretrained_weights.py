"""What comes out of a pre-training: the weights, the space they are compared in, and the card."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from augmentor.images import write_whole
from identity.backbone import PROJECTION, backbone_arrays, save_weights, space_arrays
from identity.distillation import agreement
from identity.face_space import FaceSpace, face_space
from identity.pretraining import Pretraining
from identity.student_view import plain
from identity.teacher_agreement import agreement_by_group

# Of the space that pooled maps are compared in; what they were chosen by: docs/decisions/0019-b0-space.md.
SPACE_FACES, SPACE_DIRECTIONS, SPACE_EVENNESS = 12_000, 768, 0.75


def finish(training: Pretraining, out: Path, sources: str) -> str:
    """Write the averaged weights, batch norm fitted to the final size, and say what they reached; the digest."""
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
    return json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False)
