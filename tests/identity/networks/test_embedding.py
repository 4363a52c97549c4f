"""Parts of an embedding, with a stand-in for dlib's net."""

import numpy as np
import pytest

from identity.networks.embedding import PartEmbedder
from identity.networks.feature_source import ResizedChips, SourceNetwork


def left_half(chips: np.ndarray) -> np.ndarray:
    """The mean colour of a chip's left half."""
    return chips[:, :, : chips.shape[2] // 2].reshape(len(chips), -1, 3).mean(axis=1)


@pytest.fixture
def embedder() -> PartEmbedder:
    return PartEmbedder({"dlib": SourceNetwork(ResizedChips(150), left_half, left_half)})


def test_likeness_is_one_where_the_mirror_image_is_the_same_and_none_where_it_has_nothing_in_common(
    embedder: PartEmbedder,
) -> None:
    chips = np.zeros((70, 150, 150, 3), np.uint8)
    chips[:, :, :, 0] = 200
    chips[1, :, 75:] = [0, 200, 0]
    chips[2, :, 75:] = [200, 200, 0]
    probes, alike = embedder.probes_and_likeness(chips)
    assert alike["dlib"][[0, 69]] == pytest.approx(1) and alike["dlib"][1] == pytest.approx(0)
    assert alike["dlib"][2] == pytest.approx(np.sqrt(0.5))
    np.testing.assert_allclose(probes["dlib"], embedder.probes(chips)["dlib"])
    assert probes["dlib"][1] == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 0])
