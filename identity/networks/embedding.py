"""What a face is compared by: one or several parts, each an embedding of its own, joined by shares.

Parts:
    dlib    dlib's 128-d face embedding, in the space of `identity.networks.face_space`
    face    the B0's pooled maps, in the space that came with its weights if they were trained on faces
    head    what the head trained on the B0's maps makes of them

Parts are joined as sqrt(share) times unit vectors, the shares adding up to 1: the cosine of two joined vectors is
then the mean of the parts' cosines, weighted by the shares.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from identity.networks.dlib_embedding import CHIP_SIZE, DlibEmbedding
from identity.networks.face_space import FaceSpace, load_face_space, unit
from identity.networks.features import (
    JITTERS,
    FrozenBackbone,
    jittered,
    mirrored,
    pooled,
    resized,
    resized_graph,
)
from identity.networks.inference import Inference

PARTS = ("dlib", "face", "head")
FEATURES = ("both", "b0", "dlib")
_BATCH = 64
_HEAD_BATCH = 256


def parts_of(features: str, weights_embed: bool) -> tuple[str, ...]:
    """The parts of one of `FEATURES`, given whether the backbone's weights carry a face embedding."""
    b0 = ("face", "head") if weights_embed else ("head",)
    return {"dlib": ("dlib",), "b0": b0, "both": ("dlib", *b0)}[features]


def join(parts: Mapping[str, np.ndarray], shares: Mapping[str, float]) -> np.ndarray:
    """Join (N, D_part) unit rows to (N, D) unit rows; parts without a share are left out."""
    used = [name for name in PARTS if shares.get(name, 0.0) > 0]
    return np.concatenate([np.sqrt(shares[name]) * parts[name] for name in used], axis=1).astype(np.float32)


class PartEmbedder:
    """Embeds chips, part by part.

    Args:
        parts: which of `PARTS`.
        backbone: for `face` and `head`.
        head: model from maps to unit rows (`identity.networks.heads.embedding_model`), for `head`.
        dlib: for `dlib`; loaded if not given.
        spaces: of `dlib` and `face`; where not given, the one that ships and the one of the backbone's weights.
    """

    def __init__(
        self,
        parts: tuple[str, ...],
        backbone: FrozenBackbone | None = None,
        head: Any = None,
        dlib: DlibEmbedding | None = None,
        spaces: Mapping[str, FaceSpace] | None = None,
    ) -> None:
        if {"face", "head"} & set(parts) and backbone is None:
            raise ValueError("the parts face and head need a backbone")
        if "head" in parts and head is None:
            raise ValueError("the part head needs a head")
        self.parts = parts
        self._backbone = backbone
        self._head_model = head
        self._head = Inference(head, _HEAD_BATCH) if head is not None and "head" in parts else None
        self._dlib = (dlib or DlibEmbedding()) if "dlib" in parts else None
        self._spaces = dict(spaces or {})
        if "dlib" in parts and "dlib" not in self._spaces:
            self._spaces["dlib"] = load_face_space()
        if "face" in parts and backbone is not None and "face" not in self._spaces:
            self._spaces["face"] = backbone.weights.space

    def of_maps(self, maps: np.ndarray) -> dict[str, np.ndarray]:
        """The parts that need only the backbone's maps, as they are."""
        out: dict[str, np.ndarray] = {}
        if "face" in self.parts and self._backbone is not None:
            out["face"] = pooled(maps)
        if self._head is not None:
            out["head"] = self._head(maps)
        return out

    def once(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        """Embed (N, S, S, 3) uint8 chips as they are: part -> (N, D_part), not normalised."""
        out: dict[str, np.ndarray] = {}
        if self._dlib is not None:
            out["dlib"] = self._dlib(resized(chips, CHIP_SIZE))
        if self._backbone is not None:
            out |= self.of_maps(self._backbone.maps(chips))
        return out

    def compared(self, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What `once` gave, or sums of it, as it is compared: part -> (N, D_part) unit rows."""
        return {
            name: self._spaces[name](rows) if name in self._spaces else unit(rows)
            for name, rows in found.items()
        }

    def graph(self, chips: Any) -> dict[str, Any]:
        """As `once`, for a Keras tensor (N, S, S, 3) of float32 0-255."""
        from keras import ops

        out: dict[str, Any] = {}
        if self._dlib is not None:
            out["dlib"] = self._dlib.net(resized_graph(chips, CHIP_SIZE))
        if self._backbone is not None:
            maps = self._backbone.model(resized_graph(self._backbone.middle(chips), self._backbone.size))
            if "face" in self.parts:
                out["face"] = ops.mean(maps, axis=(1, 2))
            if "head" in self.parts:
                out["head"] = self._head_model(maps)
        return out

    def compared_graph(self, part: str, rows: Any) -> Any:
        """As `compared`, for the Keras tensor of one part."""
        from keras import ops

        unit_rows = ops.normalize(rows, axis=1)
        if part not in self._spaces:
            return unit_rows
        space = self._spaces[part]
        return ops.normalize(ops.matmul(unit_rows - space.origin, space.matrix), axis=1)

    def probes(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        """Chip and mirror image averaged: part -> (N, D_part) unit rows."""
        return self._batched(chips, 0, 0)[0]

    def probes_and_likeness(self, chips: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """As `probes`, and how alike a chip and its mirror image are: part -> (N,) cosines."""
        probes: dict[str, list[np.ndarray]] = {}
        alike: dict[str, list[np.ndarray]] = {}
        for start in range(0, max(1, len(chips)), _BATCH):
            part = chips[start : start + _BATCH]
            seen, turned = self.once(part), self.once(mirrored(part))
            one, other = self.compared(seen), self.compared(turned)
            for name, rows in self.compared(_added(seen, turned)).items():
                probes.setdefault(name, []).append(rows)
                alike.setdefault(name, []).append((one[name] * other[name]).sum(axis=1))
        return (
            {name: np.concatenate(rows) for name, rows in probes.items()},
            {name: np.concatenate(cosines) for name, cosines in alike.items()},
        )

    def probes_and_gallery(
        self, chips: np.ndarray, seed: int, jitters: int = JITTERS
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Unit rows as for probes, and as for templates, where a few jittered chips are averaged in, too."""
        return self._batched(chips, seed, jitters)

    def _batched(
        self, chips: np.ndarray, seed: int, jitters: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        found = [
            self._variants(chips[start : start + _BATCH], seed + start, jitters)
            for start in range(0, max(1, len(chips)), _BATCH)
        ]
        probes = {name: np.concatenate([f[0][name] for f in found]) for name in found[0][0]}
        gallery = {name: np.concatenate([f[1][name] for f in found]) for name in found[0][1]}
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


def _added(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: a[name] + b[name] for name in a}
