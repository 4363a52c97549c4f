"""From a balanced set to a bundle: features, head, templates, calibration.

One story, told by `train`. Whatever takes long leaves something on disk to go on from: the maps (`features/`), the
head (`features/head.checkpoint.npz`), dlib's embeddings (`features/dlib.npz`), the strangers' faces, and the images
of a set in shards or in a bucket (`features/images.bin`).
"""

import hashlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE
from augmentor.photos.images import make_folder, write_whole
from identity.chips.many_photos import OneFace, find_chips
from identity.chips.photo_lists import photos_in
from identity.chips.shared_photos import shared_line, shared_photos
from identity.decisions.same_person import fit_same_person, mated_cosines
from identity.decisions.templates import Choice, Gallery, calibration_of, choose, is_frozen, settle
from identity.networks.backbone import Weights, load_weights
from identity.networks.dlib_embedding import DlibEmbedding
from identity.networks.embedding import PartEmbedder, join, parts_of
from identity.networks.face_space import load_face_space
from identity.networks.features import CachedMaps, CacheKey, ComputedMaps, FrozenBackbone, Maps
from identity.networks.heads import HeadConfig, embedding_model
from identity.runs.bundle import RUN_FILES, BackboneName, Bundle, keep_backbone
from identity.runs.leak_guard import TrainingPhotos, find_leaks
from identity.runs.model_card import model_card
from identity.runs.outputs import refuse_foreign
from identity.training.fine_tuning import BLOCKS, fine_tune
from identity.training.fine_tuning import FILE as FINE_TUNED_FILE
from identity.training.head_training import FitConfig, train_head
from identity.training.learning_curves import CURVES, History, write_curves
from identity.training.training_set import (
    PackedSet,
    TrainingSet,
    held_out_rows,
    located,
    read_training_set,
    rows_of_photos,
    spread_renders,
)
from identity.training.whole_photos import read_whole_photos

# Where --epochs is not given: enough steps for a small set, few epochs for a large one.
_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 1200, 8, 40
FINE_TUNING = FitConfig(batch=32, learning_rate=3e-4, margin_epochs=0)
FEWEST_IN_TURN = 20  # with fewer, whoever plays the stranger is missed (benchmarks.whole_classes)
_CHUNK = 256
# The B0 halves an image five times, rounding up; the published head's 3x3 filters need three positions.
_SEED_HEAD_SIZE = 65
_KEY_IN_URI = re.compile(r"^(\w+://)[^/?@]*:[^/?@]*@")


@dataclass(frozen=True)
class TrainConfig:
    """A training run; the fields are the options of `identity.train`.

    Attributes:
        data: a folder, or the URI of a balanced set; a file:// URI becomes its folder.

    Raises:
        InputError: a URI that cannot be used.
    """

    data: Path | str
    out: Path
    strangers: Path | None = None
    features: str = "both"
    weights: str = "face"
    head: str = "cosine"
    epochs: int | None = None
    embed_renders: int = 16
    seed: int = 0
    batch: int = 256
    size: int | None = None
    cache: Path | None = None
    no_cache: bool = False
    align: str = "face"
    fine_tune: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", located(self.data))

    @property
    def work(self) -> Path:
        """Where features, checkpoints and unpacked images are kept."""
        return self.cache or self.out / "features"


@dataclass(frozen=True)
class TrainedHead:
    """A head and what it was trained on."""

    backbone: FrozenBackbone
    maps: Maps
    config: HeadConfig
    model: Any
    history: History


def train(config: TrainConfig) -> Bundle:
    """Train and write the bundle to `config.out`.

    Raises:
        InputError: unusable input; one clear line.
    """
    started = time.monotonic()
    if config.fine_tune > BLOCKS:
        raise InputError(f"--fine-tune {config.fine_tune}: the B0 has {BLOCKS} blocks")
    data = _read(config)
    if config.size not in (None, data.size):
        raise InputError(
            f"{config.data}: images of {data.size} pixels, not {config.size}; make the set with --size"
        )
    features = "b0" if config.align == "whole" else config.features
    weights = load_weights(config.weights) if features != "dlib" else None
    if config.head == "seed" and weights and (weights.size or data.size) < _SEED_HEAD_SIZE:
        raise InputError(
            f"{config.data}: images of {data.size} pixels are too small for --head seed; make the set with "
            "--size 150, or use --head cosine"
        )
    stranger_photos = photos_in(config.strangers) if config.strangers else []
    if config.strangers and not stranger_photos:
        raise InputError(f"{config.strangers}: no photo of a stranger in this folder")
    refuse_foreign(config.out, (*RUN_FILES, *CURVES), "bundle.json")
    _make_folder(config.out)
    _make_folder(config.work)
    if isinstance(data, PackedSet):
        _say(
            f"images: {data.lengths.sum() / 1e9:.2f} GB, unpacked to {config.work}; --cache DIR puts them elsewhere"
        )
    if line := shared_line(shared_photos(data.sources)):
        _say(line)
    data = data.fetched(config.work)
    held = held_out_rows(data, config.seed)
    _say(
        f"{len(data)} images, {int(data.is_photo.sum())} photos, {len(data.names)} people; "
        f"held out: {int(held.sum())} photos, one in ten of each person with three or more, at least one"
    )
    trained = _train_head(config, data, weights, held) if weights else None
    if trained and config.fine_tune:
        trained = _fine_tune(config, data, trained, held)
    # the space of face weights says nothing of scenes
    embeds = bool(trained and trained.backbone.weights.embeds and config.align == "face")
    parts = parts_of(features, embeds)
    embedder = PartEmbedder(
        parts,
        trained.backbone if trained else None,
        embedding_model(trained.model, trained.config.kind) if trained else None,
    )
    gallery = _embed_gallery(config, data, embedder, trained)
    strangers = _embed_strangers(config, data, stranger_photos, embedder)
    photo_rows = np.flatnonzero(data.is_photo)
    calibration = calibration_of(gallery, held[photo_rows], strangers)
    choice, chosen = choose(gallery, calibration)
    decision, crowded = settle(gallery, calibration, choice)
    joined = join(calibration.strangers, choice.shares)
    same_person = fit_same_person(
        _mated_cosines(gallery, held[photo_rows], choice), joined, calibration.stranger_labels, config.seed
    )
    history = trained.history if trained else History()
    results = {
        "images": len(data),
        "photos": int(data.is_photo.sum()),
        "people": len(data.names),
        "held_out": int(held.sum()),
        "epochs": history.epochs,
        "held_out_rank1": _or_none(history.held_out_rank1[history.best]) if history.epochs else None,
        "render_weight": choice.render_weight,
        "chosen_by": "chosen on calibration people"
        if chosen
        else "defaults: too few calibration people to choose",
        "strangers_from": f"{len(joined)} photos of {config.strangers}"
        if config.strangers
        else "training people left out in turn",
        "seed": config.seed,
        "commit": _commit(),
        "seconds": round(time.monotonic() - started),
    }
    bundle = Bundle(
        labels=data.names,
        features=features,
        align=config.align,
        shares=choice.shares,
        part_templates=gallery.templates(choice.render_weight),
        crowding=crowded,
        decision=decision,
        size=data.size,
        sources=data.sources,
        stranger_mean=joined.mean(axis=0) if len(joined) else np.zeros(joined.shape[1], np.float32),
        same_person=same_person,
        backbone=_kept_backbone(config, trained),
        head=trained.config if trained else None,
        head_weights=trained.model.get_weights() if trained else [],
        about={
            "results": results,
            "config": _plain(asdict(config)) | _absolute(config),
            "home": str(config.out.resolve()),
        },
        folder=config.out,
    )
    bundle.model_card = model_card(bundle, results)
    bundle.save(config.out)
    if trained:
        write_curves(config.out, trained.history)
    else:  # of an earlier run in the same folder
        for name in CURVES:
            (config.out / name).unlink(missing_ok=True)
    return bundle


def _mated_cosines(gallery: Gallery, held: np.ndarray, choice: Choice) -> np.ndarray:
    """(M,) cosines of two photos of the same person; where a head was trained on photos, one of them held out."""
    rows = join(gallery.probes, choice.shares)
    labels = gallery.photo_labels
    if is_frozen(choice):
        return mated_cosines(rows, labels)
    found = [
        rows[other] @ rows[photo]
        for photo in np.flatnonzero(held)
        for other in np.flatnonzero((labels == labels[photo]) & ~held)
    ]
    return np.array(found, np.float64)


def summary(bundle: Bundle) -> str:
    """What a run ended with, for people."""
    results, calibration = bundle.about["results"], bundle.decision.calibration
    rank1 = results["held_out_rank1"]
    lines = [
        f"people {results['people']}, photos {results['photos']}, images {results['images']}",
        "shares "
        + ", ".join(f"{name} {share:.3f}" for name, share in bundle.shares.items())
        + f"; renders weigh {results['render_weight']} ({results['chosen_by']})",
    ]
    if bundle.head:
        told = "no person has three photos" if rank1 is None else f"{rank1:.3f} of {results['held_out']}"
        lines.append(f"head {bundle.head.kind}: {results['epochs']} epochs, held-out rank-1 {told}")
    lines += [
        f"calibration: {calibration['mated']:.0f} photos their templates lack, {results['strangers_from']}",
        f"thresholds: {bundle.thresholds['fpir_1']:.4f} (FPIR 1 %), {bundle.thresholds['fpir_10']:.4f} (10 %)",
        f"trained in {results['seconds']} s: {bundle.folder}",
    ]
    return "\n".join(lines)


def _train_head(config: TrainConfig, data: TrainingSet, weights: Weights, held: np.ndarray) -> TrainedHead:
    """Maps of all images, and the head on those whose photo is not held out."""
    backbone = FrozenBackbone(weights, data.size)
    maps = _maps(config, data, backbone)
    train_rows = np.flatnonzero(~rows_of_photos(data, held))
    head_config = HeadConfig(config.head, len(data.names), map_shape=backbone.map_shape)
    steps = -(-len(train_rows) // config.batch)
    epochs = config.epochs or int(np.clip(-(-_STEPS // steps), _MIN_EPOCHS, _MAX_EPOCHS))
    fit = FitConfig(epochs=epochs, batch=config.batch, seed=config.seed)
    depends_on = [data.digest, weights.digest, head_config.as_dict(), asdict(fit)]
    model, history = train_head(
        head_config,
        fit,
        maps,
        data.labels,
        train_rows=train_rows,
        held_rows=np.flatnonzero(held),
        mean_rows=train_rows[data.is_photo[train_rows]],
        checkpoint=config.work / "head.checkpoint.npz",
        key=hashlib.sha256(json.dumps(depends_on).encode()).hexdigest(),
    )
    return TrainedHead(backbone, maps, head_config, model, history)


def _read(config: TrainConfig) -> TrainingSet:
    """The set, or photos as they are."""
    if config.align == "face":
        return read_training_set(config.data)
    if config.features == "dlib":
        raise InputError("--features dlib compares faces; with --align whole leave it out")
    if isinstance(config.data, str):
        raise InputError("--align whole takes a folder of photos on disk, no bucket")
    return read_whole_photos(config.data, config.size or CHIP_SIZE, config.seed)


def _fine_tune(config: TrainConfig, data: TrainingSet, trained: TrainedHead, held: np.ndarray) -> TrainedHead:
    """The head with the B0 it was fine-tuned with; its maps are computed whenever they are needed."""
    rows = np.flatnonzero(~rows_of_photos(data, held))
    steps = -(-len(rows) // FINE_TUNING.batch)
    epochs = int(np.clip(-(-_STEPS // steps), 2, _MIN_EPOCHS))
    found = fine_tune(
        trained.backbone.weights,
        trained.model,
        trained.config,
        replace(FINE_TUNING, epochs=epochs, seed=config.seed),
        data,
        config.fine_tune,
        train_rows=rows,
        held_rows=np.flatnonzero(held),
        work=config.work,
        out=config.out,
    )
    backbone = FrozenBackbone(found.weights, data.size)
    return TrainedHead(
        backbone, ComputedMaps(data.chips, backbone), trained.config, found.head, found.history
    )


def _kept_backbone(config: TrainConfig, trained: TrainedHead | None) -> BackboneName | None:
    """How the run names its backbone weights."""
    if trained is None:
        return None
    own = str(config.out / FINE_TUNED_FILE) if config.fine_tune else config.weights
    return keep_backbone(own, trained.backbone.weights.digest, config.out)


def _maps(config: TrainConfig, data: TrainingSet, backbone: FrozenBackbone) -> Maps:
    """The maps, from disk or computed on the way; says first what it will cost."""
    key = CacheKey(data.digest, backbone.weights.digest, backbone.size, len(data), config.seed)
    cache = CachedMaps(config.work, key, backbone.map_shape)
    if config.no_cache:
        _say("features: computed anew in every epoch (--no-cache), some 8 ms an image on two cores")
        return ComputedMaps(data.chips, backbone)
    _say(
        f"features: {cache.bytes / 1e9:.1f} GB in {config.work} ({np.prod(cache.shape) * 2 / 1000:.0f} kB an "
        f"image; {cache.done()} of {len(data)} are there). --cache DIR puts them elsewhere, --no-cache "
        "keeps none"
    )
    cache.fill(data.chips, backbone)
    return cache


def _embed_gallery(
    config: TrainConfig, data: TrainingSet, embedder: PartEmbedder, trained: TrainedHead | None
) -> Gallery:
    """Embeddings of all photos with their variants, and of some renders of each person."""
    photo_rows = np.flatnonzero(data.is_photo)
    render_rows = spread_renders(data, config.embed_renders, config.seed)
    probes: dict[str, np.ndarray] = {}
    photos: dict[str, np.ndarray] = {}
    renders: dict[str, np.ndarray] = {}
    if "dlib" in embedder.parts:
        stored = _dlib_embeddings(config, data, photo_rows, render_rows)
        probes["dlib"], photos["dlib"], renders["dlib"] = stored
    fixed = {}
    if trained:
        own = tuple(name for name in embedder.parts if name != "dlib")
        of_b0 = PartEmbedder(own, trained.backbone, embedding_model(trained.model, trained.config.kind))
        found = _in_chunks(data, photo_rows, of_b0, config.seed, "B0 of photos")
        probes |= found[0]
        photos |= found[1]
        renders |= _renders_from_maps(trained.maps, render_rows, of_b0)
        if trained.config.kind == "seed":
            fixed["head"] = np.eye(len(data.names), dtype=np.float32)
    return Gallery(
        classes=len(data.names),
        photo_labels=data.labels[photo_rows],
        photo_ids=data.photos[photo_rows],
        probes=probes,
        photos=photos,
        render_labels=data.labels[render_rows],
        render_photos=data.photos[render_rows],
        renders=renders,
        fixed=fixed,
    )


def _dlib_embeddings(
    config: TrainConfig, data: TrainingSet, photo_rows: np.ndarray, render_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dlib's embeddings of photos as probes and for templates, and of renders; kept on disk."""
    file = config.work / "dlib.npz"
    key = np.frombuffer(
        hashlib.sha256(
            f"{data.digest} {config.seed} {config.embed_renders} {load_face_space().digest}".encode()
        ).digest(),
        np.uint8,
    )
    if file.is_file():
        try:
            with np.load(file, allow_pickle=False) as stored:
                if np.array_equal(stored["key"], key):
                    return stored["probes"], stored["photos"], stored["renders"]
        except Exception as error:  # zipfile and zlib errors share no base
            raise InputError(f"{file}: damaged ({error}); delete it and run again") from error
    dlib = PartEmbedder(("dlib",), dlib=DlibEmbedding())
    probes, photos = _in_chunks(data, photo_rows, dlib, config.seed, "dlib of photos")
    renders = [np.zeros((0, probes["dlib"].shape[1]), np.float32)]
    with tqdm(total=len(render_rows), desc="dlib of renders", unit="image") as bar:
        for start in range(0, len(render_rows), _CHUNK):
            chips = data.chips(render_rows[start : start + _CHUNK])
            renders.append(dlib.compared(dlib.once(chips))["dlib"])
            bar.update(len(chips))
    found = (probes["dlib"], photos["dlib"], np.concatenate(renders))
    buffer = io.BytesIO()
    np.savez(buffer, key=key, probes=found[0], photos=found[1], renders=found[2])
    write_whole(file, buffer.getvalue())
    return found


def _in_chunks(
    data: TrainingSet, rows: np.ndarray, embedder: PartEmbedder, seed: int, label: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Probe and gallery embeddings of the images of `rows`."""
    found = []
    with tqdm(total=len(rows), desc=label, unit="photo") as bar:
        for start in range(0, len(rows), _CHUNK):
            chips = data.chips(rows[start : start + _CHUNK])
            found.append(embedder.probes_and_gallery(chips, seed + start))
            bar.update(len(chips))
    names = found[0][0]
    return (
        {name: np.concatenate([probes[name] for probes, _ in found]) for name in names},
        {name: np.concatenate([photos[name] for _, photos in found]) for name in names},
    )


def _renders_from_maps(maps: Maps, rows: np.ndarray, embedder: PartEmbedder) -> dict[str, np.ndarray]:
    """The B0's parts of `rows` (sorted), from maps that are there."""
    out: dict[str, np.ndarray] = {
        name: np.zeros((0, values.shape[1]), np.float32)
        for name, values in embedder.compared(
            embedder.of_maps(np.zeros((1, *maps.shape), np.float16))
        ).items()
    }
    if not len(rows):
        return out
    out = {name: np.zeros((len(rows), values.shape[1]), np.float32) for name, values in out.items()}
    for part, part_maps in maps.read(rows):
        for name, values in embedder.compared(embedder.of_maps(part_maps)).items():
            out[name][np.searchsorted(rows, part)] = values
    return out


def _embed_strangers(
    config: TrainConfig, data: TrainingSet, photos: list[Path], embedder: PartEmbedder
) -> dict[str, np.ndarray] | None:
    """Embeddings of the calibration strangers; None without `--strangers`."""
    if not config.strangers:
        _say("no --strangers: training people play strangers in turn, thresholds are a little too low")
        if len(data.names) < FEWEST_IN_TURN:
            _say(f"only {len(data.names)} of them: these thresholds mean next to nothing; give --strangers")
        return None
    looking: OneFace = "whole" if config.align == "whole" else "central"
    found = find_chips(photos, data.size, looking, cache=config.work, progress="strangers")
    training = TrainingPhotos(
        data.sources["photo"].to_pylist(),
        data.sources["sha256"].to_pylist(),
        np.array(data.sources["phash"].to_pylist(), np.uint64),
    )
    leaks = {leak.photo for leak in find_leaks([f.sha256 for f in found], [f.phash for f in found], training)}
    chips = [f.chip for i, f in enumerate(found) if f.chip is not None and i not in leaks]
    faceless = sum(f.chip is None for f in found)
    _say(f"strangers: {len(chips)} used, {faceless} without a usable face, {len(leaks)} are training photos")
    if not chips:
        raise InputError(f"{config.strangers}: no usable photo of a stranger")
    return embedder.probes(np.stack(chips))


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder, private=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot make this folder ({error.strerror or error})") from error


def _commit() -> str | None:
    """The commit the program runs from; None when it is not run from a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _absolute(config: TrainConfig) -> dict[str, str | None]:
    """Where the set and the cache are, for commands that are given in other folders."""
    data = config.data if isinstance(config.data, str) else str(config.data.resolve())
    return {
        "data": _plain({"data": data})["data"],
        "cache": str(config.cache.resolve()) if config.cache else None,
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON; a key that stood in a URI is not kept."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return plain | {"data": _KEY_IN_URI.sub(r"\1", plain["data"])}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
