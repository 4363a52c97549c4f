"""Change the light on a render, using the normals of its view.

Source:
    Basri and Jacobs, "Lambertian Reflectance and Linear Subspaces", PAMI 2003; Ramamoorthi and Hanrahan, "An Efficient
    Representation for Irradiance Environment Maps", SIGGRAPH 2001: the light on a matt surface is nearly a polynomial
    of second order in its normal. Differs: the polynomial multiplies the light in the photo.
"""

import math

import cv2
import numpy as np

from augmentor.head.pose import HeadPose, rotation_from_pose
from augmentor.views.view import View

# How much brighter the lit side becomes, and how much darker the other. Above 0.6, cast shadows would be missed.
STRENGTH = 0.45
_SUM = np.ones((1, 3), np.float32)
_DARKEST = 1e-4  # smallest factor on the photo's light, because the logarithm of 0 does not exist
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def relight(image: np.ndarray, view: View, light: int) -> np.ndarray:
    """Light a render from another side. Deterministic; `image` is not modified.

    Args:
        image: (S, S, 3) uint8 RGB, a render into `view`.
        view: the view, which has the normals.
        light: 0 leaves the image as it is. Each higher number is another direction, from the side or obliquely from
            above or below, never from straight ahead.

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
        view: the view, which has the normals.
        coefficients: (9,) for 1, x, y, z, xy, yz, xz, x² - y², 3 z² - 1 of the normal in the camera frame (x right, y
            down, z away). Their sum is the factor in linear light; 1, 0, 0, ... leaves the image as it is.

    Returns:
        (S, S, 3) uint8 RGB; nothing changes beyond the face.
    """
    rotation = rotation_from_pose(HeadPose(view.key.yaw, view.key.pitch, view.key.roll))
    # The harmonics are a linear and a quadratic form of the normal, turned into the model frame, which normals are in.
    x, y, z, xy, yz, xz, xx_yy, zz = coefficients[1:]
    linear = rotation.T @ [x, y, z]
    square = np.array([[xx_yy, xy / 2, xz / 2], [xy / 2, -xx_yy, yz / 2], [xz / 2, yz / 2, 3 * zz]])
    square = rotation.T @ square @ rotation
    form = np.column_stack([square, linear]).astype(np.float32)
    bright = cv2.transform(cv2.multiply(cv2.transform(view.normal, form), view.normal), _SUM)
    # The factor applies to linear light, for which a power of 2.2 is close enough; otherwise a face lit from the side
    # would look painted. The power of a product is the product of the powers, so it is taken of the factor alone, on
    # the view's coarser map.
    face = cv2.extractChannel(view.surface, 2)
    light = cv2.add(cv2.multiply(face, cv2.add(bright, float(coefficients[0] - 1 - zz))), 1.0)
    gain = cv2.exp(cv2.log(cv2.max(light, _DARKEST)) / 2.2)
    factor = cv2.resize(gain, (view.size, view.size))
    return cv2.multiply(image, cv2.merge([factor] * 3), dtype=cv2.CV_8U)


def soft_light(strength: float, number: int) -> np.ndarray:
    """Return the coefficients (9,) for `shade` of a soft light from one side, with weaker light from elsewhere.

    Args:
        strength: 0 to 1.
        number: seed; another number gives another light.
    """
    rng = np.random.default_rng([9, number])
    around = rng.uniform(0, 2 * math.pi)
    first = np.array([math.cos(around), 0.7 * math.sin(around), -0.4])
    coefficients = np.zeros(9)
    coefficients[1:4] = (0.15 + 0.45 * strength) * first / np.linalg.norm(first)
    coefficients[4:] = (0.05 + 0.12 * strength) * rng.normal(0, 0.6, 5)
    # The brightness of a surface that faces the camera changes by less than a third of a stop.
    front = coefficients[1:] @ np.array([0, 0, -1, 0, 0, 0, 0, 2.0])
    coefficients[0] = rng.uniform(0.85, 1.2) - 0.6 * front
    return coefficients


def light_direction(light: int) -> np.ndarray:
    """Return the unit vector (3,) from the head to a light, in the camera frame (x right, y down, z away)."""
    around = light * _GOLDEN_ANGLE
    return np.array([math.cos(around) * 0.94, math.sin(around) * 0.6, -0.34]) / math.hypot(
        math.cos(around) * 0.94, math.sin(around) * 0.6, 0.34
    )
