"""Forgetting a person removes everything of the person that this software made, and touches nothing else."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.manifest import read_manifest, write_manifest
from augmentor.balanced_set.part_records import Account, PartRecord
from augmentor.errors import InputError
from augmentor.photos.images import PARTIAL_PREFIX, PARTIAL_SUFFIX, encode_jpeg
from augmentor.photos.place import FileStamp
from identity.albums.page import write_pages
from identity.albums.sorting import organise
from identity.enrol import main as enrol_main
from identity.forget import main
from identity.forgetting.forget_person import forget
from identity.forgetting.journal import ForgettingRecord
from identity.people import main as people_main
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from identity.runs.recogniser import Recogniser
from identity.runs.renaming import merged
from identity.runs.unenrolment import without
from identity.training.pipeline import train
from identity.training.training_config import TrainConfig
from tests.identity.changed_run import crowding_of, with_people
from tests.identity.drawn_set import drawn_face, write_drawn_set, write_random_weights
from tests.identity.runs.test_recogniser import SquareFaces, colour_of, photo
from tests.identity.test_enrol import ColourEmbedder, trained
from tests.stand_in_faces import find_with

ANN = "Ann Ü"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of six people, the third of them Ann, with the balanced set it was made from and cached features."""
    bundle = trained(people=6, seed=3)
    data = write_drawn_set(tmp_path / "set", [2, 3])
    (data / "failures.csv").write_text(
        f"photo,identity,reason,detail\nx.jpg,{ANN},no_face,\ny.jpg,Bo,no_face,\n"
    )
    sources = pa.Table.from_pylist(
        [{"photo": "Ann/1.jpg", "sha256": "a", "phash": 1, "identity": ANN}]
        + [{"photo": "b.jpg", "sha256": "b", "phash": 2, "identity": "person 0"}],
        bundle.sources.schema,
    )
    labels = tuple(ANN if k == 2 else label for k, label in enumerate(bundle.labels))
    about = bundle.about | {"config": {"data": str(data), "cache": None}}
    folder = tmp_path / "run"
    (folder / "features").mkdir(parents=True)
    (folder / "features" / "maps.npy").write_bytes(b"features")
    replace(with_people(bundle, labels=labels, sources=sources), about=about, model_card="# Card").save(
        folder
    )
    find_with(SquareFaces, monkeypatch)
    monkeypatch.setattr(Bundle, "networks", property(lambda _self: ColourEmbedder()))
    return folder


def test_the_person_leaves_the_run_and_the_others_stay_as_they_were(run: Path) -> None:
    before = Bundle.load(run)
    with PeopleFile(run) as people:
        forgotten = forget(run, ANN, people)
    after = Bundle.load(run)
    kept = [k for k in range(6) if k != 2]
    assert after.labels == tuple(before.labels[k] for k in kept)
    np.testing.assert_array_equal(after.templates, before.templates[kept])
    np.testing.assert_array_equal(crowding_of(after), crowding_of(before)[kept])
    assert after.sources["identity"].to_pylist() == ["person 0"]
    assert not (run / "features" / "maps.npy").exists()
    assert forgotten.originals == ["Ann/1.jpg"] and forgotten.left == []


def test_no_byte_of_the_name_or_the_template_is_left_in_the_run(run: Path) -> None:
    template = Bundle.load(run).part_templates["dlib"][2].tobytes()
    with PeopleFile(run) as people:
        forget(run, ANN, people)
    for file in run.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert ANN.encode() not in content and json.dumps(ANN).encode() not in content, file
            assert template not in content, file


def test_images_and_rows_leave_the_balanced_set(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "set"
    name = "person ü0"
    bundle = Bundle.load(run)
    with_people(bundle, labels=tuple(name if label == ANN else label for label in bundle.labels)).save(run)
    others = read_manifest(data / "manifest.parquet")["identity"].to_pylist().count("person ü1")
    with PeopleFile(run) as people:
        forgotten = forget(run, name, people)
    assert not (data / name).exists() and (data / "person ü1").is_dir()
    assert read_manifest(data / "manifest.parquet")["identity"].to_pylist() == ["person ü1"] * others
    assert any("images in" in line for line in forgotten.removed)
    assert "Ann" in (data / "failures.csv").read_text("utf-8")  # another person's row


def _part_record(photos: dict[str, int], stamps: dict[str, FileStamp]) -> bytes:
    """Return what the job remembers of a part with these people."""
    return PartRecord(stamps, list(range(len(photos))), "", Account(photos, {}, 0, 0, 0, [], [])).to_bytes()


def test_the_shard_with_the_person_is_deleted_with_the_jobs_records_of_it(run: Path, tmp_path: Path) -> None:
    data, name = tmp_path / "set", "person ü0"
    parts = data / ".work" / "parts"
    for folder in (data / "shards", parts, data / "300w-lp" / name):
        folder.mkdir(parents=True)
    for row in read_manifest(data / "manifest.parquet").to_pylist():
        if row["identity"] == name:
            (data / "300w-lp" / row["file"]).write_bytes(bytes(row["bytes"]))
            (data / "300w-lp" / row["file"]).with_suffix(".mat").write_bytes(b"landmarks")
    for part, person in (("01-00000000", name), ("01-00000001", "person ü1")):
        (data / "shards" / f"{part}.tar").write_bytes(b"images")
        (parts / f"{part}.scan.parquet").write_bytes(b"scan")
        (parts / f"{part}.json").write_bytes(_part_record({person: 1}, {}))
    (parts.parent / "finished.json").write_text("{}")
    bundle = Bundle.load(run)
    with_people(bundle, labels=tuple(name if label == ANN else label for label in bundle.labels)).save(run)
    with PeopleFile(run) as people:
        forgotten = forget(run, name, people)
    assert [path.name for path in (data / "shards").iterdir()] == ["01-00000001.tar"]
    assert sorted(path.name for path in parts.iterdir()) == ["01-00000001.json", "01-00000001.scan.parquet"]
    assert not (data / "300w-lp" / name).exists() and not (parts.parent / "finished.json").exists()
    assert any("1 of the shards in" in line for line in forgotten.removed)
    assert not forgotten.left


def test_a_set_in_a_bucket_is_listed_as_left(run: Path) -> None:
    bundle = Bundle.load(run)
    replace(bundle, about=bundle.about | {"config": {"data": "s3://bucket/set", "cache": None}}).save(run)
    with PeopleFile(run) as people:
        forgotten = forget(run, ANN, people)
    assert len(forgotten.left) == 1 and forgotten.left[0].startswith("s3://bucket/set: ")


def test_the_persons_albums_are_removed_and_the_photos_stay(run: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(run)
    photos = tmp_path / "photos"
    photos.mkdir()
    for k, who in enumerate((2, 2, 0)):
        (photos / f"{k}.png").write_bytes(encode_jpeg(photo(colour_of(bundle, who)), 98))
    recogniser = Recogniser(bundle, 0.1)
    recogniser.threshold = -10.0  # low enough for every face to get a name
    with PeopleFile(run) as people:
        albums = organise(recogniser, photos, tmp_path / "albums", people)
        write_pages(albums, people, photos, tmp_path / "albums")
        assert (tmp_path / "albums" / ANN).is_dir()
        forgotten = forget(run, ANN, people)
        assert {path for path, _number, _face in people.faces(1)} == {"2.png"}
    assert not (tmp_path / "albums" / ANN).exists() and len(list(photos.iterdir())) == 3
    assert {str(photos / f"{k}.png") for k in (0, 1)} < set(forgotten.originals)
    for page in ("index.html", "albums.json", "albums.csv"):
        assert ANN not in (tmp_path / "albums" / page).read_text("utf-8")
    assert len(list((tmp_path / "albums" / ".thumbnails").iterdir())) == 1


def test_an_unknown_name_and_the_last_person_are_refused_in_one_clear_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*.npz")}
    assert main(["--model", str(run), "--name", "nobody"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert {p: p.read_bytes() for p in run.rglob("*.npz")} == before
    only_ann = Bundle.load(run)
    for other in set(only_ann.labels) - {ANN}:
        only_ann = without(only_ann, other)
    with pytest.raises(InputError, match="only person"):
        without(only_ann, ANN)


def test_a_file_that_still_mentions_the_person_is_listed_and_the_exit_code_is_1(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "notes.txt").write_text(f"{ANN} came by", "utf-8")
    assert main(["--model", str(run), "--name", ANN]) == 1
    output = capsys.readouterr()
    assert "notes.txt" in output.err and "your own file, not touched: Ann/1.jpg" in output.out


@pytest.mark.slow
@pytest.mark.parametrize("head", ["cosine", "seed"])
def test_the_prototype_leaves_the_head_and_the_others_are_named_as_before(tmp_path: Path, head: str) -> None:
    data = write_drawn_set(tmp_path / "set", [3, 3, 3], per_class=6, size=96)
    weights = write_random_weights(tmp_path / "random.npz")
    config = TrainConfig(
        data, tmp_path / "run", features="b0", weights=str(weights), head=head, epochs=2, batch=6
    )
    bundle = train(config)
    chips = np.stack([drawn_face(person, 7, size=96) for person in range(3)])
    before = bundle.similarities(bundle.embed(chips))
    assert bundle.head is not None and bundle.head.classes == 3
    without(bundle, "person ü1").save(tmp_path / "run")
    smaller = Bundle.load(tmp_path / "run")
    assert smaller.head is not None and smaller.head.classes == 2
    after = smaller.similarities(smaller.embed(chips))
    assert after.shape == (3, 2)
    assert (np.argsort(after, axis=1) == np.argsort(before[:, [0, 2]], axis=1)).all()
    if head == "cosine":
        np.testing.assert_allclose(after, before[:, [0, 2]], atol=1e-5)


def _everything_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _rename_ann(run: Path, name: str) -> None:
    bundle = Bundle.load(run)
    with_people(bundle, labels=tuple(name if label == ANN else label for label in bundle.labels)).save(run)


@pytest.mark.parametrize("name", ["..", ".", "holdout", "../neighbour", ".work", "report", "shards", ""])
def test_forgetting_a_name_that_is_a_path_touches_no_folder_of_that_name(
    run: Path, tmp_path: Path, name: str
) -> None:
    data = tmp_path / "set"
    for file in (
        tmp_path / "neighbour" / "thesis.txt",
        data / "holdout" / "Bo" / "1.jpg",
        data / "shards" / "1.tar",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("another person's")
    _rename_ann(run, name)
    before = {
        file: content for file, content in _everything_below(tmp_path).items() if not file.startswith("run/")
    }
    with PeopleFile(run) as people:
        forget(run, name, people)
    after = {
        file: content for file, content in _everything_below(tmp_path).items() if not file.startswith("run/")
    }
    assert after == before
    assert name not in Bundle.load(run).labels


def test_only_files_that_the_manifest_gives_to_the_person_leave_the_set(run: Path, tmp_path: Path) -> None:
    data, name = tmp_path / "set", "person ü0"
    manifest = read_manifest(data / "manifest.parquet")
    own = {row["file"] for row in manifest.to_pylist() if row["identity"] == name}
    mine = {
        "person ü0/notes.txt": b"mine",
        "300w-lp/person ü0/mine.mat": b"mine",
        "holdout/person ü0/mine.jpg": b"x",
    }
    for file, content in mine.items():
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        (data / file).write_bytes(content)
    changed = sorted(own)[0]
    (data / changed).write_bytes(b"the user painted over it, so its length is different")
    _rename_ann(run, name)
    with PeopleFile(run) as people:
        forgotten = forget(run, name, people)
    left = _everything_below(data)
    assert {file: left[file] for file in mine} == mine and changed in left
    assert not (own - {changed}) & left.keys()
    for file in (*mine, changed):
        assert any(str(data / file) in line for line in forgotten.left), file


def test_a_manifest_that_names_files_outside_of_the_set_deletes_none_of_them(
    run: Path, tmp_path: Path
) -> None:
    data, name = tmp_path / "set", "person ü0"
    thesis = tmp_path / "thesis.jpg"
    rows = read_manifest(data / "manifest.parquet").to_pylist()
    thesis.write_bytes(bytes(rows[0]["bytes"]))
    table = read_manifest(data / "manifest.parquet")
    files = pa.array(["../thesis.jpg", str(thesis), *table["file"].to_pylist()[2:]])
    write_manifest(
        data / "manifest.parquet", table.set_column(table.column_names.index("file"), "file", files)
    )
    _rename_ann(run, name)
    with PeopleFile(run) as people:
        forget(run, name, people)
    assert thesis.is_file()


def test_photos_held_out_are_deleted_if_the_job_put_them_there(run: Path, tmp_path: Path) -> None:
    data, name = tmp_path / "set", "person ü0"
    held = {f"{name}/7.jpg": b"held out", "person ü1/7.jpg": b"of another person"}
    for file, content in held.items():
        (data / "holdout" / file).parent.mkdir(parents=True, exist_ok=True)
        (data / "holdout" / file).write_bytes(content)
    parts = data / ".work" / "parts"
    parts.mkdir(parents=True)
    stamps = {file: FileStamp(len(content), 1) for file, content in held.items()}
    (parts / "01-00000000.json").write_bytes(_part_record({name: 1, "person ü1": 1}, stamps))
    _rename_ann(run, name)
    with PeopleFile(run) as people:
        forgotten = forget(run, name, people)
    assert not (data / "holdout" / name).exists()
    assert (data / "holdout" / "person ü1" / "7.jpg").read_bytes() == b"of another person"
    assert not forgotten.left


@pytest.mark.parametrize("name", ["..", "holdout", "a/b", "Unknown", "Bo ", "con"])
def test_nobody_can_get_a_name_that_is_not_allowed(
    run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.png").write_bytes(encode_jpeg(photo(colour_of(Bundle.load(run), 5)), 98))
    before = _everything_below(run)
    calls = (
        lambda: enrol_main(["--model", str(run), "--name", name, str(tmp_path / "new.png")]),
        lambda: people_main(["--model", str(run), "--rename", ANN, name]),
    )
    for call in calls:
        assert call() == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1 and "cannot be used as a name" in errors[0]
    with pytest.raises(InputError):
        merged(Bundle.load(run), ANN, name)
    assert {f: c for f, c in _everything_below(run).items() if "sqlite" not in f} == before


def test_the_job_keeps_its_records_of_the_other_people_in_the_partition(run: Path, tmp_path: Path) -> None:
    data, name, other = tmp_path / "set", "person ü0", "person ü1"
    parts = data / ".work" / "parts"
    parts.mkdir(parents=True)
    account = {"photos": {name: 1, other: 2}, "images": {name: 8, other: 8}, "lacking": [name, other]}
    account |= {"held_out": 0, "rejected": 0, "renders": 0}
    account["failures"] = [
        {"photo": "x", "identity": who, "reason": "", "detail": ""} for who in (name, other)
    ]
    stamps = {f"{name}/0.jpg": [5, 1], f"{other}/0.jpg": [7, 1], f"{other}/held.jpg": [9, 1]}
    record = {"account": account, "stamps": stamps, "digest": "of the files on disk", "labels": [0, 1]}
    (parts / "01-00000000.json").write_text(json.dumps(record))
    for kind in ("scan", "rows"):
        pq.write_table(pa.table({"identity": [name, other, other]}), parts / f"01-00000000.{kind}.parquet")
    _rename_ann(run, name)
    with PeopleFile(run) as people:
        assert not forget(run, name, people).left
    left = json.loads((parts / "01-00000000.json").read_text())
    assert left["account"]["photos"] == {other: 2} and left["account"]["lacking"] == [other]
    assert left["stamps"] == {f"{other}/0.jpg": [7, 1], f"{other}/held.jpg": [9, 1]}
    assert left["digest"] == "", "the job must check the partition again"
    for kind in ("scan", "rows"):
        assert pq.read_table(parts / f"01-00000000.{kind}.parquet")["identity"].to_pylist() == [other] * 2


def test_what_a_killed_save_left_of_the_earlier_run_is_deleted(run: Path) -> None:
    template = Bundle.load(run).part_templates["dlib"][2].tobytes()
    old = next(run.glob("arrays-*.npz"))
    content = old.read_bytes()
    without(Bundle.load(run), ANN).save(run)
    old.write_bytes(content)  # as if the save had been killed after it wrote bundle.json
    half = run / f"{PARTIAL_PREFIX}0123456789abcdef{PARTIAL_SUFFIX}"
    half.write_bytes(content)
    with PeopleFile(run) as people:
        people.keep_forgetting(ANN, dataclasses.asdict(_record()))
        assert forget(run, ANN, people).left == []
    assert not old.exists() and not half.exists()
    assert not any(template in path.read_bytes() for path in run.iterdir() if path.is_file())


def _record() -> ForgettingRecord:
    return ForgettingRecord(ANN, [ANN], [], [], [], [], [], {}, [])


def test_images_of_a_killed_job_are_deleted_too(run: Path, tmp_path: Path) -> None:
    data, name = tmp_path / "set", "person ü0"
    unfinished = [f"{name}/half-0123abcd.jpg", f"holdout/{name}/1.jpg", "person ü1/other-0123abcd.jpg"]
    for file in unfinished:
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        (data / file).write_bytes(b"made by a worker that was killed")
    parts = data / ".work" / "parts"
    parts.mkdir(parents=True)
    (parts / "01-00000000.making").write_text(json.dumps([*unfinished, "../../thesis.jpg"]))
    _rename_ann(run, name)
    with PeopleFile(run) as people:
        assert forget(run, name, people).left == []
    assert not (data / name).exists() and not (data / "holdout" / name).exists()
    assert (data / unfinished[2]).is_file()
    assert json.loads((parts / "01-00000000.making").read_text()) == ["../../thesis.jpg", unfinished[2]]
