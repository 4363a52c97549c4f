"""The renders of one photo that go into a template. They need no run and no network, so any process can make them."""

from dataclasses import dataclass

import numpy as np

from augmentor.errors import InputError, PhotoError
from augmentor.faces.face_source import FaceSource
from augmentor.faces.landmark_source import Landmarks
from augmentor.rendering.prepared_photo import prepare_photo
from augmentor.rendering.render import render_views
from augmentor.views.head_view import make_view
from augmentor.views.view_key import ViewKey, allowed, spread_view_keys
from identity.chips.photo_faces import head_for
from identity.chips.whole_photo import random_crop


@dataclass(frozen=True)
class WantedRenders:
    """The renders of one photo that a template needs.

    Attributes:
        photo: number of the photo.
        landmarks: of the face, in photo pixels; None for crops of the whole photo instead of renders.
        size: edge of the renders, pixels.
        seed: draws the views.
        source: the face source that gave the landmarks.
        yaws: of each render, degrees. The nearest view is taken; a photo that shows one side of the face only has none
            of the other side.
        seeds: draw the crops, one each.
    """

    photo: int
    landmarks: Landmarks | None
    size: int
    seed: int
    source: FaceSource
    yaws: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()


def make_renders(image: np.ndarray, name: str, wanted: WantedRenders) -> np.ndarray:
    """Render a photo into views that are drawn as for training, or crop it.

    Args:
        image: (H, W, 3) uint8 RGB.
        name: what errors call the photo.
        wanted: which renders.

    Returns:
        (N, size, size, 3) uint8 RGB, one for each of the yaws in turn, or of the seeds.

    Raises:
        InputError: no head fits the landmarks.
    """
    if wanted.landmarks is None:
        crops = [random_crop(image, wanted.size, np.random.default_rng([k, 5])) for k in wanted.seeds]
        return np.stack(crops)
    head = head_for(wanted.source)
    try:
        prepared = prepare_photo(
            image, wanted.landmarks.places, head, wanted.size, visible=wanted.landmarks.visible
        )
    except PhotoError as error:
        raise InputError(f"{name}: {error}; leave it out") from error
    yaw = prepared.fit.camera.pose.yaw
    usable = [key for key in spread_view_keys(wanted.seed) if allowed(yaw, key)]
    shuffled = np.random.default_rng([wanted.photo, 5]).permutation(len(usable))
    drawn: list[ViewKey] = []
    views = []
    for target in wanted.yaws:
        drawn = drawn or [usable[k] for k in shuffled.tolist()]  # a photo in profile has few views
        key = min(drawn, key=lambda one: abs(one.yaw - target))
        drawn.remove(key)
        views.append(make_view(head, key, wanted.size))
    return np.stack([rendered.image for rendered in render_views(prepared, views)])
