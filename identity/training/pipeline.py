"""From a balanced set to a run: networks, templates, calibration. `train` tells the story.

Whatever takes long leaves something on disk from which a killed training goes on: the maps (`features/maps.npy`), the
head (`features/head.checkpoint.npz`), the embeddings of each source that does not depend on the run
(`features/dlib.npz`), the faces of the strangers, and the images of a set in shards or in a bucket
(`features/images.bin`).
"""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE
from augmentor.photos.images import make_folder
from identity.chips.photo_lists import photos_in
from identity.chips.shared_photos import shared_line, shared_photos
from identity.decisions.acceptance import score_called
from identity.decisions.templates import TrainingEmbeddings
from identity.networks.backbone import Weights, load_weights
from identity.networks.embedding import PartEmbedder
from identity.networks.feature_source import FeatureSource
from identity.networks.sources import sources_of
from identity.runs.bundle import RUN_FILES, BackboneName, Bundle, keep_backbone
from identity.runs.enrolled_people import EnrolledPeople
from identity.runs.model_card import model_card
from identity.runs.outputs import refuse_foreign
from identity.runs.training_record import TrainingRecord
from identity.training.cache_folder import use_cache_folder
from identity.training.calibration import Calibrated, calibrate
from identity.training.embedded_set import embed_set, embed_strangers
from identity.training.fine_tuning import BLOCKS
from identity.training.fine_tuning import FILE as FINE_TUNED_FILE
from identity.training.head_training import TrainedHead
from identity.training.learning_curves import CURVES, History, write_curves
from identity.training.messages import say
from identity.training.trained_networks import load_networks, train_networks
from identity.training.training_config import TrainConfig
from identity.training.training_set import PackedSet, TrainingSet, held_out_rows, read_training_set
from identity.training.whole_photos import read_whole_photos

FEWEST_IN_TURN = 20  # with fewer, whoever plays the stranger is missed (benchmarks.whole_classes)
# The B0 halves an image five times, rounding up; the published head's 3x3 filters need three positions.
_SEED_HEAD_SIZE = 65


@dataclass(frozen=True)
class _Inputs:
    """The inputs of a training, after they were checked.

    Attributes:
        data: the training set.
        features: as `--features` names them.
        sources: the feature sources that these stand for.
        weights: of the backbone; None where no source uses it.
        strangers: photo files of calibration strangers; empty without `--strangers`.
    """

    data: TrainingSet
    features: str
    sources: tuple[FeatureSource, ...]
    weights: Weights | None
    strangers: list[Path]


def train(config: TrainConfig) -> Bundle:
    """Train and write the run to `config.out`.

    Raises:
        InputError: unusable input; one clear line.
    """
    started = time.monotonic()
    inputs = _checked_inputs(config)
    data = _with_images_at_hand(config, inputs.data)
    held = held_out_rows(data, config.seed)
    say(
        f"{len(data)} images, {int(data.is_photo.sum())} photos, {len(data.names)} people; "
        f"held out: {int(held.sum())} photos, one in ten of each person with three or more, at least one"
    )
    trained = train_networks(config, data, inputs.weights, held)
    embedder = load_networks(inputs.sources, trained, config.align)
    embedded = embed_set(
        data, embedder, trained, embed_renders=config.embed_renders, seed=config.seed, work=config.work
    )
    strangers = _embedded_strangers(config, inputs.strangers, data, embedder)
    calibrated = calibrate(embedded, held[data.is_photo], strangers, score_called(config.score), config.seed)
    record = _record(config, data, held, trained, calibrated, started)
    run = _run(config, inputs.features, data, trained, embedded, calibrated, record)
    run.save(config.out)
    _write_curves(config.out, trained)
    return run


def summary(run: Bundle) -> str:
    """Return a few lines for people on how a training ended."""
    record, calibration = run.training, run.decision.calibration
    rank1 = record.held_out_rank1
    lines = [
        f"people {record.people}, photos {record.photos}, images {record.images}",
        "shares "
        + ", ".join(f"{name} {share:.3f}" for name, share in run.shares.items())
        + f"; renders weigh {record.render_weight} ({record.chosen_by})",
    ]
    if run.head:
        reached = "no person has three photos" if rank1 is None else f"{rank1:.3f} of {record.held_out}"
        lines.append(f"head {run.head.kind}: {record.epochs} epochs, held-out rank-1 {reached}")
    lines += [
        f"calibration: {calibration['mated']:.0f} photos that their templates lack, {record.strangers_from}",
        f"thresholds: {run.thresholds['fpir_1']:.4f} (FPIR 1 %), {run.thresholds['fpir_10']:.4f} (10 %)",
        f"trained in {record.seconds} s: {run.folder}",
    ]
    return "\n".join(lines)


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


def _read(config: TrainConfig) -> TrainingSet:
    """Read the balanced set, or with `--align whole` photos as they are."""
    if config.align == "face":
        return read_training_set(config.data)
    if all(source.faces_only for source in sources_of(config.features)):
        raise InputError(f"--features {config.features} compares faces; with --align whole leave it out")
    if isinstance(config.data, str):
        raise InputError("--align whole takes a folder of photos on disk, no bucket")
    return read_whole_photos(config.data, config.size or CHIP_SIZE, config.seed)


def _with_images_at_hand(config: TrainConfig, data: TrainingSet) -> TrainingSet:
    """Make the folders of the run and unpack the set where it is packed."""
    try:
        make_folder(config.out, private=True)
    except OSError as error:
        raise InputError(f"{config.out}: cannot make this folder ({error.strerror or error})") from error
    use_cache_folder(config.work, config.out)
    if isinstance(data, PackedSet):
        say(
            f"images: {data.lengths.sum() / 1e9:.2f} GB, unpacked to {config.work}; --cache DIR puts them elsewhere"
        )
    if line := shared_line(shared_photos(data.sources)):
        say(line)
    return data.fetched(config.work)


def _embedded_strangers(
    config: TrainConfig, photos: Sequence[Path], data: TrainingSet, embedder: PartEmbedder
) -> dict[str, np.ndarray] | None:
    """Embed the calibration strangers; None without `--strangers`."""
    if config.strangers:
        return embed_strangers(
            photos, data, embedder, folder=config.strangers, align=config.align, work=config.work
        )
    say(
        "No --strangers given. Thresholds are estimated by treating each enrolled person in turn as a stranger, "
        "which makes them slightly too low."
    )
    if len(data.names) < FEWEST_IN_TURN:
        say(
            f"There are only {len(data.names)} people, so these thresholds mean next to nothing; give --strangers"
        )
    return None


def _record(
    config: TrainConfig,
    data: TrainingSet,
    held: np.ndarray,
    trained: TrainedHead | None,
    calibrated: Calibrated,
    started: float,
) -> TrainingRecord:
    """Return the record of a training that began at `started` (`time.monotonic`)."""
    history = trained.history if trained else History()
    rank1 = history.held_out_rank1[history.best] if history.epochs else np.nan
    return TrainingRecord(
        images=len(data),
        photos=int(data.is_photo.sum()),
        people=len(data.names),
        held_out=int(held.sum()),
        epochs=history.epochs,
        held_out_rank1=None if np.isnan(rank1) else rank1,
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


def _run(
    config: TrainConfig,
    features: str,
    data: TrainingSet,
    trained: TrainedHead | None,
    embedded: TrainingEmbeddings,
    calibrated: Calibrated,
    record: TrainingRecord,
) -> Bundle:
    """Put the run together; it is not saved yet."""
    choice, strangers = calibrated.choice, calibrated.strangers
    templates = embedded.templates(choice.render_weight)
    run = Bundle(
        people=EnrolledPeople(
            data.names,
            templates,
            calibrated.decision,
            data.sources,
            side_templates=embedded.side_templates(templates),
        ),
        features=features,
        align=config.align,
        detector=data.detector,
        shares=choice.shares,
        size=data.size,
        stranger_mean=strangers.mean(axis=0) if len(strangers) else np.zeros(strangers.shape[1], np.float32),
        same_person=calibrated.same_person,
        backbone=_kept_backbone(config, trained),
        head=trained.config if trained else None,
        head_weights=trained.model.get_weights() if trained else [],
        training=record,
        about={"config": config.as_dict(), "home": str(config.out.resolve())},
        folder=config.out,
    )
    run.model_card = model_card(run)
    return run


def _kept_backbone(config: TrainConfig, trained: TrainedHead | None) -> BackboneName | None:
    """Return how the run names its backbone weights."""
    if trained is None:
        return None
    own = str(config.out / FINE_TUNED_FILE) if config.fine_tune else config.weights
    return keep_backbone(own, trained.backbone.weights.digest, config.out)


def _write_curves(out: Path, trained: TrainedHead | None) -> None:
    """Write the learning curves; without a head, remove those of an earlier run in the same folder."""
    if trained:
        write_curves(out, trained.history)
        return
    for name in CURVES:
        (out / name).unlink(missing_ok=True)


def _commit() -> str | None:
    """Return the commit that the program runs from; None where it does not run from a checkout."""
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
