"""The wheel and the image hold everything that the code reads; `make test-wheel` tries the wheel itself."""

import fnmatch
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYPROJECT = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(
    (ROOT / "pyproject.toml").read_text("utf-8")
)
SHIPPED = ("augmentor", "identity", "jobs")
# For people who work in a checkout: `ray up` copies the checkout to the nodes.
NOT_IN_THE_WHEEL = {"jobs/cluster.yaml", "jobs/cluster-aws.yaml", "jobs/rayjob.yaml"}


def test_every_folder_with_code_is_a_package() -> None:
    for package in SHIPPED:
        folders = {file.parent for file in (ROOT / package).rglob("*.py")}
        assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_every_file_that_is_no_code_is_in_the_wheel() -> None:
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, listed in PYPROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in listed
    ]
    for package in SHIPPED:
        for file in sorted((ROOT / package).rglob("*")):
            name = file.relative_to(ROOT).as_posix()
            if file.is_file() and file.suffix not in (".py", ".pyc") and name not in NOT_IN_THE_WHEEL:
                assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


def test_the_command_of_the_wheel_exists() -> None:
    for target in PYPROJECT["project"]["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_the_image_is_built_from_all_that_the_wheel_needs() -> None:
    taken = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    assert {*SHIPPED, "pyproject.toml", PYPROJECT["project"]["readme"], "LICENSE"} <= taken
    assert "requirements.lock" in taken and all((ROOT / name).exists() for name in taken)
