"""Effects on renders: other expressions and light, things in front of the face, poor pictures. All are off by default.

`draw_effects` makes all random choices. A drawn effect contains everything that is needed to apply it again, and the
manifest records it, so every render can be made again.
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
        strength: 0 (hardly visible) to 1.
        number: 0 to 65535, decides everything else: which expression, colours, directions, places.
    """

    name: str
    strength: float
    number: int

    def __str__(self) -> str:
        return f"{self.name}:{self.strength:.2f}:{self.number}"


Apply = Callable[[np.ndarray, View, np.ndarray, Effect], np.ndarray]


def draw_effects(names: Sequence[str], *lot: object) -> tuple[Effect, ...]:
    """Draw the effects of one render, in the order in which they are applied.

    Args:
        names: the effects that are switched on.
        lot: what the draw depends on (seed, person, photo, view); the same values give the same effects on every
            machine. Each effect is drawn independently, so switching one on does not change the others.

    Example:
        >>> [str(effect) for effect in draw_effects(["light", "jpeg"], 0, "Anna", "1.jpg")]
        ['light:0.99:10984']
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
        view: the view, which has the normals.
        landmarks: (68, 2) in (x, y) pixels of the render.
        effects: effects that `draw_effects` drew.

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
    """Return how effects change the expression of a photo, for `augmentor.rendering.render.render_views`.

    Args:
        effects: the effects of one render.
        photo: the photo that is rendered.
        head: the head that the photo was prepared with.

    Returns:
        None if no effect changes the expression.

    Raises:
        InputError: the head has no such expression.
    """
    for effect in effects:
        if effect.name == EXPRESSION:
            name = EXPRESSION_NAMES[effect.number % len(EXPRESSION_NAMES)]
            return change_expression(photo.fit, head, name, effect.strength)
    return None


def effect_names(text: str) -> tuple[str, ...]:
    """Return the effects that the value of `--effects` names: `none`, `all`, or names separated by commas.

    Raises:
        InputError: a name is unknown.
    """
    if text in ("", "none"):
        return ()
    names = tuple(EFFECTS) if text == "all" else tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in EFFECTS]:
        raise InputError(
            f"--effects {unknown[0]}: unknown effect; use none, all, or some of {', '.join(EFFECTS)}"
        )
    return tuple(name for name in EFFECTS if name in names)


def _light(image: np.ndarray, view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    return shade(image, view, soft_light(effect.strength, effect.number))


def _blur(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """Blur as if out of focus (even numbers) or moved (odd numbers), by at most 2 % of the picture."""
    reach = len(image) * (0.004 + 0.012 * effect.strength)
    if effect.number % 2 == 0:
        return cv2.GaussianBlur(image, (0, 0), reach)
    angle, half = np.pi * effect.number / 65536, int(np.ceil(2 * reach))
    side, fine = 2 * half + 1, 8  # drawn eight times as large, so that fractions of a pixel count
    path = 1.5 * reach * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(np.rint(fine * (half + 0.5 + sign * path)).astype(int).tolist()) for sign in (1, -1)]
    large = np.zeros((fine * side, fine * side), np.float32)
    cv2.line(large, ends[0], ends[1], 1.0, fine)
    kernel = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _noise(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """Add the noise of a sensor: more in light areas than in dark ones, and less in colour than in brightness."""
    amount = cv2.LUT(image, ((3 + 12 * effect.strength) * _NOISE_OF_LEVEL)[:, None])
    return cv2.add(image, cv2.multiply(amount, _grain(len(image), effect.number)), dtype=cv2.CV_8U)


_NOISE_OF_LEVEL = np.sqrt(0.3 + 0.7 * np.arange(256, dtype=np.float32) / 255)


def _grain(side: int, number: int) -> np.ndarray:
    """Return (side, side, 3) float32 noise from a large field; drawing new noise would take as long as a render."""
    field = _grain_field(side)
    row, column = (number * step % 65521 % (len(field) - side + 1) for step in (7919, 104729))
    return cv2.flip(field[row : row + side, column : column + side], number % 3 - 1)


@lru_cache(maxsize=4)
def _grain_field(side: int) -> np.ndarray:
    """Return (3 side, 3 side, 3) float32 normal noise, stronger in brightness than in colour, and always the same."""
    rng = np.random.default_rng(side)
    grey, colour = (rng.standard_normal((3 * side, 3 * side, n), np.float32) for n in (1, 3))
    return 0.8 * grey + 0.5 * colour


def _low_resolution(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """Reduce and enlarge the picture, as if the face had been two to five times smaller."""
    size = len(image)
    small = max(8, round(size / (2 + 3 * effect.strength)))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    way = cv2.INTER_CUBIC if effect.number % 2 else cv2.INTER_LINEAR
    return cv2.resize(reduced, (size, size), interpolation=way)


def _jpeg(image: np.ndarray, _view: View, _landmarks: np.ndarray, effect: Effect) -> np.ndarray:
    """Encode the picture as JPEG with a quality between 50 and 10, and decode it."""
    quality = round(50 - 40 * effect.strength)
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise RuntimeError("OpenCV cannot read the JPEG that it has just written")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _grey(image: np.ndarray, _view: View, _landmarks: np.ndarray, _effect: Effect) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _before(draw: Callable[[np.ndarray, np.ndarray, float, int], np.ndarray]) -> Apply:
    """Turn a function that draws something in front of the face into an effect."""
    return lambda image, _view, landmarks, effect: draw(image, landmarks, effect.strength, effect.number)


EXPRESSION = "expression"
# Each effect with the share of renders that get it, in the order in which they are applied: the face, the light, things
# in front of the face, the camera. `expression_of` changes the expression before the face is rendered.
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
