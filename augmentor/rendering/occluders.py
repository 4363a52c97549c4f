"""Draw simple things in front of a face: glasses, a mask, the brim of a hat, a hand.

They are drawn by the 68 landmarks, hidden ones included, so they turn with the head. They are meant to hide parts of a
face, not to deceive the eye; but edges are soft and colours are those of real things.

Convention:
    Pictures are (S, S, 3) uint8 RGB, landmarks (68, 2) in (x, y) pixels. `strength` goes from 0 (small) to 1 (large),
    `number` selects colours and forms. Functions return a new picture.
"""

import cv2
import numpy as np

_SHIFT = 4  # OpenCV draws with fractions of 1/16 pixel
_CLOTH = (
    (235, 240, 245),
    (150, 190, 220),
    (35, 38, 45),
    (120, 150, 130),
    (200, 200, 195),
)  # colours of masks
_FELT = ((40, 36, 34), (90, 70, 50), (150, 140, 120), (60, 70, 100), (120, 40, 40))  # colours of hats
_FRAMES = ((25, 22, 20), (90, 60, 35), (150, 150, 155), (60, 30, 25), (180, 160, 110))


def draw_glasses(image: np.ndarray, landmarks: np.ndarray, strength: float, number: int) -> np.ndarray:
    """Draw glasses; every third pair is dark, and higher strengths are larger."""
    rng = np.random.default_rng([1, number])
    eyes = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)]
    widths = [np.linalg.norm(landmarks[39] - landmarks[36]), np.linalg.norm(landmarks[45] - landmarks[42])]
    face = _size(landmarks)
    along = (landmarks[45] - landmarks[36]) / max(float(np.linalg.norm(landmarks[45] - landmarks[36])), 1e-3)
    tilt = float(np.degrees(np.arctan2(along[1], along[0])))
    tall = face * (0.085 + 0.045 * strength) * rng.uniform(0.8, 1.1)
    frame = np.zeros(image.shape[:2], np.uint8)
    glass = np.zeros_like(frame)
    thick = max(1, round(face * rng.uniform(0.012, 0.03)))
    sides = []
    for eye, width in zip(eyes, widths, strict=True):
        # A lens that turns away narrows as much as the eye does.
        wide = width * (0.85 + 0.25 * strength)
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        box = np.stack([np.cos(angle), np.sin(angle)], 1)
        form = np.sign(box) * np.abs(box) ** 0.75 * [wide, tall]  # between a circle and a rounded box
        turn = np.radians(tilt)
        turned = form @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        points = _fixed(eye + [0, 0.15 * tall] + turned)
        cv2.fillPoly(glass, [points], 255, cv2.LINE_AA, _SHIFT)
        cv2.polylines(frame, [points], True, 255, thick, cv2.LINE_AA, _SHIFT)
        sides.append((eye + [0, 0.1 * tall] - along * wide, eye + [0, 0.1 * tall] + along * wide))
    ends = [(sides[0][1], sides[1][0]), (sides[0][0], landmarks[0]), (sides[1][1], landmarks[16])]
    for start, end in ends:
        line = _fixed(np.stack([start, start + (end - start) * 0.95]))
        cv2.polylines(frame, [line], False, 255, thick, cv2.LINE_AA, _SHIFT)
    if number % 3 == 0:
        image = _laid(image, glass, rng.uniform(10, 45, 3), 0.8)
    else:
        image = _laid(image, glass, np.array([225, 235, 245.0]), 0.08)
    return _laid(image, frame, np.array(_FRAMES[number % len(_FRAMES)], float), 0.95)


def draw_mask(image: np.ndarray, landmarks: np.ndarray, strength: float, number: int) -> np.ndarray:
    """Draw a mask over mouth and chin, up to the nose; higher strengths reach higher."""
    top = landmarks[30] + (landmarks[28] - landmarks[30]) * (0.2 + 0.7 * strength)
    ear, other = landmarks[1], landmarks[15]
    chin = landmarks[8] + (landmarks[8] - landmarks[57]) * 0.25
    jaw = landmarks[2:15] + (landmarks[2:15] - landmarks[33]) * 0.04
    jaw[6] = chin
    edge = np.concatenate([[ear], jaw, [other], [(other + top * 2) / 3], [top], [(ear + top * 2) / 3]])
    area = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(area, [_fixed(_rounded(edge))], 255, cv2.LINE_AA, _SHIFT)
    colour = np.array(_CLOTH[number % len(_CLOTH)], float)
    fold = landmarks[33:34] + np.linspace(0, 1, 4)[:, None] * (chin - landmarks[33])
    shade = _fall_off(image.shape[:2], landmarks[33], 0.75 * _size(landmarks))
    masked = _laid(image, area, colour, 1.0, shade)
    lines = np.zeros_like(area)
    for middle in fold[:3]:
        ends = [middle + (side - landmarks[33]) * 0.6 for side in (landmarks[3], landmarks[13])]
        cv2.polylines(
            lines, [_fixed(np.stack([ends[0], middle, ends[1]]))], False, 255, 1, cv2.LINE_AA, _SHIFT
        )
    return _laid(masked, cv2.min(lines, area), colour * 0.7, 0.6)


def draw_brim(image: np.ndarray, landmarks: np.ndarray, strength: float, number: int) -> np.ndarray:
    """Draw a hat or cap down to the brows, with the shadow of its brim; higher strengths sit lower."""
    up = (landmarks[27] - landmarks[8]) / max(float(np.linalg.norm(landmarks[27] - landmarks[8])), 1e-3)
    face = _size(landmarks)
    rise = up * face * (0.28 - 0.2 * strength)
    aside = (landmarks[16] - landmarks[0]) * 0.06
    middle = landmarks[[19, 20, 23, 24]].mean(0) + rise
    ends = landmarks[0] - aside + rise * 0.6, landmarks[16] + aside + rise * 0.6
    t = np.linspace(0, 1, 24)[:, None]  # a curve from side to side, over the brows in its middle
    edge = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * (2 * middle - (ends[0] + ends[1]) / 2) + t**2 * ends[1]
    far = up * 2.0 * face
    hat = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(
        hat, [_fixed(np.concatenate([edge, [edge[-1] + far], [edge[0] + far]]))], 255, cv2.LINE_AA, _SHIFT
    )
    shadow = np.zeros_like(hat)
    under = np.concatenate([edge, (edge - up * face * 0.18)[::-1]])
    cv2.fillPoly(shadow, [_fixed(under)], 255, cv2.LINE_AA, _SHIFT)
    soft = cv2.GaussianBlur(shadow, (0, 0), face * 0.04)
    image = _laid(image, soft, np.array([20.0, 16, 14]), 0.5)
    band = np.zeros_like(hat)
    cv2.polylines(band, [_fixed(edge)], False, 255, max(1, round(face * 0.05)), cv2.LINE_AA, _SHIFT)
    colour = np.array(_FELT[number % len(_FELT)], float)
    return _laid(_laid(image, hat, colour, 1.0), band, colour * 0.65, 0.8)


def draw_hand(image: np.ndarray, landmarks: np.ndarray, strength: float, number: int) -> np.ndarray:
    """Draw fingers over a part of the face, in the colour of its own skin; higher strengths cover more."""
    rng = np.random.default_rng([4, number])
    face = _size(landmarks)
    target = landmarks[[4, 12, 48, 54, 33, 8][number % 6]]
    away = target - landmarks[30] + [0, 0.25 * face]
    away = away / max(float(np.linalg.norm(away)), 1e-3)
    across = np.array([-away[1], away[0]])
    width = face * (0.07 + 0.03 * strength)
    cheeks = (landmarks[[2, 14, 3, 13]] + landmarks[[31, 35, 48, 54]]) / 2
    column, row = np.clip(np.rint(cheeks), 0, len(image) - 1).astype(int).T
    skin = image[row, column].astype(float)
    skin = skin[np.argsort(skin.sum(1))[1:]].mean(0) * rng.uniform(0.85, 1.0)  # without the darkest sample
    start = target + away * face * 1.2
    area = np.zeros(image.shape[:2], np.uint8)
    light = np.zeros_like(area)  # fingers are round, so they are lighter in the middle
    for finger in range(2 + round(2 * strength)):
        aside = across * width * 1.9 * (finger - 1.2) + rng.normal(0, 0.02 * face, 2)
        tip = target - away * face * rng.uniform(0.05, 0.2) + aside
        line = _fixed(np.stack([start + aside * 0.8, tip]))
        cv2.polylines(area, [line], False, 255, max(2, round(2 * width)), cv2.LINE_AA, _SHIFT)
        for part, level in ((2.0, 150), (1.5, 185), (1.0, 215), (0.5, 230)):
            thick = max(1, round(part * width))
            cv2.polylines(light, [line], False, level, thick, cv2.LINE_AA, _SHIFT)
    dark = cv2.GaussianBlur(area, (0, 0), width * 0.35)
    image = _laid(image, dark, skin * 0.45, 0.55)
    shade = cv2.multiply(cv2.GaussianBlur(light, (0, 0), width * 0.15), 1 / 215, dtype=cv2.CV_32F)
    return _laid(image, area, skin, 1.0, shade)


def _size(landmarks: np.ndarray) -> float:
    """Return the distance from the brows to the chin in pixels, which turning sideways does not change."""
    return float(np.linalg.norm(landmarks[8] - landmarks[[21, 22]].mean(0)))


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return points (N, 2) in OpenCV's fixed-point format."""
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _rounded(points: np.ndarray) -> np.ndarray:
    """Round a closed outline (N, 2) by cutting its corners twice (Chaikin)."""
    for _ in range(2):
        following = np.roll(points, -1, 0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1).reshape(
            -1, 2
        )
    return points


def _fall_off(size: tuple[int, int], middle: np.ndarray, reach: float) -> np.ndarray:
    """Return (h, w) float32, about 1 in the middle and less around it, as on something round."""
    y, x = np.mgrid[: size[0], : size[1]]
    far = np.hypot(x - middle[0], y - middle[1]) / reach
    return np.clip(1.05 - 0.35 * far**2, 0.6, 1.05).astype(np.float32)


def _laid(
    image: np.ndarray, area: np.ndarray, colour: np.ndarray, opacity: float, shade: np.ndarray | None = None
) -> np.ndarray:
    """Lay a colour over the picture where `area` (h, w) uint8 is; `shade` (h, w) makes the colour lighter or darker."""
    share = cv2.multiply(area, opacity / 255, dtype=cv2.CV_32F)
    if shade is None:
        paint = np.empty_like(image)
        paint[:] = np.rint(colour)
    else:
        paint = cv2.merge([cv2.multiply(shade, float(c), dtype=cv2.CV_8U) for c in colour])
    return cv2.blendLinear(image, paint, 1 - share, share)
