"""Tests of the cluster files: Ray accepts them, and they pin the same versions as the lock file."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ["cluster.yaml", "cluster-aws.yaml"]


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "jobs" / name).read_text("utf-8"))


def locked_ray() -> str:
    (version,) = re.findall(r"(?m)^ray==(\S+)$", (ROOT / "requirements.lock").read_text())
    return version


def starts(config: dict[str, Any]) -> list[str]:
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


@pytest.mark.parametrize("name", FILES)
def test_ray_takes_the_cluster_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(load(name))
    validate_config(config)
    assert all("--disable-usage-stats" in command for command in starts(config))


def test_all_named_workers_are_wanted() -> None:
    from ray.autoscaler._private.util import prepare_config

    config = load("cluster.yaml")
    config["provider"]["worker_ips"] = ["a", "b", "c"]
    (nodes,) = prepare_config(config)["available_node_types"].values()
    assert (nodes["min_workers"], nodes["max_workers"]) == (3, 3)


def test_both_cluster_files_set_nodes_up_alike() -> None:
    own, aws = load("cluster.yaml"), load("cluster-aws.yaml")
    assert own["setup_commands"] == aws["setup_commands"]
    assert own["worker_start_ray_commands"] == aws["worker_start_ray_commands"]
    assert own["file_mounts"] == aws["file_mounts"]


def test_the_autoscaler_that_starts_own_machines_is_chosen() -> None:
    (head, _) = starts(load("cluster.yaml"))
    assert "RAY_enable_autoscaler_v2=0" in head


def test_aws_workers_are_spot_machines_that_may_use_s3() -> None:
    types = load("cluster-aws.yaml")["available_node_types"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    worker = types["spot"]["node_config"]
    assert worker["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["IamInstanceProfile"] == {"Name": "likeness-node"}
    assert worker["ImageId"] == types["head"]["node_config"]["ImageId"]


def node(folder: Path, python: str = "", ray: str = "") -> dict[str, str]:
    """Make a node's home folder and programs; its `python3` and the Ray of its environment have these versions."""
    for name, version in {"bin/python3": python, "home/likeness-env/bin/python": ray}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / name).chmod(0o755)
    (folder / "home" / "likeness").mkdir()
    (folder / "home" / "likeness" / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    return {"HOME": str(folder / "home"), "PATH": f"{folder / 'bin'}:/usr/bin:/bin"}


def set_up(step: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run the one setup command with `step` in it as Ray does, in bash and within parentheses."""
    (command,) = [one for one in load("cluster.yaml")["setup_commands"] if step in one]
    command = re.sub(r"want=\S+;", "want=3.4;", command)  # a version that this machine lacks
    return subprocess.run(["bash", "-c", f"({command})"], env=environment, capture_output=True, text=True)


def test_setup_reports_a_node_with_another_python(tmp_path: Path) -> None:
    result = set_up("-m venv", node(tmp_path, python="3.9"))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("likeness: ") and "needs Python 3.4, has 3.9: apt install python3.4-venv" in line


def test_setup_reports_that_an_environment_cannot_be_made(tmp_path: Path) -> None:
    environment = node(tmp_path, python="3.4")
    python = tmp_path / "bin" / "python3"
    python.write_text('#!/bin/sh\n[ "$1" != -m ] && echo 3.4\n')
    result = set_up("-m venv", environment)
    assert result.returncode == 2
    assert "cannot make an environment: apt install python3.4-venv" in result.stderr


def test_setup_accepts_only_the_ray_of_the_lock(tmp_path: Path) -> None:
    assert set_up("import ray", node(tmp_path / "same", ray=locked_ray())).returncode == 0
    for wrong in ("2.9.0", locked_ray()[:-1], ""):
        result = set_up("import ray", node(tmp_path / f"not-{wrong}", ray=wrong))
        assert result.returncode == 2
        assert f"has Ray '{wrong}', requirements.lock another" in result.stderr


@pytest.mark.parametrize("before", [None, "", "# mine\n"])
def test_setup_writes_the_shells_settings_once(tmp_path: Path, before: str | None) -> None:
    environment = node(tmp_path)
    settings = Path(environment["HOME"]) / ".bashrc"
    if before is not None:
        settings.write_text(before)
    for _ in range(2):
        assert set_up(".bashrc", environment).returncode == 0
    first, *rest = settings.read_text().splitlines(keepends=True)
    assert first.startswith("export PATH=$HOME/likeness-env/bin:$PATH RAY_ADDRESS=auto")
    assert "".join(rest) == (before or "")


@pytest.mark.parametrize("name", FILES)
def test_commands_are_bash(name: str) -> None:
    config = load(name)
    for key in [key for key in config if key.endswith("_commands")]:
        for command in config[key]:
            assert subprocess.run(["bash", "-n", "-c", command], env=os.environ).returncode == 0, command


def test_rayjob_is_one_kuberay_takes() -> None:
    job = load("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["backoffLimit"] >= 1  # a lost head is resubmitted
    assert spec["shutdownAfterJobFinishes"] is True
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == locked_ray()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = set()
    for group in groups:
        # Kubernetes and Ray expect text where YAML would read numbers.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        images.add(container["image"])
        assert all(isinstance(one["value"], str) for one in container["env"])
        assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
    assert len(images) == 1
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_rayjob_runs_jobs_that_exist() -> None:
    text = (ROOT / "jobs" / "rayjob.yaml").read_text()
    modules = re.findall(r"python -m (jobs\.\w+)", load("rayjob.yaml")["spec"]["entrypoint"])
    assert modules == ["jobs.preflight", "jobs.augment"]
    assert all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in modules)
    assert f"rayproject/ray:{locked_ray()}-py3" in text


def test_all_files_pin_the_same_python() -> None:
    (want,) = re.findall(r"want=(3\.\d+)", (ROOT / "jobs" / "cluster.yaml").read_text())
    assert f"-py{want.replace('.', '')}" in (ROOT / "jobs" / "rayjob.yaml").read_text()
    assert f"python{want}-venv" in " ".join(load("cluster-aws.yaml")["initialization_commands"])


def test_a_submitted_job_takes_the_code_along_and_no_photos(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    folder = tmp_path / "checkout"
    code = [
        "augmentor/data/x.npz",
        "identity/server/page/p.html",
        "jobs/augment.py",
        "datasets/a.py",
        "pyproject.toml",
    ]
    photos = [
        "photos/Ann/1.jpg",
        "balanced/manifest.parquet",
        "strangers/1.jpg",
        "albums/a/1.jpg",
        "loose.jpg",
        "x",
    ]
    others = [
        "p/1.jpg",
        ".hidden/1.jpg",
        "runs/a/arrays.npz",
        "jobs/__pycache__/a.pyc",
        "benchmarks/results/r.csv",
    ]
    for name in [*code, *photos, *others]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in (".rayignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    create_package(str(folder), tmp_path / "package.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        assert sorted(package.namelist()) == sorted(code)


def test_the_code_of_this_checkout_is_taken_along(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a checkout")
    create_package(str(ROOT), tmp_path / "package.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        taken = set(package.namelist())
    code = {"augmentor", "identity", "jobs", "datasets"}
    needed = {name for name in tracked.stdout.splitlines() if name.split("/")[0] in code}
    assert needed <= taken and {name.split("/")[0] for name in taken} <= code | {
        "benchmarks",
        "pyproject.toml",
    }


@pytest.mark.parametrize("name", FILES)
def test_rsync_excludes_what_stays_here_in_its_own_syntax(name: str) -> None:
    for file in load(name)["rsync_filter"]:
        # In rsync's syntax a ! cancels all earlier rules; .rayignore is not for rsync.
        assert "!" not in (ROOT / file).read_text()
    assert all("chmod -f 700 /tmp/ray" in command for command in starts(load(name)))
