"""A run of made-up people and a server for it, shared by the tests that send many requests."""

from collections.abc import Iterator

import pytest

from tests.made_up_run import MadeUp, make, serving


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="session")
def server(made_up: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The server's address and process number."""
    with serving(made_up.run, tmp_path_factory.mktemp("server") / "log") as (url, process):
        yield url, process.pid
