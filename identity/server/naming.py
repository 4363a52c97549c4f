"""Embed the faces of all requests in common batches: all faces that wait when the networks are free are the next."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from augmentor.errors import InputError
from identity.chips.photo_faces import PhotoFaces
from identity.runs.bundle import Bundle
from identity.runs.recogniser import Recognition
from identity.server.live_run import LiveRun
from identity.server.observed import Metrics, log_error
from identity.server.problems import unavailable

_MOST_FACES = 32
_Result = TypeVar("_Result")


def readable(run: LiveRun) -> Bundle:
    """Return the run as it is on disk.

    Raises:
        Problem: The run is missing or damaged. The client cannot change that and does not learn where the run is.
    """
    try:
        return run.current()
    except InputError as error:
        log_error("run", error)
        raise unavailable("the run of this server cannot be read; contact its administrator") from error


class Naming:
    """The only user of the networks; everything that needs them runs in its thread.

    Args:
        run: the run with the enrolled people.
        metrics: counts batches and faces.
    """

    def __init__(self, run: LiveRun, metrics: Metrics) -> None:
        self.run = run
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, "networks")
        self._waiting: asyncio.Queue[tuple[np.ndarray, asyncio.Future[Any]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the networks, then start to embed faces.

        Raises:
            InputError: The networks cannot be loaded.
        """

        def warm() -> None:
            bundle = readable(self.run)
            bundle.embed_with_quality(np.zeros((1, bundle.size, bundle.size, 3), np.uint8))

        await self.alone(warm)
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop embedding faces."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def alone(self, function: Callable[[], _Result]) -> _Result:
        """Call a function that uses or changes the run while no face is being embedded; return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def embed(self, chips: Sequence[np.ndarray]) -> tuple[Bundle, np.ndarray, np.ndarray]:
        """Embed chips.

        Args:
            chips: one or more chips (S, S, 3) uint8 RGB.

        Returns:
            The run that embedded them, the unit rows (N, D) float32, and the quality of each chip (N,).
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._waiting.put((np.stack(chips), future))
        return await future

    async def name(self, photo: PhotoFaces, fpir: float) -> Recognition:
        """Name the faces of a photo with the run as it is at this moment.

        Args:
            photo: the photo with its detected faces.
            fpir: share of strangers who may be given a name.

        Raises:
            InputError: The run was calibrated with too few strangers for this rate.
        """
        while True:
            if photo.chips:
                bundle, rows, quality = await self.embed(photo.chips)
            else:
                bundle, rows, quality = readable(self.run), np.zeros((0, 0), np.float32), np.zeros(0)
            answer = self.run.recogniser(bundle, fpir).named([photo], rows, quality)[0]
            if not self.run.changed:  # otherwise a person may have been forgotten meanwhile
                return answer

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            faces = len(batch[0][0])
            while faces < _MOST_FACES and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
                faces += len(batch[-1][0])
            batch = [
                (chips, future) for chips, future in batch if not future.done()
            ]  # the others were cancelled
            if not batch:
                continue
            self._metrics.batch.observe(sum(len(chips) for chips, _ in batch))
            try:
                results = await self.alone(lambda b=batch: self._embed([chips for chips, _ in b]))  # type: ignore[misc]
            except Exception as error:  # only the requests of this batch get the error
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def _embed(self, parts: Sequence[np.ndarray]) -> list[tuple[Bundle, np.ndarray, np.ndarray]]:
        bundle = readable(self.run)
        rows, quality = bundle.embed_with_quality(np.concatenate(parts))
        self._metrics.faces.inc(len(rows))
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return [
            (bundle, own, own_quality)
            for own, own_quality in zip(np.split(rows, ends), np.split(quality, ends), strict=True)
        ]
