"""Fine-tuning: which layers move, and that a run keeps the weights it ended with."""

from pathlib import Path

import keras
import numpy as np
import pytest

from identity.networks.backbone import bare_backbone, load_weights
from identity.runs.bundle import Bundle
from identity.train import main
from identity.training.fine_tuning import train_last
from tests.identity.drawn_set import drawn_face, write_drawn_set, write_random_weights


@pytest.mark.parametrize(("blocks", "first"), [(1, "block7a"), (3, "block5a"), (7, "stem")])
def test_only_the_last_blocks_are_trained_and_no_batch_norm(blocks: int, first: str) -> None:
    backbone = bare_backbone(64)
    train_last(backbone, blocks)
    core = backbone.get_layer("efficientnet-b0")
    with_weights = [layer for layer in core.layers if layer.trainable_weights]
    assert with_weights[0].name.startswith(first) and with_weights[-1].name == "top_conv"
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in with_weights)


@pytest.mark.slow
def test_a_fine_tuned_run_keeps_its_own_weights_and_is_resumed(tmp_path: Path) -> None:
    data = write_drawn_set(tmp_path / "set", [3, 4])
    weights = write_random_weights(tmp_path / "random.npz")
    call = ["--data", str(data), "--out", str(tmp_path / "run"), "--weights", str(weights)]
    call += ["--features", "b0", "--epochs", "1", "--batch", "8", "--fine-tune", "1"]
    assert main(call) == 0
    bundle = Bundle.load(tmp_path / "run")
    assert bundle.backbone is not None and bundle.backbone.weights == "backbone.npz"
    assert set(bundle.shares) == {"head"}
    before, after = load_weights(str(weights)), load_weights(str(tmp_path / "run" / "backbone.npz"))
    assert after.zoom == before.zoom == 1.07
    for name, array in after.arrays.items():
        same = np.array_equal(array, before.arrays[name])
        assert same == (not name.startswith(("block7", "top")) or "_bn" in name), name
    chips = np.stack([drawn_face(0, 0), drawn_face(1, 0)])
    embedded = bundle.embed(chips)
    checkpoint = tmp_path / "run" / "features" / "fine_tuning.checkpoint.npz"
    written = checkpoint.stat().st_mtime_ns
    assert main(call) == 0  # nothing is left to train
    assert checkpoint.stat().st_mtime_ns == written
    np.testing.assert_allclose(Bundle.load(tmp_path / "run").embed(chips), embedded, atol=1e-5)
