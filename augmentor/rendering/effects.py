"""Effects on renders: other expressions, other light, things in front of the face, bad pictures. Each is off unless
asked for.

All chance lies in `draw_effects`; an effect that is drawn says all that there is to know about it, in the manifest
too, so that a render can be made again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from augmentor.errors import InputError
from augmentor.head.expression import NAMES as EXPRESSION_NAMES
from augmentor.head.expression import ExpressionChange, change_expression
from augmentor.head.head_model import HeadModel
from augmentor.rendering.light import shade, soft_light
from augmentor.rendering.occluders import draw_brim, draw_glasses, draw_hand, draw_mask
from augmentor.rendering.prepared_photo import PreparedPhoto
from augmentor.views.view import View


@dataclass(frozen=True)
class Effect:
    """One effect on one render.

    Args:
        name: one of EFFECTS.
        strength: 0 (hardly to be seen) to 1.
        number: of all other choices (which expression, colours, directions, places), 0 to 65535.
    """

    name: str
    strength: float
    number: int

    def __str__(self) -> str:
        return f"{self.name}:{self.strength:.2f}:{self.number}"


Apply = Callable[[np.ndarray, View, np.ndarray, Effect], np.ndarray]


def draw_effects(names: Sequence[str], *lot: object) -> tuple[Effect, ...]:
    """Which effects one render gets, in the order in which they are applied.

    Args:
        names: the effects that are on.
        lot: what the draw depends on (seed, person, photo, view); the same gives the same, on every machine. Each
            effect is drawn by itself: turning one on does not change the others.
    """
    drawn = []
    for name in EFFECTS:
        if name in names:
            digest = hashlib.blake2b("\0".join(map(str, (*lot, name))).encode(), digest_size=8).digest()
            chance, strength, number = (int.from_bytes(digest[k : k + 2], "little") for k in (0, 2, 4))
            if chance / 65536 < EFFECTS[name][0]:
                drawn.append(Effect(name, round(strength / 65535, 2), number))
    return tuple(drawn)


def apply_effects(
    image: np.ndarray, view: View, landmarks: np.ndarray, effects: Sequence[Effect]
) -> np.ndarray:
    """Apply effects one after the other. Deterministic; `image` is not modified.

    Args:
        image: (S, S, 3) uint8 RGB, a render into `view`.
        view: where its normals are.
        landmarks: (68, 2) in pixels of the render.
        effects: see `draw_effects`.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    for effect in effects:
        apply = EFFECTS[effect.name][1]
        if apply:
            image = apply(image, view, landmarks, effect)
    return image


def expression_of(
    effects: Sequence[Effect], photo: PreparedPhoto, head: HeadModel
) -> ExpressionChange | None:
    """How effects change the expression of a photo, for `augmentor.rendering.render.render_views`; None: not at all.

    Args:
        effects: of one render.
        photo: that is rendered.
        head: the head it was prepared with.

    Raises:
        InputError: the head has no such expression.
    """
    for effect in effects:
        if effect.name == EXPRESSION:
            name = EXPRESSION_NAMES[effect.number % len(EXPRESSION_NAMES)]
            return change_expression(photo.fit, head, name, effect.strength)
    return None


def effect_names(text: str) -> tuple[str, ...]:
    """The effects that a command line names: `none`, `all`, or names with commas.

    Raises:
        InputError: an unknown name.
    """
    if text in ("", "none"):
        return ()
    names = tuple(EFFECTS) if text == "all" else tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in EFFECTS]:
        raise InputError(f"--effects {unknown[0]}: known are none, all, {', '.join(EFFECTS)}")
    return tuple(name for name in EFFECTS if name in names)


def _light(image: np.ndarray, view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    return shade(image, view, soft_light(effect.strength, effect.number))


def _blur(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """Out of focus, or (odd numbers) moved: at most 2 % of the picture."""
    reach = len(image) * (0.004 + 0.012 * effect.strength)
    if effect.number % 2 == 0:
        return cv2.GaussianBlur(image, (0, 0), reach)
    angle, half = np.pi * effect.number / 65536, int(np.ceil(2 * reach))
    side, fine = 2 * half + 1, 8  # drawn eight times as large: a path of 1.4 pixels is one of 1.4 pixels
    path = 1.5 * reach * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(np.rint(fine * (half + 0.5 + sign * path)).astype(int).tolist()) for sign in (1, -1)]
    large = np.zeros((fine * side, fine * side), np.float32)
    cv2.line(large, ends[0], ends[1], 1.0, fine)
    kernel = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _noise(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """A sensor's noise: more in the light than in the dark, less in a photo's colour than in its brightness."""
    amount = cv2.LUT(image, ((3 + 12 * effect.strength) * _NOISE_OF_LEVEL)[:, None])
    return cv2.add(image, cv2.multiply(amount, _grain(len(image), effect.number)), dtype=cv2.CV_8U)


_NOISE_OF_LEVEL = np.sqrt(0.3 + 0.7 * np.arange(256, dtype=np.float32) / 255)


def _grain(side: int, number: int) -> np.ndarray:
    """(side, side, 3) float32 noise, a part of a large field: drawing it anew takes as long as a render."""
    field = _grain_field(side)
    row, column = (number * step % 65521 % (len(field) - side + 1) for step in (7919, 104729))
    return cv2.flip(field[row : row + side, column : column + side], number % 3 - 1)


@lru_cache(maxsize=4)
def _grain_field(side: int) -> np.ndarray:
    """(3 side, 3 side, 3) float32 normal noise, more of it in brightness than in colour; always the same."""
    rng = np.random.default_rng(side)
    grey, colour = (rng.standard_normal((3 * side, 3 * side, n), np.float32) for n in (1, 3))
    return 0.8 * grey + 0.5 * colour


def _low_resolution(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """As if the face had been two to five times as small."""
    size = len(image)
    small = max(8, round(size / (2 + 3 * effect.strength)))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    way = cv2.INTER_CUBIC if effect.number % 2 else cv2.INTER_LINEAR
    return cv2.resize(reduced, (size, size), interpolation=way)


def _jpeg(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """Saved with quality 50 down to 10."""
    quality = round(50 - 40 * effect.strength)
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise RuntimeError("OpenCV cannot read the JPEG it has just written")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _grey(image: np.ndarray, _view: View, _landmarks: np.ndarray, _effect: Effect) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _before(draw: Callable[[np.ndarray, np.ndarray, float, int], np.ndarray]) -> Apply:
    """Something in front of the face, as an effect."""
    return lambda image, _view, landmarks, effect: draw(image, landmarks, effect.strength, effect.number)


EXPRESSION = "expression"
# In the order in which they happen: the face, light, what is before it, the camera. The share of renders that get each.
# The expression is changed before the face is rendered: `expression_of`.
EFFECTS: dict[str, tuple[float, Apply | None]] = {
    EXPRESSION: (0.25, None),
    "light": (0.5, _light),
    "glasses": (0.15, _before(draw_glasses)),
    "mask": (0.08, _before(draw_mask)),
    "brim": (0.08, _before(draw_brim)),
    "hand": (0.08, _before(draw_hand)),
    "grey": (0.08, _grey),
    "low_resolution": (0.12, _low_resolution),
    "blur": (0.15, _blur),
    "noise": (0.2, _noise),
    "jpeg": (0.2, _jpeg),
}
