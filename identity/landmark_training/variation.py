"""Vary examples as photos and detectors do: errors of the five points, tilt, scale, colour, blur, things in front."""

import cv2
import numpy as np

from augmentor.faces.chip import chip_transform
from augmentor.faces.five_points import MIRROR5
from augmentor.faces.landmark_net import MIRROR68, SIDE, crop_transform
from identity.landmark_training.examples import CANVAS, UNKNOWN, Examples


def training_batch(
    examples: Examples, rows: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return varied crops of the chosen examples, as the net sees them.

    Args:
        examples: all examples.
        rows: (B,) row numbers.
        rng: draws the variation.

    Returns:
        Crops (B, 80, 80, 3) float32 0-255, wanted outputs (B, 204) float32 as the net gives them (visibility 0 or 1),
        and weights (B, 204) float32.
    """
    pixels = np.empty((len(rows), SIDE, SIDE, 3), np.float32)
    wanted = np.empty((len(rows), 204), np.float32)
    weights = np.empty((len(rows), 204), np.float32)
    for number, row in enumerate(rows.tolist()):
        image, landmarks, visible = examples.images[row], examples.landmarks[row], examples.visible[row]
        points = examples.points[row].astype(float)
        if rng.random() < 0.5:
            image = cv2.flip(image, 1)
            landmarks = landmarks[MIRROR68] * np.array([-1, 1], np.float32) + np.array(
                [CANVAS - 1, 0], np.float32
            )
            points = points[MIRROR5] * [-1, 1] + [CANVAS - 1, 0]
            visible = visible[MIRROR68]
        crop_from_image = _disturbed(points, rng)
        crop = cv2.warpAffine(
            image, crop_from_image, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        pixels[number] = _as_by_a_poor_camera(_partly_covered(crop, rng), rng)
        moved = landmarks @ crop_from_image[:, :2].T + crop_from_image[:, 2]
        wanted[number, :136] = ((moved - (SIDE - 1) / 2) / SIDE).ravel()
        wanted[number, 136:] = visible == 1
        weights[number, :136] = np.repeat(_importance(visible), 2)
        weights[number, 136:] = visible != UNKNOWN
    return pixels, wanted, weights


def _importance(visible: np.ndarray) -> np.ndarray:
    """Return how much each landmark (68,) counts: contour ones less, because their place along it is vague."""
    importance = np.where(visible == 0, 0.6, 1.0)
    importance[:17] *= 0.6
    return importance


def _disturbed(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return crop_from_image (2, 3) by five points with a detector's errors, and a tilt of up to 20 degrees."""
    unit = 1 / np.sqrt(np.linalg.det(chip_transform(points)[:, :2]))  # pixels per pixel of a chip of 150
    error = 7.0 if rng.random() < 0.1 else 2.0
    crop_from_image = crop_transform(points + rng.normal(0, error * unit, (5, 2)))
    angle = np.radians(rng.uniform(-20, 20) if rng.random() < 0.2 else np.clip(rng.normal(0, 5), -20, 20))
    scale = float(np.exp(np.clip(rng.normal(0, 0.06), -0.18, 0.18)))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (SIDE - 1) / 2)
    shift = rng.normal(0, 0.02 * SIDE, 2)
    return np.column_stack(
        [turn @ crop_from_image[:, :2], turn @ (crop_from_image[:, 2] - middle) + middle + shift]
    )


def _partly_covered(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover a rectangle of one crop in six with one colour or with noise."""
    if rng.random() < 0.16:
        crop = crop.copy()
        height, width = rng.integers(8, 32, 2)
        top, left = rng.integers(0, SIDE - height), rng.integers(0, SIDE - width)
        part = crop[top : top + height, left : left + width]
        part[:] = rng.integers(0, 256, 3 if rng.random() < 0.7 else part.shape)
    return crop


def _as_by_a_poor_camera(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change resolution, sharpness, colours and brightness, and add noise; returns (80, 80, 3) float32."""
    chance = rng.random(5)
    if chance[0] < 0.25:
        small = int(rng.integers(18, 60))
        crop = cv2.resize(cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
    if chance[1] < 0.2:
        crop = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 2.0)))
    if chance[2] < 0.15:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    pixels = crop.astype(np.float32)
    gain = rng.normal(1, 0.2) * (1 + rng.normal(0, 0.06, 3))
    pixels = (pixels - 128) * np.float32(np.clip(gain, 0.35, 1.8)) + np.float32(128 + rng.normal(0, 22))
    if chance[3] < 0.3:
        pixels += rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(2, 14))
    return np.clip(pixels, 0, 255)


def plain_batch(examples: Examples) -> np.ndarray:
    """Return the crops of the examples without any change, (N, 80, 80, 3) float32, placed by the five points."""
    crops = [
        cv2.warpAffine(image, crop_transform(points), (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        for image, points in zip(examples.images, examples.points.astype(float), strict=True)
    ]
    return np.stack(crops).astype(np.float32)
