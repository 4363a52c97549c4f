"""Face sources by name, and what outputs note of them."""

import re

import pytest

from augmentor.faces.centerface_faces import CenterFaces
from augmentor.faces.face_search import MIN_FACE, Detection, check_policy, choose_faces
from augmentor.faces.face_source import face_source, source_note
from augmentor.faces.hog_faces import HogFaces
from tests.stand_in_faces import StandInFaces, StandInLandmarks


def test_a_source_is_chosen_by_name() -> None:
    assert face_source() == face_source("centerface") == CenterFaces()
    assert face_source("hog", second_opinion=True) == HogFaces(second_opinion=True)
    with pytest.raises(ValueError, match=r"no face source 'cascade'; known: centerface, hog"):
        face_source("cascade")


def test_sources_that_find_other_faces_have_other_versions() -> None:
    sources = (
        CenterFaces(),
        CenterFaces(True),
        HogFaces(),
        HogFaces(True),
        HogFaces(landmarks=StandInLandmarks()),
        StandInFaces(),
    )
    versions = {source.version for source in sources}
    assert len(versions) == len(sources)
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+", version) for version in versions)


def test_outputs_note_their_source() -> None:
    assert source_note(face_source()) == {"face_source": face_source().version}
    assert source_note(StandInFaces()) == {"face_source": "StandInFaces-1"}


def test_the_models_of_the_default_source_are_there_and_its_offsets_are_those_of_dlib() -> None:
    source = face_source(second_opinion=True)
    source.check_models()
    assert source.offsets.shape == (68, 3) and source.offsets.any()


def test_faces_are_chosen_by_hand() -> None:
    left, middle, small = (Detection(box, 1.0) for box in ((0, 0, 60, 60), (80, 30, 40, 40), (150, 80, 9, 9)))
    found = [left, small, middle]
    assert choose_faces(found, "central", MIN_FACE, (100, 200)) == ([middle], None)
    assert choose_faces(found, "largest", MIN_FACE, (100, 200)) == ([left], None)
    assert choose_faces(found, "all", MIN_FACE, (100, 200)) == ([left, middle], None)
    assert choose_faces(found, "reject", MIN_FACE, (100, 200)) == ([], "several_faces")
    assert choose_faces([small], "reject", MIN_FACE, (100, 200)) == ([], "too_small")
    assert choose_faces([], "all", MIN_FACE, (100, 200)) == ([], "no_face")
    with pytest.raises(ValueError, match="unknown policy 'best'"):
        check_policy("best")
