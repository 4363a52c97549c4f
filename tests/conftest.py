"""Marks the tests that run under every promised Python (`tests.pythons`), and collects only test files from tests/."""

from pathlib import Path

import pytest

from tests.pythons import FILES

_NOT_QUICK = ("slow", "ray", "cluster", "soak", "browser", "server", "jax", "data", "gpu")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Keep `--doctest-modules` from importing the helper modules in tests/, some of which need optional packages."""
    return True if collection_path.suffix == ".py" and not collection_path.name.startswith("test_") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the quick tests of the files that `tests.pythons` names."""
    for item in items:
        file = Path(item.path).relative_to(config.rootpath).as_posix()
        if file in FILES and not any(item.get_closest_marker(name) for name in _NOT_QUICK):
            item.add_marker(pytest.mark.pythons)
