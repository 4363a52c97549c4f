"""Training on drawn faces from end to end: the bundle names them, and bad input is refused clearly."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import InputError
from identity.runs.bundle import Bundle
from identity.train import main
from identity.training.pipeline import train
from identity.training.training_config import TrainConfig
from identity.training.training_set import held_out_rows, read_training_set, rows_of_photos, spread_renders
from tests.identity.drawn_set import drawn_face, write_drawn_set, write_random_weights

PHOTOS = [1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn_set(tmp_path_factory.mktemp("set"), PHOTOS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "random.npz")


@pytest.fixture(scope="module")
def run(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the default features."""
    out = tmp_path_factory.mktemp("runs") / "both"
    code = main(
        ["--data", str(data), "--out", str(out), "--weights", str(weights), "--epochs", "3", "--batch", "8"]
    )
    assert code == 0
    return out


def test_renders_of_held_out_photos_are_held_out_too(data: Path) -> None:
    rows = read_training_set(data)
    held = held_out_rows(rows, seed=0)
    assert held.sum() == sum(photos >= 3 for photos in PHOTOS)
    assert rows.is_photo[held].all()
    gone = rows_of_photos(rows, held)
    assert not set(rows.photos[gone]) & set(rows.photos[~gone])
    assert np.array_equal(held, held_out_rows(rows, seed=0))


def test_renders_for_templates_are_spread_over_photos(data: Path) -> None:
    rows = read_training_set(data)
    chosen = spread_renders(rows, 3, seed=0)
    assert not rows.is_photo[chosen].any()
    assert np.bincount(rows.labels[chosen]).tolist() == [3] * 5
    third = chosen[rows.labels[chosen] == 2]  # three photos and three renders: one render of each photo
    assert len(set(rows.photos[third])) == 3


def test_a_run_names_the_people_and_contains_all_its_files(run: Path) -> None:
    bundle = Bundle.load(run)
    chips = np.stack([drawn_face(person, 0) for person in range(5)])
    embeddings = bundle.embed(chips)
    assert bundle.labels == tuple(f"person ü{i}" for i in range(5))
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert (bundle.similarities(embeddings).argmax(axis=1) == np.arange(5)).mean() >= 0.8
    assert set(bundle.thresholds) == {"fpir_1", "fpir_10"}
    assert bundle.sources.num_rows == sum(PHOTOS)
    assert sum(bundle.shares.values()) == pytest.approx(1)
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len((run / "curves.csv").read_text().splitlines()) == 4
    assert "agreed to it" in (run / "model_card.md").read_text()


@pytest.mark.slow
def test_b0_with_the_published_head_names_by_its_softmax(data: Path, weights: Path, tmp_path: Path) -> None:
    large = write_drawn_set(
        tmp_path / "set", [3, 3], per_class=6, size=96
    )  # gives the 3x3 map that the head needs
    bundle = train(
        TrainConfig(
            large, tmp_path / "run", features="b0", weights=str(weights), head="seed", epochs=1, batch=6
        )
    )
    assert np.array_equal(bundle.part_templates["head"], np.eye(2, dtype=np.float32))
    assert set(bundle.shares) == {"face", "head"}


def test_dlib_alone_needs_no_weights(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = train(TrainConfig(data, tmp_path, features="dlib", weights="/nowhere"))
    assert bundle.shares == {"dlib": 1.0}
    assert bundle.backbone is None
    assert Bundle.load(tmp_path).embed(drawn_face(0, 0)[None]).shape == (1, 128)
    errors = capsys.readouterr().err
    assert "only 5 people, so these thresholds mean next to nothing" in errors
    # the hashes of the first photos of persons 1 and 2 differ in two bits
    assert (
        "in the folders of two people; remove each from one of them: person ü1/0.jpg and person ü2/0.jpg"
        in errors
    )


def test_a_set_in_shards_trains_from_a_uri(data: Path, tmp_path: Path) -> None:
    rows = read_manifest(data / "manifest.parquet")
    images = [(data / file).read_bytes() for file in rows["file"].to_pylist()]
    root = tmp_path / "set"
    (root / "shards").mkdir(parents=True)
    shutil.copy(data / "manifest.parquet", root)
    table = rows.append_column("image", pa.array(images, pa.binary()))
    pq.write_table(table, root / "shards" / "000004.parquet")
    bundle = train(TrainConfig(f"file://{root}", tmp_path / "run", features="dlib"))
    assert bundle.labels == tuple(f"person ü{i}" for i in range(5))
    assert Bundle.load(tmp_path / "run").about["config"]["data"] == str(root)
    assert (tmp_path / "run" / "features" / "images.bin").read_bytes() == b"".join(images)


def test_a_run_does_not_keep_the_key_of_a_bucket() -> None:
    config = TrainConfig("s3://me:secret@bucket/set?region=x", Path("run"))
    assert config.as_dict()["data"] == "s3://bucket/set?region=x"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "no manifest"),
        (["--data", "one"], "identity.train --person 'person ü0' --data PHOTOS --strangers DIR"),
        (["--weights", "nowhere.npz"], "no such weights file"),
        (["--weights", "damaged.npz"], "damaged"),
        (["--strangers", "nowhere"], "no such folder"),
        (["--size", "112"], "64"),
        (["--head", "seed"], "too small"),
        (["--fine-tune", "8"], "7 blocks"),
        (["--person", "Ann"], "--person"),
        (["--data", "http://somewhere"], "http:// is not supported"),
        (["--data", "s3://bucket/photos", "--align", "whole"], "no bucket"),
        (["--data", "s3://bucket/photos", "--person", "Ann"], "not in a bucket"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    options: list[str],
    message: str,
    data: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_drawn_set(Path("one"), [2])
    Path("damaged.npz").write_bytes(weights.read_bytes()[:1000])
    arguments = ["--data", str(data), "--out", "run", "--weights", str(weights), *options]
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("run/bundle.json").exists()


def test_a_wrong_call_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--data", "x", "--out", "y", "--features", "eyes"])
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_bundle_refuses_backbone_weights_it_was_not_trained_with(run: Path, tmp_path: Path) -> None:
    for file in run.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    described = json.loads((tmp_path / "bundle.json").read_text())
    described["shares"] = {"dlib": 0.5, "face": 0.25, "head": 0.25}
    described["backbone"]["sha256"] = "0" * 64
    (tmp_path / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="other"):
        Bundle.load(tmp_path).embed(np.zeros((1, 64, 64, 3), np.uint8))
