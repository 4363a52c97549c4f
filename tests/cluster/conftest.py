"""Fixtures for cluster tests: two machines and the cluster file for them, nodes on this machine, a bucket."""

import platform
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from augmentor.made_up.people import PeopleOptions, write_people
from jobs.cluster.ray_session import ray
from tests.cluster.bucket import Bucket, bucket_of
from tests.cluster.machines import Machine, machines, missing

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "jobs" / "cluster.yaml"
MINOR = ".".join(platform.python_version_tuple()[:2])


@dataclass(frozen=True)
class Site:
    """Machines, a folder that all of them can reach, and `jobs/cluster.yaml` filled in for them."""

    head: Machine
    worker: Machine
    shared: Path
    cluster: Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Start two machines with nothing installed; the cluster file installs what is needed."""
    if lacking := missing():
        pytest.fail("\n".join(["this machine lacks", *lacking]), pytrace=False)
    with machines(tmp_path / "machines", 2) as ((head, worker), key):
        shared = tmp_path / "shared"
        write_people(shared, PeopleOptions(identities=2, photos=(2, 2)), workers=1, progress=False)
        cluster = tmp_path / "cluster.yaml"
        text = (
            CLUSTER.read_text()
            .replace("HEAD_ADDRESS", head.address)
            .replace("WORKER_ADDRESS", worker.address)
        )
        text = re.sub(r"# (ssh_private_key:).*", rf"\1 {key}", text)
        text = text.replace("cluster_name: likeness", f"cluster_name: {head.name}")
        text = re.sub(r"want=3\.\d+", f"want={MINOR}", text)
        cluster.write_text(text)
        yield Site(head, worker, shared, cluster)


@pytest.fixture
def quick_site(site: Site) -> Site:
    """Change the site so that it borrows this environment's packages, which pip would take minutes to install.

    The project's own packages come from the copy of the checkout that Ray has brought.
    """
    config = yaml.safe_load(site.cluster.read_text())
    commands = config["setup_commands"]
    (place,) = [i for i, command in enumerate(commands) if "pip install" in command]
    env = "~/likeness-env"
    path = f"{env}/lib/python{MINOR}/site-packages/borrowed.pth"
    start = "from ray.scripts.scripts import main; main()"
    commands[place] = (
        f"printf '%s\\n' ~/likeness {sysconfig.get_path('purelib')} > {path}; "
        f"printf '%s\\n' '#!'$(echo {env})/bin/python '{start}' > {env}/bin/ray; chmod +x {env}/bin/ray"
    )
    site.cluster.write_text(yaml.safe_dump(config, sort_keys=False))
    return site


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Start a cluster: a head without cores for the driver, and three nodes of one core each."""
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        started.workers = [started.add_node(num_cpus=1, object_store_memory=300_000_000) for _ in range(3)]
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Start a server with an empty bucket, and set the keys for it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with bucket_of(tmp_path / "closed") as empty:
        yield empty
