"""Tests of `jobs/cluster.yaml` with real machines: Ray reaches two by ssh, sets them up, starts, and runs the job.

They take four minutes on two busy cores, and need what `tests.cluster.machines` needs.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augmentor.balanced_set.manifest import read_manifest
from augmentor.photos.images import load_image
from tests.cluster.conftest import ROOT, Site
from tests.cluster.machines import Machine

PER_CLASS = 6
PROGRAMS = Path(sys.executable).parent  # where `ray` is


def run(site: Site, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in the checkout's root, as the cluster file's header says; all that it prints is in `stdout`."""
    environment = os.environ | {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "RAY_TMPDIR": str(site.shared),  # keeps Ray's notes of this cluster apart from this machine's
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment.pop("RAY_ADDRESS", None)
    return subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def preflight(site: Site) -> "subprocess.CompletedProcess[str]":
    storage = ["--data", site.shared / "photos", "--out", site.shared / "set"]
    return run(site, sys.executable, "-m", "jobs.preflight", "--cluster", site.cluster, *storage)


def ray_up(site: Site, machines: int = 2) -> None:
    """Start the cluster and wait for its machines, as the header of the cluster file says."""
    up = run(site, "ray", "up", "-y", "--no-config-cache", site.cluster)
    assert up.returncode == 0, up.stdout
    end = time.monotonic() + 300
    while True:
        status = run(site, "ray", "exec", "--no-config-cache", site.cluster, "ray status").stdout
        active = status.partition("Active:")[2].partition("Pending:")[0]
        if sum(map(int, re.findall(r"(\d+) local\.cluster\.node", active))) == machines:
            return
        assert time.monotonic() < end, up.stdout + status
        time.sleep(2)


def augment(site: Site, *more: str) -> "subprocess.CompletedProcess[str]":
    arguments = [
        "--data",
        site.shared / "photos",
        "--out",
        site.shared / "set",
        "--per-class",
        str(PER_CLASS),
    ]
    script = ROOT / "jobs" / "augment.py"
    return run(
        site,
        "ray",
        "submit",
        "--no-config-cache",
        site.cluster,
        script,
        "--",
        *arguments,
        "--size",
        "64",
        *more,
    )


def times(folder: Path) -> dict[Path, int]:
    """Return when each image was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*.jpg") if path.parent.name != "report"}


def worked(machine: Machine) -> bool:
    """Return whether an actor of the job ran on a machine; Ray names it in the log of its process."""
    logs = machine.ray_folder.glob("session_2*/logs/worker-*.out")
    return any(":actor_name:" in log.read_text() for log in logs)


@pytest.mark.cluster
@pytest.mark.timeout(800)
def test_job_runs_on_two_machines_reached_by_ssh(quick_site: Site) -> None:
    site = quick_site
    before = preflight(site)
    assert before.returncode == 0, before.stdout

    ray_up(site)
    job = augment(site)
    assert job.returncode == 0, job.stdout
    assert f"{2 * PER_CLASS} images of 2 identities" in job.stdout
    rows = read_manifest(site.shared / "set" / "manifest.parquet").to_pylist()
    assert len(rows) == 2 * PER_CLASS
    assert all(load_image(site.shared / "set" / row["file"]).shape == (64, 64, 3) for row in rows)
    assert worked(site.head) and worked(site.worker)

    made = times(site.shared / "set")
    again = augment(site)
    assert again.returncode == 0, again.stdout
    assert times(site.shared / "set") == made

    wrong = augment(site, "--seed", "1")
    assert wrong.returncode != 0
    assert "augment: " in wrong.stdout and "Traceback" not in wrong.stdout

    # Now the machines can check themselves, and report what the submitting machine cannot check.
    after = preflight(site)
    assert f"{site.worker.address}: --out {site.shared / 'set'}: written, read and removed" in after.stdout
    assert after.returncode == 0, after.stdout

    down = run(site, "ray", "down", "-y", site.cluster)
    assert down.returncode == 0, down.stdout

    site.worker.pull_the_plug()
    lost = preflight(site)
    assert lost.returncode == 2
    assert f"MISSING  {site.worker.address}: not reached by ssh" in lost.stdout
