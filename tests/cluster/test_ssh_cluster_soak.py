"""The longest tests of `jobs/cluster.yaml`: real installation, losing a machine, stopping (`make soak`)."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from augmentor.balanced_set.manifest import read_manifest
from augmentor.made_up.people import PeopleOptions, write_people
from jobs.cluster.cluster_check import ssh_command
from tests.cluster.conftest import Site
from tests.cluster.machines import USER, Machine
from tests.cluster.proxy import connect_proxy
from tests.cluster.test_ssh_cluster import augment, ray_up, run, worked

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]


def has_ray(site: Site, machine: Machine) -> bool:
    """Return whether Ray's main process of a node runs on a machine."""
    ssh = ssh_command(yaml.safe_load(site.cluster.read_text())["auth"])
    return (
        subprocess.run([*ssh, f"{USER}@{machine.address}", "pgrep -x raylet"], capture_output=True).returncode
        == 0
    )


def test_setup_installs_from_the_package_registry(site: Site) -> None:
    """Use the unchanged setup on one machine that has nothing but Python; takes five minutes."""
    config = yaml.safe_load(site.cluster.read_text())
    config["provider"]["worker_ips"] = []
    site.cluster.write_text(yaml.safe_dump(config, sort_keys=False))
    gateway = site.head.address.rpartition(".")[0] + ".254"
    with connect_proxy(gateway) as url, (site.head.home / ".profile").open("a") as profile:
        settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        settings["PIP_PROXY"] = url
        if (configured := Path.home() / ".config" / "pip" / "pip.conf").exists():
            settings["PIP_CONFIG_FILE"] = str(configured)
        profile.writelines(f"export {name}='{value}'\n" for name, value in settings.items())
        profile.flush()
        ray_up(site, machines=1)
    look = run(site, "ray", "exec", "--no-config-cache", site.cluster, "python -m jobs.preflight --here")
    assert look.returncode == 0, look.stdout
    job = augment(site)
    assert job.returncode == 0, job.stdout
    down = run(site, "ray", "down", "-y", site.cluster)
    assert down.returncode == 0, down.stdout


def test_job_goes_on_without_a_machine_that_is_lost(quick_site: Site) -> None:
    site = quick_site
    shutil.rmtree(site.shared / "photos")
    write_people(site.shared, PeopleOptions(identities=24, photos=(4, 4)), workers=1, progress=False)
    ray_up(site)
    jobs: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: jobs.append(augment(site)))
    thread.start()
    end = time.monotonic() + 300
    while not (worked(site.worker) and any((site.shared / "set").glob("*/*.jpg"))):
        assert thread.is_alive() and time.monotonic() < end, "the job ended before the machine could be lost"
        time.sleep(0.2)
    site.worker.pull_the_plug()
    thread.join()
    assert jobs[0].returncode == 0, jobs[0].stdout
    assert len(read_manifest(site.shared / "set" / "manifest.parquet")) == 24 * 6


def test_workers_stop_after_the_head(quick_site: Site) -> None:
    """Check that Ray on the workers ends when the head, which alone `ray down` stops, does not answer for a while."""
    site = quick_site
    ray_up(site)
    assert has_ray(site, site.worker)
    assert run(site, "ray", "down", "-y", site.cluster).returncode == 0
    start = time.monotonic()
    while has_ray(site, site.worker):
        assert time.monotonic() - start < 120
        time.sleep(2)
    print(f"{time.monotonic() - start:.0f} s")
