"""Other light on a render, from the normals of its view.

Source:
    Basri and Jacobs, "Lambertian Reflectance and Linear Subspaces", PAMI 2003: the light on a matt surface is, to
    first order, linear in its normal. Differs: first order only, and added to the light that is in the photo.
"""

import math

import cv2
import numpy as np

from augmentor.pose import HeadPose, rotation_from_pose
from augmentor.view import View

STRENGTH = (
    0.45  # how much brighter the lit side gets, and darker the other; beyond 0.6 shadows would be missing
)
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
    rotation = rotation_from_pose(HeadPose(view.key.yaw, view.key.pitch, view.key.roll))
    shade = view.normal.astype(np.float32) @ (rotation.T @ light_direction(light)).astype(np.float32)
    # In linear light, to which a power of 2.2 is near enough, a face lit from the side does not look painted. The power
    # of a product is the product of the powers: it is taken of the light alone, on the view's coarser map.
    gain = np.maximum(1 + STRENGTH * view.face * shade, 0) ** np.float32(1 / 2.2)
    factor = cv2.resize(gain, (view.size, view.size))
    return cv2.multiply(image, cv2.merge([factor] * 3), dtype=cv2.CV_8U)


def light_direction(light: int) -> np.ndarray:
    """Unit vector (3,) from the head to the light, camera frame (x right, y down, z away); numbers go around."""
    around = light * _GOLDEN_ANGLE
    return np.array([math.cos(around) * 0.94, math.sin(around) * 0.6, -0.34]) / math.hypot(
        math.cos(around) * 0.94, math.sin(around) * 0.6, 0.34
    )
