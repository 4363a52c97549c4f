"""From a balanced set to a bundle: features, head, templates, calibration.

One story, told by `train`. Whatever takes long leaves something on disk to go on from: the maps (`features/`), the
head (`features/head.checkpoint.npz`), dlib's embeddings (`features/dlib.npz`), the strangers' faces, and the images
of a set in shards or in a bucket (`features/images.bin`).
"""

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE
from augmentor.photos.images import make_folder
from identity.chips.photo_lists import photos_in
from identity.chips.shared_photos import shared_line, shared_photos
from identity.decisions.acceptance import AcceptanceScore, LeadAndCrowding, score_called
from identity.decisions.open_set import Decision
from identity.decisions.same_person import SamePerson, fit_same_person, mated_cosines
from identity.decisions.templates import Choice, Gallery, calibration_of, choose, is_frozen, settle
from identity.networks.backbone import Weights, load_weights
from identity.networks.embedding import PartEmbedder, join, load_embedder
from identity.networks.feature_source import FeatureSource, RunNetworks
from identity.networks.features import CachedMaps, CacheKey, ComputedMaps, FrozenBackbone, Maps
from identity.networks.head_config import HeadConfig
from identity.networks.heads import embedding_model
from identity.networks.sources import sources_of, usable
from identity.runs.bundle import RUN_FILES, BackboneName, Bundle, keep_backbone
from identity.runs.enrolled_people import EnrolledPeople
from identity.runs.model_card import model_card
from identity.runs.outputs import refuse_foreign
from identity.runs.training_record import TrainingRecord
from identity.training.embedded_set import embed_set, embed_strangers
from identity.training.fine_tuning import BLOCKS, fine_tune
from identity.training.fine_tuning import FILE as FINE_TUNED_FILE
from identity.training.head_training import FitConfig, TrainedHead, train_head
from identity.training.learning_curves import CURVES, History, write_curves
from identity.training.training_set import (
    PackedSet,
    TrainingSet,
    held_out_rows,
    located,
    read_training_set,
    rows_of_photos,
)
from identity.training.whole_photos import read_whole_photos

# Where --epochs is not given: enough steps for a small set, few epochs for a large one.
_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 1200, 8, 40
FINE_TUNING = FitConfig(batch=32, learning_rate=3e-4, margin_epochs=0)
FEWEST_IN_TURN = 20  # with fewer, whoever plays the stranger is missed (benchmarks.whole_classes)
# The B0 halves an image five times, rounding up; the published head's 3x3 filters need three positions.
_SEED_HEAD_SIZE = 65
_KEY_IN_URI = re.compile(r"^(\w+://)[^/?@]*:[^/?@]*@")


@dataclass(frozen=True)
class TrainConfig:
    """A training run; the fields but for `score` are the options of `identity.train`.

    Attributes:
        data: a folder, or the URI of a balanced set; a file:// URI becomes its folder.
        score: kind of acceptance score, as it is registered in `identity.decisions.acceptance`.

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
    score: str = LeadAndCrowding.kind

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", located(self.data))

    @property
    def work(self) -> Path:
        """Where features, checkpoints and unpacked images are kept."""
        return self.cache or self.out / "features"


@dataclass(frozen=True)
class _Inputs:
    """What a training starts from, checked.

    Attributes:
        data: the training set.
        features: as `--features` names them.
        sources: the feature sources that the set allows.
        weights: of the backbone; None where no source uses it.
        strangers: photo files of calibration strangers; empty without `--strangers`.
    """

    data: TrainingSet
    features: str
    sources: tuple[FeatureSource, ...]
    weights: Weights | None
    strangers: list[Path]


@dataclass(frozen=True)
class _Calibrated:
    """What calibration settled.

    Attributes:
        choice: shares and weight of renders.
        chosen: whether calibration chose them; else they are the defaults.
        decision: thresholds, probability curve and score.
        strangers: (S, D) joined embeddings of the calibration strangers.
        same_person: for comparing two photos; None where there are too few people.
    """

    choice: Choice
    chosen: bool
    decision: Decision
    strangers: np.ndarray
    same_person: SamePerson | None


def train(config: TrainConfig) -> Bundle:
    """Train and write the bundle to `config.out`.

    Raises:
        InputError: unusable input; one clear line.
    """
    started = time.monotonic()
    inputs = _checked_inputs(config)
    data = _fetched(config, inputs.data)
    held = held_out_rows(data, config.seed)
    _say(
        f"{len(data)} images, {int(data.is_photo.sum())} photos, {len(data.names)} people; "
        f"held out: {int(held.sum())} photos, one in ten of each person with three or more, at least one"
    )
    trained = _train_networks(config, data, inputs.weights, held)
    embedder = _load_networks(config, inputs.sources, trained)
    gallery = embed_set(
        data, embedder, trained, embed_renders=config.embed_renders, seed=config.seed, work=config.work
    )
    strangers = _strangers(config, inputs.strangers, data, embedder)
    calibrated = _calibrate(gallery, held[data.is_photo], strangers, score_called(config.score), config.seed)
    record = _record(config, data, held, trained, calibrated, started)
    bundle = _bundle(config, inputs.features, data, trained, gallery, calibrated, record)
    bundle.save(config.out)
    _write_curves(config.out, trained)
    return bundle


def _checked_inputs(config: TrainConfig) -> _Inputs:
    """Read the set and the weights, and refuse what cannot be trained before anything is written."""
    if config.fine_tune > BLOCKS:
        raise InputError(f"--fine-tune {config.fine_tune}: the B0 has {BLOCKS} blocks")
    data = _read(config)
    if config.size not in (None, data.size):
        raise InputError(
            f"{config.data}: images of {data.size} pixels, not {config.size}; make the set with --size"
        )
    features = "b0" if config.align == "whole" else config.features
    sources = sources_of(features)
    weights = load_weights(config.weights) if any(source.uses_backbone for source in sources) else None
    if config.head == "seed" and weights and (weights.size or data.size) < _SEED_HEAD_SIZE:
        raise InputError(
            f"{config.data}: images of {data.size} pixels are too small for --head seed; make the set with "
            "--size 150, or use --head cosine"
        )
    strangers = photos_in(config.strangers) if config.strangers else []
    if config.strangers and not strangers:
        raise InputError(f"{config.strangers}: no photo of a stranger in this folder")
    refuse_foreign(config.out, (*RUN_FILES, *CURVES), "bundle.json")
    return _Inputs(data, features, sources, weights, strangers)


def _fetched(config: TrainConfig, data: TrainingSet) -> TrainingSet:
    """Make the folders of the run and unpack the set where it is packed."""
    _make_folder(config.out)
    _make_folder(config.work)
    if isinstance(data, PackedSet):
        _say(
            f"images: {data.lengths.sum() / 1e9:.2f} GB, unpacked to {config.work}; --cache DIR puts them elsewhere"
        )
    if line := shared_line(shared_photos(data.sources)):
        _say(line)
    return data.fetched(config.work)


def _train_networks(
    config: TrainConfig, data: TrainingSet, weights: Weights | None, held: np.ndarray
) -> TrainedHead | None:
    """Train the head, and with `--fine-tune` the backbone, too; None where no source uses the backbone."""
    if weights is None:
        return None
    trained = _train_head(config, data, weights, held)
    return _fine_tune(config, data, trained, held) if config.fine_tune else trained


def _load_networks(
    config: TrainConfig, sources: Sequence[FeatureSource], trained: TrainedHead | None
) -> PartEmbedder:
    """Load the sources that photos and weights allow: the space of face weights says nothing of scenes."""
    if trained is None:
        return load_embedder(source.name for source in usable(sources, None, config.align))
    networks = RunNetworks(trained.backbone, embedding_model(trained.model, trained.config.kind))
    allowed = usable(sources, trained.backbone.weights, config.align)
    return load_embedder((source.name for source in allowed), networks)


def _strangers(
    config: TrainConfig, photos: Sequence[Path], data: TrainingSet, embedder: PartEmbedder
) -> dict[str, np.ndarray] | None:
    """Embed the calibration strangers; None without `--strangers`."""
    if config.strangers:
        return embed_strangers(
            photos, data, embedder, folder=config.strangers, align=config.align, work=config.work
        )
    _say("no --strangers: training people play strangers in turn, thresholds are a little too low")
    if len(data.names) < FEWEST_IN_TURN:
        _say(f"only {len(data.names)} of them: these thresholds mean next to nothing; give --strangers")
    return None


def _calibrate(
    gallery: Gallery,
    held: np.ndarray,
    strangers: dict[str, np.ndarray] | None,
    kind: type[AcceptanceScore],
    seed: int,
) -> _Calibrated:
    """Choose shares and the weight of renders, and settle all thresholds.

    Args:
        gallery: embeddings of the training set.
        held: (P,) bool, which of its photos are held out.
        strangers: source name -> (S, D) unit rows; None: training people play strangers in turn.
        kind: the acceptance score.
        seed: of the choice of pairs.
    """
    calibration = calibration_of(gallery, held, strangers)
    choice, chosen = choose(gallery, calibration, kind)
    decision = settle(gallery, calibration, choice, kind)
    joined = join(calibration.strangers, choice.shares)
    same_person = fit_same_person(
        _mated_cosines(gallery, held, choice), joined, calibration.stranger_labels, seed
    )
    return _Calibrated(choice, chosen, decision, joined, same_person)


def _record(
    config: TrainConfig,
    data: TrainingSet,
    held: np.ndarray,
    trained: TrainedHead | None,
    calibrated: _Calibrated,
    started: float,
) -> TrainingRecord:
    """What the run remembers of its training, which began at `started` (`time.monotonic`)."""
    history = trained.history if trained else History()
    return TrainingRecord(
        images=len(data),
        photos=int(data.is_photo.sum()),
        people=len(data.names),
        held_out=int(held.sum()),
        epochs=history.epochs,
        held_out_rank1=_or_none(history.held_out_rank1[history.best]) if history.epochs else None,
        render_weight=calibrated.choice.render_weight,
        chosen_by="chosen on calibration people"
        if calibrated.chosen
        else "defaults: too few calibration people to choose",
        strangers_from=f"{len(calibrated.strangers)} photos of {config.strangers}"
        if config.strangers
        else "training people left out in turn",
        seed=config.seed,
        commit=_commit(),
        seconds=round(time.monotonic() - started),
    )


def _bundle(
    config: TrainConfig,
    features: str,
    data: TrainingSet,
    trained: TrainedHead | None,
    gallery: Gallery,
    calibrated: _Calibrated,
    record: TrainingRecord,
) -> Bundle:
    """Put the run together; it is not saved yet."""
    joined = calibrated.strangers
    bundle = Bundle(
        people=EnrolledPeople(
            data.names,
            gallery.templates(calibrated.choice.render_weight),
            calibrated.decision,
            data.sources,
        ),
        features=features,
        align=config.align,
        shares=calibrated.choice.shares,
        size=data.size,
        stranger_mean=joined.mean(axis=0) if len(joined) else np.zeros(joined.shape[1], np.float32),
        same_person=calibrated.same_person,
        backbone=_kept_backbone(config, trained),
        head=trained.config if trained else None,
        head_weights=trained.model.get_weights() if trained else [],
        training=record,
        about={
            "config": _plain(asdict(config)) | _absolute(config),
            "home": str(config.out.resolve()),
        },
        folder=config.out,
    )
    bundle.model_card = model_card(bundle)
    return bundle


def _write_curves(out: Path, trained: TrainedHead | None) -> None:
    """Write the learning curves; without a head, remove those of an earlier run in the same folder."""
    if trained:
        write_curves(out, trained.history)
        return
    for name in CURVES:
        (out / name).unlink(missing_ok=True)


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
    record, calibration = bundle.training, bundle.decision.calibration
    rank1 = record.held_out_rank1
    lines = [
        f"people {record.people}, photos {record.photos}, images {record.images}",
        "shares "
        + ", ".join(f"{name} {share:.3f}" for name, share in bundle.shares.items())
        + f"; renders weigh {record.render_weight} ({record.chosen_by})",
    ]
    if bundle.head:
        told = "no person has three photos" if rank1 is None else f"{rank1:.3f} of {record.held_out}"
        lines.append(f"head {bundle.head.kind}: {record.epochs} epochs, held-out rank-1 {told}")
    lines += [
        f"calibration: {calibration['mated']:.0f} photos their templates lack, {record.strangers_from}",
        f"thresholds: {bundle.thresholds['fpir_1']:.4f} (FPIR 1 %), {bundle.thresholds['fpir_10']:.4f} (10 %)",
        f"trained in {record.seconds} s: {bundle.folder}",
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
    if not any(not source.faces_only for source in sources_of(config.features)):
        raise InputError(f"--features {config.features} compares faces; with --align whole leave it out")
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
