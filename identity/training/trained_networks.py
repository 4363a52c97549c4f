"""Train the networks of a run, the head and with `--fine-tune` the backbone, and load what the run embeds with."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace

import numpy as np

from identity.networks.backbone import Weights
from identity.networks.embedding import PartEmbedder, load_embedder
from identity.networks.feature_source import FeatureSource, RunNetworks
from identity.networks.features import CachedMaps, CacheKey, ComputedMaps, FrozenBackbone, Maps
from identity.networks.head_config import HeadConfig
from identity.networks.heads import embedding_model
from identity.networks.sources import usable
from identity.training.fine_tuning import fine_tune
from identity.training.head_training import FitConfig, TrainedHead, train_head
from identity.training.messages import say
from identity.training.training_config import TrainConfig
from identity.training.training_set import TrainingSet, rows_of_photos

# Where --epochs is not given: enough steps for a small set, few epochs for a large one.
_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 1200, 8, 40
FINE_TUNING = FitConfig(batch=32, learning_rate=3e-4, margin_epochs=0)


def train_networks(
    config: TrainConfig, data: TrainingSet, weights: Weights | None, held: np.ndarray
) -> TrainedHead | None:
    """Train the head on all images whose photo is not held out, and with `--fine-tune` the backbone, too.

    Args:
        config: of the training.
        data: the training set, its images at hand.
        weights: of the backbone; None where no source uses it.
        held: (N,) bool, rows of the held-out photos.

    Returns:
        None where no source uses the backbone.

    Raises:
        InputError: a cache or a checkpoint cannot be written or is damaged, or an image is damaged.
    """
    if weights is None:
        return None
    trained = _train_head(config, data, weights, held)
    return _fine_tuned(config, data, trained, held) if config.fine_tune else trained


def load_networks(sources: Iterable[FeatureSource], trained: TrainedHead | None, align: str) -> PartEmbedder:
    """Load the networks of those sources that photos and weights allow.

    Args:
        sources: that the user asked for.
        trained: backbone and head; None where no source uses the backbone.
        align: `face`, or `whole`.

    Raises:
        InputError: a weight file is missing or damaged.
    """
    if trained is None:
        return load_embedder(source.name for source in usable(sources, None, align))
    networks = RunNetworks(trained.backbone, embedding_model(trained.model, trained.config.kind))
    allowed = usable(sources, trained.backbone.weights, align)
    return load_embedder((source.name for source in allowed), networks)


def _train_head(config: TrainConfig, data: TrainingSet, weights: Weights, held: np.ndarray) -> TrainedHead:
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


def _fine_tuned(
    config: TrainConfig, data: TrainingSet, trained: TrainedHead, held: np.ndarray
) -> TrainedHead:
    """Return the head with the backbone it was fine-tuned with; maps are computed whenever they are needed."""
    rows = np.flatnonzero(~rows_of_photos(data, held))
    steps = -(-len(rows) // FINE_TUNING.batch)
    epochs = int(np.clip(-(-_STEPS // steps), 2, _MIN_EPOCHS))
    tuned = fine_tune(
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
    backbone = FrozenBackbone(tuned.weights, data.size)
    return TrainedHead(
        backbone, ComputedMaps(data.chips, backbone), trained.config, tuned.head, tuned.history
    )


def _maps(config: TrainConfig, data: TrainingSet, backbone: FrozenBackbone) -> Maps:
    """Return the maps, kept on disk or computed when needed, after saying what that costs."""
    key = CacheKey(data.digest, backbone.weights.digest, backbone.size, len(data), config.seed)
    cache = CachedMaps(config.work, key, backbone.map_shape)
    if config.no_cache:
        say("features: computed anew in every epoch (--no-cache), some 8 ms an image on two cores")
        return ComputedMaps(data.chips, backbone)
    say(
        f"features: {cache.bytes / 1e9:.1f} GB in {config.work} ({np.prod(cache.shape) * 2 / 1000:.0f} kB an "
        f"image; {cache.done()} of {len(data)} are there). --cache DIR puts them elsewhere, --no-cache "
        "keeps none"
    )
    cache.fill(data.chips, backbone)
    return cache
