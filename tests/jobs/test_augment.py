"""Tests of the augment job: what it makes, what it leaves alone, and how it refuses."""

import csv
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.manifest import read_manifest
from augmentor.photos.images import load_image
from augmentor.photos.people_folder import people_of
from augmentor.photos.place import FolderPlace
from identity.forgetting.balanced_set import forget_in_set
from jobs.balancing.augment_job import main
from jobs.balancing.image_sink import FolderSink
from jobs.balancing.partition import partitions_of
from jobs.balancing.partition_state import read_making, write_making

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "jobs" / "augment.py"
PER_CLASS = 6


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    few = ["--per-class", str(PER_CLASS), "--size", "64", "--workers", "1"]
    return ["--data", str(data), "--out", str(out), *few, *more]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file with its time of change and content, except the lock and the run's own summary."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("lock", "summary.json")]
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in snapshot(folder).items()}


@pytest.fixture(scope="module")
def made(two_cpu_ray: None, people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the set of `people` once; copy it, change nothing."""
    out = tmp_path_factory.mktemp("made") / "out"
    # Two workers here and one in the other tests, because their number must not change the result.
    assert main(arguments(people, out, "--workers", "2")) == 0
    return out


@pytest.mark.ray
def test_everybody_gets_exactly_the_images_asked_for(made: Path, people: Path) -> None:
    table = read_manifest(made / "manifest.parquet")
    names = {path.name for path in people.iterdir()}
    assert Counter(table["identity"].to_pylist()) == dict.fromkeys(names, PER_CLASS)
    on_disk = {str(p.relative_to(made)) for name in names for p in (made / name).iterdir()}
    assert on_disk == set(table["file"].to_pylist())
    for row in table.to_pylist():
        assert load_image(made / row["file"]).shape == (64, 64, 3)
        assert (made / row["file"]).stat().st_size == row["bytes"]
        assert (people / row["source"]).is_file()
        assert row["source"].startswith(row["identity"] + "/")
    photos = Counter(table["source"].to_pylist())
    assert all(count == 6 / len(list((people / photo).parent.iterdir())) for photo, count in photos.items())
    assert list(csv.reader((made / "failures.csv").open())) == [["photo", "identity", "reason", "detail"]]
    assert load_image(made / "report" / "balance.png").shape == (600, 1500, 3)
    assert load_image(made / "report" / "renders.jpg").shape[0] > 4 * 64


@pytest.mark.ray
def test_second_run_changes_nothing(made: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(made)
    assert main(arguments(people, made)) == 0
    assert snapshot(made) == before
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"24 images of 4 identities in {made}; 0 photos rejected"


@pytest.mark.ray
def test_the_memory_of_earlier_versions_is_removed(made: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / ".work" / "scan.parquet").write_bytes(b"of the whole set")
    (out / ".work" / "rows-3.parquet").write_bytes(b"of an interrupted run")
    (out / ".work" / "images" / "Zoë").mkdir(parents=True)
    assert main(arguments(people, out)) == 0
    assert snapshot(out) == snapshot(made)
    assert not (out / ".work" / "images").exists()


@pytest.mark.ray
def test_effects_are_in_the_manifest_and_change_only_their_renders(
    made: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(arguments(people, out, "--effects", "all")) == 0
    plain = read_manifest(made / "manifest.parquet").to_pylist()
    rows = read_manifest(out / "manifest.parquet").to_pylist()
    assert [row["file"] for row in rows] == [row["file"] for row in plain]
    assert not any(row["effects"] for row in plain)
    assert not any(row["effects"] for row in rows if row["kind"] == "photo")
    assert len({word.split(":")[0] for row in rows for word in row["effects"].split()}) >= 4
    for row in rows:
        same = (out / row["file"]).read_bytes() == (made / row["file"]).read_bytes()
        # A hat that sits high may be invisible.
        assert same == (not row["effects"]) or all(e.startswith("brim") for e in row["effects"].split())
    capsys.readouterr()
    assert main(arguments(people, out)) == 2
    assert "made with effects" in capsys.readouterr().err


@pytest.mark.ray
def test_changed_photo_redoes_only_its_own_images(made: Path, people: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(people, data)
    shutil.copytree(made, out)
    changed, other = sorted((data / "two words").iterdir())
    changed.write_bytes(other.read_bytes() + b"\0")  # another photo under the same name
    before = snapshot(out)
    assert main(arguments(data, out)) == 0
    after = snapshot(out)
    redone = {name for name in before | after if before.get(name) != after.get(name)}
    images = {name for name in redone if name.startswith("two words/")}
    assert all(Path(name).name.startswith(changed.stem) for name in images)
    assert len([name for name in images if name in after]) == 3
    rest = {name for name in redone - images if not name.startswith(".work/parts/")}
    assert {"manifest.parquet"} <= rest <= {"manifest.parquet", ".work/finished.json", "report/renders.jpg"}


@pytest.mark.ray
def test_removed_photo_takes_its_images_along(made: Path, people: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(people, data)
    shutil.copytree(made, out)
    gone = min((data / "Zoë").iterdir())
    gone.unlink()
    shutil.rmtree(data / "two words")
    (out / "Zoë" / ".likeness-0123.part").write_bytes(b"left by a kill")
    assert main(arguments(data, out)) == 0
    fresh = tmp_path / "fresh"
    assert main(arguments(data, fresh)) == 0
    assert contents(out) == contents(fresh)
    assert not (out / "two words").exists()


@pytest.mark.ray
def test_rejected_photos_are_listed_and_an_identity_without_image_exits_1(
    two_cpu_ray: None, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(people / "Zoë", data / "Zoë")
    (data / "Zoë" / "notes.scan").write_text("no image")
    whole = min((people / "Zoë").iterdir()).read_bytes()
    (data / "Nobody").mkdir()
    (data / "Nobody" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "Empty").mkdir()
    out = tmp_path / "out"
    assert main(arguments(data, out)) == 1
    printed = capsys.readouterr()
    assert "2 identities without enough images: Empty, Nobody" in printed.err
    assert printed.out.splitlines()[-1].startswith(f"6 images of 3 identities in {out}; 2 photos rejected (")
    rows = list(csv.DictReader((out / "failures.csv").open()))
    assert [(row["photo"], row["reason"]) for row in rows] == [
        ("", "no_photo"),
        ("Nobody/cut.jpg", "unreadable"),
        ("Zoë/notes.scan", "unreadable"),
    ]
    assert read_manifest(out / "manifest.parquet").num_rows == PER_CLASS


@pytest.mark.ray
def test_held_out_photos_are_copied_and_never_augmented(
    two_cpu_ray: None, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(arguments(people, out, "--hold-out", "1")) == 0
    held = {p.relative_to(out / "holdout").as_posix() for p in (out / "holdout").rglob("*") if p.is_file()}
    assert Counter(photo.split("/")[0] for photo in held) == {"Zoë": 1, "two words": 1, "😀 smile": 1}
    assert all((out / "holdout" / photo).read_bytes() == (people / photo).read_bytes() for photo in held)
    table = read_manifest(out / "manifest.parquet")
    assert not held & set(table["source"].to_pylist())
    assert set(Counter(table["identity"].to_pylist()).values()) == {PER_CLASS}


@pytest.mark.ray
def test_awkward_names_stop_nobody_and_are_accounted_for(
    two_cpu_ray: None, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(people, data)
    mac = unicodedata.normalize("NFD", "Zoë")
    (data / "Zoë").rename(data / mac)
    good = min((data / mac).iterdir()).read_bytes()
    Path(os.fsdecode(os.fsencode(data / mac) + b"/caf\xe9.jpg")).write_bytes(good)
    (data / "two words" / "gone.jpg").symlink_to(tmp_path / "nothing")
    for number, photo in enumerate(sorted((data / "😀 smile").iterdir())):
        shutil.copy(photo, data / "d'Arc & (Jeanne)" / f"copy {number}.jpg")
    (data / mac / "1.jpg.json").write_text("{}")
    (data / ".ipynb_checkpoints").mkdir()
    (data / ".ipynb_checkpoints" / "1.jpg").write_bytes(good)
    call = arguments(data, out, "--hold-out", "1", "--seed", "3", "--max-failed", "0.5")
    assert main(call) == 0
    printed = capsys.readouterr()
    assert "augment: 1 file that is not a photo was left out" in printed.err
    assert (
        "augment: 1 photo is in the folders of two people; remove it from one of them: d'Arc & (Jeanne)/copy"
        in printed.err
    )
    table = read_manifest(out / "manifest.parquet")
    assert set(table["identity"].to_pylist()) == {path.name for path in people.iterdir()}
    failures = list(csv.DictReader((out / "failures.csv").open()))
    assert [(row["photo"], row["identity"]) for row in failures] == [
        (f"{mac}/caf\\xe9.jpg", "Zoë"),
        ("two words/gone.jpg", "two words"),
    ]
    assert "not valid UTF-8; rename it" in failures[0]["detail"]
    aside = {path.parent.name for path in (out / "holdout").rglob("*.jpg")}
    assert "Zoë" in aside and aside <= {path.name for path in people.iterdir()}
    before = snapshot(out)
    assert main(call) == 0
    assert snapshot(out) == before
    removal = forget_in_set(out, ["Zoë"])
    assert removal.left == [] and not (out / "holdout" / "Zoë").exists() and not (out / "Zoë").exists()


@pytest.mark.ray
@pytest.mark.parametrize(
    "kind",
    [
        "parquet",
        pytest.param("webdataset", marks=pytest.mark.slow),
        pytest.param("tfrecord", marks=pytest.mark.slow),
    ],
)
def test_shards_hold_every_image_once(made: Path, people: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    assert main(arguments(people, out, "--format", kind)) == 0
    before = snapshot(out)
    assert main(arguments(people, out, "--format", kind)) == 0
    assert snapshot(out) == before
    files = sorted(read_manifest(out / "manifest.parquet")["file"].to_pylist())
    (shard,) = (out / "shards").iterdir()
    assert sorted(file for file, _ in read_shard(shard, kind)) == files
    assert all(content == (made / file).read_bytes() for file, content in read_shard(shard, kind))


def read_shard(shard: Path, kind: str) -> list[tuple[str, bytes]]:
    """Return file name and JPEG of every image in a shard, as readers get them."""
    if kind == "parquet":
        table = pq.read_table(shard, columns=["file", "image"])
        return list(zip(table["file"].to_pylist(), table["image"].to_pylist(), strict=True))
    if kind == "webdataset":
        with tarfile.open(shard) as tar:
            entries = {name: tar.extractfile(name).read() for name in tar.getnames()}
        rows = {name[:8]: json.loads(content) for name, content in entries.items() if name.endswith(".json")}
        return [(row["file"], entries[f"{key}.jpg"]) for key, row in rows.items()]
    import tensorflow as tf

    images = []
    for record in tf.data.TFRecordDataset(str(shard)):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        images.append((feature["file"].bytes_list.value[0].decode(), feature["image"].bytes_list.value[0]))
    return images


@pytest.mark.ray
def test_other_settings_for_the_same_output_are_refused(
    made: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(made)
    assert main([*arguments(people, made), "--seed", "7"]) == 2
    assert "seed 0 instead of 7" in capsys.readouterr().err
    assert snapshot(made) == before


def run_script(*more: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *more],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.ray
def test_killed_and_started_again_ends_with_the_same_bytes(made: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), *arguments(people, out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("*/*.jpg"))) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "manifest.parquet").exists()
    assert main(arguments(people, out)) == 0
    assert contents(out) == contents(made)


def assert_refused(result: subprocess.CompletedProcess[str], says: str) -> None:
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert says in result.stderr
    assert result.stdout == ""


@pytest.fixture
def one_photo(tmp_path: Path) -> Path:
    """Make a folder with one file whose name says that it is a photo."""
    data = tmp_path / "data"
    (data / "A").mkdir(parents=True)
    (data / "A" / "a.jpg").write_bytes(b"not really")
    return data


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the job in this process and return its one line on stderr, without a progress bar before it."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = (line for line in printed.err.splitlines() if line and "%|" not in line)
    return line


def test_wrong_calls_say_what_is_wrong_in_one_line(
    one_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    empty, loose, bare = tmp_path / "empty", tmp_path / "loose", tmp_path / "bare"
    empty.mkdir()
    loose.mkdir()
    (loose / "a.jpg").write_bytes(b"")
    (bare / "A").mkdir(parents=True)
    occupied = tmp_path / "occupied"
    (occupied / "thesis").mkdir(parents=True)
    cases = [
        (arguments(tmp_path / "missing", out), "no such folder"),
        (arguments(empty, out), "no folder; expected one folder of photos per person"),
        (arguments(loose, out), "loose photos"),
        (arguments(bare, out), "no photos"),
        (arguments(one_photo, one_photo / "out"), "one lies in the other"),
        (arguments(one_photo, occupied), "not empty and not made by this job"),
        (arguments(one_photo, one_photo / "A" / "a.jpg" / "out"), "one lies in the other"),
        (arguments(one_photo, out, "--per-class", "0"), "--per-class 0"),
        (arguments(one_photo, out, "--per-class", "many"), "invalid int value: 'many'"),
        (arguments(one_photo, out, "--faces", "prettiest"), "invalid choice: 'prettiest'"),
        (arguments(one_photo, out, "--max-failed", "5"), "--max-failed 5"),
        (arguments(one_photo, out, "--workers", "0"), "--workers 0"),
        (arguments(one_photo, out, "--head-model", "nonsense"), "nonsense"),
        (["--data", str(one_photo)], "required: --out, --per-class"),
        (["--data", "ftp://host/photos", "--out", str(out), "--per-class", "3"], "ftp:// is not supported"),
    ]
    for call, says in cases:
        assert says in refused(call, capsys)
        assert not out.exists()


def test_script_refuses_in_one_line_and_exits_2(tmp_path: Path) -> None:
    assert_refused(
        run_script(*arguments(tmp_path / "none", tmp_path / "out"), cwd=tmp_path), "no such folder"
    )


def test_relative_path_in_a_submitted_job_is_refused(
    one_photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    line = refused(["--data", "photos", "--out", "/tmp/out", "--per-class", "3"], capsys)
    assert "--data photos" in line
    assert "absolute path" in line


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """Mount a disk of 2 MB, if the tests may."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_disk_that_is_too_small_is_refused_at_the_start(
    one_photo: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "MB are free" in refused(arguments(one_photo, small_disk / "out", "--per-class", "100000"), capsys)


@pytest.mark.ray
def test_disk_that_fills_up_stops_the_job_in_one_line_and_it_continues_later(
    two_cpu_ray: None, made: Path, people: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_000_000))
    line = refused(arguments(people, small_disk / "out"), capsys)
    assert "No space left on device" in line or "MB are free" in line
    ballast.write_bytes(bytes(1_920_000))
    line = refused(arguments(people, small_disk / "out"), capsys)
    assert "No space left on device" in line or "MB are free" in line
    ballast.unlink()
    assert main(arguments(people, small_disk / "out")) == 0
    assert contents(small_disk / "out") == contents(made)


def test_read_only_output_is_refused(
    one_photo: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in refused(arguments(one_photo, small_disk / "out"), capsys)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.ray
@pytest.mark.slow
def test_submitted_to_a_cluster_it_makes_the_same_set(
    made: Path, people: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Test `ray start --head` and `ray job submit --working-dir .` with a cluster that this test starts and stops."""
    out = tmp_path_factory.mktemp("cluster") / "out"
    ray_command = str(Path(sys.executable).parent / "ray")
    temporary = Path("/tmp") / f"ray-test-{os.getpid()}"  # short, because a socket's path may have 107 bytes
    port, dashboard, client = free_port(), free_port(), free_port()
    head = [ray_command, "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}"]
    head += [f"--ray-client-server-port={client}", f"--temp-dir={temporary}", "--num-cpus=2", "--num-gpus=0"]
    head += ["--disable-usage-stats", "--object-store-memory=500000000", "--dashboard-agent-listen-port=0"]
    submit = [ray_command, "job", "submit", f"--address=http://127.0.0.1:{dashboard}", "--working-dir", "."]
    submit += ["--", sys.executable, "jobs/augment.py", *arguments(people, out)]
    # The Ray in this process has left its own settings in the environment.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cluster = subprocess.Popen(
        head,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=out.parent,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 60
        while cluster.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", dashboard)) == 0:
                    break
            assert time.monotonic() < deadline, "the cluster does not start"
            time.sleep(0.2)
        job = subprocess.run(
            submit, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=150, check=False
        )
        assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    finally:
        cluster.terminate()
        try:
            cluster.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(cluster.pid, signal.SIGKILL)
            cluster.wait(10)
        shutil.rmtree(temporary, ignore_errors=True)
    assert contents(out) == contents(made)


@pytest.mark.ray
def test_the_users_own_files_in_the_output_survive_when_people_are_added_and_removed(
    made: Path, people: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(people, data)
    assert main(arguments(data, out, "--hold-out", "1")) == 0
    aside = next((out / "holdout" / "Zoë").iterdir())
    mine = [
        *(out / "Zoë" / "IMG-0123abcd.jpg", out / "Zoë" / "notes.txt", out / "holdout" / "Zoë" / "mine.jpg"),
        *(out / "two words" / "mine-0123abcd.jpg", out / "holdout" / "two words" / "mine.jpg"),
        *(out / "shards" / "mine.tar", out / "of my own" / "x-0123abcd.jpg"),
    ]
    for file in mine:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"of the user")
    shutil.rmtree(data / "Zoë")
    assert main(arguments(data, out, "--hold-out", "1")) == 0
    assert all(file.read_bytes() == b"of the user" for file in mine)
    assert {p.name for p in (out / "Zoë").iterdir()} == {"IMG-0123abcd.jpg", "notes.txt"}
    assert not aside.exists() and [p.name for p in (out / "holdout" / "Zoë").iterdir()] == ["mine.jpg"]


def test_files_of_a_killed_worker_are_removed_when_they_are_not_wanted(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    partition = partitions_of(people_of(FolderPlace(people)), 6, 512)[0]
    write_making(FolderPlace(out), partition.name, ["Zoë/old-0123abcd.jpg"])
    (out / "Zoë").mkdir()
    for name in ("old-0123abcd.jpg", "mine-0123abcd.jpg"):
        (out / "Zoë" / name).write_bytes(b"x")
    sink = FolderSink(FolderPlace(out), "")
    assert sink.close(partition, [], read_making(FolderPlace(out), partition.name)) == 1
    assert [path.name for path in (out / "Zoë").iterdir()] == ["mine-0123abcd.jpg"]
