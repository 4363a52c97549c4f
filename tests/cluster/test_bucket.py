"""Tests of the jobs with object storage: a real server on loopback that refuses some requests, or all for a while."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.made_up.people import PeopleOptions, write_people
from augmentor.photos.place import PATIENCE, BucketPlace, place_of
from identity.training.training_set import read_training_set
from jobs.balancing.augment_job import main
from tests.cluster.bucket import Bucket, upload

pytestmark = [pytest.mark.cluster, pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw photos of 12 made-up people."""
    made = tmp_path_factory.mktemp("made-up")
    write_people(made, PeopleOptions(identities=12, photos=(2, 3)), workers=2, progress=False)
    return made / "photos"


def contents(uri: str | Path) -> dict[str, bytes]:
    """Return all files of an output except its summary, which differs between runs, and files with times of change."""
    place = place_of(uri)
    own = (".work/", "summary.json")
    return {path: place.read(path) for path in place.files() if not path.startswith(own)}


def arguments(data: object, out: object, *more: str) -> list[str]:
    few = ["--per-class", "8", "--size", "64", "--workers", "2"]
    return ["--data", str(data), "--out", str(out), *few, *more]


def test_a_bucket_does_what_a_folder_does(bucket: Bucket) -> None:
    place = place_of(bucket.uri("deep/place"))
    assert isinstance(place, BucketPlace)
    place.write("Zoë/1 ä+b.jpg", b"one")
    place.write("😀/2.jpg", b"two" * 5_000_000)  # in several parts
    place.write("Zoë/.DS_Store", b"left by a system")
    assert {path: stamp.size for path, stamp in place.files().items()} == {
        "Zoë/1 ä+b.jpg": 3,
        "😀/2.jpg": 15_000_000,
    }
    assert place.entries() == (["Zoë", "😀"], [])
    assert place.read("😀/2.jpg") == b"two" * 5_000_000
    assert place.stamp("Zoë/1 ä+b.jpg") == place.files("Zoë")["Zoë/1 ä+b.jpg"]
    assert place.stamp("nothing") is None
    with pytest.raises(FileNotFoundError):
        place.read("nothing")
    place.remove("Zoë/1 ä+b.jpg")
    place.remove("Zoë/1 ä+b.jpg")
    place.remove_folder("😀")
    place.remove_folder("😀")
    assert place.files() == {}


def test_a_bucket_that_does_not_exist_is_reported_at_once(bucket: Bucket, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="s3://nobody/photos"):
        place_of(bucket.uri("photos").replace("bucket/", "nobody/")).write("a", b"1")
    assert time.monotonic() - start < 30


def test_the_whole_job_from_bucket_to_bucket_equals_the_one_on_disk(
    bucket: Bucket, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(photos, bucket.uri("photos"))
    out = bucket.uri("sets/parquet")
    assert main(arguments(bucket.uri("photos"), out, "--format", "parquet", "--hold-out", "1")) == 0
    assert main(arguments(photos, tmp_path / "out", "--format", "parquet", "--hold-out", "1")) == 0
    assert contents(out) == contents(tmp_path / "out")
    before = place_of(out).files()
    assert main(arguments(bucket.uri("photos"), out, "--format", "parquet", "--hold-out", "1")) == 0
    assert {path: stamp for path, stamp in place_of(out).files().items() if path != "summary.json"} == {
        path: stamp for path, stamp in before.items() if path != "summary.json"
    }
    let, refused = bucket.counts()
    assert refused > 0.02 * let  # the server did refuse requests
    here = read_training_set(tmp_path / "out").fetched(tmp_path / "here")
    there = read_training_set(out).fetched(tmp_path / "there")
    np.testing.assert_array_equal(here.chips([0, 5, 17]), there.chips([0, 5, 17]))
    assert "s3://bucket/sets/parquet;" in capsys.readouterr().out


def test_storage_that_refuses_for_a_while_costs_time_and_nothing_else(
    bucket: Bucket, photos: Path, tmp_path: Path
) -> None:
    upload(photos, bucket.uri("photos"))
    command = [sys.executable, "jobs/augment.py", *arguments(bucket.uri("photos"), bucket.uri("out"))]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=os.environ | {PATIENCE: "200"}, stderr=subprocess.DEVNULL
    ) as job:
        place = place_of(bucket.uri("out"))
        deadline = time.monotonic() + 120
        while not any(path.endswith(".jpg") for path in place.files()):
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.3)
        bucket.closed.touch()
        threading.Timer(30, bucket.closed.unlink).start()
        assert job.wait(240) == 0
    assert main(arguments(photos, tmp_path / "out")) == 0
    assert contents(bucket.uri("out")) == contents(tmp_path / "out")
    summary = json.loads(place.read("summary.json"))
    assert set(summary["rejected_by_reason"]) <= {"no_face"} and summary["this_run"]["seconds"] > 25


def test_storage_that_never_answers_stops_in_one_line(
    bucket: Bucket, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PATIENCE, "2")
    bucket.closed.touch()
    assert main(arguments(bucket.uri("photos"), bucket.uri("out"))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "storage keeps failing, tried for" in line and "start the job again when it answers" in line
