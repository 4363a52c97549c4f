"""The published head has the published number of parameters; the cosine head measures angles."""

import keras
import numpy as np
import pytest

from identity.networks.backbone import FROZEN_PARAMETERS
from identity.networks.heads import (
    PROTOTYPES_LAYER,
    HeadConfig,
    MarginSoftmax,
    build_head,
    cosine_head,
    embedding_model,
    seed_head,
    set_prototypes,
)


def test_seed_head_has_the_published_layer_table() -> None:
    import efficientnet.tfkeras as efficientnet

    backbone = efficientnet.EfficientNetB0(weights=None, include_top=False, input_shape=(150, 150, 3))
    backbone.trainable = False
    head = seed_head(1013, tuple(backbone.output_shape[1:]))
    whole = keras.Model(backbone.input, head(backbone.output))
    trainable = sum(int(np.prod(w.shape)) for w in whole.trainable_weights)
    assert backbone.output_shape == (None, 5, 5, 1280)
    assert backbone.count_params() == FROZEN_PARAMETERS == 4_049_564
    assert trainable == 402_101
    assert whole.count_params() == 4_451_665


def test_cosine_head_embeds_on_the_unit_sphere_and_outputs_cosines() -> None:
    maps = np.random.default_rng(0).normal(size=(6, 2, 2, 32)).astype(np.float32)
    head = cosine_head(4, (2, 2, 32), channels=16, embedding=8)
    embeddings = embedding_model(head, "cosine").predict(maps, verbose=0)
    prototypes = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    set_prototypes(head, prototypes)
    unit = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert np.allclose(head.predict(maps, verbose=0), embeddings @ unit.T, atol=1e-5)
    assert head.get_layer(PROTOTYPES_LAYER).prototypes.shape == (8, 4)


def test_seed_embedding_times_one_hot_ranks_as_the_softmax() -> None:
    maps = np.random.default_rng(0).normal(size=(6, 3, 3, 32)).astype(np.float32)
    head = seed_head(5, (3, 3, 32))
    probabilities = head.predict(maps, verbose=0)
    embeddings = embedding_model(head, "seed").predict(maps, verbose=0)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert (np.argsort(embeddings @ np.eye(5), axis=1) == np.argsort(probabilities, axis=1)).all()


def test_margin_softmax_matches_a_hand_worked_case() -> None:
    # right cosine 0.8 less margin 0.2 against 0.5, scale 10: logits 6 and 5
    loss = MarginSoftmax(scale=10.0, margin=0.2)
    value = float(loss(np.array([0]), np.array([[0.8, 0.5]], np.float32)))
    assert value == pytest.approx(np.log1p(np.exp(-1.0)), abs=1e-5)


def test_same_seed_gives_the_same_head_and_config_survives_json() -> None:
    config = HeadConfig("cosine", 3, map_shape=(2, 2, 16), channels=8, embedding=4)
    first, second = (build_head(config, 7).get_weights() for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert HeadConfig.from_dict(config.as_dict()) == config
    with pytest.raises(ValueError, match="cosine, seed"):
        HeadConfig("linear", 3)


@pytest.mark.parametrize(("kind", "layer"), [("cosine", PROTOTYPES_LAYER), ("seed", "names")])
def test_the_settings_say_which_weights_have_the_people_along_their_last_axis(kind: str, layer: str) -> None:
    config = HeadConfig(kind, 7, (3, 3, 32), channels=16, embedding=8)
    head = build_head(config)
    own = {id(weight) for weight in head.get_layer(layer).weights}
    expected = [place for place, weight in enumerate(head.weights) if id(weight) in own]
    assert list(config.people_arrays(len(head.weights))) == expected
    assert all(head.weights[place].shape[-1] == 7 for place in expected)
