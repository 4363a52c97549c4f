"""Templates by hand, and choices made on calibration people only."""

import numpy as np
import pytest

from identity.decisions.metrics import NEVER
from identity.decisions.templates import (
    DEFAULT_RENDER_WEIGHT,
    Calibration,
    Choice,
    TrainingEmbeddings,
    calibration_of,
    choose,
    is_frozen,
    leave_one_out,
    settle,
    thinned,
    without_self,
    worth,
)
from identity.networks.face_space import unit
from identity.networks.sources import default_shares

X, Y = [1.0, 0.0], [0.0, 1.0]


def small_gallery() -> TrainingEmbeddings:
    """Two people: the first with photos X and Y (ids 0, 1) and a render X of photo 0, the second with photo Y."""
    rows = {"dlib": np.array([X, Y, Y], np.float32)}
    return TrainingEmbeddings(
        classes=2,
        photo_labels=np.array([0, 0, 1]),
        photo_ids=np.array([0, 1, 2]),
        probes=rows,
        photos=rows,
        render_labels=np.array([0]),
        render_photos=np.array([0]),
        renders={"dlib": np.array([X], np.float32)},
    )


def test_renders_count_as_so_many_photos_more() -> None:
    templates = small_gallery().templates(1.0)["dlib"]  # person 0: X + Y + 1.0 * X
    assert np.allclose(templates, [unit(np.array([2.0, 1.0])), Y])


def test_a_photo_that_is_left_out_takes_its_renders_along() -> None:
    templates = small_gallery().templates(1.0, without=np.array([0]))["dlib"]
    assert np.allclose(templates, [Y, Y])


def test_a_person_of_whom_only_renders_are_left_is_known_by_them() -> None:
    gallery = small_gallery()
    alone = TrainingEmbeddings(
        classes=2,
        photo_labels=gallery.photo_labels[2:],
        photo_ids=gallery.photo_ids[2:],
        probes={"dlib": gallery.probes["dlib"][2:]},
        photos={"dlib": gallery.photos["dlib"][2:]},
        render_labels=gallery.render_labels,
        render_photos=gallery.render_photos,
        renders=gallery.renders,
    )
    assert np.allclose(alone.templates(0.0)["dlib"], [X, Y])


def test_each_photo_meets_templates_that_lack_it_and_its_renders() -> None:
    rng = np.random.default_rng(4)
    labels, ids = np.array([0, 0, 0, 1, 1, 2, 3, 3]), np.array([0, 1, 1, 2, 3, 4, 5, 5])
    rows = {name: unit(rng.normal(size=(8, 5))) for name in ("dlib", "face")}
    renders = {name: unit(rng.normal(size=(6, 5))) for name in ("dlib", "face")}
    shown = np.array([0, 0, 1, 2, 4, 5])
    gallery = TrainingEmbeddings(4, labels, ids, rows, rows, np.array([0, 0, 0, 1, 2, 3]), shown, renders)
    choice = Choice({"dlib": 0.7, "face": 0.3}, 0.5)
    similarities, found = leave_one_out(gallery, choice)
    # person 2 has one photo, person 3 one that is there twice: neither can do without it
    assert found.tolist() == [0, 0, 0, 1, 1]
    for row, (values, label) in enumerate(zip(similarities, found, strict=True)):
        without = gallery.templates(0.5, without=ids[[row]])
        whole = gallery.templates(0.5)
        for person in range(4):
            templates = without if person == label else whole
            expected = sum(
                share * (rows[name][row] @ templates[name][person]) for name, share in choice.shares.items()
            )
            assert values[person] == pytest.approx(expected, abs=1e-6)
    drawn, some = leave_one_out(gallery, choice, most=2)
    assert len(drawn) == len(some) == 2


def test_a_head_that_was_trained_on_the_photos_is_not_calibrated_by_them() -> None:
    assert is_frozen(Choice({"dlib": 0.6, "face": 0.4}, 0.0))
    assert is_frozen(Choice({"dlib": 1.0, "face": 0.0, "head": 0.0}, 0.0))
    assert not is_frozen(Choice({"dlib": 0.9, "head": 0.1}, 0.0))


def test_without_strangers_people_are_left_out_in_turn() -> None:
    gallery = small_gallery()
    calibration = calibration_of(gallery, np.array([False, True, False]), None)
    assert calibration.stranger_labels.tolist() == [0, 0, 1]
    assert calibration.labels.tolist() == [0]
    similarities = without_self(np.ones((3, 2)), calibration.stranger_labels)
    assert (similarities == NEVER).tolist() == [[True, False], [True, False], [False, True]]


def drawn_calibration(informative: str) -> tuple[TrainingEmbeddings, Calibration]:
    """120 people with three photos; of the parts dlib and head only `informative` tells them apart."""
    rng = np.random.default_rng(0)
    people = unit(rng.normal(size=(120, 16)))
    labels = np.repeat(np.arange(120), 3)

    def photos(name: str, centre: np.ndarray) -> np.ndarray:
        return unit((centre if name == informative else 0) + 0.1 * rng.normal(size=(len(centre), 16)))

    rows = {name: photos(name, people[labels]) for name in ("dlib", "head")}
    strangers = {name: photos(name, unit(rng.normal(size=(150, 16)))) for name in ("dlib", "head")}
    none = {name: np.zeros((0, 16), np.float32) for name in rows}
    empty = np.zeros(0, np.int64)
    gallery = TrainingEmbeddings(120, labels, np.arange(360), rows, rows, empty, empty, none)
    return gallery, calibration_of(gallery, np.arange(360) % 3 == 0, strangers)


@pytest.mark.parametrize("informative", ["dlib", "head"])
def test_shares_go_to_the_part_that_tells_people_apart(informative: str) -> None:
    choice, chosen = choose(*drawn_calibration(informative))
    assert chosen
    if informative == "dlib":  # the other one can only harm
        assert choice.shares == {"dlib": 1.0, "head": 0.0}
    else:
        assert choice.shares["head"] >= 0.5


def test_choices_are_made_with_as_few_photos_as_people_have() -> None:
    # Person 0 has five photos, one of them held out; the ten others have one each.
    labels = np.array([0] * 5 + list(range(1, 11)))
    rows = {"dlib": np.eye(15, dtype=np.float32)}
    none = {"dlib": np.zeros((0, 15), np.float32)}
    empty = np.zeros(0, np.int64)
    gallery = TrainingEmbeddings(11, labels, np.arange(15), rows, rows, empty, empty, none)
    calibration = calibration_of(gallery, np.arange(15) == 2, {"dlib": rows["dlib"][:1]})
    kept = [np.setdiff1d(np.arange(5), thinned(gallery, calibration, seed)) for seed in range(50)]
    assert all(2 not in own for own in kept)
    assert {len(own) for own in kept} == {1, 4}
    assert np.mean([len(own) == 1 for own in kept]) > 0.8
    assert {photo for own in kept if len(own) == 1 for photo in own} == {0, 1, 3, 4}
    assert all(set(thinned(gallery, calibration, seed)) <= set(range(5)) for seed in range(5))


def test_too_few_calibration_people_leave_the_defaults() -> None:
    gallery = small_gallery()
    choice, chosen = choose(gallery, calibration_of(gallery, np.array([False, True, False]), None))
    assert not chosen
    assert choice.shares == {"dlib": 1.0}
    assert choice.render_weight == DEFAULT_RENDER_WEIGHT
    assert default_shares(("dlib", "face", "head")) == pytest.approx({"dlib": 1.0, "face": 0.0, "head": 0.0})


def test_settled_thresholds_let_through_what_they_promise() -> None:
    gallery, calibration = drawn_calibration("dlib")
    choice, _ = choose(gallery, calibration)
    decision = settle(gallery, calibration, choice)
    assert decision.acceptance.people == 120
    templates = gallery.templates(choice.render_weight)["dlib"]
    similarities = calibration.strangers["dlib"] @ templates.T
    _, score = decision.score(similarities)
    # a stranger who made a template crowded is scored a little low here, so fewer pass, not more
    assert (score >= decision.thresholds["fpir_1"]).mean() <= 0.01
    assert (score >= decision.thresholds["fpir_10"]).mean() <= 0.10
    assert decision.calibration["tpir_fpir_1"] > 0.9


def test_nobody_with_three_photos_still_gives_thresholds() -> None:
    gallery = small_gallery()
    calibration = calibration_of(
        gallery, np.zeros(3, bool), {"dlib": unit(np.random.default_rng(0).normal(size=(9, 2)))}
    )
    choice, _ = choose(gallery, calibration)
    decision = settle(gallery, calibration, choice)
    assert all(np.isfinite(value) for value in decision.thresholds.values())


def test_dlib_alone_is_left_only_for_more_than_two_standard_errors() -> None:
    gain = np.zeros(400)
    gain[:3] = 1  # 0.75 points with an error of 0.43
    assert worth(gain, False) and not worth(gain, True)
    gain[:12] = 1
    assert worth(gain, True)
    assert not worth(np.full(400, 0.001), False)
