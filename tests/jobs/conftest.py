"""Fixtures for all tests of the jobs: one Ray, and photos of made-up people."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from augmentor.made_up.people import PeopleOptions, write_people


@pytest.fixture(scope="session")
def two_cpu_ray() -> Iterator[None]:
    """Start a local Ray with two CPUs, which jobs in this process use."""

    from jobs.cluster.ray_session import ray_session

    with ray_session(workers=2):
        yield


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw photos of four made-up people with awkward names, people/<identity>/*.jpg; copy them, change nothing."""
    made = tmp_path_factory.mktemp("made-up")
    write_people(made, PeopleOptions(identities=4, photos=(3, 3)), workers=1, progress=False)
    folder = tmp_path_factory.mktemp("people")
    names = ["Zoë", "two words", "d'Arc & (Jeanne)", "😀 smile"]
    sources = sorted((made / "photos").iterdir())
    for name, source, count in zip(names, sources, (3, 2, 1, 2), strict=True):
        (folder / name).mkdir()
        for photo in sorted(source.glob("*.jpg"))[:count]:
            (folder / name / photo.name).write_bytes(photo.read_bytes())
    return folder
