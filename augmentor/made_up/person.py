"""Draw a made-up person, and how one photo of the person is taken; numbers only, no pixels.

The identity includes the shape of the head, skin and its marks, brows, eyes, lips, and the usual hair, beard and
glasses. The photo adds expression, pose, light, camera, background, clothes, and differences from the usual looks.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from augmentor.made_up.ears import Ears
from augmentor.made_up.hair import STYLES, Hair, restyle
from augmentor.made_up.scene import Clothes, Glasses
from augmentor.made_up.skin import Skin, linear, skin_colour

# Standard deviations of the head model's modes; made-up faces differ a little more than real ones.
SHAPE_SPREAD = 1.5

# Colours of hair and of irises, sRGB
HAIR_COLOURS = {
    "black": (24, 20, 19),
    "dark brown": (48, 34, 26),
    "brown": (78, 54, 38),
    "light brown": (118, 86, 58),
    "blond": (176, 140, 92),
    "red": (130, 62, 34),
    "grey": (122, 118, 115),
    "white": (182, 180, 177),
}
EYE_COLOURS = {
    "dark brown": (52, 32, 20),
    "brown": (92, 58, 32),
    "hazel": (118, 92, 52),
    "green": (98, 112, 76),
    "blue": (98, 130, 158),
    "grey": (120, 128, 132),
}
SHORT_STYLES = ("buzz", "short", "crop", "quiff", "receding", "curly", "afro")
LONG_STYLES = (
    "tied back",
    "bob",
    "bob with fringe",
    "shoulder length",
    "long",
    "long waves",
    "long with fringe",
    "curly",
    "short",
)


@dataclass(frozen=True)
class Person:
    """One made-up identity.

    Attributes:
        name: folder name.
        shape: (K,) coefficients of the head model's identity modes.
        ears: size and angle of the ears.
        skin: skin, brows and lips.
        eye_colour: linear RGB of the iris.
        iris_radius: mm.
        hair: usual hairstyle; None for a bald head.
        other_hair: hairstyle on another day.
        beard: usual amount of beard, 0 to 1.
        moustache: usual amount of moustache, 0 to 1.
        beard_colour: linear RGB.
        beard_habit: share of photos with the beard, 0 to 1.
        glasses: the person's glasses; None for people without.
        glasses_habit: share of photos with the glasses, 0 to 1.
    """

    name: str
    shape: np.ndarray
    ears: Ears
    skin: Skin
    eye_colour: tuple[float, float, float]
    iris_radius: float
    hair: Hair | None
    other_hair: Hair | None
    beard: float
    moustache: float
    beard_colour: tuple[float, float, float]
    beard_habit: float
    glasses: Glasses | None
    glasses_habit: float


@dataclass(frozen=True)
class Light:
    """A main light, light from all around, and light from the camera.

    Attributes:
        to_light: unit vector from the head to the main light, camera frame.
        colour: linear RGB of the main light.
        sky: linear RGB of the light from above.
        ground: linear RGB of the light from below.
        fill: strength of the light from the camera.
    """

    to_light: tuple[float, float, float]
    colour: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    fill: float


@dataclass(frozen=True)
class Shot:
    """The conditions of one photo: everything about it except the person.

    Attributes:
        yaw, pitch, roll: degrees.
        expression: coefficient by name of the head model's expression mode, without side.
        distance: mm from camera to head.
        face_share: width of the head, relative to the photo's.
        shift: displacement of the face from the middle (right, down), relative to the photo's size.
        gaze: degrees to the image's right and down from looking into the camera.
        light: the light on the scene.
        exposure: factor on the light.
        contrast: factor on the contrast.
        white_balance: factors on red, green and blue.
        blur: pixels in a photo of 256 pixels.
        sensor_noise: standard deviation, 0..255.
        quality: quality of the JPEG.
        grey: the photo is without colour.
        hair, beard, moustache, stubble, glasses, clothes: what the person wears in this photo.
        body_turn: share of the head's yaw that the body turns.
        seed: seed of background, noise and reflections.
    """

    yaw: float
    pitch: float
    roll: float
    expression: dict[str, float]
    distance: float
    face_share: float
    shift: tuple[float, float]
    gaze: tuple[float, float]
    light: Light
    exposure: float
    contrast: float
    white_balance: tuple[float, float, float]
    blur: float
    sensor_noise: float
    quality: int
    grey: bool
    hair: Hair | None
    beard: float
    moustache: float
    stubble: float
    glasses: Glasses | None
    clothes: Clothes
    body_turn: float
    seed: int


def _triple(values: ArrayLike) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in np.asarray(values))
    return a, b, c


def make_person(seed: int, index: int, modes: int, *, name: str, stream: int = 0) -> Person:
    """Draw one identity. It depends only on seed, stream and index, whatever else is drawn.

    Args:
        seed: seed of the whole set.
        index: number of the person.
        modes: number of identity modes of the head model.
        name: folder name.
        stream: 0 for people with several photos, 1 for strangers.
    """
    rng = np.random.default_rng([seed, stream, index])
    shape = (rng.standard_normal(modes) * SHAPE_SPREAD).clip(-3, 3).astype(np.float32)
    tone = float(rng.beta(1.1, 1.5))
    age = float(rng.uniform(0, 1))
    long_haired = bool(rng.random() < 0.5)
    hair_name = _hair_colour(rng, tone, age)
    colour = linear(np.array(HAIR_COLOURS[hair_name]) * rng.uniform(0.85, 1.15))
    skin = _make_skin(rng, tone, age, colour, long_haired)
    styles: tuple[str, ...] = LONG_STYLES if long_haired else SHORT_STYLES
    if tone < 0.5:
        styles = tuple(s for s in styles if s != "afro")
    first, second = rng.choice(styles, 2, replace=False)
    bald = not long_haired and rng.random() < 0.05 + 0.12 * age
    hair, other = (
        replace(STYLES[s], colour=_triple(colour), seed=int(rng.integers(2**31))) for s in (first, second)
    )
    if rng.random() < 0.6:
        parting = float(rng.choice([-1, 1]) * rng.choice([2.0, 22.0]))
        hair, other = (
            h if h.fringe > 5 or h.curl > 0.7 else replace(h, parting=parting) for h in (hair, other)
        )
    if age > 0.5 and not long_haired:
        recession = float(rng.uniform(0, 6))
        hair = replace(hair, recession=hair.recession + recession, hairline=hair.hairline - recession / 2)
    bearded = not long_haired and rng.random() < 0.45
    glasses = _make_glasses(rng) if rng.random() < 0.30 else None
    eyes = list(EYE_COLOURS)
    dark = 0.25 + 0.75 * min(tone * 2.2, 1.0)
    chance = np.array(
        [
            dark,
            0.6 * dark + 0.1,
            0.4 * (1 - dark) + 0.02,
            0.3 * (1 - dark),
            0.8 * (1 - dark),
            0.3 * (1 - dark),
        ]
    )
    eye = eyes[rng.choice(len(eyes), p=chance / chance.sum())]
    return Person(
        name=name,
        shape=shape,
        ears=Ears(float(rng.normal(1, 0.07)), float(rng.uniform(14, 36)), float(rng.uniform(0, 2))),
        skin=skin,
        eye_colour=_triple(linear(np.array(EYE_COLOURS[eye]) * rng.uniform(0.8, 1.2))),
        iris_radius=float(rng.uniform(5.6, 6.3)),
        hair=None if bald else hair,
        other_hair=None if bald else other,
        beard=float(rng.uniform(0.4, 1.0)) if bearded and rng.random() < 0.65 else 0.0,
        moustache=float(rng.uniform(0.5, 1.0)) if bearded else 0.0,
        beard_colour=_triple(0.8 * colour * np.array([1.1, 0.95, 0.85])),
        beard_habit=float(rng.choice([0.0, 0.5, 0.9], p=[0.1, 0.3, 0.6])) if not long_haired else 0.0,
        glasses=glasses,
        glasses_habit=float(rng.choice([0.4, 0.75, 1.0])),
    )


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> str:
    """Draw a colour of hair: darker with dark skin, grey with age."""
    if age > 0.72 and rng.random() < 0.75:
        return "grey" if rng.random() < 0.6 else "white"
    fair = max(1 - 2.2 * tone, 0.0)
    chance = np.array([0.25 + 1.2 * (1 - fair), 0.35, 0.5 * fair + 0.05, 0.4 * fair, 0.5 * fair, 0.16 * fair])
    return str(rng.choice(list(HAIR_COLOURS)[:6], p=chance / chance.sum()))


def _make_skin(rng: np.random.Generator, tone: float, age: float, hair: np.ndarray, made_up: bool) -> Skin:
    """Draw skin, brows and lips of one person."""
    plain = Skin(
        tone=tone,
        redness=float(rng.uniform(-0.2, 1)),
        yellowness=float(rng.uniform(-0.5, 1)),
        mottling=float(rng.uniform(0, 1)),
        freckles=float(rng.uniform(0.2, 1)) if tone < 0.4 and rng.random() < 0.2 else 0.0,
        moles=int(rng.poisson(1.6)),
        wrinkles=float(np.clip((age - 0.25) * 1.3, 0, 1)),
        eye_bags=float(np.clip(rng.normal(0.25 + 0.4 * age, 0.2), 0, 1)),
        lip_colour=(0.0, 0.0, 0.0),
        lip_fullness=float(rng.uniform(-1, 1)),
        brow_colour=(0.0, 0.0, 0.0),
        brow_thickness=float(rng.uniform(4.0, 7.5) if made_up else rng.uniform(6.0, 11.0)),
        brow_density=float(rng.uniform(0.2, 1.0)),
        brow_arch=float(rng.normal(0.3, 0.8)),
        brow_gap=float(rng.normal(0, 1.3)),
        brow_tail=float(rng.uniform(0, 1)),
        lash_strength=float(rng.uniform(0.5, 1) if made_up else rng.uniform(0, 0.4)),
        seed=int(rng.integers(2**31)),
    )
    base = skin_colour(plain)
    natural = base * np.array([0.86, 0.60, 0.60]) * rng.uniform(0.85, 1.1)
    if made_up and rng.random() < 0.45:
        painted = linear(rng.uniform([130, 20, 35], [200, 70, 90]))
        natural = natural + rng.uniform(0.3, 0.8) * (painted * (0.5 + base.mean()) - natural)
    brow = np.minimum(hair * rng.uniform(0.5, 1.0), base * rng.uniform(0.16, 0.4))
    return replace(plain, lip_colour=_triple(natural), brow_colour=_triple(brow))


def _make_glasses(rng: np.random.Generator) -> Glasses:
    """Draw one pair of glasses."""
    colours = [(15, 15, 16), (25, 18, 14), (70, 40, 22), (120, 115, 110), (60, 20, 25), (30, 35, 60)]
    return Glasses(
        half_width=float(rng.uniform(22, 27)),
        half_height=float(rng.uniform(15, 22)),
        roundness=float(rng.uniform(2.0, 4.5)),
        thickness=float(rng.choice([1.2, 2.0, 3.2])),
        colour=_triple(linear(colours[rng.integers(len(colours))])),
        tint=float(rng.uniform(0.0, 0.12)),
    )


def plan_shot(person: Person, seed: int, index: int, photo: int, *, stream: int = 0) -> Shot:
    """Draw the conditions of one photo of `person`; `photo` is its number, the other arguments as in `make_person`."""
    rng = np.random.default_rng([seed, stream, index, 1 + photo])
    yaw = float(np.clip(rng.normal(0, 14), -45, 45)) if rng.random() < 0.88 else float(rng.uniform(-45, 45))
    worn = rng.random() < person.beard_habit
    hair = person.hair
    if hair is not None:
        hair = restyle(person.other_hair if person.other_hair and rng.random() < 0.15 else hair, rng)
    glasses = person.glasses if person.glasses and rng.random() < person.glasses_habit else None
    tint = rng.normal(0, 0.05)
    return Shot(
        yaw=yaw,
        pitch=float(np.clip(rng.normal(2, 7), -20, 20)),
        roll=float(np.clip(rng.normal(0, 5), -20, 20)),
        expression=_make_expression(rng),
        distance=float(rng.uniform(650, 1700)),
        face_share=float(rng.uniform(0.36, 0.50)),
        shift=(float(rng.normal(0, 0.02)), float(rng.normal(0.035, 0.02))),
        gaze=(float(rng.normal(0, 5)), float(rng.normal(0, 3)))
        if rng.random() < 0.8
        else (float(rng.normal(0, 16)), 2.0),
        light=_make_light(rng),
        exposure=float(rng.lognormal(0, 0.16)),
        contrast=float(rng.uniform(0.92, 1.15)),
        white_balance=(float(1 + tint), 1.0, float(1 - tint)),
        blur=float(max(rng.normal(0.4, 0.35), 0)),
        sensor_noise=float(rng.gamma(2, 0.8)),
        quality=int(rng.integers(70, 97)),
        grey=bool(rng.random() < 0.03),
        hair=hair,
        beard=person.beard if worn else 0.0,
        moustache=person.moustache if worn else 0.0,
        stubble=float(rng.uniform(0, 0.7)) if person.beard_habit > 0 else 0.0,
        glasses=glasses,
        clothes=_make_clothes(rng),
        body_turn=float(rng.uniform(0.15, 0.75)),
        seed=int(rng.integers(2**31)),
    )


def _make_expression(rng: np.random.Generator) -> dict[str, float]:
    """Draw coefficients by the names that ICT-FaceKit and ARKit give their expressions, without sides."""
    kind = rng.choice(
        ["neutral", "smile", "grin", "open", "serious", "pucker"], p=[0.32, 0.26, 0.18, 0.1, 0.1, 0.04]
    )
    strength = float(rng.uniform(0.4, 1))
    expression: dict[str, float] = {"eyeBlink": float(abs(rng.normal(0, 0.07)))}
    if kind == "smile":
        expression |= {
            "mouthSmile": 0.65 * strength,
            "cheekSquint": 0.4 * strength,
            "eyeSquint": 0.2 * strength,
        }
    elif kind == "grin":
        expression |= {
            "mouthSmile": 0.8 * strength,
            "jawOpen": 0.16 * strength,
            "mouthUpperUp": 0.35 * strength,
            "cheekSquint": 0.6 * strength,
            "eyeSquint": 0.3 * strength,
        }
    elif kind == "open":
        expression |= {"jawOpen": 0.4 * strength, "browInnerUp": 0.5 * strength, "eyeWide": 0.35 * strength}
    elif kind == "serious":
        expression |= {"browDown": 0.6 * strength, "mouthFrown": 0.4 * strength, "mouthPress": 0.4 * strength}
    elif kind == "pucker":
        expression |= {"mouthPucker": 0.5 * strength}
    if rng.random() < 0.2:
        expression["browOuterUp"] = float(rng.uniform(0, 0.6))
    return expression


def _make_light(rng: np.random.Generator) -> Light:
    """Draw a main light and light from all around."""
    azimuth = float(np.deg2rad(np.clip(rng.normal(0, 38), -80, 80)))
    elevation = float(np.deg2rad(rng.uniform(5, 60)))
    direction = (
        float(np.sin(azimuth) * np.cos(elevation)),
        float(-np.sin(elevation)),
        float(-np.cos(azimuth) * np.cos(elevation)),
    )
    warmth = rng.normal(0.02, 0.07)
    key = rng.uniform(0.35, 1.15)
    cool = rng.normal(-0.02, 0.05)
    around = rng.uniform(0.35, 0.7)
    return Light(
        to_light=direction,
        colour=_triple(key * np.array([1 + warmth, 1, 1 - 1.4 * warmth])),
        sky=_triple(around * np.array([1 + cool, 1, 1 - 1.2 * cool])),
        ground=_triple(0.55 * around * np.array([1.05, 1, 0.93])),
        fill=float(rng.uniform(0.05, 0.45)),
    )


def _cloth_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw a colour of cloth, seldom a loud one."""
    colour = rng.uniform(15, 235, 3) * rng.uniform(0.3, 1)
    return linear(colour.mean() + rng.uniform(0.1, 0.75) * (colour - colour.mean()))


def _make_clothes(rng: np.random.Generator) -> Clothes:
    """Draw a garment."""
    kind = str(rng.choice(["t-shirt", "jumper", "v-neck", "shirt", "jacket"]))
    necklines = {"t-shirt": 12.0, "jumper": 0.0, "v-neck": 60.0, "shirt": 30.0, "jacket": 10.0}
    first = _cloth_colour(rng)
    second = (
        linear(rng.uniform(170, 240) * rng.uniform(0.9, 1, 3)) if kind == "jacket" else _cloth_colour(rng)
    )
    if kind == "jacket":
        first = linear(rng.uniform([15, 15, 18], [60, 62, 75]))
    return Clothes(
        kind=kind,
        colours=(_triple(first), _triple(second)),
        pattern=str(rng.choice(["plain", "stripes", "check", "pinstripe"], p=[0.6, 0.15, 0.15, 0.1])),
        accent=_triple(linear(rng.uniform(20, 150, 3))),
        neckline=necklines[kind] * float(rng.uniform(0.7, 1.3)),
        shoulder=float(rng.uniform(0.88, 1.12)),
        seed=int(rng.integers(2**31)),
    )
