"""Names of views, the lists of views to choose from, and the rule which views a photo may be rendered into.

Source:
    Masi et al., "Do We Really Need to Collect Millions of Faces for Effective Face Recognition?", ECCV 2016: ten head
    shapes, a few yaws. Differs: yaw and pitch spread over the range that photos show.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from augmentor.errors import InputError

VIEW_SHAPES = 10
AS_PHOTO = "as_photo"  # with the photo's own expression and shape
BY_POSITION = "by_position"  # with the view's shape; a camera fitted to that shape reads the unchanged photo
# Expressions with which views are rasterised. A view that will take on the photo's expression has its mouth ajar,
# because only surfaces that are rasterised can appear.
EXPRESSIONS: dict[str, dict[str, float]] = {"neutral": {}, BY_POSITION: {}, AS_PHOTO: {"jawOpen": 0.3}}
MAX_YAW, MAX_PITCH, MAX_ROLL = 90.0, 45.0, 45.0
PROFILE_YAW = 40.0  # a photo that is turned further shows too little of the other half of the face
# Such a photo is turned towards the front by at most this angle, and outwards without limit (decision 0034).
FRONTWARDS = 50.0
OWN_YAW, OWN_PITCH = 4.0, 8.0  # a render whose pose differs by less would only repeat the photo


@dataclass(frozen=True, order=True)
class ViewKey:
    """The name of a view: shape and expression of the head, and its pose.

    Args:
        shape: 0 is the mean head, 1 to VIEW_SHAPES - 1 are fixed seeded draws from the identity modes.
        expression: a key of EXPRESSIONS.
        yaw: degrees; + turns the nose to the image's left.
        pitch: degrees; + turns the nose down.
        roll: degrees; + is clockwise.

    Raises:
        InputError: an angle or the shape is out of range, or the expression is unknown.
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
        """A short name, unique among the default views and safe in file names: `s3_neutral_y+30_p-10_r+2`."""
        angles = "_".join(f"{k}{v:+g}" for k, v in (("y", self.yaw), ("p", self.pitch), ("r", self.roll)))
        return f"s{self.shape}_{self.expression}_{angles}"


def allowed(photo_yaw: float, key: ViewKey) -> bool:
    """Return whether a photo with this yaw may be rendered into this view (the near-view rule).

    A view at nearly the photo's own pose is not allowed, because it would repeat the photo. A photo turned beyond
    PROFILE_YAW may be rendered into views on its own side, out to profile, and by FRONTWARDS degrees towards the front,
    because it shows too little of the other half of the face.

    Args:
        photo_yaw: yaw of the head in the photo, degrees.
        key: the view.

    Example:
        >>> [allowed(60.0, ViewKey(0, AS_PHOTO, yaw, 0.0, 0.0)) for yaw in (-60.0, 0.0, 30.0, 60.0)]
        [False, False, True, False]
        >>> allowed(60.0, ViewKey(0, AS_PHOTO, 90.0, 0.0, 0.0))
        True
    """
    if abs(key.yaw - photo_yaw) < OWN_YAW and abs(key.pitch) < OWN_PITCH:
        return False
    if abs(photo_yaw) > PROFILE_YAW:
        return bool(key.yaw * np.sign(photo_yaw) >= min(abs(photo_yaw), MAX_YAW) - FRONTWARDS)
    return True


def paper_view_keys() -> list[ViewKey]:
    """Return the 90 views of the paper: ten head shapes at yaw 0, ±22, ±40, ±55 and ±75 degrees.

    They render the photo on the generic shape (`BY_POSITION`), not on its own. Differs: the shapes are this head
    model's mean and fixed draws from its modes, not ten scanned people.
    """
    yaws = (-75.0, -55.0, -40.0, -22.0, 0.0, 22.0, 40.0, 55.0, 75.0)
    return [ViewKey(shape, BY_POSITION, yaw, 0.0, 0.0) for shape in range(VIEW_SHAPES) for yaw in yaws]


def spread_view_keys(seed: int = 0) -> list[ViewKey]:
    """Return 324 views to render photos into; equally many for each side, and denser towards the front.

    Yaw is jittered around 0, 12, 20, 30, 40, 55, 70 and 85 degrees. Pitch is stratified over -30..30, with half of it
    within 11. Roll is small, and shapes take turns. All angles are whole degrees, and no two keys differ by roll only,
    because the chip's alignment undoes roll.

    Args:
        seed: seed of the jitter.
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


# Centre and spread of yaw (degrees), number of views
_YAW_BANDS = (
    (0, 6, 36),
    (12, 2, 34),
    (20, 4, 34),
    (30, 4, 26),
    (40, 5, 18),
    (55, 6, 16),
    (70, 5, 8),
    (85, 5, 8),
)
