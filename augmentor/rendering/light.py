"""Other light on a render, from the normals of its view.

Source:
    Basri and Jacobs, "Lambertian Reflectance and Linear Subspaces", PAMI 2003; Ramamoorthi and Hanrahan, "An Efficient
    Representation for Irradiance Environment Maps", SIGGRAPH 2001: the light on a matt surface is nearly a polynomial
    of second order in its normal. Differs: it multiplies the light that is in the photo.
"""

import math

import cv2
import numpy as np

from augmentor.head.pose import HeadPose, rotation_from_pose
from augmentor.views.view import View

STRENGTH = (
    0.45  # how much brighter the lit side gets, and darker the other; beyond 0.6 shadows would be missing
)
_SUM = np.ones((1, 3), np.float32)
_DARKEST = 1e-4  # of the light in the photo; the logarithm of nothing is none
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def relight(image: np.ndarray, view: View, light: int) -> np.ndarray:
    """Light a render from another side. Deterministic; `image` is not modified.

    Args:
        image: (S, S, 3) uint8 RGB, a render into `view`.
        view: where the normals are.
        light: 0 leaves the image as it is; each higher number is a direction of its own, from which the head is lit
            from the side or obliquely from above or below, never from straight ahead.

    Returns:
        (S, S, 3) uint8 RGB.

    Raises:
        ValueError: `light` is negative.
    """
    if light < 0:
        raise ValueError(f"light {light} is negative")
    if light == 0:
        return image
    coefficients = np.zeros(9)
    coefficients[0], coefficients[1:4] = 1, STRENGTH * light_direction(light)
    return shade(image, view, coefficients)


def shade(image: np.ndarray, view: View, coefficients: np.ndarray) -> np.ndarray:
    """Light a render by spherical harmonics of its normals. Deterministic; `image` is not modified.

    Args:
        image: (S, S, 3) uint8 RGB, a render into `view`.
        view: where the normals are.
        coefficients: (9,) of 1, x, y, z, xy, yz, xz, x² - y², 3 z² - 1 of the normal in the camera frame (x right, y
            down, z away): how bright the surface gets in linear light; 1, 0, 0, ... leaves it as it is.

    Returns:
        (S, S, 3) uint8 RGB; beyond the face nothing changes.
    """
    rotation = rotation_from_pose(HeadPose(view.key.yaw, view.key.pitch, view.key.roll))
    # The harmonics are a linear and a quadratic form of the normal: turned to the model frame, where normals are.
    x, y, z, xy, yz, xz, xx_yy, zz = coefficients[1:]
    linear = rotation.T @ [x, y, z]
    square = np.array([[xx_yy, xy / 2, xz / 2], [xy / 2, -xx_yy, yz / 2], [xz / 2, yz / 2, 3 * zz]])
    square = rotation.T @ square @ rotation
    form = np.column_stack([square, linear]).astype(np.float32)
    bright = cv2.transform(cv2.multiply(cv2.transform(view.normal, form), view.normal), _SUM)
    # In linear light, to which a power of 2.2 is near enough, a face lit from the side does not look painted. The power
    # of a product is the product of the powers: it is taken of the light alone, on the view's coarser map.
    face = cv2.extractChannel(view.surface, 2)
    light = cv2.add(cv2.multiply(face, cv2.add(bright, float(coefficients[0] - 1 - zz))), 1.0)
    gain = cv2.exp(cv2.log(cv2.max(light, _DARKEST)) / 2.2)
    factor = cv2.resize(gain, (view.size, view.size))
    return cv2.multiply(image, cv2.merge([factor] * 3), dtype=cv2.CV_8U)


def soft_light(strength: float, number: int) -> np.ndarray:
    """Coefficients (9,) for `shade` of a light drawn by `number`: from one side, with weaker ones elsewhere.

    Args:
        strength: 0 to 1.
        number: another one is another light.
    """
    rng = np.random.default_rng([9, number])
    around = rng.uniform(0, 2 * math.pi)
    first = np.array([math.cos(around), 0.7 * math.sin(around), -0.4])
    coefficients = np.zeros(9)
    coefficients[1:4] = (0.15 + 0.45 * strength) * first / np.linalg.norm(first)
    coefficients[4:] = (0.05 + 0.12 * strength) * rng.normal(0, 0.6, 5)
    # A face seen from the front keeps its brightness, within a third of a stop.
    front = coefficients[1:] @ np.array([0, 0, -1, 0, 0, 0, 0, 2.0])
    coefficients[0] = rng.uniform(0.85, 1.2) - 0.6 * front
    return coefficients


def light_direction(light: int) -> np.ndarray:
    """Unit vector (3,) from the head to the light, camera frame (x right, y down, z away); numbers go around."""
    around = light * _GOLDEN_ANGLE
    return np.array([math.cos(around) * 0.94, math.sin(around) * 0.6, -0.34]) / math.hypot(
        math.cos(around) * 0.94, math.sin(around) * 0.6, 0.34
    )
