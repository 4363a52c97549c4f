"""Frozen features: the backbone's maps of every image, computed once and kept on disk.

A map of 4x4x1280 half floats takes 41 kB, so those of 129,664 images take 5.3 GB, more memory than many machines have.
Maps are written once, in a shuffled order, so that reading the file from front to back mixes people. An epoch reads the
file in blocks, never as a whole. A training that is killed goes on where it stopped.
"""

import json
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from augmentor.errors import InputError
from augmentor.photos.images import write_whole
from identity.networks.backbone import Weights, build_backbone
from identity.networks.chip_variants import middle, resized, resized_graph
from identity.networks.inference import Inference
from identity.networks.tensorflow_loading import load_tensorflow

MAP_BATCH = 32
_BLOCK = 512
_POOL_BLOCKS = 8
_SPARE_BYTES = 200_000_000
T = TypeVar("T")


class FrozenBackbone:
    """The EfficientNet-B0 for inference: from chips to maps. It is the trunk of the sources that start from its maps.

    Args:
        weights: loaded weights.
        chip_size: height and width of the chips in pixels. The network takes this size, unless its weights were trained
            for another one: then the middle of the chips (`zoom` of the weights) is resized to that.
    """

    def __init__(self, weights: Weights, chip_size: int) -> None:
        load_tensorflow()
        self.weights = weights
        self.size = size = weights.size or chip_size
        self.model = build_backbone(weights, size)
        self.map_shape: tuple[int, int, int] = tuple(self.model.output_shape[1:])
        self._run = Inference(self.model, MAP_BATCH)

    def maps(self, chips: np.ndarray) -> np.ndarray:
        """Return (N, s, s, 1280) float16 maps of (N, S, S, 3) uint8 RGB chips."""
        parts = [
            self._run(resized(self.middle(chips[start : start + MAP_BATCH]), self.size)).astype(np.float16)
            for start in range(0, len(chips), MAP_BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, *self.map_shape), np.float16)

    def __call__(self, chips: np.ndarray) -> np.ndarray:
        """Return the maps, as a `Trunk` of feature sources does."""
        return self.maps(chips)

    def middle(self, chips: Any) -> Any:
        """Return the part of (N, S, S, 3) chips, an array or a Keras tensor, that the weights were trained on."""
        return middle(chips, self.weights.zoom)

    def graph(self, chips: Any) -> Any:
        """Do the same as Keras operations, for a tensor (N, S, S, 3) of float32 0-255."""
        return self.model(resized_graph(self.middle(chips), self.size))


def pooled(maps: np.ndarray) -> np.ndarray:
    """Return (N, D) float32, the means over positions of (N, s, s, D) maps."""
    return maps.mean(axis=(1, 2), dtype=np.float32)


class Maps(Protocol):
    """The backbone's maps of the rows of a training set."""

    shape: tuple[int, int, int]

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        """Yield one epoch, shuffled: (rows (n,), maps (n, s, s, 1280) float16); n is `batch`, in the last one fewer."""
        ...

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        """Yield the maps of `rows`, once each, in any order: (rows (n,), maps)."""
        ...


class ComputedMaps:
    """Maps that are computed whenever they are needed (`--no-cache`): no disk is used, but every epoch takes longer.

    Args:
        chips: row numbers -> (n, size, size, 3) uint8.
        backbone: makes the maps.
    """

    def __init__(self, chips: Callable[[np.ndarray], np.ndarray], backbone: FrozenBackbone) -> None:
        self.shape = backbone.map_shape
        self._chips = chips
        self._backbone = backbone

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        """Yield one epoch, as `Maps.batches` describes it."""
        yield from self._in_order(rng.permutation(rows), batch)

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        """Yield the maps of `rows` in their order, as `Maps.read` describes it."""
        yield from self._in_order(rows, _BLOCK // 2)

    def _in_order(self, rows: np.ndarray, batch: int) -> Iterator[tuple]:
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        for part, chips in read_ahead((p, self._chips(p)) for p in parts):
            yield part, self._backbone.maps(chips)


@dataclass(frozen=True)
class CacheKey:
    """Everything that the maps of a cache depend on.

    Attributes:
        manifest: digest of the training set.
        weights: digest of the backbone's weights.
        size: of the backbone's input, pixels.
        rows: number of images.
        seed: of the order in the file.
    """

    manifest: str
    weights: str
    size: int
    rows: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"manifest": self.manifest, "weights": self.weights, "size": self.size} | {
            "rows": self.rows,
            "seed": self.seed,
        }


class CachedMaps:
    """Maps that are kept on disk: `maps.npy` (rows, s, s, 1280) float16 and `progress.json` beside it.

    Row `p` of the file is the map of image `order[p]`; the order is drawn from the seed.

    Args:
        folder: of the cache; made if missing.
        key: what the maps depend on; maps with another key are computed anew.
        shape: of one map.
    """

    def __init__(self, folder: Path, key: CacheKey, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.folder = folder
        self._key = key
        self._order = np.random.default_rng([key.seed, 4]).permutation(key.rows)
        self._position = np.argsort(self._order)
        self._row_bytes = int(np.prod(shape)) * 2
        self._file = folder / "maps.npy"
        self._progress = folder / "progress.json"
        self._header = _npy_header((key.rows, *shape))

    @property
    def bytes(self) -> int:
        """Size of the whole file in bytes."""
        return len(self._header) + self._key.rows * self._row_bytes

    def done(self) -> int:
        """Return how many rows of the file are computed."""
        try:
            progress = json.loads(self._progress.read_text("utf-8"))
            on_disk = (self._file.stat().st_size - len(self._header)) // self._row_bytes
        except (OSError, ValueError):
            return 0
        if not isinstance(progress, dict) or progress.get("key") != self._key.as_dict():
            return 0
        return max(0, min(int(progress.get("done", 0)), on_disk))

    def fill(self, chips: Callable[[np.ndarray], np.ndarray], backbone: FrozenBackbone) -> None:
        """Compute the maps that are missing.

        Raises:
            InputError: the disk has too little room, or the folder cannot be written.
        """
        done = self.done()
        if done == self._key.rows:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            have = len(self._header) + done * self._row_bytes
            free = shutil.disk_usage(self.folder).free
            present = self._file.stat().st_size if self._file.exists() else 0
            if self.bytes - have + _SPARE_BYTES > free + present - (have if done else 0):
                raise InputError(
                    f"{self.folder}: the features need {self.bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
                    "make room, name a folder on another disk with --cache, or use --no-cache"
                )
            self._write(done, chips, backbone)
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot write the features ({error.strerror or error}); "
                "name another folder with --cache, or use --no-cache"
            ) from error

    def _write(self, done: int, chips: Callable[[np.ndarray], np.ndarray], backbone: FrozenBackbone) -> None:
        """Append maps from row `done` on, and note every block once it is on disk."""
        with self._file.open("r+b" if done else "wb") as file:
            if not done:
                self._note(0)
                file.write(self._header)
            file.seek(len(self._header) + done * self._row_bytes)
            file.truncate()
            parts = [self._order[start : start + _BLOCK] for start in range(done, self._key.rows, _BLOCK)]
            with tqdm(total=self._key.rows, initial=done, desc="features", unit="image") as bar:
                for part, images in read_ahead((p, chips(p)) for p in parts):
                    file.write(np.ascontiguousarray(backbone.maps(images)).data)
                    file.flush()
                    os.fsync(file.fileno())
                    done += len(part)
                    self._note(done)
                    bar.update(len(part))

    def _note(self, done: int) -> None:
        write_whole(self._progress, json.dumps({"key": self._key.as_dict(), "done": done}).encode())

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        """Yield one epoch. Blocks are read in random order, and eight at a time are shuffled together (270 MB)."""
        wanted = np.zeros(self._key.rows, bool)
        wanted[rows] = True
        starts = rng.permutation(np.arange(0, self._key.rows, _BLOCK))
        left_rows, left_maps = np.zeros(0, np.int64), np.zeros((0, *self.shape), np.float16)
        blocks = read_ahead((self._read_block(start) for start in starts), depth=2)
        pool: list[tuple] = []
        for number, (part, maps) in enumerate(blocks, start=1):
            keep = wanted[part]
            pool.append((part[keep], maps[keep]))
            if number % _POOL_BLOCKS and number < len(starts):
                continue
            pool_rows = np.concatenate([left_rows, *(part for part, _ in pool)])
            pool_maps = np.concatenate([left_maps, *(maps for _, maps in pool)])
            pool = []
            order = rng.permutation(len(pool_rows))
            last = number == len(starts)
            whole = len(order) if last else len(order) - len(order) % batch
            for start in range(0, whole, batch):
                chosen = order[start : min(start + batch, whole)]
                yield pool_rows[chosen], pool_maps[chosen]
            left_rows, left_maps = pool_rows[order[whole:]], pool_maps[order[whole:]]

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        """Yield the maps of `rows` in the order of the file."""
        positions = np.sort(self._position[rows])
        for start in range(0, len(positions), _BLOCK):
            chosen = positions[start : start + _BLOCK]
            yield self._order[chosen], self._read_positions(chosen)

    def _read_block(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        part = self._order[start : start + _BLOCK]
        with self._file.open("rb") as file:
            return part, self._read_run(file, start, len(part))

    def _read_positions(self, positions: np.ndarray) -> np.ndarray:
        """Return the maps at sorted positions; neighbours are read together."""
        runs = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)
        with self._file.open("rb") as file:
            return np.concatenate([self._read_run(file, int(run[0]), len(run)) for run in runs])

    def _read_run(self, file: Any, start: int, count: int) -> np.ndarray:
        maps = np.empty((count, *self.shape), np.float16)
        file.seek(len(self._header) + start * self._row_bytes)
        if file.readinto(maps.data.cast("B")) != maps.nbytes:
            raise InputError(f"{self._file}: the file is too short; delete {self.folder} and run again")
        return maps


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a .npy file of half floats, so that `numpy.load` reads the cache."""
    import io

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f2", "fortran_order": False, "shape": tuple(int(n) for n in shape)}
    )
    return buffer.getvalue()


def read_ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the same items, while another thread makes the next `depth` of them."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(message: tuple[str, Any]) -> bool:
        while not stop.is_set():
            try:
                ready.put(message, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(("item", item)):
                    return
            put(("end", None))
        except BaseException as error:  # handed to the thread that waits for the items
            put(("error", error))

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stop.set()
