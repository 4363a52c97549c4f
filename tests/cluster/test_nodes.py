"""Tests on a cluster that loses nodes, workers and its head: the set is complete and has the same bytes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from augmentor.balanced_set.manifest import read_manifest
from augmentor.made_up.people import PeopleOptions, write_people
from jobs.balancing import augment_job
from tests.cluster.waiting import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.ray, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
PEOPLE, PER_CLASS = 24, 64
IMAGES = PEOPLE * PER_CLASS
# Many partitions, so that the worker on any lost node is working on one of them.
PARTITION = 64
SMALL_PARTITIONS = (
    f"import sys; from jobs.balancing import augment_job; augment_job.FOLDER_IMAGES = {PARTITION}; "
    "sys.exit(augment_job.main())"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made-up")
    write_people(made, PeopleOptions(identities=PEOPLE, photos=(3, 4)), workers=2, progress=False)
    return made / "photos"


def arguments(data: Path, out: Path) -> list[str]:
    few = ["--per-class", str(PER_CLASS), "--size", "64", "--max-failed", "1"]
    return ["--data", str(data), "--out", str(out), *few]


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment_job, "FOLDER_IMAGES", PARTITION)
        assert augment_job.main([*arguments(photos, out), "--workers", "2"]) == 0
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    own = ("lock", "summary.json")
    return {
        str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name not in own
    }


def images_in(out: Path) -> int:
    return sum(path.parent.name != "report" for path in out.glob("*/*.jpg"))


def start_job(photos: Path, out: Path, address: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SMALL_PARTITIONS, *arguments(photos, out)],
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_whole(out: Path, undisturbed: dict[str, bytes]) -> None:
    rows = read_manifest(out / "manifest.parquet")
    files = Counter(rows["file"].to_pylist())
    assert len(files) == rows.num_rows == IMAGES and set(files.values()) == {1}
    assert contents(out) == undisturbed


def test_two_of_three_nodes_are_killed_at_30_and_at_60_percent(
    cluster: Any, photos: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start_job(photos, out, cluster.address) as job:
        for share, node in ((0.3, 0), (0.6, 1)):
            wait_for(lambda share=share: images_in(out) >= share * IMAGES, job)
            cluster.remove_node(cluster.workers[node], allow_graceful=False)
        printed, errors = job.communicate(timeout=240)
    assert job.returncode == 0, errors[-3000:]
    assert_whole(out, undisturbed)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["this_run"]["workers_died"] >= 2 and "workers" in printed


def test_a_node_that_joins_is_used(
    cluster: Any, photos: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in cluster.workers[1:]:
        cluster.remove_node(node)
    out = tmp_path / "out"
    with start_job(photos, out, cluster.address) as job:
        wait_for(lambda: images_in(out) >= 1, job)
        late = cluster.add_node(num_cpus=1, object_store_memory=300_000_000)
        cluster.remove_node(cluster.workers[0], allow_graceful=False)  # only the late one can finish it
        _, errors = job.communicate(timeout=240)
    assert job.returncode == 0, errors[-3000:]
    assert late.all_processes
    assert_whole(out, undisturbed)


def test_a_lost_head_is_a_job_submitted_again(
    photos: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    from ray.cluster_utils import Cluster

    out = tmp_path / "out"
    first = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    with start_job(photos, out, first.address) as job:
        wait_for(lambda: images_in(out) >= 0.3 * IMAGES, job)
        first.remove_node(first.head_node, allow_graceful=False)
        job.send_signal(signal.SIGKILL)  # the driver runs on the head, and dies with it
        job.communicate()
    assert not (out / "manifest.parquet").exists()
    second = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        with start_job(photos, out, second.address) as job:
            _, errors = job.communicate(timeout=240)
        assert job.returncode == 0, errors[-3000:]
    finally:
        second.shutdown()
    assert_whole(out, undisturbed)


def test_a_worker_killed_again_and_again_costs_time_only(
    cluster: Any, photos: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start_job(photos, out, cluster.address) as job:
        for share in (0.1, 0.3, 0.5, 0.7):
            wait_for(lambda share=share: images_in(out) >= share * IMAGES, job)
            kill_a_worker()
        _, errors = job.communicate(timeout=240)
    assert job.returncode == 0, errors[-3000:]
    assert_whole(out, undisturbed)
    summary = json.loads((out / "summary.json").read_text())
    assert 2 <= summary["this_run"]["workers_died"] <= 4


def kill_a_worker() -> None:
    """Send SIGKILL to one of the actors that do the work; to none if all are just being replaced."""
    listed = subprocess.run(
        ["pgrep", "-f", "ray::_PartitionActor"], capture_output=True, text=True, check=False
    )
    for pid in listed.stdout.split()[:1]:
        os.kill(int(pid), signal.SIGKILL)


def test_workers_report_what_they_made_to_prometheus(photos: Path, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "metrics_export_port": port},
    )
    metrics = ""

    def has_metrics() -> bool:
        nonlocal metrics
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            metrics = page.read().decode()
        return all(
            f"likeness_{name}" in metrics for name in ("images", "photos", "partitions", "stage_seconds")
        )

    try:
        with start_job(photos, tmp_path / "out", cluster.address) as job:
            deadline = time.monotonic() + 200
            while not has_metrics():
                assert time.monotonic() < deadline, [
                    line for line in metrics.splitlines() if "likeness" in line
                ]
                time.sleep(0.2)
            job.communicate(timeout=200)
        assert job.returncode == 0
        assert 'stage="scan"' in metrics and 'direction="written"' in metrics
    finally:
        cluster.shutdown()
