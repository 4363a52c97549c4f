"""Crops of faces for pre-training, and where the chips of the student and the teachers lie in them.

    plain      the chip itself, 150 px; enough for dlib's network as the only teacher
    points5    crops that show enough around the chip to contain every teacher's own chip

The chips of the teachers may show more or less of a face than the student's: dlib's network takes the student's chip
itself, but MobileFaceNet takes one that extends further up and to the sides. Therefore a face is stored once, and the
chip of each network is resampled from this picture.
"""

from dataclasses import dataclass

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.chip import CHIP_SIZE, USUAL_PLACES, chip_transform, usual_places
from augmentor.faces.five_points import similarity


@dataclass(frozen=True)
class Cut:
    """A way to crop the faces of a cache.

    Attributes:
        name: name of the crop, see the module's description.
        edge: side of a face's picture, pixels.
        rendered: side of a render's picture, pixels. Only the student gets renders, so they show just its part in the
            middle of a face's picture.
        density: pixels of the picture per pixel of a chip of 150 px.
    """

    name: str
    edge: int
    rendered: int
    density: float

    @property
    def room(self) -> float:
        """Side of what a render's picture shows, relative to the side of the chip."""
        return self.rendered / self.density / CHIP_SIZE

    @property
    def margin(self) -> int:
        """Pixels on each side of a face's picture that the student does not get."""
        return (self.edge - self.rendered) // 2

    def transform(self, points: np.ndarray, edge: int) -> np.ndarray:
        """Return the similarity transform (2, 3) from photo pixels to pixels of a picture.

        Args:
            points: (5, 2) points as (x, y) in photo pixels.
            edge: side of the picture, pixels.

        Raises:
            ValueError: The points do not define a chip.
        """
        chip = chip_transform(points)
        return np.column_stack([self.density * chip[:, :2], self._places(chip[:, 2], edge)])

    def _places(self, chip_places: np.ndarray, edge: int) -> np.ndarray:
        """Return the coordinates in a picture of coordinates in the chip."""
        return (chip_places - (CHIP_SIZE - 1) / 2) * self.density + (edge - 1) / 2

    def student(self, pictures: np.ndarray) -> np.ndarray:
        """Return the middle of pictures (N, edge, edge, 3), which the student gets: (N, rendered, rendered, 3)."""
        return pictures[:, self.margin : self.edge - self.margin, self.margin : self.edge - self.margin]

    def resampling(self, size: int, places: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrices that resample a network's chip from a picture: rows @ picture @ columns.T.

        Args:
            size: side of the network's chip, pixels.
            places: (5, 2) positions of the five points in this chip as (x, y); None for dlib's chip.

        Returns:
            (size, edge) float32 for the rows, and the same for the columns.
        """
        if places is None:
            places = usual_places(size)
        # The two standard faces differ by a rotation of 0.2 degrees. It is ignored, so that rows stay rows.
        scale = float(np.linalg.norm(similarity(USUAL_PLACES, places)[:, 0]))
        moved = places.mean(0) - scale * USUAL_PLACES.mean(0)
        x, y = (self._places((np.arange(size) - moved[axis]) / scale, self.edge) for axis in (0, 1))
        return _linear(y, self.edge, self.density / scale), _linear(x, self.edge, self.density / scale)


def _linear(places: np.ndarray, edge: int, step: float) -> np.ndarray:
    """Return weights (len(places), edge) that interpolate a line of pixels at some places.

    Beyond its ends the line is mirrored. Each value is averaged over `step` pixels.
    """
    width = max(1.0, step)
    pixels = np.arange(-edge, 2 * edge)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - pixels) / width)
    own = np.abs(np.where(pixels >= edge, 2 * (edge - 1) - pixels, pixels)).clip(0, edge - 1)
    out = np.zeros((len(places), edge))
    for column, pixel in enumerate(own):
        out[:, pixel] += weights[:, column]
    return (out / out.sum(1, keepdims=True)).astype(np.float32)


PLAIN = Cut("plain", CHIP_SIZE, CHIP_SIZE, 1.0)
POINTS5 = Cut("points5", 200, 150, 0.85)
CUTS = {cut.name: cut for cut in (PLAIN, POINTS5)}


def cut_named(name: str) -> Cut:
    """Return the crop with a name.

    Raises:
        InputError: There is no crop of this name.
    """
    if name not in CUTS:
        raise InputError(f"--chips {name}: unknown, use one of {', '.join(CUTS)}")
    return CUTS[name]
