"""Another face source goes in through the public way, and everything that detects faces uses it.

This file is all that a new source takes: a class, and an entry in `SOURCES` to choose it by name.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.face_search import MIN_FACE, Detection, Face, FaceSearch, Policy, choose_faces
from augmentor.faces.face_source import SOURCES, face_source, source_note
from augmentor.head.head_model import load_head_model
from augmentor.photos.images import encode_jpeg, load_image
from augmentor.photos.place import FolderPlace
from identity.albums.photo_work import InProcess
from identity.chips.many_photos import find_chips, read_photos
from identity.chips.photo_faces import PhotoReader
from identity.runs.comparison import verify
from identity.runs.enrolment import enrol
from identity.runs.recogniser import Recogniser
from jobs.balancing.augment_settings import parse_arguments
from jobs.balancing.careful_scan import CarefulScanner
from jobs.balancing.photo_worker import PhotoWorker, RenderSettings
from jobs.cluster.work_folder import WorkFolder
from tests.identity.test_enrol import trained
from tests.identity.test_verify import Colours

BOX = (30.0, 20.0, 100.0, 100.0)


@dataclass(frozen=True)
class FixedFaces:
    """Finds a face at one place of every photo, turned neither way."""

    second_opinion: bool = False

    @property
    def version(self) -> str:
        return "fixed-1"

    @property
    def offsets(self) -> np.ndarray:
        return np.zeros((68, 3))

    def check_models(self) -> None:
        pass

    def __call__(
        self, image: np.ndarray, policy: Policy = "central", min_face: int = MIN_FACE, landmarks: bool = True
    ) -> FaceSearch:
        chosen, reason = choose_faces([Detection(BOX, 0.75)], policy, min_face, image.shape[:2])
        points = load_head_model().landmarks()[:, :2]
        middle, scale = np.array([80.0, 80.0]), 100 / np.ptp(points[:, 1])
        places = ((points - points.mean(0)) * scale + middle).astype(np.float32)
        return FaceSearch(tuple(Face(d.box, places, d.score) for d in chosen), reason)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three photos that show no face to any other detector."""
    paths = []
    for number, colour in enumerate([(200, 90, 90), (90, 200, 90), (90, 90, 200)]):
        image = np.full((160, 160, 3), colour, np.uint8)
        image[60:100, 60:100] //= number + 2
        paths.append(tmp_path / "photos" / f"{number}.jpg")
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_bytes(encode_jpeg(image))
    return paths


def test_recognising_uses_it(photos: list[Path]) -> None:
    recogniser = Recogniser(replace(trained(), size=60), source=FixedFaces())
    assert [answer.status for answer in Recogniser(replace(trained(), size=60)).files(photos[:1])] == [
        "no_face"
    ]
    answers = list(recogniser.files(photos))
    assert [answer.status for answer in answers] == ["ok"] * 3
    assert {face.box for answer in answers for face in answer.faces} == {BOX}
    pose = answers[0].faces[0].pose
    assert pose is not None and abs(pose[0]) < 5


def test_comparing_uses_it(photos: list[Path]) -> None:
    images = [load_image(photo) for photo in photos[:2]]
    answer = verify(Colours(), images, source=FixedFaces())
    assert answer["status"] == "ok" and answer["boxes"] == [list(BOX), list(BOX)]


def test_enrolling_uses_it_and_so_does_the_cache(photos: list[Path], tmp_path: Path) -> None:
    bundle = replace(trained(), size=60)
    found = find_chips(photos, 60, cache=tmp_path / "cache", source=FixedFaces())
    assert enrol(bundle, "Nova", found).labels[-1] == "Nova"
    find_chips(photos, 60, cache=tmp_path / "cache")
    names = {file.name for file in (tmp_path / "cache").iterdir()}
    other = face_source(second_opinion=True).version
    assert names == {"faces-central-32-fixed-1.parquet", f"faces-central-32-{other}.parquet"}
    again = InProcess(FixedFaces()).face_again(photos[0], BOX, 60)
    assert again is not None and np.array_equal(again.chip, found[0].chip)  # type: ignore[arg-type]


def test_the_scan_of_the_augment_job_uses_it_in_its_own_process_and_in_another(photos: list[Path]) -> None:
    settings = RenderSettings(64, 0, "central", source=FixedFaces())
    content = photos[0].read_bytes()
    own = PhotoWorker(settings).scan("Ann", "Ann/0.jpg", content)
    careful = CarefulScanner(settings)
    try:
        other = careful.scan("Ann", "Ann/0.jpg", content)
    finally:
        careful.close()
    for scanned in (own, other):
        assert scanned.faces[0].reason is None and len(scanned.prepared) == 1
        assert abs(scanned.faces[0].yaw) < 5
        assert not scanned.prepared[0].photo.detector_offsets.any()
    assert np.array_equal(own.faces[0].landmarks, other.faces[0].landmarks)  # type: ignore[arg-type]


def test_processes_of_a_pool_use_it(photos: list[Path]) -> None:
    reader = PhotoReader(60, source=FixedFaces())
    alone, together = list(read_photos(reader, photos)), list(read_photos(reader, photos, workers=2))
    assert [photo.box for photo in together] == [BOX] * 3
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a.chip, b.chip)  # type: ignore[arg-type]


def test_a_command_line_chooses_it_by_name_once_it_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--data", "photos", "--out", "set", "--per-class", "8", "--detector", "fixed"]
    with pytest.raises(InputError, match="--detector"):
        parse_arguments(arguments, submitted=False)
    monkeypatch.setitem(SOURCES, "fixed", FixedFaces)
    settings = parse_arguments(arguments, submitted=False)
    assert face_source(settings.detector) == FixedFaces()


def test_a_set_that_was_made_with_it_is_not_continued_with_another(tmp_path: Path) -> None:
    settings = {"size": 150}
    with WorkFolder(FolderPlace(tmp_path / "set"), settings | source_note(FixedFaces())):
        pass
    with pytest.raises(InputError, match="face_source 'fixed-1' instead of 'centerface"):
        WorkFolder(FolderPlace(tmp_path / "set"), settings | source_note(face_source()))
    with WorkFolder(FolderPlace(tmp_path / "old"), settings):
        pass
    with pytest.raises(InputError, match="made with face_source None instead of"):
        WorkFolder(FolderPlace(tmp_path / "old"), settings | source_note(face_source()))
