"""The embedding that faces are compared by: parts from one or several feature sources, joined by shares.

Parts are joined as sqrt(share) times unit vectors, and the shares add up to 1. The cosine of two joined vectors is then
the mean of the parts' cosines, weighted by the shares. Which sources there are: `identity.networks.sources`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from identity.networks.chip_variants import JITTERS, jittered, mirrored
from identity.networks.face_space import FaceSpace
from identity.networks.feature_source import RunNetworks, SourceNetwork
from identity.networks.sources import sources_in_order

_BATCH = 64


def join(parts: Mapping[str, np.ndarray], shares: Mapping[str, float]) -> np.ndarray:
    """Return (N, D) float32 unit rows made of (N, D_part) unit rows; parts without a share are left out.

    Args:
        parts: source name -> (N, D_part) unit rows.
        shares: source name -> share.
    """
    used = [source.name for source in sources_in_order(shares) if shares[source.name] > 0]
    return np.concatenate([np.sqrt(shares[name]) * parts[name] for name in used], axis=1).astype(np.float32)


class PartEmbedder:
    """Embeds chips with several sources, each giving one part.

    Args:
        networks: source name -> loaded network, in the order in which parts are joined.
    """

    def __init__(self, networks: Mapping[str, SourceNetwork]) -> None:
        self._networks = dict(networks)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the sources."""
        return tuple(self._networks)

    def only(self, names: Iterable[str]) -> "PartEmbedder":
        """Return an embedder with some of the sources; the networks are the same objects."""
        return PartEmbedder({name: self._networks[name] for name in names})

    def of_trunk(self, given: np.ndarray) -> dict[str, np.ndarray]:
        """Embed what the trunk gave, where all sources share one trunk: name -> (N, D_part), not normalised."""
        return {name: network.run(given) for name, network in self._networks.items()}

    def once(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        """Embed (N, S, S, 3) uint8 chips as they are: name -> (N, D_part), not normalised."""
        given: dict[int, np.ndarray] = {}
        out = {}
        for name, network in self._networks.items():
            if id(network.trunk) not in given:
                given[id(network.trunk)] = network.trunk(chips)
            out[name] = network.run(given[id(network.trunk)])
        return out

    def compared(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what `once` gave, or sums of it, as it is compared: name -> (N, D_part) unit rows."""
        return {name: self._networks[name].compared(part) for name, part in rows.items()}

    def graph(self, chips: Any) -> dict[str, Any]:
        """Do what `once` does for a Keras tensor (N, S, S, 3) of float32 0-255."""
        given: dict[int, Any] = {}
        out = {}
        for name, network in self._networks.items():
            if id(network.trunk) not in given:
                given[id(network.trunk)] = network.trunk.graph(chips)
            out[name] = network.graph(given[id(network.trunk)])
        return out

    def compared_graph(self, part: str, rows: Any) -> Any:
        """Do what `compared` does for the Keras tensor of one part."""
        return self._networks[part].compared_graph(rows)

    def probes(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        """Embed chips, each averaged with its mirror image: name -> (N, D_part) unit rows."""
        return self._batched(chips, 0, 0)[0]

    def probes_and_likeness(self, chips: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the rows of `probes`, and how alike a chip and its mirror image are: name -> (N,) cosines."""
        probes: dict[str, list[np.ndarray]] = {}
        alike: dict[str, list[np.ndarray]] = {}
        for start in range(0, max(1, len(chips)), _BATCH):
            part = chips[start : start + _BATCH]
            plain, turned = self.once(part), self.once(mirrored(part))
            one, other = self.compared(plain), self.compared(turned)
            for name, rows in self.compared(_added(plain, turned)).items():
                probes.setdefault(name, []).append(rows)
                alike.setdefault(name, []).append((one[name] * other[name]).sum(axis=1))
        return (
            {name: np.concatenate(rows) for name, rows in probes.items()},
            {name: np.concatenate(cosines) for name, cosines in alike.items()},
        )

    def probes_and_gallery(
        self, chips: np.ndarray, seed: int, jitters: int = JITTERS
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the rows of `probes`, and rows for templates, into which a few jittered chips are averaged, too."""
        return self._batched(chips, seed, jitters)

    def _batched(
        self, chips: np.ndarray, seed: int, jitters: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        batches = [
            self._variants(chips[start : start + _BATCH], seed + start, jitters)
            for start in range(0, max(1, len(chips)), _BATCH)
        ]
        probes = {name: np.concatenate([batch[0][name] for batch in batches]) for name in batches[0][0]}
        gallery = {name: np.concatenate([batch[1][name] for batch in batches]) for name in batches[0][1]}
        return probes, gallery

    def _variants(
        self, chips: np.ndarray, seed: int, jitters: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        total = _added(self.once(chips), self.once(mirrored(chips)))
        probes = self.compared(total)
        for number in range(jitters):
            moved = jittered(chips if number % 2 == 0 else mirrored(chips), seed * 16 + number)
            total = _added(total, self.once(moved))
        return probes, self.compared(total)


def load_embedder(
    names: Iterable[str], run: RunNetworks | None = None, spaces: Mapping[str, FaceSpace] | None = None
) -> PartEmbedder:
    """Load the networks of some sources.

    Args:
        names: of registered sources, in any order.
        run: the networks of the run that the sources need.
        spaces: source name -> the space to compare it in, in place of its own.

    Raises:
        InputError: no such source, or a weight file is missing or damaged.
        ValueError: `run` lacks a network that a source needs.
    """
    given, other_spaces = run or RunNetworks(), spaces or {}
    networks = {source.name: source.load(given) for source in sources_in_order(names)}
    return PartEmbedder(
        {
            name: replace(network, space=other_spaces[name]) if name in other_spaces else network
            for name, network in networks.items()
        }
    )


def _added(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: a[name] + b[name] for name in a}
