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

from augmentor.photos.images import encode_jpeg
from identity.chips import seeing
from identity.decisions.open_set import ProbabilityCurve
from identity.decisions.same_person import SamePerson
from identity.runs.bundle import Bundle
from identity.runs.recogniser import Recogniser
from identity.server import photo_pool
from identity.server import service as module
from identity.server.app import make_app
from identity.server.settings import Settings
from tests.identity.changed_run import with_crowding, with_decision
from tests.identity.runs.test_recogniser import SquareFinder, colour_of, photo
from tests.identity.test_enrol import ColourEmbedder, trained

STRANGER = (60, 240, 250)


class ThreadPool(photo_pool.PhotoPool):
    """A pool that reads photos in threads of this process, where the stand-ins are."""

    def __init__(self, size: int, align: str, workers: int, limits: photo_pool.PhotoLimits) -> None:
        self.workers, self._limits = workers, limits
        self._wait()
        self._pool: Any = _Threads()
        self._large_pool = self._pool
        photo_pool._start(size, align)

    def close(self) -> None:
        self._pool.threads.shutdown()


class _Threads:
    active = True

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(2)

    def schedule(self, function: Any, args: list[Any], timeout: float) -> Any:
        return self.threads.submit(function, *args)


class SquareFinders(SquareFinder):
    """The detector of `test_recogniser`, with every policy."""

    def __call__(self, image: np.ndarray) -> Any:
        search = super().__call__(image)
        if len(search.faces) > 1 and self.policy == "reject":
            return type(search)((), "several_faces")
        one = search and self.policy in ("largest", "central")
        return type(search)(search.faces[:1], None) if one else search


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
    monkeypatch.setattr(seeing, "FaceFinder", SquareFinders)
    monkeypatch.setattr(photo_pool, "FaceFinder", SquareFinders)
    monkeypatch.setattr(photo_pool, "_finder", [])
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
