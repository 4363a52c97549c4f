"""Which views there are, and which of them a photo may be rendered into.

Source:
    Masi et al., "Do We Really Need to Collect Millions of Faces for Effective Face Recognition?", ECCV 2016: ten head
    shapes, a few yaws. Differs: yaw and pitch spread over what photos show.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from augmentor.errors import InputError

VIEW_SHAPES = 10
AS_PHOTO = "as_photo"  # the photo's own expression and shape, laid over the view's
BY_POSITION = "by_position"  # the photo as it is, seen through a camera fitted to the view's shape
# What a view is rasterised with. A view that is to take on the photo's expression has its mouth ajar: what is not
# rasterised cannot appear.
EXPRESSIONS: dict[str, dict[str, float]] = {"neutral": {}, BY_POSITION: {}, AS_PHOTO: {"jawOpen": 0.3}}
MAX_YAW, MAX_PITCH, MAX_ROLL = 90.0, 45.0, 45.0
PROFILE_YAW = 40.0  # a photo turned further than this does not show enough to be seen from the front
PROFILE_LEAST_YAW = 10.0  # such a photo is rendered to its own side, at least this far
OWN_YAW, OWN_PITCH = 4.0, 8.0  # closer than this a render would only repeat the photo


@dataclass(frozen=True, order=True)
class ViewKey:
    """Which view: shape and expression of the head, and its pose.

    Args:
        shape: 0 is the mean head, 1 to VIEW_SHAPES - 1 are fixed seeded draws from the identity modes.
        expression: a name in EXPRESSIONS.
        yaw: degrees, + turns the nose to the image's left.
        pitch: degrees, + is down.
        roll: degrees, + is clockwise.

    Raises:
        InputError: an angle or a shape out of range, or an unknown expression.
    """

    shape: int
    expression: str
    yaw: float
    pitch: float
    roll: float

    def __post_init__(self) -> None:
        if not 0 <= self.shape < VIEW_SHAPES:
            raise InputError(f"view shape {self.shape} is not within 0..{VIEW_SHAPES - 1}")
        if self.expression not in EXPRESSIONS:
            raise InputError(f"unknown view expression {self.expression!r}; known: {', '.join(EXPRESSIONS)}")
        for name, limit in (("yaw", MAX_YAW), ("pitch", MAX_PITCH), ("roll", MAX_ROLL)):
            if not abs(getattr(self, name)) <= limit:
                raise InputError(f"view {name} {getattr(self, name)} is beyond {limit} degrees")

    @cached_property
    def name(self) -> str:
        """Short, unique among default views, safe in file names: `s3_neutral_y+30_p-10_r+2`."""
        angles = "_".join(f"{k}{v:+g}" for k, v in (("y", self.yaw), ("p", self.pitch), ("r", self.roll)))
        return f"s{self.shape}_{self.expression}_{angles}"


def allowed(photo_yaw: float, key: ViewKey) -> bool:
    """The near-view rule: whether a photo with this yaw may be rendered into this view.

    Not at (nearly) its own pose, which would repeat the photo. A photo turned beyond PROFILE_YAW only
    to its own side and not to the front: it shows too little of the other half.
    """
    if abs(key.yaw - photo_yaw) < OWN_YAW and abs(key.pitch) < OWN_PITCH:
        return False
    if abs(photo_yaw) > PROFILE_YAW:
        return bool(key.yaw * np.sign(photo_yaw) >= PROFILE_LEAST_YAW)
    return True


def paper_view_keys() -> list[ViewKey]:
    """The setting of the paper: ten head shapes at yaw 0, ±22, ±40, ±55 and ±75 degrees, 90 views.

    The photo is seen on the generic shape (`BY_POSITION`), not with its own. Differs: the shapes are this head model's
    mean and fixed draws from its modes, not ten scanned people.
    """
    yaws = (-75.0, -55.0, -40.0, -22.0, 0.0, 22.0, 40.0, 55.0, 75.0)
    return [ViewKey(shape, BY_POSITION, yaw, 0.0, 0.0) for shape in range(VIEW_SHAPES) for yaw in yaws]


def spread_view_keys(seed: int = 0) -> list[ViewKey]:
    """The views a photo may be rendered into: 308, mirror-symmetric in number, denser towards the front.

    Yaw is jittered around 0, 12, 20, 30, 40, 55 and 70 degrees, pitch stratified over -30..30, half of it within 11,
    roll small; shapes take turns.
    All angles are whole degrees, all keys differ by more than roll (which the chip's alignment undoes).

    Args:
        seed: of the jitter.
    """
    rng = np.random.default_rng([seed, 300])
    keys: dict[tuple[int, int, int], ViewKey] = {}
    for centre, spread, count in _YAW_BANDS:
        for sign in (1, -1) if centre else (1,):
            level = rng.permutation(np.linspace(-1, 1, count))
            pitches = 28 * np.sign(level) * np.abs(level) ** 1.5
            for number in range(count):
                while True:
                    yaw = sign * (centre + int(rng.integers(-spread, spread + 1)))
                    pitch = int(np.clip(np.rint(pitches[number] + rng.integers(-2, 3)), -30, 30))
                    shape = number % VIEW_SHAPES
                    if (shape, yaw, pitch) not in keys:
                        break
                roll = float(rng.integers(-6, 7))
                keys[shape, yaw, pitch] = ViewKey(shape, AS_PHOTO, float(yaw), float(pitch), roll)
    return list(keys.values())


# centre and spread (degrees), how many
_YAW_BANDS = ((0, 6, 36), (12, 2, 34), (20, 4, 34), (30, 4, 26), (40, 5, 18), (55, 6, 16), (70, 5, 8))
