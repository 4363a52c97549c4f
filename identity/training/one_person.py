"""A run that names a single person, made from a handful of photos.

`python -m identity.train --person NAME --data DIR --strangers DIR --out RUN`

DIR/NAME has the photos. Nothing is rendered and nothing is trained: the template is made of the frozen embeddings of
the photos, their mirror images and jittered copies. Strangers set the thresholds. They are required, since nothing else
says how similar other people may be. The result is a run like any other, for `identify`, `verify` and `evaluate`.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from augmentor.errors import InputError
from augmentor.photos.names import checked_name, normalised
from identity.chips.many_photos import find_chips
from identity.chips.photo_faces import PhotoFaces
from identity.chips.photo_lists import photos_in
from identity.decisions.same_person import fit_same_person, mated_cosines
from identity.decisions.templates import Choice, TrainingEmbeddings, calibration_of, settle
from identity.networks.embedding import join
from identity.runs.bare_features import BareFeatures
from identity.runs.bundle import RUN_FILES, Bundle, keep_backbone
from identity.runs.enrolled_people import EnrolledPeople
from identity.runs.leak_guard import TrainingPhotos, find_leaks
from identity.runs.model_card import model_card
from identity.runs.outputs import refuse_foreign
from identity.runs.training_record import TrainingRecord

# With one person, every false name is an error about this person, so the rates are kept with a probability.
CONFIDENCE = 0.8


def train_person(
    name: str, data: Path, strangers: Path | None, out: Path, features: str = "both", seed: int = 0
) -> Bundle:
    """Make a run of one person and write it to `out`.

    Args:
        name: a folder in `data`.
        data: folder of photos by person; the other people in it are left out.
        strangers: photos of other people, any depth.
        out: folder of the run.
        features: `both`, `b0` or `dlib`.
        seed: of the jittered copies.

    Raises:
        InputError: there is no such person, no usable photo, or there are no strangers; one clear line.
    """
    started = time.monotonic()
    if strangers is None:
        raise InputError("--person needs --strangers: photos of other people, for the thresholds")
    refuse_foreign(out, RUN_FILES, "bundle.json")
    name = checked_name(name)
    same = [folder for folder in data.iterdir() if normalised(folder.name) == name] if data.is_dir() else []
    folder = same[0] if same else data / name
    paths = photos_in(folder) if folder.is_dir() else []
    if not paths:
        raise InputError(
            f"{folder}: no photos of {name}; --data takes a folder with a folder for each person"
        )
    stranger_paths = photos_in(strangers)
    if not stranger_paths:
        raise InputError(f"{strangers}: no photo of a stranger in this folder")
    photos = [p for p in find_chips(paths, progress=name) if p.chip is not None]
    if not photos:
        raise InputError(f"{folder}: no photo with a face among {len(paths)}")
    others = _without_copies(find_chips(stranger_paths, progress="strangers", cache=out), photos)
    if not others:
        raise InputError(f"{strangers}: no usable photo of a stranger")
    bare = BareFeatures(features)
    embedder, shares, weights = bare.embedder, bare.shares, bare.weights
    chips = [np.stack([p.chip for p in probes if p.chip is not None]) for probes in (photos, others)]
    probes, templates = embedder.probes_and_gallery(chips[0], seed)
    contents = {sha256: k for k, sha256 in enumerate(sorted({p.sha256 for p in photos}))}
    embedded = embeddings_of_one(probes, templates, np.array([contents[p.sha256] for p in photos]))
    calibration = calibration_of(embedded, np.zeros(len(photos), bool), embedder.probes(chips[1]))
    choice = Choice(shares, 0.0)
    decision = settle(embedded, calibration, choice).with_confidence(CONFIDENCE)
    joined = join(calibration.strangers, shares)
    record = TrainingRecord(
        images=len(photos),
        photos=len(photos),
        people=1,
        chosen_by="as shipped",
        strangers_from=f"{len(joined)} photos of {strangers}",
        seed=seed,
        seconds=round(time.monotonic() - started),
    )
    bundle = Bundle(
        people=EnrolledPeople((name,), embedded.templates(0.0), decision, _sources(name, photos)),
        features=features,
        shares=shares,
        size=chips[0].shape[1],
        stranger_mean=joined.mean(axis=0),
        same_person=fit_same_person(
            mated_cosines(join(probes, shares), embedded.photo_labels), joined, np.full(len(joined), -1), seed
        ),
        backbone=keep_backbone("face", weights.digest, out) if weights else None,
        training=record,
        about={
            "config": {"person": name, "data": None, "strangers": str(strangers)},
            "home": str(out.resolve()),
        },
        folder=out,
    )
    bundle.model_card = model_card(bundle)
    bundle.save(out)
    return bundle


def embeddings_of_one(
    probes: Mapping[str, np.ndarray], photos: Mapping[str, np.ndarray], ids: np.ndarray
) -> TrainingEmbeddings:
    """Return the embeddings of a training set with one person.

    Args:
        probes: source name -> (P, D) unit rows of photos, each averaged with its mirror image.
        photos: source name -> (P, D) unit rows, with jittered copies averaged in as well.
        ids: (P,) numbers, equal for photos of equal content.
    """
    none = np.zeros(0, np.int64)
    return TrainingEmbeddings(
        classes=1,
        photo_labels=np.zeros(len(ids), np.int64),
        photo_ids=ids,
        probes=probes,
        photos=photos,
        render_labels=none,
        render_photos=none,
        renders={part: np.zeros((0, rows.shape[1]), np.float32) for part, rows in probes.items()},
    )


def _without_copies(strangers: list[PhotoFaces], photos: list[PhotoFaces]) -> list[PhotoFaces]:
    """Return the strangers with a face, without copies of the person's own photos."""
    own = TrainingPhotos.of_sources(_sources("", photos))
    copies = {
        leak.photo for leak in find_leaks([s.sha256 for s in strangers], [s.phash for s in strangers], own)
    }
    return [s for k, s in enumerate(strangers) if s.chip is not None and k not in copies]


def _sources(name: str, photos: list[PhotoFaces]) -> pa.Table:
    """Return the table of sources of a run, with every photo file once."""
    files = {p.sha256: p for p in photos}.values()
    return pa.table(
        {
            "photo": [str(p.path) for p in files],
            "sha256": [p.sha256 for p in files],
            "phash": pa.array([p.phash or 0 for p in files], pa.uint64()),
            "identity": [name] * len(files),
        }
    )
