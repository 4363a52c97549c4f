"""Embeddings of a training set and of the calibration strangers, by every feature source of a run.

Sources that do not start from the run's own backbone give the same embeddings in every run on the same set. Theirs are
kept on disk, in one file for each source.
"""

import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from augmentor.faces.face_source import face_source
from augmentor.photos.images import write_whole
from identity.chips.many_photos import OneFace, find_chips
from identity.decisions.pose_templates import side_of
from identity.decisions.templates import TrainingEmbeddings
from identity.networks.embedding import PartEmbedder
from identity.networks.feature_source import FeatureSource, RunDigests
from identity.networks.features import Maps
from identity.networks.sources import sources_in_order
from identity.runs.leak_guard import TrainingPhotos, find_leaks
from identity.training.head_training import TrainedHead
from identity.training.training_set import TrainingSet, spread_renders

_CHUNK = 256
_DRAWN = "by side"  # how renders are drawn; part of the key of what is kept
_Parts = dict[str, np.ndarray]


def embed_set(
    data: TrainingSet,
    embedder: PartEmbedder,
    trained: TrainedHead | None,
    *,
    embed_renders: int,
    seed: int,
    work: Path,
) -> TrainingEmbeddings:
    """Embed all photos of a set with their variants, and some renders of each person.

    Args:
        data: the set.
        embedder: the networks of the run.
        trained: the head and the backbone's maps; None where no source uses the backbone.
        embed_renders: renders to embed of each person.
        seed: of the choice of renders and of the jittered copies.
        work: folder in which embeddings are kept.

    Raises:
        InputError: an image of the set or a kept file is damaged, or `work` cannot be written.
    """
    photo_rows = np.flatnonzero(data.is_photo)
    render_rows = spread_renders(data, embed_renders, seed)
    probes: _Parts = {}
    photos: _Parts = {}
    renders: _Parts = {}
    sources = sources_in_order(embedder.parts)
    for source in sources:
        if not source.uses_backbone:
            key = f"{data.digest} {seed} {embed_renders} {_DRAWN} {source.digest(RunDigests())}"
            kept = _kept_embeddings(source, data, embedder, photo_rows, render_rows, seed, work, key)
            probes[source.name], photos[source.name], renders[source.name] = kept
    of_backbone = [source.name for source in sources if source.uses_backbone]
    if trained and of_backbone:
        own = embedder.only(of_backbone)
        own_probes, own_photos = _embed_photos(data, photo_rows, own, seed, "B0 of photos")
        probes |= own_probes
        photos |= own_photos
        renders |= _renders_from_maps(trained.maps, render_rows, own)
    return TrainingEmbeddings(
        classes=len(data.names),
        photo_labels=data.labels[photo_rows],
        photo_ids=data.photos[photo_rows],
        probes=probes,
        photos=photos,
        render_labels=data.labels[render_rows],
        render_photos=data.photos[render_rows],
        renders=renders,
        fixed=_fixed_templates(sources, len(data.names)) if trained and trained.config.kind == "seed" else {},
        render_sides=side_of(data.yaws[render_rows]),
    )


def embed_strangers(
    photos: Sequence[Path], data: TrainingSet, embedder: PartEmbedder, *, folder: Path, align: str, work: Path
) -> _Parts:
    """Embed the calibration strangers, without photos that are in the training set.

    Args:
        photos: photo files of strangers.
        data: the training set.
        embedder: the networks of the run.
        folder: the folder that the user named, for the message.
        align: `face`, or `whole`.
        work: folder in which detected faces are kept.

    Returns:
        Source name -> (S, D) unit rows. A line on stderr says how many photos were used.

    Raises:
        InputError: no photo is usable.
    """
    looking: OneFace = "whole" if align == "whole" else "central"
    found = find_chips(
        photos,
        data.size,
        looking,
        cache=work,
        progress="strangers",
        source=face_source(data.detector, second_opinion=True),
    )
    training = TrainingPhotos.of_sources(data.sources)
    leaks = {leak.photo for leak in find_leaks([f.sha256 for f in found], [f.phash for f in found], training)}
    chips = [f.chip for i, f in enumerate(found) if f.chip is not None and i not in leaks]
    faceless = sum(f.chip is None for f in found)
    print(
        f"strangers: {len(chips)} used, {faceless} without a usable face, {len(leaks)} are training photos",
        file=sys.stderr,
        flush=True,
    )
    if not chips:
        raise InputError(f"{folder}: no usable photo of a stranger")
    return embedder.probes(np.stack(chips))


def _fixed_templates(sources: Sequence[FeatureSource], people: int) -> _Parts:
    """Return the templates of the published head, whose embedding has a dimension for each person."""
    return {
        source.name: np.eye(people, dtype=np.float32) for source in sources if source.trained_on_the_photos
    }


def _kept_embeddings(
    source: FeatureSource,
    data: TrainingSet,
    embedder: PartEmbedder,
    photo_rows: np.ndarray,
    render_rows: np.ndarray,
    seed: int,
    work: Path,
    key: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one source's rows of photos as probes, of photos for templates and of renders, from disk if kept there."""
    file = work / f"{source.name}.npz"
    expected = np.frombuffer(hashlib.sha256(key.encode()).digest(), np.uint8)
    if file.is_file():
        try:
            with np.load(file, allow_pickle=False) as stored:
                if np.array_equal(stored["key"], expected):
                    return stored["probes"], stored["photos"], stored["renders"]
        except Exception as error:  # zipfile and zlib errors share no base
            raise InputError(f"{file}: damaged ({error}); delete it and run again") from error
    own = embedder.only([source.name])
    probes, photos = _embed_photos(data, photo_rows, own, seed, f"{source.name} of photos")
    renders = [np.zeros((0, probes[source.name].shape[1]), np.float32)]
    with tqdm(total=len(render_rows), desc=f"{source.name} of renders", unit="image") as bar:
        for start in range(0, len(render_rows), _CHUNK):
            chips = data.chips(render_rows[start : start + _CHUNK])
            renders.append(own.compared(own.once(chips))[source.name])
            bar.update(len(chips))
    rows = (probes[source.name], photos[source.name], np.concatenate(renders))
    buffer = io.BytesIO()
    np.savez(buffer, key=expected, probes=rows[0], photos=rows[1], renders=rows[2])
    write_whole(file, buffer.getvalue())
    return rows


def _embed_photos(
    data: TrainingSet, rows: np.ndarray, embedder: PartEmbedder, seed: int, label: str
) -> tuple[_Parts, _Parts]:
    """Return the embeddings of the images of `rows` as probes and for templates."""
    chunks = []
    with tqdm(total=len(rows), desc=label, unit="photo") as bar:
        for start in range(0, len(rows), _CHUNK):
            chips = data.chips(rows[start : start + _CHUNK])
            chunks.append(embedder.probes_and_gallery(chips, seed + start))
            bar.update(len(chips))
    return (
        {name: np.concatenate([probes[name] for probes, _ in chunks]) for name in embedder.parts},
        {name: np.concatenate([photos[name] for _, photos in chunks]) for name in embedder.parts},
    )


def _renders_from_maps(maps: Maps, rows: np.ndarray, embedder: PartEmbedder) -> _Parts:
    """Return the embeddings of `rows` (sorted) from maps that are there already."""
    empty = embedder.compared(embedder.of_trunk(np.zeros((1, *maps.shape), np.float16)))
    out = {name: np.zeros((len(rows), one.shape[1]), np.float32) for name, one in empty.items()}
    if not len(rows):
        return out
    for part, part_maps in maps.read(rows):
        for name, values in embedder.compared(embedder.of_trunk(part_maps)).items():
            out[name][np.searchsorted(rows, part)] = values
    return out
