"""A server for made-up people who differ by colour, with stand-ins for detector and networks; the rest is real."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from augmentor.faces.face_source import FaceSource, face_source
from augmentor.photos.images import encode_jpeg
from identity.chips.photo_faces import PhotoReader
from identity.decisions.open_set import ProbabilityCurve
from identity.decisions.same_person import SamePerson
from identity.runs.bundle import Bundle
from identity.runs.recogniser import Recogniser
from identity.server import photo_pool
from identity.server import service as module
from identity.server.app import make_app
from identity.server.settings import Settings
from tests.identity.changed_run import with_crowding, with_decision
from tests.identity.runs.test_recogniser import SquareFaces, colour_of, photo
from tests.identity.test_enrol import ColourEmbedder, trained
from tests.stand_in_faces import find_with

STRANGER = (60, 240, 250)


class ThreadPool(photo_pool.PhotoPool):
    """A pool that reads photos in threads of this process, where the stand-ins are."""

    def __init__(
        self,
        size: int,
        align: str,
        workers: int,
        limits: photo_pool.PhotoLimits,
        source: FaceSource | None = None,
    ) -> None:
        self.workers, self._limits = workers, limits
        self._wait()
        self._pool: Any = _Threads()
        self._large_pool = self._pool
        source = source or face_source(second_opinion=True)
        photo_pool._start(PhotoReader(size, align, source=source))

    def close(self) -> None:
        self._pool.threads.shutdown()


class _Threads:
    active = True

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(2)

    def schedule(self, function: Any, args: list[Any], timeout: float) -> Any:
        return self.threads.submit(function, *args)


def saved_run(folder: Path) -> Bundle:
    """Save and return a run of six people who differ by colour; a face gets a name if its colour is close to theirs."""
    bundle = trained(people=6, seed=3)
    bundle = replace(
        with_crowding(bundle, np.zeros(6, np.float32)),
        same_person=SamePerson((0.0001, 0.1), (0.98, 0.5), 100, 100, 50, ProbabilityCurve(10.0, -7.0)),
    )
    faces = [photo(colour_of(bundle, k)) for k in range(6)]
    scores = [answer.faces[0].score for answer in Recogniser(bundle, 0.1).images(faces)]
    lowest = min(scores) - 1e-3
    bundle = with_decision(
        bundle,
        thresholds={"fpir_1": lowest, "fpir_10": lowest - 0.1},
        probability=ProbabilityCurve(10.0, -9.0),
        stranger_scores=tuple(np.linspace(lowest + 0.01, lowest - 1, 200).tolist()),
    )
    bundle.save(folder)
    return bundle


def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    find_with(SquareFaces, monkeypatch)
    # The limit would apply to the memory of the tests.
    monkeypatch.setattr(photo_pool, "_less_memory", lambda _more: nullcontext())
    monkeypatch.setattr(module, "PhotoPool", ThreadPool)
    monkeypatch.setattr(Bundle, "_load_networks", lambda _bundle: ColourEmbedder())


@contextmanager
def served(run: Path, **settings: Any) -> Iterator[TestClient]:
    """Serve the run and give a client of the server."""
    app: FastAPI = make_app(Settings(run, workers=2, **settings))
    with TestClient(
        app,
        base_url="http://127.0.0.1:8000",
        raise_server_exceptions=False,
        client=("127.0.0.1", 50_000),
    ) as client:
        yield client


def picture(*colours: tuple[int, int, int]) -> bytes:
    """Return the file of a photo of coloured squares, one per face."""
    return encode_jpeg(photo(*colours), 98)
