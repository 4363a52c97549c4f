"""A tiny balanced set of drawn faces with its manifest, and random backbone weights, for the tests of training."""

from pathlib import Path

import cv2
import keras
import numpy as np

from augmentor.balanced_set.manifest import ManifestRow, write_manifest
from augmentor.photos.images import encode_jpeg
from identity.networks.backbone import (
    backbone_arrays,
    bare_backbone,
    save_weights,
    space_arrays,
    with_projection,
)
from identity.networks.face_space import face_space


def drawn_face(person: int, photo: int, turn: int = 0, size: int = 64) -> np.ndarray:
    """Draw a face as an image (size, size, 3) uint8.

    Args:
        person: seed of the colours and proportions.
        photo: seed, together with the person, of light and noise.
        turn: shift to the right, pixels.
        size: side of the image, pixels.
    """
    rng = np.random.default_rng(person)
    back, skin, eyes = (rng.integers(30, 220, 3).tolist() for _ in range(3))
    width, gap = rng.uniform(0.22, 0.36), rng.uniform(0.08, 0.16)
    image = np.full((size, size, 3), back, np.uint8)
    middle = (size // 2 + turn, size // 2)
    cv2.ellipse(image, middle, (int(width * size), int(0.4 * size)), 0, 0, 360, skin, -1)
    for side in (-1, 1):
        cv2.circle(image, (int(middle[0] + side * gap * size), int(0.42 * size)), size // 16, eyes, -1)
    varied = np.random.default_rng([person, photo, turn + 100])
    noisy = image * varied.uniform(0.8, 1.1) + varied.normal(0, 6, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def write_drawn_set(root: Path, photos_per_person: list[int], per_class: int = 8, size: int = 64) -> Path:
    """Write images and manifest like `jobs/augment.py`; return `root`."""
    rows = []
    for person, photos in enumerate(photos_per_person):
        for number in range(per_class):
            photo, turn = number % photos, number // photos
            name = f"person ü{person}"
            file = f"{name}/{number:03d}.jpg"
            data = encode_jpeg(drawn_face(person, photo, turn, size))
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            rows.append(
                ManifestRow(
                    file=file,
                    identity=name,
                    kind="render" if turn else "photo",
                    source=f"{name}/{photo}.jpg",
                    source_sha256=f"{person:032x}{photo:032x}",
                    source_phash=(person << 32) + photo * 0x0F0F0F,
                    face=0,
                    shape=0 if turn else None,
                    expression="neutral" if turn else None,
                    yaw=float(turn),
                    pitch=0.0,
                    roll=0.0,
                    light=0,
                    effects="",
                    landmarks=np.zeros((68, 2), np.float32),
                    visible=np.ones(68, bool),
                    size=size,
                    seed=0,
                    bytes=len(data),
                )
            )
    write_manifest(root / "manifest.parquet", rows)
    return root


def write_random_weights(path: Path) -> Path:
    """Write random B0 weights with projection and space, like those of `identity.pretrain`; return `path`."""
    keras.utils.set_random_seed(0)
    model = with_projection(bare_backbone(64))
    projection = model.get_layer("projection")
    arrays = backbone_arrays(model) | {
        f"projection/{weight.name}": keras.ops.convert_to_numpy(weight) for weight in projection.weights
    }
    some = np.random.default_rng(0).normal(size=(200, 1280)) * np.linspace(1, 3, 1280) + 2
    arrays |= space_arrays(face_space(some, centre=1.0, evenness=0.5, keep=128))
    save_weights(path, arrays, {"name": "random weights of a test", "zoom": 1.07})
    return path
