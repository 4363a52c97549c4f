"""Marks the tests that run under every promised Python (`tests.pythons`)."""

from pathlib import Path

import pytest

from tests.pythons import FILES

_NOT_QUICK = ("slow", "ray", "cluster", "soak", "browser", "server", "jax", "data", "gpu")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the quick tests of the files that `tests.pythons` names."""
    for item in items:
        file = Path(item.path).relative_to(config.rootpath).as_posix()
        if file in FILES and not any(item.get_closest_marker(name) for name in _NOT_QUICK):
            item.add_marker(pytest.mark.pythons)
