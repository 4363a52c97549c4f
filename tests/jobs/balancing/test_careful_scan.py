"""Photos that crash their decoder: found out, left out, reported, and the rest is as without them."""

import csv
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import PhotoError
from jobs.balancing.careful_scan import CarefulScanner
from jobs.balancing.photo_worker import PhotoWorker, RenderSettings

ROOT = Path(__file__).parents[3]
POISONED = os.pathsep.join([str(Path(__file__).parent.parent / "poison"), str(ROOT)])
SETTINGS = RenderSettings(size=64, seed=0, faces="central")


def test_a_photo_that_crashes_is_reported_and_the_next_is_scanned_as_ever(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", POISONED)
    photo = min((people / "Zoë").iterdir()).read_bytes()
    with closing(CarefulScanner(SETTINGS)) as careful:
        crashed = careful.scan("Zoë", "Zoë/bad.jpg", b"POISON")
        good = careful.scan("Zoë", "Zoë/good.jpg", photo)
        missing = careful.scan("Zoë", "Zoë/gone.jpg", PhotoError("unreadable", "Zoë/gone.jpg", "not a file"))
    (face,) = crashed.faces
    assert (face.reason, face.photo, crashed.prepared) == ("unreadable", "Zoë/bad.jpg", ())
    assert face.detail == "crashes the program that reads it, tried 2 times" and len(face.sha256) == 64
    expected = PhotoWorker(SETTINGS).scan("Zoë", "Zoë/good.jpg", photo)
    assert good.faces[0].sha256 == expected.faces[0].sha256 and len(good.prepared) == 1
    assert (good.faces[0].landmarks == expected.faces[0].landmarks).all()
    assert missing.faces[0].detail == "not a file"


@pytest.mark.ray
def test_the_job_ends_complete_without_the_poison_photo(people: Path, tmp_path: Path) -> None:
    data, clean = tmp_path / "data", tmp_path / "clean"
    shutil.copytree(people, data)
    shutil.copytree(people, clean)
    (data / "Zoë" / "poison.jpg").write_bytes(b"POISON")
    (clean / "Zoë" / "poison.jpg").write_bytes(b"no photo")
    manifests = []
    for source, environment in ((data, {"PYTHONPATH": POISONED}), (clean, {})):
        out = tmp_path / f"out-{source.name}"
        command = [
            sys.executable,
            str(ROOT / "jobs" / "augment.py"),
            "--data",
            str(source),
            "--out",
            str(out),
        ]
        command += ["--per-class", "6", "--size", "64", "--workers", "1", "--max-failed", "1"]
        ran = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        manifests.append(read_manifest(out / "manifest.parquet"))
    assert manifests[0].equals(manifests[1])
    (row,) = csv.DictReader((tmp_path / "out-data" / "failures.csv").open())
    assert row["photo"] == "Zoë/poison.jpg" and "crashes the program" in row["detail"]
    told = json.loads((tmp_path / "out-data" / "summary.json").read_text())
    assert told["this_run"]["workers_died"] == 1 and told["rejected_by_reason"] == {"unreadable": 1}
    assert told["this_run"]["images_made"] == 24 and told["stages"]["scan"]["per_second"] > 0
