"""Bare features compare faces without anybody enrolled."""

from pathlib import Path

import pytest

from augmentor.errors import InputError
from identity.evaluation.material import Material
from identity.evaluation.on_photos import evaluate
from identity.evaluation.pairs import read_pairs
from identity.runs.bare_features import BareFeatures

LFW = Path(__file__).parents[3].parent / "shared" / "data" / "lfw1013"


def test_unknown_model_is_an_error() -> None:
    with pytest.raises(InputError, match="face, dlib, both"):
        BareFeatures("nobody")


@pytest.mark.data
@pytest.mark.slow
def test_dlib_tells_pairs_of_lfw_apart(tmp_path: Path) -> None:
    if not LFW.is_dir():
        pytest.skip("../shared/data/lfw1013 is absent")
    every = read_pairs(LFW / "pairs_unseen.csv", LFW)
    mated = [pair for pair in every if pair.mated][:40]
    known = {photo for pair in mated for photo in (pair.photo_a, pair.photo_b)}
    others = [p for p in every if not p.mated and {p.photo_a, p.photo_b} <= known]
    material = Material({}, [], Path(), mated + others, [])
    numbers = evaluate("dlib", BareFeatures("dlib"), material, cache=tmp_path).as_json()
    assert numbers["n_pairs"] == 40 + len(others) and len(others) >= 20
    eer, per_face = numbers["eer"], numbers["ms_per_face"]
    assert isinstance(eer, float) and eer < 0.06
    assert isinstance(per_face, float) and per_face > 0
