"""Views and blends that the device makes, compared with those of the host."""

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.jax
jax = pytest.importorskip("jax", reason="needs JAX: make test-jax")

from identity.pretraining.student_view import jittered, plain  # noqa: E402
from identity.pretraining.views_on_device import blends, mirrored_at_random, views  # noqa: E402


@pytest.fixture
def chip() -> np.ndarray:
    """A picture of soft shapes that is different everywhere."""
    noise = np.random.default_rng(0).uniform(0, 255, (10, 10, 3)).astype("f4")
    return np.clip(cv2.resize(noise, (150, 150), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def test_views_of_the_device_are_distributed_like_those_of_the_host(chip: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    host = np.stack([jittered(chip, 48, 1.07, rng) for _ in range(600)]).astype("f4")
    device = np.asarray(views(jax.random.key(0), np.stack([chip] * 600), 48, 1.07))
    assert device.shape == host.shape and device.dtype == np.float32
    # The deviation of a pixel is about 50, so with 600 views its means differ by chance by less than 3 on average.
    assert np.abs(host.mean(axis=0) - device.mean(axis=0)).mean() < 4
    assert np.abs(host.std(axis=0) - device.std(axis=0)).mean() < 4
    # Grey views are tinted like the others.
    assert (device[..., 0] == device[..., 1]).all(axis=(1, 2)).mean() < 0.01


def test_a_view_without_any_jitter_is_the_plain_one(
    chip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from identity.pretraining import views_on_device

    for name in ("SCALED", "TURNED_DEGREES", "MOVED", "BLURRED", "GREY", "BRIGHTER", "TINTED", "LIFTED"):
        monkeypatch.setattr(views_on_device, name, 0.0)
    shown = np.asarray(views_on_device.views(jax.random.key(0), np.stack([chip] * 20), 128, 1.07))
    right, mirrored = plain(np.stack([chip, chip[:, ::-1]]), 128, 150 / 140)
    distances = [min(np.abs(v - right).mean(), np.abs(v - mirrored).mean()) for v in shown]
    assert max(distances) < 1.5
    assert {np.abs(v - right).mean() < np.abs(v - mirrored).mean() for v in shown} == {True, False}


def test_half_of_the_faces_are_mirrored(chip: np.ndarray) -> None:
    chips = np.asarray(mirrored_at_random(jax.random.key(0), np.stack([chip] * 400)))
    same, mirrored = (chips == chip).all(axis=(1, 2, 3)), (chips == chip[:, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all() and 0.4 < same.mean() < 0.6


def test_blends_show_both_faces_side_by_side_or_everywhere() -> None:
    black, white = np.zeros((200, 32, 32, 3), np.uint8), np.full((200, 32, 32, 3), 255, np.uint8)
    blended = np.asarray(blends(jax.random.key(0), black, white))
    assert blended.min() >= 0 and blended.max() <= 255
    even = blended.std(axis=(1, 2, 3)) < 1e-3
    assert 0.4 < even.mean() < 0.6
    assert blended[even].min() >= 0.15 * 255 - 1 and blended[even].max() <= 0.85 * 255 + 1
    # The softest border, farthest from the middle, leaves sigmoid(0.25 / 0.15) = 0.84 of a face.
    assert blended[~even].min(axis=(1, 2, 3)).max() < 0.17 * 255
    assert blended[~even].max(axis=(1, 2, 3)).min() > 0.83 * 255
    np.testing.assert_allclose(blended + np.asarray(blends(jax.random.key(0), white, black)), 255, atol=1e-3)
