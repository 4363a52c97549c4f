"""The rules of structure: imports go one way, and importing costs nothing."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster.cluster_check import SUPPORTED
from tests.pythons import FILES, PROMISED

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "augmentor": {"identity", "jobs", "datasets", "benchmarks", "tensorflow", "keras", "efficientnet", "ray"},
    "identity": {"jobs", "datasets", "benchmarks", "ray"},
    "jobs": {"benchmarks"},
    "datasets": {"jobs", "benchmarks", "ray", "tensorflow", "keras"},
}
RAY_SERVE_WRAPPER = {"identity/serve.py"}


def imported_roots(source: str) -> set[str]:
    """Top-level names of the absolute imports in `source`, those inside functions included."""
    roots = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            roots.add(node.module.split(".")[0])
    return roots


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_imports_go_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        if name not in RAY_SERVE_WRAPPER:
            assert not imported_roots(file.read_text("utf-8")) & FORBIDDEN[package], name


def test_nothing_is_pickled_or_evaluated() -> None:
    for package in FORBIDDEN:
        for file in (ROOT / package).rglob("*.py"):
            source = file.read_text("utf-8")
            assert not imported_roots(source) & {"pickle", "cloudpickle", "joblib", "dill"}, file
            calls = {
                node.func.id
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert not calls & {"eval", "exec"}, file


def test_importing_augmentor_loads_neither_tensorflow_nor_ray() -> None:
    program = "import sys, augmentor; print(sorted({'tensorflow', 'keras', 'ray'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_pythons_that_are_promised_are_tested_and_nothing_else_is_promised() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert tuple(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)) == PROMISED
    beyond = f"3.{int(PROMISED[-1].split('.')[1]) + 1}"
    assert f'requires-python = ">={PROMISED[0]},<{beyond}"' in text
    assert SUPPORTED == PROMISED
    assert all((ROOT / file).is_file() for file in FILES)


def test_no_file_is_called_utils() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert not [f for p in FORBIDDEN for f in (ROOT / p).rglob("*.py") if f.name in vague]


def test_ray_is_told_to_report_nothing_to_its_makers() -> None:
    program = "from jobs import ray_session\nimport os\nprint(os.environ['RAY_USAGE_STATS_ENABLED'])"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_USAGE_STATS_ENABLED"}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True, env=environment
    )
    assert result.stdout.strip() == "0"
    commands = (ROOT / "jobs" / "cluster.yaml").read_text().split("\n")
    assert all("--disable-usage-stats" in line for line in commands if "ray start" in line)
