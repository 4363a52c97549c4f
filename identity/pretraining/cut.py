"""How much of a face the pictures of a pre-training show, and where in them the chips of student and teachers lie.

    landmarks68    chips of 150 px, placed by dlib's 68 landmarks: what today's weights learnt from
    points5        placed by five points, with so much around the chip that every teacher's own chip lies inside

A teacher's chip is a smaller part or a larger one than the student's: dlib's net takes the chip itself, MobileFaceNet
one that goes further up and to the sides. So a face is kept once, and what each net sees is cut out of it.
"""

from dataclasses import dataclass

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE, chip_transform
from augmentor.faces.five_points import USUAL_PLACES, five_point_transform, similarity


@dataclass(frozen=True)
class Cut:
    """What the pictures of a cache show.

    Attributes:
        name: see above.
        edge: of a face's picture, pixels.
        rendered: edge of a render's, pixels: the middle of what a face's picture shows, for only the student sees it.
        density: pixels for each pixel of a chip of 150 px.
    """

    name: str
    edge: int
    rendered: int
    density: float

    @property
    def room(self) -> float:
        """How many times larger than the chip is what a render's picture shows, along an edge."""
        return self.rendered / self.density / CHIP_SIZE

    @property
    def margin(self) -> int:
        """Pixels of a face's picture on each side that are not the student's."""
        return (self.edge - self.rendered) // 2

    def transform(self, points: np.ndarray, edge: int) -> np.ndarray:
        """Return the similarity from the photo to a picture of this `edge`.

        Args:
            points: (68, 2) landmarks or (5, 2) points, as the cut is placed, in photo pixels.
            edge: of the picture, pixels.

        Raises:
            ValueError: the points give no chip.
        """
        chip = (five_point_transform if self.name == POINTS5.name else chip_transform)(points)
        return np.column_stack([self.density * chip[:, :2], self._places(chip[:, 2], edge)])

    def _places(self, chip_places: np.ndarray, edge: int) -> np.ndarray:
        """Return where places of the chip lie in a picture."""
        return (chip_places - (CHIP_SIZE - 1) / 2) * self.density + (edge - 1) / 2

    def student(self, pictures: np.ndarray) -> np.ndarray:
        """Return the middle of (N, edge, edge, 3) pictures that the student sees: (N, rendered, rendered, 3)."""
        return pictures[:, self.margin : self.edge - self.margin, self.margin : self.edge - self.margin]

    def resampling(self, size: int, places: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrices that cut a net's chip out of a picture: rows @ picture @ columns.T.

        Args:
            size: edge of the net's chip.
            places: (5, 2) where the five points lie in it; None where it is dlib's chip.

        Returns:
            (size, edge) float32 for the rows, and the same for the columns.
        """
        if places is None:
            places = (USUAL_PLACES + 0.5) * (size / CHIP_SIZE) - 0.5
        # Between the two usual faces lies a turn of 0.2 degrees, which is left out: rows stay rows.
        scale = float(np.linalg.norm(similarity(USUAL_PLACES, places)[:, 0]))
        moved = places.mean(0) - scale * USUAL_PLACES.mean(0)
        x, y = (self._places((np.arange(size) - moved[axis]) / scale, self.edge) for axis in (0, 1))
        return _linear(y, self.edge, self.density / scale), _linear(x, self.edge, self.density / scale)


def _linear(places: np.ndarray, edge: int, step: float) -> np.ndarray:
    """Return (len(places), edge) weights that read a line at places, mirrored beyond its ends, averaged over `step`."""
    width = max(1.0, step)
    pixels = np.arange(-edge, 2 * edge)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - pixels) / width)
    own = np.abs(np.where(pixels >= edge, 2 * (edge - 1) - pixels, pixels)).clip(0, edge - 1)
    out = np.zeros((len(places), edge))
    for column, pixel in enumerate(own):
        out[:, pixel] += weights[:, column]
    return (out / out.sum(1, keepdims=True)).astype(np.float32)


LANDMARKS68 = Cut("landmarks68", CHIP_SIZE, CHIP_SIZE, 1.0)
POINTS5 = Cut("points5", 200, 150, 0.9)
CUTS = {cut.name: cut for cut in (LANDMARKS68, POINTS5)}


def cut_named(name: str) -> Cut:
    """Return the cut of this name.

    Raises:
        InputError: there is none.
    """
    if name not in CUTS:
        raise InputError(f"--chips {name}: one of {', '.join(CUTS)}")
    return CUTS[name]
