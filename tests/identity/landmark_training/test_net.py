"""The landmark net's shape, and its way from Keras to OpenCV."""

import cv2
import numpy as np

from augmentor.faces.landmark_net import FILE, SIDE, scaled
from identity.landmark_training.net import build_net, lite_file

# What OpenCV reads right from 4.8 on. Of a dense layer, 4.12 to 4.14 lose the bias without a word.
_READ_RIGHT = {"Convolution", "Eltwise", "NaryEltwise", "ReLU", "__NetInputLayer__"}


def test_opencv_gives_what_keras_gives() -> None:
    mean = np.random.default_rng(0).uniform(-0.4, 0.4, (68, 2))
    net = build_net(mean)
    crops = np.random.default_rng(1).uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)
    by_keras = net(crops, training=False).numpy()
    assert by_keras.shape == (2, 204)
    assert np.abs(by_keras[:, :136].mean(0) - mean.ravel()).max() < 0.1  # untrained, it gives the mean
    content = lite_file(net)
    assert len(content) < 2_000_000
    lite = cv2.dnn.readNetFromTFLite(np.frombuffer(content, np.uint8))
    lite.setInput(np.ascontiguousarray(scaled(crops).transpose(0, 3, 1, 2)))
    assert np.abs(lite.forward().reshape(2, 204) - by_keras).max() < 2e-3
    assert set(lite.getLayerTypes()) <= _READ_RIGHT


def test_the_shipped_file_has_only_layers_that_every_opencv_reads_right() -> None:
    lite = cv2.dnn.readNetFromTFLite(np.frombuffer(FILE.read_bytes(), np.uint8))
    assert set(lite.getLayerTypes()) <= _READ_RIGHT
