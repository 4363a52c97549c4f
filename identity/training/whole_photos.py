"""Whole photos by class: the training set of a run that names scenes or things (`--align whole`).

DIR/<class>/* are photos, in which no face is detected. In place of a face chip, the largest square in the middle of the
photo is used. In place of renders there are crops of it, mirrored and recoloured at random, until every class has the
same number of images.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from augmentor.errors import InputError, PhotoError
from augmentor.faces.face_source import DEFAULT
from augmentor.photos.images import load_image, perceptual_hash, sha256_of
from identity.chips.photo_lists import photos_by_person
from identity.chips.whole_photo import random_crop, whole_chip
from identity.training.training_set import TrainingSet

IMAGES_PER_PHOTO = 4  # in the class with most photos; smaller classes have more images of each photo


@dataclass(frozen=True)
class WholePhotos(TrainingSet):
    """A training set whose images are made when they are read.

    Attributes:
        crops: (N,) number of the crop of its photo; 0 is the square in the middle.
        seed: of the crops.
    """

    crops: np.ndarray
    seed: int

    def _chip(self, row: int) -> np.ndarray:
        path = self.root / self.files[row]
        try:
            image = load_image(path)
        except PhotoError as error:
            raise InputError(f"{error}; it was readable when this run began") from error
        if self.crops[row] == 0:
            return whole_chip(image, self.size)
        rng = np.random.default_rng([self.seed, 7, int(self.photos[row]), int(self.crops[row])])
        return random_crop(image, self.size, rng)


def read_whole_photos(root: Path, size: int, seed: int) -> WholePhotos:
    """Read the photos in the folders of `root`, and decide how many crops each photo gives.

    Photos that cannot be read are named on stderr and left out.

    Args:
        root: folder with a folder of photos for each class.
        size: height and width of the images, pixels.
        seed: of the crops.

    Raises:
        InputError: there is no such folder, there are fewer than two classes, or a class has no usable photo.
    """
    listed = photos_by_person(root)
    if len(listed) < 2:
        raise InputError(
            f"{root}: {len(listed)} folders of photos in it; --align whole takes one folder for each class, two or more"
        )
    rows: list[dict] = []
    bar = tqdm(total=sum(map(len, listed.values())), desc="reading photos", unit="photo")
    for name, paths in listed.items():
        for path in paths:
            bar.update()
            try:
                found = {"sha256": sha256_of(path), "phash": perceptual_hash(load_image(path))}
            except PhotoError as error:
                tqdm.write(f"{error}; left out", file=sys.stderr)
                continue
            rows.append({"photo": str(path), "identity": name, **found})
    bar.close()
    names = sorted(listed)
    photos = {name: [k for k, row in enumerate(rows) if row["identity"] == name] for name in names}
    if empty := [name for name in names if not photos[name]]:
        raise InputError(f"{root / empty[0]}: no usable photo in it")
    per_class = IMAGES_PER_PHOTO * max(map(len, photos.values()))
    chosen = [
        (own[turn % len(own)], turn // len(own), label)
        for label, own in enumerate(photos.values())
        for turn in range(per_class)
    ]
    contents = {sha256: k for k, sha256 in enumerate(sorted({row["sha256"] for row in rows}))}
    number, crops, labels = (np.array(values) for values in zip(*chosen, strict=True))
    about = [size, seed, per_class, [[row["identity"], row["sha256"]] for row in rows]]
    return WholePhotos(
        root=root,
        files=tuple(str(Path(rows[k]["photo"]).relative_to(root)) for k in number),
        names=tuple(names),
        labels=labels.astype(np.int32),
        is_photo=crops == 0,
        photos=np.array([contents[rows[k]["sha256"]] for k in number], np.int32),
        yaws=np.full(len(number), np.nan, np.float32),
        sources=pa.Table.from_pylist(
            rows,
            pa.schema(
                [
                    ("photo", pa.string()),
                    ("sha256", pa.string()),
                    ("phash", pa.uint64()),
                    ("identity", pa.string()),
                ]
            ),
        ),
        size=size,
        detector=DEFAULT,  # nothing is detected
        digest=hashlib.sha256(json.dumps(about).encode()).hexdigest(),
        crops=crops,
        seed=seed,
    )
