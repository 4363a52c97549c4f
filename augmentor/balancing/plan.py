"""Who gets how many images of what: the plan of a balanced set, without touching a pixel.

Pure and deterministic: the plan depends on the records, the views, `per_class` and `seed`, never on the order
in which they come. Each identity is planned by itself, so a job may plan one as soon as its photos are
scanned.

A photo's renders depend on its own pose and on *which* photos the identity has, not on the poses of the
others: a photo that is replaced by another of the same name changes its own renders and nobody else's. A
photo that comes, goes or fails moves the shares of that identity only.
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

NAME_BYTES = 80  # of a photo's own name in its files' names; file systems allow 255 for the whole

Allowed = Callable[[float, "ViewKey"], bool]
Effects = Callable[[str], tuple["Effect", ...]]


@dataclass(frozen=True)
class PhotoRecord:
    """One face of one photo, or a photo without a usable face.

    Attributes:
        identity: the person.
        photo: path relative to the data folder, with slashes.
        sha256: of the photo's file; empty if the file could not be read.
        yaw, pitch, roll: pose of the head, degrees.
        reason: None for a usable face, else one of `augmentor.errors.REASONS`.
        face: number of the face among those of the photo; 0 unless all of them are taken.
        phash: perceptual hash of the photo; 0 if the photo could not be decoded. The plan does not depend on it.
        detail: what exactly is wrong, or what else the user should know of the photo. The plan does not depend on it.
        landmarks: (68, 2) float32 in pixels of the upright photo; None with a `reason`. The plan does not depend on
            them.
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


@dataclass(frozen=True)
class PlannedImage:
    """One file of the balanced set: the aligned photo itself, or a render of it.

    `light` is 0 for the light of the photo; higher numbers are other lights, planned only where the views
    that the photo may be turned to are fewer than its share. `file` is relative to the output folder, with
    slashes. `effects` are those of a render (`augmentor.rendering.effects`).
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
    """`images` in the order of their files; `failures` are the records with a reason.

    `empty_identities` have no usable photo; `short_identities` have one, but none that may be rendered, and
    so fewer images than asked for.
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

    First its own aligned photos (a seeded choice if there are more than `per_class`), then renders: their
    number the same for each of its photos to within one, every view used the same number of times to within
    one as far as `allowed` permits, no (photo, view, light) twice.

    Args:
        records: of all photos, in any order; one each per (photo, face).
        view_keys: the views there are, in any order, with distinct names.
        per_class: images of each identity, at least 1.
        seed: another seed deals other views to the photos.
        allowed: whether a photo with this yaw may be rendered into this view (`augmentor.rendering.render.allowed`).
        identities: names that must be accounted for even if they have no record.
        effects: what a render gets, by its file (`augmentor.rendering.effects.draw_effects`); None: nothing.

    Raises:
        InputError: `per_class` is below 1.
    """
    if per_class < 1:
        raise InputError(
            f"--per-class is {per_class}: every person needs at least 1 image, say --per-class 128"
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
    """The images of one identity from its usable photos, in no particular order."""
    # Drawn by name, not by position or content: a changed photo keeps its place, and so do the others.
    photos = sorted(usable, key=lambda r: _draw(seed, identity, r.photo, r.face))
    own = [_image(r, "photo", None) for r in photos[:per_class]]
    views = sorted(view_keys, key=lambda key: _draw(seed, identity, key.name))
    dealt = [
        (photo, hand)
        for photo, order in zip(photos, _deal(len(photos), len(views)), strict=True)
        if (hand := [views[v] for v in order if allowed(photo.yaw, views[v])])
    ]
    renders: list[PlannedImage] = []
    missing = per_class - len(own)
    for place, (photo, hand) in enumerate(dealt):
        share = missing // len(dealt) + (place < missing % len(dealt))
        for turn in range(share):
            light, v = divmod(turn, len(hand))
            renders.append(_image(photo, "render", hand[v], light))
    return own + renders


def _deal(photos: int, views: int) -> Iterator[list[int]]:
    """For each photo an order of all views such that equal prefixes of all orders use every view equally
    often.

    The views are dealt like cards, round after round. Where a photo would meet its own cards again (after the
    least common multiple of both numbers), the dealing goes on one card further; blocks of `views` cards stay
    whole, hence the numbers of uses never differ by more than one.
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
        n: how many, 0 for none.
        seed: of the choice; it goes by the photos' names, so a further photo displaces at most one.

    Returns:
        The photos that stay and those set aside, both sorted; identities without any set aside are in the
        first only.

    Raises:
        InputError: `n` is negative.
    """
    if n < 0:
        raise InputError(
            f"--hold-out is {n}: it is the number of photos of each person to set aside, 0 or more"
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
    """The relative path of an image of the set: a name that depends on nothing but what the image shows.

    The photo's name is kept for the eye, cut to `NAME_BYTES`; eight hexadecimal digits of its whole path keep
    apart what that would confuse (`a.jpg` and `a.png`, photos in subfolders).
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
    """A lot that depends on `parts` alone, the same on every machine and Python."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
