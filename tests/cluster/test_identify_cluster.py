"""Tests of `jobs/identify.py` from bucket to bucket and on a cluster that loses nodes: the same table, photos once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from augmentor.made_up.people import PeopleOptions, write_people
from augmentor.photos.images import list_photos
from augmentor.photos.place import place_of
from jobs.naming import photo_batches
from jobs.naming.identify_job import main
from tests.cluster.bucket import Bucket, upload
from tests.cluster.waiting import wait_for
from tests.jobs.dlib_run import write_dlib_run

pytestmark = [pytest.mark.cluster, pytest.mark.ray, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
PEOPLE, KNOWN, BATCH = 12, 3, 2
SMALL_BATCHES = (
    f"import sys; from jobs.naming import photo_batches, identify_job; photo_batches.BATCH = {BATCH}; "
    "sys.exit(identify_job.main())"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw photos of made-up people, and write one photo that cannot be read."""
    made = tmp_path_factory.mktemp("made-up")
    write_people(made, PeopleOptions(identities=PEOPLE, photos=(3, 4)), workers=2, progress=False)
    (made / "photos" / "broken.jpg").write_text("no photo")
    return made / "photos"


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run with a quarter of the people enrolled."""
    folder = tmp_path_factory.mktemp("run")
    write_dlib_run(photos, sorted(p.name for p in photos.iterdir() if p.is_dir())[:KNOWN], folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the table on one machine; change nothing in it."""
    out = tmp_path_factory.mktemp("undisturbed") / "names.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_batches, "BATCH", BATCH)
        assert main(arguments(run, photos, out, "--workers", "2")) == 0
    table = rows(out)
    assert {row["photo"] for row in table} == {p.relative_to(photos).as_posix() for p in list_photos(photos)}
    assert {row["status"] for row in table} >= {"ok", "error"}
    assert {row["name"] for row in table} >= {"unknown", min(p.name for p in photos.iterdir() if p.is_dir())}
    return out


def arguments(run: object, photos: object, out: object, *more: str) -> list[str]:
    return ["--model", str(run), "--data", str(photos), "--out", str(out), *more]


def rows(table: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = pq.read_table(table).to_pylist()
    return listed


def test_from_bucket_to_bucket_it_gives_the_same_answers_as_on_disk(
    bucket: Bucket,
    run: Path,
    photos: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upload(photos, bucket.uri("archive"))
    upload(run, bucket.uri("runs/mine"))
    monkeypatch.setattr(photo_batches, "BATCH", BATCH)
    out = bucket.uri("tables/names.parquet")
    call = arguments(bucket.uri("runs/mine"), bucket.uri("archive"), out, "--workers", "2")
    assert main(call) == 0
    place = place_of(bucket.uri("tables"))
    assert sorted(place.files()) == ["names.parquet", "names.parquet.summary.json"]  # no parts are left
    (tmp_path / "names.parquet").write_bytes(place.read("names.parquet"))
    assert rows(tmp_path / "names.parquet") == rows(undisturbed)
    before = place.files()
    assert main(call) == 0  # a second time changes nothing
    assert place.files() == before
    let, refused = bucket.counts()
    assert refused > 0.02 * let  # the server did refuse requests
    assert "s3://bucket/tables/names.parquet" in capsys.readouterr().out


def test_two_of_three_nodes_are_killed_and_the_table_has_the_same_bytes(
    cluster: Any, run: Path, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, parts = tmp_path / "names.parquet", tmp_path / "names.parquet.parts"
    batches = -(-len(list_photos(photos)) // BATCH)
    command = [sys.executable, "-c", SMALL_BATCHES, *arguments(run, photos, out)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as job:
        for share, node in ((0.3, 0), (0.6, 1)):
            wait_for(lambda share=share: len(list(parts.glob("*.parquet"))) >= share * batches, job)
            cluster.remove_node(cluster.workers[node], allow_graceful=False)
        _, errors = job.communicate(timeout=240)
    assert job.returncode == 0, errors[-3000:]
    assert out.read_bytes() == undisturbed.read_bytes() and not parts.exists()
    summary = json.loads((tmp_path / "names.parquet.summary.json").read_text())
    assert summary["photos"] == len(list_photos(photos))
    assert summary["this_run"]["workers_died"] >= 2


def test_storage_that_refuses_for_a_while_costs_time_and_nothing_else(
    bucket: Bucket, run: Path, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    upload(photos, bucket.uri("archive"))
    place = place_of(bucket.uri("tables"))
    call = arguments(run, bucket.uri("archive"), bucket.uri("tables/names.parquet"), "--workers", "2")
    with subprocess.Popen(
        [sys.executable, "-c", SMALL_BATCHES, *call], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as job:
        wait_for(lambda: any(path.startswith("names.parquet.parts/0") for path in place.files()), job)
        bucket.closed.touch()
        time.sleep(10)
        assert job.poll() is None
        bucket.closed.unlink()
        assert job.wait(240) == 0
    (tmp_path / "names.parquet").write_bytes(place.read("names.parquet"))
    assert rows(tmp_path / "names.parquet") == rows(undisturbed)
