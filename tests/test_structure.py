"""The rules of structure: imports go one way, and importing costs nothing."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster.cluster_check import SUPPORTED
from tests.imports import circles, import_graph, imported_names, room_graph, source_files
from tests.pythons import FILES, PROMISED

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "augmentor": {"identity", "jobs", "datasets", "benchmarks", "tensorflow", "keras", "efficientnet", "ray"},
    "identity": {"jobs", "datasets", "benchmarks", "ray"},
    "jobs": {"benchmarks"},
    "datasets": {"jobs", "benchmarks", "ray", "tensorflow", "keras"},
}
RAY_SERVE_WRAPPER = {"identity/serve.py"}


# From the ground up: a room imports none of those after it. What each is for: docs/decisions/0028-rooms.md.
ROOMS = (
    *("augmentor.path_text", "augmentor.errors", "augmentor.command_line", "augmentor.photos"),
    *(
        "augmentor.model_files",
        "augmentor.faces",
        "augmentor.head",
        "augmentor.views",
        "augmentor.rendering",
        "augmentor.balancing",
    ),
    *("augmentor.balanced_set", "augmentor.made_up"),
    *("identity.chips", "identity.networks", "identity.decisions", "identity.runs", "identity.training"),
    *(
        "identity.pretraining",
        "identity.landmark_training",
        "identity.evaluation",
        "identity.albums",
        "identity.forgetting",
        "identity.server",
    ),
    *("jobs.cluster", "jobs.balancing", "jobs.naming"),
)
# Everything else at the top of a package is a command, a client or a way in, and no room imports it.
AT_THE_TOP = {
    "augmentor": {"command_line", "errors", "models", "path_text", "show"},
    "identity": {
        *(
            "api",
            "client",
            "enrol",
            "evaluate",
            "export",
            "forget",
            "identify",
            "organise",
            "people",
            "pretrain",
            "serve",
        ),
        *("train", "verify"),
    },
    "jobs": {"augment", "completion", "demo", "identify", "likeness", "preflight"},
    "datasets": {"lfw", "synthetic"},
}
GRAPH = import_graph(ROOT)


def imported_roots(source: str) -> set[str]:
    """Top-level names of the absolute imports in `source`, those inside functions included."""
    return {name.split(".")[0] for name in imported_names(source)}


def test_every_file_is_in_a_room_or_is_known_to_stand_at_the_top() -> None:
    for package, expected in AT_THE_TOP.items():
        folders = {file.parent.name for file in (ROOT / package).glob("*/__init__.py")}
        assert {file.stem for file in (ROOT / package).glob("*.py")} - {"__init__"} == expected
        assert {f"{package}.{folder}" for folder in folders} <= set(ROOMS), package


def test_a_room_imports_only_rooms_before_it_and_never_a_command() -> None:
    for room, imported in room_graph(GRAPH).items():
        if room in ROOMS:
            assert not imported - set(ROOMS[: ROOMS.index(room)]) - {"augmentor", "identity", "jobs"}, room


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(GRAPH) == [] and circles(room_graph(GRAPH)) == []


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


IMPORT_ALL = """
import importlib, os, sys
root, heavy, modules = os.getcwd() + os.sep, sys.argv[1].split(","), sys.argv[2:]
read = []
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and os.path.abspath(arguments[0]).startswith(root):
        read.append(arguments[0])
sys.addaudithook(note)
for module in modules:
    importlib.import_module(module)
code = (".py", ".pyc")
packages = tuple(os.path.join(root, name, "") for name in ("augmentor", "identity", "jobs", "datasets"))
read = [path for path in map(os.path.abspath, read) if path.startswith(packages)]
read = [path for path in read if not path.endswith(code) and ".pyc." not in path]
print(read, sorted(set(heavy) & set(sys.modules)))
"""
TENSORFLOW = ("tensorflow", "keras")
# Which modules are imported together, and which packages none of them may load.
IMPORTED_TOGETHER = {
    "augmentor": (["augmentor"], (*TENSORFLOW, "ray", "fastapi", "matplotlib")),
    "identity without networks": (
        ["identity.chips", *map("identity.".__add__, sorted(AT_THE_TOP["identity"]))],
        (),
    ),
    "identity": (["identity"], ("ray",)),
    "naming people": (
        ["identity.chips", "identity.decisions", "identity.runs", "identity.albums", "identity.forgetting"],
        (*TENSORFLOW, "efficientnet", "ray", "fastapi"),
    ),
    "networks that are not loaded yet": (
        [m for m in GRAPH if m.startswith("identity.networks.") and m != "identity.networks.heads"],
        (*TENSORFLOW, "efficientnet"),
    ),
    "the server": (["identity.server"], (*TENSORFLOW, "efficientnet", "ray")),
    "jobs": (["jobs"], (*TENSORFLOW, "fastapi")),
}


@pytest.mark.parametrize("which", IMPORTED_TOGETHER)
def test_importing_reads_no_file_and_loads_nothing_that_its_room_is_not_for(which: str) -> None:
    prefixes, heavy = IMPORTED_TOGETHER[which]
    modules = [m for m in GRAPH if m in prefixes or m.startswith(tuple(f"{p}." for p in prefixes))]
    modules = [m for m in modules if "jax" not in imported_roots(source_files(ROOT)[m].read_text("utf-8"))]
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, ",".join(heavy), *modules],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[] []", which


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
    program = "from jobs.cluster import ray_session\nimport os\nprint(os.environ['RAY_USAGE_STATS_ENABLED'])"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_USAGE_STATS_ENABLED"}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True, env=environment
    )
    assert result.stdout.strip() == "0"
    commands = (ROOT / "jobs" / "cluster.yaml").read_text().split("\n")
    assert all("--disable-usage-stats" in line for line in commands if "ray start" in line)
