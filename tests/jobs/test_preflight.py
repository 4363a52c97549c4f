"""Tests of the checks before a job: what is there, what is missing and what to do about it, never a traceback."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from augmentor.errors import InputError
from augmentor.photos.place import PATIENCE
from jobs import preflight
from jobs.cluster import cluster_check, node_check
from jobs.cluster.check_result import Finding, found
from jobs.cluster.cluster_check import local_ray, pinned_python, placeholders, programs, ssh_command
from jobs.cluster.node_check import free_space, readable, writable

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "jobs" / "cluster.yaml"


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the patience, so that what preflight sets for its process is undone after each test."""
    monkeypatch.setenv(PATIENCE, "1")


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of programs at the front of the PATH; its `ssh` runs commands on this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("rsync", "ray"):
        program(folder / name, "")
    program(folder / "ssh", 'for last; do :; done; exec bash -c "$last"')
    monkeypatch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # A login shell sets a PATH of its own, in which this machine may have no rsync.
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".bash_profile").write_text(f'export PATH="{folder}:$PATH"\n')
    return folder


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def cluster_file(folder: Path, **provider: Any) -> Path:
    """Write `jobs/cluster.yaml`, filled in for nodes with any supported Python."""
    config = yaml.safe_load(CLUSTER.read_text())
    config["provider"] |= {"head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]} | provider
    config["setup_commands"] = []
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def missing(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if not finding.ok]


def test_finding_prints_its_way_out_only_where_something_is_missing() -> None:
    assert Finding("ssh: /usr/bin/ssh", True, "apt install").line() == "ok       ssh: /usr/bin/ssh"
    assert Finding("ssh: none", False, "apt install").line() == "MISSING  ssh: none; apt install"


@pytest.mark.parametrize("error", [InputError("a\nb"), OSError(5, "a b"), ImportError("a b"), ValueError()])
def test_failed_check_is_one_line(error: Exception) -> None:
    def look() -> str:
        raise error

    finding = found("it", look, "mend it")
    assert not finding.ok and "\n" not in finding.line() and finding.way_out == "mend it"


def test_programs_are_searched_by_name(monkeypatch: pytest.MonkeyPatch, fake_ssh: Path) -> None:
    assert missing(programs()) == []
    monkeypatch.setenv("PATH", str(fake_ssh))
    (fake_ssh / "rsync").unlink()
    (finding,) = [one for one in programs() if not one.ok]
    assert finding.line() == "MISSING  rsync: not installed; apt install rsync"


def test_ray_here_must_be_that_of_the_lock(tmp_path: Path) -> None:
    assert local_ray(ROOT / "requirements.lock").ok
    (tmp_path / "lock").write_text("ray==1.0\n")
    assert "in" in local_ray(tmp_path / "lock").what and not local_ray(tmp_path / "lock").ok
    assert "root of the checkout" in local_ray(tmp_path / "none").way_out


def test_placeholders_are_named() -> None:
    config = yaml.safe_load(CLUSTER.read_text())
    names = [finding.what.split(":")[0] for finding in placeholders(config)]
    assert names == ["HEAD_ADDRESS", "WORKER_ADDRESS"]
    config["provider"] |= {"head_ip": "10.0.0.1", "worker_ips": ["HOST-A", "LOCAL"]}
    assert placeholders(config) == []
    assert placeholders(yaml.safe_load((ROOT / "jobs" / "cluster-aws.yaml").read_text())) == []


def test_python_wanted_is_that_of_the_setup() -> None:
    assert pinned_python(yaml.safe_load(CLUSTER.read_text())) == "3.12"
    assert pinned_python({}) == ""


def test_ssh_never_asks_and_does_not_wait_long() -> None:
    command = ssh_command({"ssh_user": "u", "ssh_private_key": "~/k", "ssh_proxy_command": "p"})
    assert command[:3] == ["ssh", "-i", str(Path("~/k").expanduser())]
    assert {"BatchMode=yes", "ConnectTimeout=10", "ProxyCommand=p"} <= set(command)


def test_placeholders_in_a_cluster_file_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main(["--cluster", str(CLUSTER), "--data", "photos"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "MISSING  HEAD_ADDRESS: still in the cluster file; replace it by your own" in lines
    assert "MISSING  --data photos: a relative path; use one that is the same on every node" in lines
    assert lines[-1].endswith("are missing")


def test_nodes_that_have_everything(
    fake_ssh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert preflight.main(["--cluster", str(cluster_file(tmp_path)), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["missing"] == 0
    assert {"what": "10.0.0.2: reached by ssh", "ok": True, "way_out": ""} in answer["findings"]


def test_node_with_another_python_and_no_rsync(
    fake_ssh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(fake_ssh / "python3", "[[ $2 == *version* ]] && echo 3.8.10")
    (fake_ssh / "rsync").unlink()
    monkeypatch.setenv("PATH", str(fake_ssh))
    for name in ("bash", "env"):
        (fake_ssh / name).symlink_to(shutil.which(name, path="/usr/bin:/bin") or name)
    # A login shell takes its PATH from the system.
    program(fake_ssh / "ssh", 'for last; do :; done; exec bash -c "${last/--login/}"')
    config = cluster_check.read_cluster(cluster_file(tmp_path))
    findings = cluster_check.findings_of_node(config, "10.0.0.1", needs_ssh=True)
    assert missing(findings) == ["10.0.0.1: Python 3.8.10", "10.0.0.1: rsync", "10.0.0.1: venv"]
    assert "wants 3.10 or 3.11 or 3.12" in findings[1].way_out


def test_node_that_lets_nobody_in(fake_ssh: Path, tmp_path: Path) -> None:
    program(fake_ssh / "ssh", "echo 'ubuntu@10.0.0.1: Permission denied (publickey).' >&2; exit 255")
    config = cluster_check.read_cluster(cluster_file(tmp_path, worker_ips=[]))
    (finding,) = cluster_check.findings_of_node(config, "10.0.0.1", needs_ssh=False)
    assert "Permission denied" in finding.what and "ssh-copy-id ubuntu@10.0.0.1" in finding.way_out


def test_node_that_is_set_up_checks_itself(fake_ssh: Path, tmp_path: Path) -> None:
    environment = tmp_path / "home" / "likeness-env" / "bin"
    environment.mkdir(parents=True)
    answer = json.dumps({"findings": [{"what": "--data s3://b c: no answer", "ok": False, "way_out": "w"}]})
    program(
        environment / "python",
        f"""[ "$1" = -c ] && echo yes || echo "$*" '{answer}' | sed 's/^.*{{"f/{{"f/'""",
    )
    config = cluster_check.read_cluster(cluster_file(tmp_path))
    findings = cluster_check.findings_of_node(config, "10.0.0.1", needs_ssh=False, data="s3://b c")
    assert missing(findings) == ["10.0.0.1: --data s3://b c: no answer"]
    program(environment / "python", '[ "$1" = -c ] && echo yes || echo Traceback')
    findings = cluster_check.findings_of_node(config, "10.0.0.1", needs_ssh=False)
    assert missing(findings) == ["10.0.0.1: no answer from its jobs.preflight"]


def test_data_is_read(people: Path, tmp_path: Path) -> None:
    assert readable(str(people)).ok
    assert "4 folders" in readable(f"file://{people}").what
    assert "no folders of photos there" in readable(str(tmp_path / "none")).what
    (tmp_path / "empty").mkdir()
    assert "no photos in its" in readable(str(tmp_path)).what
    assert "ftp:// is not supported" in readable("ftp://x/y").what


def test_out_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert writable(str(tmp_path / "there")).ok
    assert writable(str(tmp_path / "new" / "set")).ok
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    (tmp_path / "file").touch()
    assert not writable(str(tmp_path / "file" / "set")).ok
    assert free_space(str(tmp_path / "new")).ok


def test_storage_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(node_check, "STORAGE_SECONDS", 0.05)
    monkeypatch.setattr(node_check, "place_of", lambda uri: release.wait())
    try:
        assert "no answer in 0 s" in readable("s3://bucket").what
    finally:
        release.set()


def test_package_that_is_not_there_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(node_check.PACKAGES, "nonsuch", "no_such_module")
    (finding,) = [one for one in node_check.node_findings(None, None) if not one.ok]
    assert finding.what == "nonsuch: No module named 'no_such_module'" and "pip install" in finding.way_out


def test_here_as_a_command(people: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "jobs.preflight",
        "--here",
        "--data",
        str(people),
        "--out",
        str(tmp_path / "out"),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "everything is there"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("a: [", "not YAML"),
        ("a: b", "not a cluster file"),
        ("provider: local", "not a cluster file"),
    ],
)
def test_unusable_cluster_file_is_one_line(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.yaml"
    if content is not None:
        path.write_text(content)
    assert preflight.main(["--cluster", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("preflight: ") and message in line


@pytest.mark.parametrize("arguments", [[], ["--here", "--cluster", "x"], ["--here", "--nonsense"]])
def test_wrong_call_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("see python -m jobs.preflight --help")
