"""Tests of the planner: exact counts, even shares, and a plan that changes no more than necessary."""

import math
import string
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.balancing.plan import SIDE_YAW, PhotoRecord, PlannedImage, hold_out, output_file, plan
from augmentor.errors import InputError


@dataclass(frozen=True)
class Key:
    """The part of a view's key that the planner uses."""

    name: str
    yaw: float


VIEWS = [Key(f"v{i}", yaw) for i, yaw in enumerate(range(-75, 76, 5))]


def anything_goes(photo_yaw: float, key: Key) -> bool:
    return True


def near_view(photo_yaw: float, key: Key) -> bool:
    """Apply a yaw rule like `augmentor.views.view_key.allowed`, simple enough to check by eye."""
    own_pose = abs(photo_yaw - key.yaw) < 5
    turned_frontal = abs(photo_yaw) > 40 and abs(key.yaw) < 25
    return not own_pose and not turned_frontal


def record(identity: str, number: int, yaw: float = 0.0, reason: str | None = None) -> PhotoRecord:
    return PhotoRecord(identity, f"{identity}/{number:02d}.jpg", f"sha{number}", yaw, 0.0, 0.0, reason)


yaws = st.floats(-80, 80)
identities = st.dictionaries(
    st.text(string.ascii_letters + "äß .😀", min_size=1, max_size=8), st.lists(yaws, max_size=12), max_size=4
)


@given(identities, st.integers(1, 200), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_identity_gets_exactly_its_images(
    people: dict[str, list[float]], per_class: int, seed: int
) -> None:
    records = [record(name, i, yaw) for name, all_yaws in people.items() for i, yaw in enumerate(all_yaws)]
    made = plan(records, VIEWS, per_class, seed, allowed=near_view, identities=people)
    counts = Counter(image.identity for image in made.images)
    assert counts == {name: per_class for name, all_yaws in people.items() if all_yaws}
    assert made.empty_identities == tuple(sorted(name for name, all_yaws in people.items() if not all_yaws))
    assert made.short_identities == ()
    assert len({image.file for image in made.images}) == len(made.images)
    yaw_of = {r.photo: r.yaw for r in records}
    assert all(near_view(yaw_of[i.photo], i.view) for i in made.images if i.view)
    shown = Counter((i.photo, i.view, i.light) for i in made.images)
    assert max(shown.values(), default=1) == 1
    for name in counts:
        own = [i for i in made.images if i.identity == name and i.kind == "photo"]
        assert len(own) == min(per_class, len(people[name]))
        renders = Counter(i.photo for i in made.images if i.identity == name and i.kind == "render")
        shares = [renders[r.photo] for r in records if r.identity == name]
        assert max(shares) - min(shares) <= 1


@given(st.integers(1, 14), st.integers(1, 33), st.integers(1, 150), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_views_are_used_equally_often_to_within_one(
    photos: int, views: int, per_class: int, seed: int
) -> None:
    records = [record("A", i) for i in range(photos)]
    made = plan(records, VIEWS[:views], per_class, seed, allowed=anything_goes)
    uses = Counter(i.view.name for i in made.images if i.view)
    numbers = [uses[key.name] for key in VIEWS[:views]]
    assert max(numbers) - min(numbers) <= 1


@given(st.randoms(use_true_random=False), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_order_of_the_input_does_not_matter(random: object, seed: int) -> None:
    records = [record(name, i, 9.0 * i - 50) for name in "ABC" for i in range(5)]
    shuffled, views = list(records), list(VIEWS)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(views)  # type: ignore[attr-defined]
    assert plan(shuffled, views, 40, seed, allowed=near_view) == plan(
        records, VIEWS, 40, seed, allowed=near_view
    )


@given(st.integers(0, 6), st.floats(-SIDE_YAW, SIDE_YAW), st.floats(0, 45), st.integers(1, 100))
@settings(max_examples=40, deadline=None)
def test_a_changed_photo_that_shows_the_same_side_changes_its_own_renders_only(
    which: int, frontal: float, further: float, per_class: int
) -> None:
    before = [record("A", i, 20.0 * i - 60) for i in range(7)]
    after = list(before)
    old = before[which].yaw
    new_yaw = frontal if abs(old) <= SIDE_YAW else math.copysign(SIDE_YAW + 1 + further, old)
    after[which] = replace(before[which], yaw=new_yaw, sha256="changed")

    def others(records: list[PhotoRecord]) -> list[PlannedImage]:
        made = plan(records, VIEWS, per_class, 0, allowed=near_view)
        return [i for i in made.images if i.photo != before[which].photo]

    assert others(after) == others(before)


def test_a_photo_that_shows_a_side_serves_it_and_leaves_the_front_to_frontal_photos() -> None:
    records = [record("A", 0, yaw=0.0), record("A", 1, yaw=55.0)]
    made = plan(records, VIEWS, 14, 0, allowed=lambda photo_yaw, key: key.yaw >= photo_yaw - 90)
    shown = {
        number: [i.view.yaw for i in made.images if i.view and i.photo == r.photo]
        for number, r in enumerate(records)
    }
    assert all(yaw > SIDE_YAW for yaw in shown[1])
    assert all(yaw <= SIDE_YAW for yaw in shown[0]), "nobody else shows the left"
    assert {len(yaws) for yaws in shown.values()} == {6}


def test_a_preferred_side_does_not_cost_an_image() -> None:
    """Share 30 views between two photos, of which each prefers its own: both also take those of the other."""
    records = [record("A", 0, yaw=0.0), record("A", 1, yaw=55.0)]
    made = plan(records, VIEWS, 62, 0, allowed=anything_goes)
    renders = Counter(i.photo for i in made.images if i.view)
    assert renders == {"A/00.jpg": 30, "A/01.jpg": 30} and not any(i.light for i in made.images)


def test_one_identity_is_planned_as_if_it_were_alone() -> None:
    a, b = [record("A", i) for i in range(3)], [record("B", i) for i in range(2)]
    together = plan(a + b, VIEWS, 20, 0, allowed=near_view)
    alone = plan(b, VIEWS, 20, 0, allowed=near_view)
    assert [i for i in together.images if i.identity == "B"] == list(alone.images)


def test_share_of_a_failed_photo_goes_to_the_others() -> None:
    records = [
        record("A", 0),
        record("A", 1, reason="no_face"),
        record("A", 2),
        record("B", 0, reason="too_small"),
    ]
    made = plan(records, VIEWS, 10, 0, allowed=anything_goes)
    assert Counter(i.photo for i in made.images) == {"A/00.jpg": 5, "A/02.jpg": 5}
    assert [(r.photo, r.reason) for r in made.failures] == [
        ("A/01.jpg", "no_face"),
        ("B/00.jpg", "too_small"),
    ]
    assert made.empty_identities == ("B",)


def test_more_photos_than_images_leaves_a_seeded_choice_and_no_render() -> None:
    records = [record("A", i) for i in range(20)]
    choices = {tuple(i.photo for i in plan(records, VIEWS, 8, s, allowed=near_view).images) for s in range(5)}
    assert all(len(set(choice)) == 8 for choice in choices)
    assert len(choices) == 5


def test_share_beyond_the_allowed_views_gets_other_lights() -> None:
    """Plan three views, one at the photo's own pose: 1 photo + 2 views in 3 lights, half of the third light used."""
    keys = [Key("left", -30), Key("front", 0), Key("right", 30)]
    made = plan([record("A", 0, yaw=1.0)], keys, 6, 0, allowed=near_view)
    assert Counter(i.light for i in made.images if i.view) == {0: 2, 1: 2, 2: 1}


def test_photo_without_any_view_is_said_to_leave_its_identity_short() -> None:
    made = plan([record("A", 0)], VIEWS, 3, 0, allowed=lambda yaw, key: False)
    assert (len(made.images), made.short_identities, made.empty_identities) == (1, ("A",), ())


def test_less_than_one_image_each_is_refused() -> None:
    with pytest.raises(InputError, match="--per-class"):
        plan([], VIEWS, 0, 0, allowed=near_view)


def test_hold_out_leaves_everybody_a_photo() -> None:
    photos = {"A": ["A/1", "A/2", "A/3"], "B": ["B/1"], "C": ["C/2", "C/1"]}
    kept, held = hold_out(photos, 1, seed=0)
    assert {name: len(p) for name, p in kept.items()} == {"A": 2, "B": 1, "C": 1}
    assert {name: len(p) for name, p in held.items()} == {"A": 1, "C": 1}
    assert all(sorted(kept[name] + held.get(name, [])) == sorted(photos[name]) for name in photos)
    backwards = {name: list(reversed(p)) for name, p in reversed(photos.items())}
    assert hold_out(backwards, 1, seed=0) == (kept, held)
    assert hold_out(photos, 0, seed=0)[1] == {}
    assert {tuple(hold_out(photos, 1, seed)[1]["A"]) for seed in range(20)} == {("A/1",), ("A/2",), ("A/3",)}
    with pytest.raises(InputError, match="--hold-out"):
        hold_out(photos, -1, seed=0)


def test_output_file_keeps_similar_photos_apart_and_fits_the_file_system() -> None:
    names = {output_file("A", photo) for photo in ("A/a.jpg", "A/a.png", "A/b/a.jpg", "A/c/a.jpg")}
    assert len(names) == 4
    long = output_file("A", "A/" + "ü" * 120 + ".jpg", "shape3-y-45", light=2)
    assert len(long.encode()) < 160
    assert long.endswith("-shape3-y-45-light2.jpg")
