"""Tests of the identify job: the same answers as `identity.identify`, whatever is killed, and nothing done twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from augmentor.errors import InputError
from augmentor.photos.images import MAX_PIXELS, encode_jpeg, list_photos, load_image
from augmentor.photos.place import FolderPlace, place_of
from identity.chips.photo_faces import PhotoReader
from identity.identify import main as identify_photos
from identity.runs.bundle import Bundle
from jobs.cluster.work_folder import WorkFolder
from jobs.naming import identify_job, photo_batches, trained_run
from jobs.naming.batch_worker import BatchWorker, NamingSettings
from jobs.naming.careful_seeing import CarefulReader
from jobs.naming.identify_job import main
from jobs.naming.names_table import SCHEMA
from jobs.naming.photo_batches import PhotoBatches, whole_fingerprint
from jobs.naming.table_place import TablePlace
from jobs.naming.trained_run import check_run, run_folder
from tests.jobs.dlib_run import write_dlib_run

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "jobs" / "identify.py"
POISONED = os.pathsep.join([str(Path(__file__).parent.parent / "poison"), str(ROOT)])
BATCH = 3
SMALL_BATCHES = (
    f"import sys; from jobs.naming import photo_batches, identify_job; photo_batches.BATCH = {BATCH}; "
    "sys.exit(identify_job.main())"
)


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run of dlib's features with three of the four people enrolled."""
    folder = tmp_path_factory.mktemp("run")
    write_dlib_run(people, sorted(folder.name for folder in people.iterdir())[:3], folder)
    return folder


@pytest.fixture(scope="module")
def archive(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive with photos at several depths: with one face, with two, with none, unreadable."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copytree(people, folder / "2019" / "summer")
    shutil.move(folder / "2019" / "summer" / "Zoë", folder / "2019-Zoë")
    two = [load_image(min((people / name).iterdir())) for name in ("Zoë", "😀 smile")]
    height = min(image.shape[0] for image in two)
    (folder / "two.jpg").write_bytes(encode_jpeg(np.concatenate([i[:height] for i in two], axis=1)))
    (folder / "2019" / "grey.jpg").write_bytes(encode_jpeg(np.full((120, 120, 3), 128, np.uint8)))
    (folder / "2019.scan").write_text("no photo")
    (folder / "2019.txt").write_text("left out")
    (folder / "gone.jpg").symlink_to(folder / "nothing")
    return folder


def arguments(run: Path, data: Path, out: Path, *more: str) -> list[str]:
    few = ["--workers", "1", "--max-failed", "0.5"]
    return ["--model", str(run), "--data", str(data), "--out", str(out), *few, *more]


@pytest.fixture(scope="module")
def made(two_cpu_ray: None, run: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the table of `archive`; copy it, change nothing."""
    out = tmp_path_factory.mktemp("made") / "names.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_batches, "BATCH", BATCH)
        # Two workers here and one in the other tests, because their number must not change the result.
        assert main(arguments(run, archive, out, "--workers", "2")) == 0
    return out


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_batches, "BATCH", BATCH)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch, small_batches: None) -> None:
    monkeypatch.setattr(identify_job, "ray_session", lambda workers: pytest.fail("Ray was started"))


def rows(table: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = pq.read_table(table).to_pylist()
    return listed


@pytest.mark.ray
def test_a_name_that_is_no_utf8_and_files_that_are_no_photos_stop_nothing(
    two_cpu_ray: None, run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "names.parquet"
    shutil.copytree(people / "Zoë", data)
    good = min(data.iterdir()).read_bytes()
    Path(os.fsdecode(os.fsencode(data) + b"/caf\xe9.jpg")).write_bytes(good)
    (data / "1.jpg.json").write_text("{}")
    (data / "2.MP4").write_bytes(b"film")
    for _ in range(2):
        capsys.readouterr()
        assert main(arguments(run, data, out)) == 0
        assert "identify: 2 files that are not photos were left out" in capsys.readouterr().err
        (row,) = (row for row in rows(out) if row["status"] == "error")
        assert row["photo"] == "caf\\xe9.jpg"
        assert row["reason"] == "unreadable: its name is not valid UTF-8; rename it"
        assert sum(row["status"] == "ok" for row in rows(out)) == 3


def test_photos_of_all_kinds_of_names_are_named_on_a_strict_stdout(
    run: Path, people: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(people / "Zoë", data)
    good = min(data.iterdir())
    bad = Path(os.fsdecode(os.fsencode(data) + b"/caf\xe9.jpg"))
    bad.write_bytes(good.read_bytes())
    (data / "gone.jpg").symlink_to(tmp_path / "nothing")
    (data / "2.AAE").write_text("<plist/>")
    explicit = tmp_path / "photo.txt"  # who names a file means it
    explicit.write_bytes(good.read_bytes())
    words = ["-m", "identity.identify", "--model", str(run), str(data), str(bad), str(explicit)]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]
    assert "1 file that is not a photo was left out" in done.stderr.decode("utf-8")
    by_name = {Path(line["photo"]).name: line for line in lines}
    assert len(lines) == 7 and by_name["photo.txt"]["status"] == "ok"
    assert by_name["caf\\xe9.jpg"]["reason"] == "unreadable: its name is not valid UTF-8; rename it"
    assert by_name["gone.jpg"]["reason"] == "unreadable: No such file or directory"


def refused(call: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(call) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = (line for line in printed.err.splitlines() if line and "%|" not in line)
    return line


@pytest.mark.ray
def test_the_table_has_the_answers_of_identity_identify(
    made: Path, run: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert identify_photos(["--model", str(run), str(archive)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    table = rows(made)
    assert list(dict.fromkeys(row["photo"] for row in table)) == [
        str(Path(line["photo"]).relative_to(archive)) for line in lines
    ]
    for line in lines:
        own = [row for row in table if str(archive / row["photo"]) == line["photo"]]
        assert {(row["status"], row["reason"]) for row in own} == {(line["status"], line["reason"])}
        assert [row["face"] for row in own] == (list(range(len(line["faces"]))) or [None])
        for row, face in zip(own, line["faces"], strict=False):
            assert (row["name"], row["size"]) == (face["name"], face["size"])
            assert [row[k] for k in ("x", "y", "width", "height")] == face["box"]
            for key in ("score", "probability", "quality"):
                # Faces are embedded in other batches there, so the last digit may be rounded differently.
                assert row[key] == pytest.approx(face[key], abs=1.01e-4)
    statuses = {row["photo"]: row["status"] for row in table}
    assert statuses["2019/grey.jpg"] == "no_face" and statuses["2019.scan"] == statuses["gone.jpg"] == "error"
    assert sum(row["photo"] == "two.jpg" for row in table) == 2
    assert {row["name"] for row in table} >= {"Zoë", "unknown", None}


@pytest.mark.ray
def test_the_table_records_what_it_was_made_from_and_the_summary_how(made: Path) -> None:
    schema = pq.read_schema(made)
    assert schema.names == SCHEMA.names and all(b"about" in field.metadata for field in schema)
    assert sorted(p.name for p in made.parent.iterdir()) == ["names.parquet", "names.parquet.summary.json"]
    summary = json.loads((made.parent / "names.parquet.summary.json").read_text())
    photos = {row["photo"] for row in rows(made)}
    assert summary["photos"] == len(photos) == 12
    assert summary["photos_by_status"] == {"ok": 9, "no_face": 1, "error": 2}
    assert summary["reasons"] == {"no_face": 1, "unreadable": 2}
    assert (
        summary["faces"] == sum(row["name"] is not None for row in rows(made))
        and 0 < summary["named"] < summary["faces"]
    )
    assert summary["this_run"]["batches"] == 4 and summary["this_run"]["workers_died"] == 0
    assert all(summary["stages"][stage]["seconds"] >= 0 for stage in ("read", "see", "name"))


@pytest.mark.ray
def test_second_run_changes_nothing_and_needs_no_ray(
    made: Path, run: Path, archive: Path, without_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in made.parent.iterdir()}
    assert main(arguments(run, archive, made)) == 0
    assert capsys.readouterr().out == f"12 photos in {made}: 9 with faces, 1 without, 2 unreadable\n"
    assert main(arguments(run, archive, made, "--max-failed", "0.1")) == 1
    assert "2 of 12 photos cannot be read, more than --max-failed 0.1" in capsys.readouterr().err
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in made.parent.iterdir()} == before


@pytest.mark.ray
def test_a_table_of_something_else_is_refused(
    made: Path,
    run: Path,
    archive: Path,
    tmp_path: Path,
    without_ray: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = made.read_bytes()
    line = refused(arguments(run, archive, made, "--fpir", "0.1", "--faces", "central"), capsys)
    assert (
        "made with fpir 0.01 instead of 0.1, faces 'all' instead of 'central'; choose another --out" in line
    )
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(archive / "two.jpg", other / "another.jpg")
    assert "made from other photos; choose another --out" in refused(arguments(run, other, made), capsys)
    assert made.read_bytes() == before
    thesis = tmp_path / "thesis.parquet"
    thesis.write_text("my thesis")
    assert "not made by this job" in refused(arguments(run, archive, thesis), capsys)
    assert thesis.read_text() == "my thesis" and not list(tmp_path.glob("*.parts"))


@pytest.mark.ray
def test_photos_that_come_go_or_change_are_named_and_the_others_keep_their_rows(
    made: Path,
    run: Path,
    archive: Path,
    tmp_path: Path,
    small_batches: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out = tmp_path / "data", tmp_path / "names.parquet"
    shutil.copytree(archive, data, symlinks=True)
    shutil.copy(made, out)
    shutil.copy(archive / "two.jpg", data / "0 new.jpg")  # every batch is another one
    shutil.copy(archive / "2019" / "grey.jpg", data / "two.jpg")
    gone = min((data / "2019-Zoë").iterdir())
    gone.unlink()
    assert main(arguments(run, data, out)) == 0
    printed = capsys.readouterr()
    assert "photos were added, removed or changed since the table was made" in printed.err
    summary = json.loads((tmp_path / "names.parquet.summary.json").read_text())
    # The new photo, the changed one, and the two that cannot be read, which are tried again.
    assert (summary["photos"], summary["this_run"]["photos"]) == (12, 4)
    before = {row["photo"]: row for row in rows(made)}
    after = {row["photo"]: row for row in rows(out)}
    assert after.keys() - before.keys() == {"0 new.jpg"} and before.keys() - after.keys() == {
        f"2019-Zoë/{gone.name}"
    }
    assert (
        after["two.jpg"]["status"] == "no_face"
        and after["0 new.jpg"]["sha256"] == before["two.jpg"]["sha256"]
    )
    kept = before.keys() & after.keys() - {"two.jpg"}
    assert {photo: after[photo] for photo in kept} == {photo: before[photo] for photo in kept}
    assert list(after) == sorted(after) and not (tmp_path / "names.parquet.parts").exists()
    content = out.read_bytes()
    assert main(arguments(run, data, out)) == 0 and out.read_bytes() == content


@pytest.mark.ray
@pytest.mark.slow
def test_killed_and_started_again_ends_with_the_same_bytes(
    made: Path,
    run: Path,
    archive: Path,
    tmp_path: Path,
    small_batches: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "names.parquet"
    parts = tmp_path / "names.parquet.parts"
    command = [sys.executable, "-c", SMALL_BATCHES, *arguments(run, archive, out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        deadline = time.monotonic() + 120
        while not list(parts.glob("*.parquet")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and not out.exists()
    assert "made with fpir" in refused(arguments(run, archive, out, "--fpir", "0.1"), capsys)
    (parts / ".likeness-0123.part").write_bytes(b"left by a kill")
    assert main(arguments(run, archive, out)) == 0
    assert out.read_bytes() == made.read_bytes() and not parts.exists()
    summary = json.loads((tmp_path / "names.parquet.summary.json").read_text())
    assert 1 <= summary["this_run"]["batches_unchanged"] <= 3 and summary["photos"] == 12


@pytest.mark.ray
@pytest.mark.slow
def test_a_photo_that_crashes_its_reader_is_a_row_and_the_rest_stays_the_same(
    made: Path, run: Path, archive: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "names.parquet"
    shutil.copytree(archive, data, symlinks=True)
    (data / "2019.scan").write_bytes(b"POISON")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments(run, data, out)],
        env=os.environ | {"PYTHONPATH": POISONED},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (poison,) = (row for row in rows(out) if row["photo"] == "2019.scan")
    assert (poison["status"], poison["face"], len(poison["sha256"])) == ("error", None, 64)
    assert poison["reason"] == "unreadable: crashes the program that reads it, tried 2 times"
    rest = [[row for row in rows(table) if row["photo"] != "2019.scan"] for table in (out, made)]
    for own, expected in zip(*rest, strict=True):
        assert {k: v for k, v in own.items() if k not in ("score", "probability", "quality")} == {
            k: v for k, v in expected.items() if k not in ("score", "probability", "quality")
        }
        assert (own["score"] or 0) == pytest.approx(expected["score"] or 0, abs=1.01e-4)
    summary = json.loads((tmp_path / "names.parquet.summary.json").read_text())
    assert summary["this_run"]["workers_died"] == 1 and summary["reasons"]["unreadable"] == 2


def test_a_batch_is_done_once_and_done_again_if_its_rows_are_damaged(
    run: Path, archive: Path, tmp_path: Path, small_batches: None
) -> None:
    data, out = tmp_path / "data", str(tmp_path / "names.parquet")
    shutil.copytree(archive, data, symlinks=True)
    settings = NamingSettings(str(run), str(data), out, check_run(str(run), 0.01)[0], 0.01, "all")
    worker = BatchWorker(settings)
    batches = list(PhotoBatches(place_of(data), {}))
    done = worker.run(batches[0])
    assert done.counts.total == 3 and not done.unchanged and done.bytes_read > 0
    part = tmp_path / "names.parquet.parts" / "00000000.parquet"
    content = part.read_bytes()
    shutil.rmtree(data / "2019-Zoë")  # the photos of this batch are not read again
    again = worker.run(batches[0])
    assert again.unchanged and again.counts == done.counts and part.read_bytes() == content
    worker.run(batches[1])
    other = tmp_path / "names.parquet.parts" / "00000001.parquet"
    content = other.read_bytes()
    other.write_bytes(content[:-20])
    assert not worker.run(batches[1]).unchanged and other.read_bytes() == content
    with pytest.raises(InputError, match="changed while the job ran"):
        BatchWorker(replace(settings, digest="another"))


def test_a_careful_reader_sees_the_same_and_survives_what_crashes(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", POISONED)
    photo = min((people / "Zoë").iterdir()).read_bytes()
    with closing(CarefulReader(PhotoReader(150))) as careful:
        crashed = careful.content(b"POISON", "bad.jpg", MAX_PIXELS)
        good = careful.content(photo, "good.jpg", MAX_PIXELS)
    assert (crashed.status, crashed.reason, crashed.faces) == ("error", "unreadable", ())
    assert crashed.detail == "crashes the program that reads it, tried 2 times"
    expected = PhotoReader(150).content(photo, "good.jpg", MAX_PIXELS)
    assert good.status == "ok" and np.array_equal(good.chips, expected.chips)


def test_batches_follow_the_order_of_paths_and_know_what_changed(tmp_path: Path, small_batches: None) -> None:
    for path in ("a/2.jpg", "a.jpg", "a-b/1.jpg", "a/1.jpg", "b/deep/er/x", "z", ".DS_Store"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    archive = PhotoBatches(place_of(tmp_path), {"fpir": 0.01})
    batches = list(archive)
    assert [photo for batch in batches for photo in batch.photos] == [
        path.relative_to(tmp_path).as_posix() for path in list_photos(tmp_path)
    ]
    assert [len(batch.photos) for batch in batches] == [3, 3] and archive.photos == 6
    assert archive.fingerprint == whole_fingerprint(batch.fingerprint for batch in batches)
    (tmp_path / "z").write_text("another")
    changed = list(PhotoBatches(place_of(tmp_path), {"fpir": 0.01}))
    assert changed[0] == batches[0] and changed[1].fingerprint != batches[1].fingerprint
    (other, _) = PhotoBatches(place_of(tmp_path), {"fpir": 0.1})
    assert other.photos == batches[0].photos and other.fingerprint != batches[0].fingerprint


def test_a_table_by_uri_keeps_its_parts_beside_it(tmp_path: Path) -> None:
    table = TablePlace("s3://bucket/deep/names.parquet?region=eu-1&endpoint_override=http://127.0.0.1:9")
    assert table.place.uri == "s3://bucket/deep?region=eu-1&endpoint_override=http://127.0.0.1:9"
    assert table.name() == "s3://bucket/deep/names.parquet"
    assert table.parts.name("0.parquet") == "s3://bucket/deep/names.parquet.parts/0.parquet"
    assert TablePlace(f"file://{tmp_path}/names.parquet").name() == str(tmp_path / "names.parquet")
    for uri in ("s3://bucket", "s3://bucket/?region=eu-1", str(tmp_path)):
        with pytest.raises(InputError, match="name"):
            TablePlace(uri)


class Elsewhere:
    """A place that is not a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        there = FolderPlace(folder)
        self.read, self.stamp, self.name = there.read, there.stamp, there.name


def test_a_run_elsewhere_is_fetched_whole(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_run, "place_of", lambda uri: Elsewhere(run))
    with run_folder("s3://bucket/run", check_run("s3://bucket/run", 0.01)[0]) as folder:
        assert folder != run and np.array_equal(Bundle.load(folder).templates, Bundle.load(run).templates)
    assert not folder.exists()


def test_a_worker_names_photos_with_a_run_elsewhere_until_that_changes(
    run: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    monkeypatch.setattr(trained_run, "place_of", lambda uri: Elsewhere(copy))
    digest, _ = check_run("s3://bucket/run", 0.01)
    settings = NamingSettings(
        "s3://bucket/run", str(archive), str(tmp_path / "t.parquet"), digest, 0.01, "all"
    )
    worker = BatchWorker(settings)
    path = next(p for p in list_photos(archive) if p.suffix == ".jpg")
    one = worker._recogniser.images([load_image(path)])
    assert one[0].status in ("ok", "no_face")
    trained_run.check_unchanged("s3://bucket/run", digest)
    (copy / "bundle.json").write_bytes((copy / "bundle.json").read_bytes() + b" ")
    with pytest.raises(InputError, match="changed while the job ran"):
        trained_run.check_unchanged("s3://bucket/run", digest)


def test_wrong_calls_say_what_is_wrong_in_one_line(
    run: Path, tmp_path: Path, without_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out, photos, empty = tmp_path / "out.parquet", tmp_path / "photos", tmp_path / "empty"
    photos.mkdir()
    empty.mkdir()
    (photos / "a.jpg").write_bytes(b"not really")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bundle.json").write_text("{}")
    cases = [
        (["--data", str(photos)], "required: --model, --out; see jobs/identify.py --help"),
        (arguments(tmp_path / "none", photos, out), "no trained model here"),
        (arguments(tmp_path / "bad", photos, out), "damaged"),
        (arguments(run, tmp_path / "missing", out), "no such folder"),
        (arguments(run, empty, out), "no photos"),
        (arguments(run, photos, photos / "out.parquet"), "lies among the photos"),
        (arguments(run, photos, empty), "this is a folder; name the file"),
        (
            arguments(run, photos, out, "--fpir", "0.001"),
            "--fpir 0.001: this run was calibrated with 0 strangers",
        ),
        (arguments(run, photos, out, "--fpir", "2"), "--fpir 2"),
        (arguments(run, photos, out, "--workers", "0"), "--workers 0"),
        (arguments(run, photos, out, "--max-failed", "5"), "--max-failed 5"),
        (arguments(run, photos, out, "--faces", "prettiest"), "invalid choice: 'prettiest'"),
        (["--model", str(run), "--data", "ftp://host/photos", "--out", str(out)], "ftp:// is not supported"),
    ]
    for call, says in cases:
        assert says in refused(call, capsys)
        assert not out.exists() and not list(tmp_path.glob("*.parts"))
    with WorkFolder(place_of(f"{out}.parts"), {"fpir": 0.5}):
        assert "another run is working on it" in refused(arguments(run, photos, out), capsys)
    assert "made with" in refused(arguments(run, photos, out), capsys)


def test_script_refuses_in_one_line_and_exits_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--model", "x"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "") and len(done.stderr.splitlines()) == 1
    assert "required: --data, --out" in done.stderr


def test_relative_path_in_a_submitted_job_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    line = refused(["--model", "runs/1", "--data", "/photos", "--out", "/tmp/names.parquet"], capsys)
    assert "--model runs/1" in line and "absolute path" in line
