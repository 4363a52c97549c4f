"""A turned probe is compared with the side that it shows, and a frontal one with the photos."""

import numpy as np
import pytest

from identity.decisions.pose_templates import (
    NO_SIDE,
    SIDES,
    PoseTemplates,
    nearest_renders,
    side_of,
    wanted_yaws,
)
from identity.decisions.templates import Choice, TrainingEmbeddings, leave_one_out, person_sides
from identity.networks.face_space import unit

X, Y, Z = np.eye(3, dtype=np.float32)


def test_a_pose_shows_one_side_or_none() -> None:
    assert side_of(np.array([30.0, 75.0, -30.0, 29.9, 0.0, np.nan])).tolist() == [0, 0, 1, *[NO_SIDE] * 3]


def test_the_largest_similarity_counts_but_a_side_must_win_by_the_margin() -> None:
    templates = PoseTemplates(np.stack([X, Y]), np.stack([[Y, Z], [Z, X]]), margin=0.1)
    probes = np.stack([X, Z])
    # X: the front of person 0 and the right side of person 1; Z: the right side of person 0, the left one of person 1
    np.testing.assert_allclose(templates.similarities(probes), [[1.0, 0.9], [0.9, 0.9]], atol=1e-6)
    np.testing.assert_allclose(templates.similarity_of_each(probes), [1.0, 0.9], atol=1e-6)
    alone = PoseTemplates(templates.front)
    np.testing.assert_allclose(alone.similarities(probes), [[1.0, 0.0], [0.0, 0.0]])


def test_joined_templates_weigh_the_sources_by_their_shares() -> None:
    rng = np.random.default_rng(0)
    front = {name: unit(rng.normal(size=(4, 5))) for name in ("dlib", "face")}
    sides = {name: unit(rng.normal(size=(SIDES, 4, 5))) for name in ("dlib", "face")}
    probe = {name: unit(rng.normal(size=(1, 5))) for name in ("dlib", "face")}
    shares = {"dlib": 0.7, "face": 0.3}
    joined = PoseTemplates.joined(front, sides, shares, 0.05)
    row = np.concatenate([np.sqrt(shares[name]) * probe[name] for name in shares], axis=1)
    of = [sum(s * probe[n] @ rows[n].T for n, s in shares.items()) for rows in (front, *_each(sides))]
    expected = np.maximum(of[0], np.maximum(of[1], of[2]) - 0.05)
    np.testing.assert_allclose(joined.similarities(row), expected, atol=1e-6)


def _each(sides: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [{name: rows[side] for name, rows in sides.items()} for side in range(SIDES)]


def test_every_second_and_third_wanted_yaw_shows_both_sides() -> None:
    for photos in (1, 2, 3):
        for start in range(photos):
            assert {0, 1} <= set(side_of(wanted_yaws(16)[start::photos]).tolist()), (photos, start)


def test_renders_nearest_to_the_wanted_yaws_are_drawn_evenly_over_photos() -> None:
    yaws, photos = np.array([20.0, 44, 52, 70, -40, -71, 46]), np.array([0, 0, 0, 0, 0, 1, 1])
    assert nearest_renders(yaws, photos, np.array([45.0, 45.0])) == [1, 6]  # the second of the other photo
    assert nearest_renders(yaws, photos, np.array([45.0, -75.0])) == [1, 5]
    assert nearest_renders(yaws, photos, np.array([-60.0, -60.0, -60.0])) == [5, 4, 0]
    assert sorted(nearest_renders(yaws, photos, wanted_yaws(16))) == list(range(7))
    assert nearest_renders(yaws[:0], photos[:0], wanted_yaws(3)) == []


def test_a_person_without_renders_of_a_side_has_the_template_of_the_other() -> None:
    both = person_sides(X, np.stack([X, Y, Z]), np.array([0, 1, 1]))
    np.testing.assert_allclose(both, [X, unit(Y + Z)], atol=1e-6)
    np.testing.assert_allclose(person_sides(X, np.stack([Y, Z]), np.array([1, NO_SIDE])), [Y, Y], atol=1e-6)
    np.testing.assert_allclose(person_sides(X, Y[None], np.array([NO_SIDE])), [X, X], atol=1e-6)


def random_gallery() -> TrainingEmbeddings:
    """Four people, eight photos, and renders of both sides of some."""
    rng = np.random.default_rng(4)
    rows = {name: unit(rng.normal(size=(8, 5))) for name in ("dlib", "face")}
    renders = {name: unit(rng.normal(size=(9, 5))) for name in ("dlib", "face")}
    return TrainingEmbeddings(
        classes=4,
        photo_labels=np.array([0, 0, 0, 1, 1, 2, 3, 3]),
        photo_ids=np.array([0, 1, 1, 2, 3, 4, 5, 5]),
        probes=rows,
        photos=rows,
        render_labels=np.array([0, 0, 0, 0, 1, 1, 1, 2, 3]),
        render_photos=np.array([0, 0, 1, 1, 2, 2, 3, 4, 5]),
        renders=renders,
        render_sides=np.array([0, 1, 0, NO_SIDE, 0, 1, NO_SIDE, NO_SIDE, 1], np.int8),
    )


def test_templates_of_the_sides_are_those_of_one_person_made_for_everybody() -> None:
    gallery = random_gallery()
    front = gallery.templates(0.5)
    sides = gallery.side_templates(front)
    for name, rows in sides.items():
        assert rows.shape == (SIDES, 4, 5)
        for person in range(4):
            own = gallery.render_labels == person
            expected = person_sides(
                front[name][person], gallery.renders[name][own], gallery.render_sides[own]
            )
            np.testing.assert_allclose(rows[:, person], expected, atol=1e-6)


def test_without_renders_of_both_sides_there_are_no_templates_of_the_sides() -> None:
    gallery = random_gallery()
    for known in (np.zeros(0, np.int8), np.full(9, NO_SIDE, np.int8), np.zeros(9, np.int8)):
        plain = TrainingEmbeddings(
            *(gallery.classes, gallery.photo_labels, gallery.photo_ids, gallery.probes, gallery.photos),
            *(gallery.render_labels, gallery.render_photos, gallery.renders),
            render_sides=known,
        )
        assert plain.side_templates(plain.templates(0.5)) == {}
        assert plain.pose_templates(Choice({"dlib": 1.0}, 0.5)).sides is None


def test_a_probe_meets_sides_that_lack_its_own_photo() -> None:
    gallery, choice = random_gallery(), Choice({"dlib": 0.7, "face": 0.3}, 0.5)
    similarities, found = leave_one_out(gallery, choice)
    assert found.tolist() == [0, 0, 0, 1, 1]
    for row, (values, label) in enumerate(zip(similarities, found, strict=True)):
        probe = np.concatenate(
            [np.sqrt(share) * gallery.probes[name][row] for name, share in choice.shares.items()]
        )
        whole = gallery.pose_templates(choice).similarities(probe[None])[0]
        without = gallery.pose_templates(choice, gallery.photo_ids[[row]]).similarities(probe[None])[0]
        for person in range(4):
            expected = without[person] if person == label else whole[person]
            assert values[person] == pytest.approx(expected, abs=1e-5)
