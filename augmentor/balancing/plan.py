"""Plan a balanced set: which images each person gets, without touching a pixel.

The plan is pure and deterministic. It depends on the records, the views, `per_class` and `seed`, never on the order
in which they come. Each identity is planned independently, so a job may plan one as soon as its photos are scanned.

A photo's renders depend on its own pose, on *which* photos the identity has, and on which sides of the face they show
(left, front, right), not on the exact poses of the others. If a photo is replaced by another one of the same name that
shows the same side, only its own renders change. If a photo is added, removed or fails, only renders of that identity
change.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np

from augmentor.errors import InputError

if TYPE_CHECKING:
    from augmentor.rendering.effects import Effect
    from augmentor.views.view_key import ViewKey

NAME_BYTES = (
    80  # bytes of a photo's name that the names of its images keep; file systems allow 255 for a whole name
)

# A photo or a view that is turned further shows a side of the face, not the front. Beyond about this yaw, a render of a
# photo that shows the side is more like the person than a render of a frontal one (decision 0034).
SIDE_YAW = 35.0

Allowed = Callable[[float, "ViewKey"], bool]
Effects = Callable[[str], tuple["Effect", ...]]


@dataclass(frozen=True)
class PhotoRecord:
    """One scanned face of one photo, or a photo without a usable face.

    Attributes:
        identity: name of the person.
        photo: path relative to the data folder, with slashes.
        sha256: SHA-256 of the photo's file, hexadecimal; empty if the file could not be read.
        yaw, pitch, roll: pose of the head, degrees.
        reason: None for a usable face, otherwise one of `augmentor.errors.REASONS`.
        face: number of the face in its photo; 0 unless all faces are used.
        phash: perceptual hash of the photo; 0 if the photo could not be decoded. The plan does not depend on it.
        detail: what exactly is wrong, or what else the user should know about the photo. The plan does not depend on
            it.
        landmarks: (68, 2) float32 (x, y) in pixels of the upright photo; None with a `reason`. The plan does not
            depend on them.
        points: (5, 2) float32 (x, y) in the same pixels, by which the face is cut out; None with a `reason`. The plan
            does not depend on them.
        visible: (68,) bool, which landmarks the head does not hide; None with a `reason`. The plan does not depend on
            it.
    """

    identity: str
    photo: str
    sha256: str
    yaw: float
    pitch: float
    roll: float
    reason: str | None
    face: int = 0
    phash: int = 0
    detail: str = ""
    landmarks: np.ndarray | None = field(default=None, compare=False)
    points: np.ndarray | None = field(default=None, compare=False)
    visible: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PlannedImage:
    """One file of the balanced set: the aligned photo itself, or a render of it.

    Attributes:
        identity: name of the person.
        photo: path of the photo relative to the data folder, with slashes.
        kind: photo or render.
        view: the view of a render; None for a photo.
        file: path relative to the output folder, with slashes.
        face: number of the face in its photo.
        light: 0 for the light of the photo. Higher numbers are other lights, planned only where the photo may be
            rendered into fewer views than its share.
        effects: effects on a render (`augmentor.rendering.effects`).
    """

    identity: str
    photo: str
    kind: Literal["photo", "render"]
    view: "ViewKey | None"
    file: str
    face: int = 0
    light: int = 0
    effects: tuple["Effect", ...] = ()


@dataclass(frozen=True)
class Plan:
    """The plan of a balanced set.

    Attributes:
        images: all images, in the order of their files within each identity.
        failures: the records with a reason.
        empty_identities: identities without a usable photo.
        short_identities: identities with usable photos, but too few images, because none of the photos may be rendered.
    """

    images: tuple[PlannedImage, ...]
    failures: tuple[PhotoRecord, ...]
    empty_identities: tuple[str, ...]
    short_identities: tuple[str, ...] = ()


def plan(
    records: Iterable[PhotoRecord],
    view_keys: Sequence["ViewKey"],
    per_class: int,
    seed: int,
    *,
    allowed: Allowed,
    identities: Iterable[str] = (),
    effects: Effects | None = None,
) -> Plan:
    """Plan exactly `per_class` images for every identity.

    First come the identity's own aligned photos (a seeded choice if there are more than `per_class`), then renders.
    The numbers of renders of its photos differ by one at most. A view that shows a side of the face goes first to
    photos that show this side, and a frontal one to frontal photos. Apart from this, every view is used equally often
    to within one, as far as `allowed` permits. No (photo, view, light) is used twice.

    Args:
        records: records of all photos, in any order; one for each (photo, face).
        view_keys: the available views, in any order, with distinct names.
        per_class: images of each identity, at least 1.
        seed: another seed deals other views to the photos.
        allowed: says whether a photo with this yaw may be rendered into this view
            (`augmentor.views.view_key.allowed`).
        identities: names that the plan must contain even if they have no record.
        effects: returns the effects of a render, given its file (`augmentor.rendering.effects.draw_effects`); None for
            no effects.

    Raises:
        InputError: `per_class` is below 1.
    """
    if per_class < 1:
        raise InputError(
            f"--per-class is {per_class}: every person needs at least 1 image; use --per-class 128, for example"
        )
    by_identity: dict[str, list[PhotoRecord]] = {name: [] for name in identities}
    for record in records:
        by_identity.setdefault(record.identity, []).append(record)
    images: list[PlannedImage] = []
    failures: list[PhotoRecord] = []
    empty, short = [], []
    for identity, own in sorted(by_identity.items()):
        failures += sorted((r for r in own if r.reason is not None), key=lambda r: (r.photo, r.face))
        usable = [r for r in own if r.reason is None]
        planned = _plan_identity(identity, usable, view_keys, per_class, seed, allowed)
        if not usable:
            empty.append(identity)
        elif len(planned) < per_class:
            short.append(identity)
        if effects:
            planned = [replace(i, effects=effects(i.file)) if i.kind == "render" else i for i in planned]
        images += sorted(planned, key=lambda image: image.file)
    return Plan(tuple(images), tuple(failures), tuple(empty), tuple(short))


def _plan_identity(
    identity: str,
    usable: Sequence[PhotoRecord],
    view_keys: Sequence["ViewKey"],
    per_class: int,
    seed: int,
    allowed: Allowed,
) -> list[PlannedImage]:
    """Return the images of one identity from its usable photos, in no particular order."""
    # The draw depends on names, not on order or content: when a photo is replaced, all photos keep their places.
    photos = sorted(usable, key=lambda r: _draw(seed, identity, r.photo, r.face))
    own = [_image(r, "photo", None) for r in photos[:per_class]]
    views = sorted(view_keys, key=lambda key: _draw(seed, identity, key.name))
    sides = {_side(photo.yaw) for photo in photos}
    dealt = []
    for photo, order in zip(photos, _deal(len(photos), len(views)), strict=True):
        others = sides - {_side(photo.yaw)}  # sides that other photos show and this one does not
        hand = [views[v] for v in order if allowed(photo.yaw, views[v])]
        hand.sort(key=lambda key, others=others: _side(key.yaw) in others)  # type: ignore[misc]
        if hand:
            dealt.append((photo, hand))
    renders: list[PlannedImage] = []
    missing = per_class - len(own)
    for place, (photo, hand) in enumerate(dealt):
        share = missing // len(dealt) + (place < missing % len(dealt))
        for turn in range(share):
            light, v = divmod(turn, len(hand))
            renders.append(_image(photo, "render", hand[v], light))
    return own + renders


def _side(yaw: float) -> int:
    """Return which part of the face a photo or a view shows: -1, 0 (the front) or 1, by the sign of its yaw."""
    return int(np.sign(yaw)) if abs(yaw) > SIDE_YAW else 0


def _deal(photos: int, views: int) -> Iterator[list[int]]:
    """Yield for each photo an order of all views, such that equal prefixes of all orders use every view equally often.

    The views are dealt like cards, round after round. Where a photo would get its own cards again (after the least
    common multiple of both numbers), the dealing skips one card. Blocks of `views` cards stay whole, so the numbers of
    uses never differ by more than one.
    """
    cycle = math.lcm(photos, views) if photos and views else 1
    for photo in range(photos):
        turns = range(photo, photos * views, photos)
        yield [(turn + turn // cycle) % views for turn in turns]


def hold_out(
    photos_by_identity: Mapping[str, Sequence[str]], n: int, seed: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Set aside `n` photos of each identity that has at least `n` + 1.

    Args:
        photos_by_identity: relative paths of the photos of each identity, in any order.
        n: number of photos to set aside, 0 for none.
        seed: seed of the choice. The choice depends on the photos' names, so an additional photo displaces at most one.

    Returns:
        The photos that stay and those set aside, both sorted. Identities without photos set aside are only in the
        first.

    Raises:
        InputError: `n` is negative.

    Example:
        >>> kept, held = hold_out({"Anna": ["a.jpg", "b.jpg"], "Bo": ["c.jpg"]}, 1, seed=0)
        >>> len(kept["Anna"]), len(held["Anna"]), kept["Bo"], "Bo" in held
        (1, 1, ['c.jpg'], False)
    """
    if n < 0:
        raise InputError(
            f"--hold-out is {n}: it must be the number of photos to set aside for each person, 0 or more"
        )
    kept: dict[str, list[str]] = {}
    held: dict[str, list[str]] = {}
    for identity, photos in sorted(photos_by_identity.items()):
        drawn = sorted(photos, key=lambda photo: _draw(seed, identity, "hold-out", photo))
        aside = drawn[:n] if len(photos) > n else []
        kept[identity] = sorted(set(photos) - set(aside))
        if aside:
            held[identity] = sorted(aside)
    return kept, held


def output_file(identity: str, photo: str, view_name: str = "", face: int = 0, light: int = 0) -> str:
    """Return the relative path of an image of the set, which depends on nothing but what the image shows.

    The photo's name is kept for human readers, cut to `NAME_BYTES`. Eight hexadecimal digits of the hash of its whole
    path distinguish photos that would otherwise get the same name (`a.jpg` and `a.png`, photos in subfolders).

    Example:
        >>> output_file("Anna", "Anna/1.jpg", "s3_neutral_y+30_p-10_r+2")
        'Anna/1-01651b5f-s3_neutral_y+30_p-10_r+2.jpg'
    """
    stem = PurePosixPath(photo).stem.encode()[:NAME_BYTES].decode(errors="ignore")
    parts = [stem, hashlib.sha256(photo.encode()).hexdigest()[:8]]
    parts += [f"face{face}"] if face else []
    parts += [view_name] if view_name else []
    parts += [f"light{light}"] if light else []
    return f"{identity}/{'-'.join(parts)}.jpg"


def _image(
    record: PhotoRecord, kind: Literal["photo", "render"], view: "ViewKey | None", light: int = 0
) -> PlannedImage:
    file = output_file(record.identity, record.photo, view.name if view else "", record.face, light)
    return PlannedImage(record.identity, record.photo, kind, view, file, record.face, light)


def _draw(*parts: object) -> bytes:
    """Return a random value that depends on `parts` alone, the same on every machine and with every Python."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
