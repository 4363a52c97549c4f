"""The evaluation from folders to numbers, with stand-ins for detector and network; the numbers are counted by hand.

A photo here is a grey noise picture. Its "face" is the whole picture, and its embedding is the picture itself at low
resolution. Pictures darker than 60 have no face.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE, chip_landmarks, chip_transform
from augmentor.faces.face_search import MIN_FACE, Face, FaceSearch, Policy
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.faces.five_points import five_of_68
from augmentor.photos.images import encode_jpeg, load_image, perceptual_hash, sha256_of
from identity import evaluate as module
from identity.decisions.metrics import NEVER, NEVER_RANKED
from identity.evaluate import main
from identity.evaluation import on_photos as evaluation
from identity.evaluation.material import Material, read_material
from identity.evaluation.on_photos import evaluate
from identity.evaluation.rates import PairScores, measure_pairs
from identity.runs.leak_guard import TrainingPhotos
from tests.stand_in_faces import StandInFaces, find_with

SIZE = 32
KEYS = [
    *("rank1", "rank5", "dir_at_fpir_1", "dir_at_fpir_10", "tpir_at_stored_1", "fpir_realised_1"),
    *("tpir_at_stored_10", "fpir_realised_10", "eer", "pair_accuracy", "tar_at_far_1e2", "tar_at_far_1e3"),
    *("no_face_rejected", "failed_to_enrol", "n_probes", "n_strangers", "n_pairs", "ms_per_face"),
]


def _landmarks_of_a_face_that_fills_the_picture() -> np.ndarray:
    """(68, 2) landmarks in a picture of 96 pixels, so that its chip shows the whole picture and nothing else."""
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    in_chip = chip_landmarks(points, chip_transform(five_of_68(points)))
    return ((in_chip + 0.5) * (96 / CHIP_SIZE) - 0.5).astype(np.float32)


WHOLE = _landmarks_of_a_face_that_fills_the_picture()


class WholePicture(StandInFaces):
    """A detector that takes the whole picture for a face, unless it is dark."""

    def __call__(
        self, image: np.ndarray, policy: Policy = "central", min_face: int = MIN_FACE, landmarks: bool = True
    ) -> FaceSearch:
        if image.mean() < 60:
            return FaceSearch((), "no_face")
        return FaceSearch((Face((0.0, 0.0, 96.0, 96.0), WHOLE, 1.0),), None)


class Pictures:
    """A stand-in for a run whose people are pictures."""

    size, align = SIZE, "face"
    decision = None

    @property
    def faces(self) -> FaceSource:
        return face_source()

    def __init__(self, people: dict[str, int], thresholds: tuple[float, float] = (0.9, 0.5)) -> None:
        self.labels: Sequence[str] = list(people)
        self.thresholds = {"fpir_1": thresholds[0], "fpir_10": thresholds[1]}
        chips = [cv2.resize(picture(seed), (SIZE, SIZE)) for seed in people.values()]
        self.templates = self.embed(np.stack(chips))

    def embed(self, chips: np.ndarray) -> np.ndarray:
        assert chips.shape[1:] == (SIZE, SIZE, 3)
        small = np.stack([cv2.resize(chip[..., 0].astype(np.float32), (8, 8)) for chip in chips])
        rows = small.reshape(len(chips), -1)
        rows = rows - rows.mean(axis=1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        return embeddings @ self.templates.T

    def score(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return similarities.argmax(axis=1), similarities.max(axis=1)


def picture(seed: int, noise: int = 0) -> np.ndarray:
    """A photo (96, 96, 3) of person `seed`; other values of `noise` give other photos of the same person."""
    cells = np.random.default_rng(seed).integers(80, 250, (8, 8)).astype(np.float32)
    if noise:
        cells += np.random.default_rng(1000 + noise).normal(0, 12, (8, 8))
    grey = cv2.resize(np.clip(cells, 0, 255), (96, 96), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(image))
    return path


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    find_with(WholePicture, monkeypatch)
    monkeypatch.setattr(evaluation, "_ms_per_call", lambda call, items: float(call() is not None))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Five probes of three people (one dark, one of another person), four strangers (one dark) and three pairs."""
    save(tmp_path / "probes/Ann/1.jpg", picture(1, 1))
    save(tmp_path / "probes/Ann/2.jpg", picture(1, 2))
    save(tmp_path / "probes/Bö b/1.jpg", picture(2, 3))
    save(tmp_path / "probes/Bö b/2.jpg", np.zeros((96, 96, 3), np.uint8))
    save(tmp_path / "probes/Cy & co/1.jpg", picture(1, 4))
    for i in range(3):
        save(tmp_path / f"strangers/deep/{i}.jpg", picture(50 + i))
    save(tmp_path / "strangers/dark.jpg", np.full((96, 96, 3), 9, np.uint8))
    (tmp_path / "pairs.csv").write_text(
        "photo_a,photo_b,mated\nprobes/Ann/1.jpg,probes/Ann/2.jpg,1\nprobes/Ann/1.jpg,probes/Bö b/1.jpg,0\n"
        "probes/Bö b/1.jpg,probes/Bö b/2.jpg,1\n",
        "utf-8",
    )
    save(tmp_path / "nothing/a.jpg", np.zeros((96, 96, 3), np.uint8))
    save(tmp_path / "nothing/b.jpg", picture(90))
    return tmp_path


PEOPLE = {"Ann": 1, "Bö b": 2, "Cy & co": 3, "Dee": 4}


def all_of(folder: Path) -> Material:
    return read_material(
        folder / "probes", folder / "strangers", folder / "pairs.csv", folder, folder / "nothing"
    )


def test_every_number_matches_hand_count(folders: Path) -> None:
    run = Pictures(PEOPLE)
    result = evaluate("run", run, all_of(folders), gallery=run)
    assert result.probes is not None and sorted(result.probes.rank)[:3] == [1, 1, 1]
    assert sorted(result.probes.rank)[-1] == NEVER_RANKED and result.probes.best.tolist().count(-1) == 1
    numbers = result.as_json()
    reported = [name for name in numbers if name.removesuffix("_ci") in KEYS]  # there may be more
    assert reported == [name for key in KEYS for name in (key, f"{key}_ci")]
    assert numbers["rank1"] == 0.6  # one of five is dark, another looks like Ann but is filed under Cy & co
    assert numbers["rank5"] == 0.8  # only four names are enrolled, so all probes with a face count
    assert numbers["dir_at_fpir_1"] == numbers["dir_at_fpir_10"] == 0.6
    assert numbers["tpir_at_stored_1"] == 0.6 and numbers["fpir_realised_1"] == 0.0
    assert numbers["pair_accuracy"] is not None and numbers["tar_at_far_1e3"] == 0.5  # one mated pair is dark
    assert numbers["eer"] == 0.5
    assert numbers["no_face_rejected"] == 0.5
    assert numbers["failed_to_enrol"] == pytest.approx(2 / 9)  # two of nine photos of people are dark
    assert (numbers["n_probes"], numbers["n_strangers"], numbers["n_pairs"]) == (5, 4, 3)
    for key in KEYS[:14]:
        low, high = numbers[f"{key}_ci"]  # type: ignore[misc]
        assert 0 <= low <= numbers[key] <= high <= 1  # type: ignore[operator]
    assert result.false_faces == [(folders / "nothing/b.jpg", None)]


def test_same_material_gives_the_same_numbers(folders: Path) -> None:
    run = Pictures(PEOPLE)
    first = evaluate("run", run, all_of(folders), gallery=run).as_json()
    assert first == evaluate("run", run, all_of(folders), gallery=run).as_json()


def test_what_is_not_measured_is_present_as_null(folders: Path) -> None:
    material = read_material(None, None, folders / "pairs.csv", folders, None)
    numbers = evaluate("dlib", Pictures(PEOPLE), material).as_json()
    assert set(KEYS) <= set(numbers)
    assert numbers["rank1"] is None and numbers["rank1_ci"] is None and numbers["n_probes"] is None
    assert numbers["n_pairs"] == 3 and numbers["eer"] is not None
    json.loads(json.dumps(numbers, allow_nan=False))


def test_names_that_are_not_enrolled_are_an_error(folders: Path) -> None:
    run = Pictures({"Ann": 1, "Bö b": 2})
    with pytest.raises(
        InputError, match=r"1 of 3 names are not enrolled in this run \(Cy & co\).*--strangers"
    ):
        evaluate("run", run, all_of(folders), gallery=run)


def test_decomposed_umlauts_are_the_same_name(folders: Path) -> None:
    run = Pictures({"Ann": 1, "Bo\u0308 b": 2, "Cy & co": 3})
    assert evaluate("run", run, all_of(folders), gallery=run).rates["rank1"].value == 0.6


@pytest.mark.parametrize("place", ["probes/Ann/1.jpg", "strangers/deep/1.jpg"])
@pytest.mark.parametrize("same_file", [True, False])
def test_measuring_on_a_training_photo_is_refused(folders: Path, place: str, same_file: bool) -> None:
    photo = folders / place
    digest = sha256_of(photo) if same_file else "another"
    phash = 0 if same_file else perceptual_hash(load_image(photo))
    training = TrainingPhotos(["Ann/first.jpg"], [digest], np.array([phash], np.uint64))
    run = Pictures(PEOPLE)
    with pytest.raises(InputError, match=r"trained on \d of these .*Ann/first.jpg"):
        evaluate("run", run, all_of(folders), gallery=run, training=training)


def test_a_single_copy_among_many_photos_is_left_out_and_reported(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("identity.evaluation.on_photos.FEW_COPIES", 0.2)
    photo = folders / "probes/Ann/1.jpg"
    training = TrainingPhotos(["Ann/first.jpg"], ["another"], np.array([perceptual_hash(load_image(photo))]))
    material, run = all_of(folders), Pictures(PEOPLE)
    measured = evaluate("run", run, material, gallery=run, training=training)
    before = sum(len(paths) for paths in material.probes.values())
    assert measured.as_json()["n_probes"] == before - 1
    assert measured.probes is not None and photo not in measured.probes.photos
    assert all(photo not in (pair.photo_a, pair.photo_b) for pair in measured.photo_pairs)
    assert "copy of Ann/first.jpg" in measured.protocol[-1]
    assert "copy of Ann/first.jpg" in capsys.readouterr().err


def test_command_line_ends_with_one_json_line(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Pictures(PEOPLE)
    nothing = TrainingPhotos([], [], np.zeros(0, np.uint64))
    monkeypatch.setattr(module, "load_model", lambda model: (run, run, nothing, None))
    arguments = ["--model", str(folders), "--probes", str(folders / "probes"), "--json"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and json.loads(lines[-1])["rank1"] == 0.6
    assert main(arguments[:-1]) == 0
    assert "rank-1" in capsys.readouterr().out
    assert list((folders / "evaluation_cache").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "dlib"], "give --probes, --pairs or both"),
        (["--probes", "x"], "--model"),
        (["--model", "dlib", "--probes", "x"], "nobody enrolled"),
        (["--model", "dlib", "--pairs", "absent.csv"], "absent.csv: cannot be read"),
        (["--model", "nowhere", "--probes", "PROBES"], "nowhere: no such run"),
        (["--model", "nowhere", "--probes", "absent"], "absent: no such folder"),
        (["--model", "nowhere", "--probes", "PROBES", "--strangers", "EMPTY"], "no photo in it"),
        (["--model", "dlib", "--pairs", "x", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_calls_print_one_line_and_return_2(
    folders: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "empty").mkdir()
    places = {"PROBES": str(folders / "probes"), "EMPTY": str(folders / "empty")}
    assert main([places.get(word, word) for word in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_pairs_at_stored_thresholds_by_hand() -> None:
    scores = PairScores(
        np.array([True, True, True, True, False, False, False, False]),
        np.array([0.9, 0.6, 0.4, NEVER, 0.5, 0.2, 0.1, NEVER]),
        [Path(str(k)) for k in range(8)],
        [Path(str(k + 8)) for k in range(8)],
    )
    rates = measure_pairs(scores, {"01": 0.55, "1": 0.3})
    assert rates["tar_at_stored_fmr_01"].value == 2 / 4 and rates["tar_at_stored_fmr_1"].value == 3 / 4
    assert rates["fmr_realised_01"].value == 0 and rates["fmr_realised_1"].value == pytest.approx(1 / 3)
    assert (
        rates["pair_accuracy_stored"].value == (2 + 3) / 8
    )  # a pair without a face is never counted as right
    assert "pair_accuracy_stored" not in measure_pairs(scores)
