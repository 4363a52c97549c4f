"""An exported model gives the same embeddings as the run, without this package."""

import json
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from identity import export as module
from identity.export import LiteModel, embedding_graph, export, lite_model, main
from identity.networks.backbone import load_weights
from identity.networks.chip_variants import resized, resized_graph
from identity.networks.embedding import load_embedder
from identity.networks.feature_source import RunNetworks
from identity.networks.features import FrozenBackbone
from identity.networks.head_config import HeadConfig
from identity.networks.heads import build_head, embedding_model
from identity.runs.bundle import Bundle
from tests.identity.changed_run import with_people
from tests.identity.drawn_set import drawn_face, write_random_weights
from tests.identity.runs.test_bundle import small_bundle


@pytest.mark.parametrize(("edge", "size"), [(150, 128), (64, 96), (150, 75), (48, 48)])
def test_the_graph_resizes_like_the_function_for_chips(edge: int, size: int) -> None:
    chips = np.random.default_rng(0).integers(0, 256, (2, edge, edge, 3), dtype=np.uint8)
    in_graph = np.asarray(resized_graph(chips.astype(np.float32), size))
    assert in_graph.shape == (2, size, size, 3)
    assert np.abs(in_graph - resized(chips, size)).max() <= 1  # the two round halves differently


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A run with all three parts: dlib's network at 150 px, a random B0 and a head; its chips have 64 px."""
    weights = load_weights(write_random_weights(tmp_path_factory.mktemp("weights") / "random.npz"))
    backbone = FrozenBackbone(weights, 64)
    head = build_head(HeadConfig("cosine", 3, backbone.map_shape), seed=0)
    bundle = small_bundle()
    bundle.size, bundle.shares = 64, {"dlib": 0.5, "face": 0.3, "head": 0.2}
    rng = np.random.default_rng(0)
    templates = {
        part: rng.normal(size=(3, d)).astype("f4")
        for part, d in (("dlib", 128), ("face", 128), ("head", 256))
    }
    bundle = with_people(bundle, part_templates=templates)
    bundle._embedder = load_embedder(
        ("dlib", "face", "head"), RunNetworks(backbone, embedding_model(head, "cosine"))
    )
    return bundle


@pytest.mark.slow
def test_exported_model_embeds_as_the_run_does(run: Bundle, tmp_path: Path) -> None:
    difference = export(run, tmp_path)
    chips = np.stack([drawn_face(person, 0) for person in range(3)])
    lite = LiteModel((tmp_path / "embedding.tflite").read_bytes())
    expected = run.embed(chips)
    assert np.abs(lite(chips) - expected).max() < 1e-3 and difference < 1e-3
    assert np.abs(lite(chips[:1]) - expected[:1]).max() < 1e-3
    people = json.loads((tmp_path / "people.json").read_text())
    assert people["names"] == list(run.labels) and people["thresholds"] == run.thresholds
    np.testing.assert_array_equal(np.load(tmp_path / "templates.npy"), run.templates)
    assert not (tmp_path / "side_templates.npy").exists()
    sides = {part: np.stack([rows, -rows]) for part, rows in run.part_templates.items()}
    turned = with_people(run, side_templates=sides)
    export(turned, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "side_templates.npy"), turned.pose_templates.sides)


@pytest.mark.slow
def test_a_model_that_differs_from_the_run_is_not_written(
    run: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = lite_model(embedding_graph(run))
    monkeypatch.setattr(module, "lite_model", lambda _model: content)
    monkeypatch.setattr(module, "compare", lambda _bundle, _content: 0.01)
    with pytest.raises(InputError, match="nothing was written"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_run_is_refused_in_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no trained model" in capsys.readouterr().err
