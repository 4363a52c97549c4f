"""A bundle comes back as it was saved, and a damaged one is refused in one line."""

import errno
import hashlib
import io
import json
import os
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from augmentor.errors import InputError
from augmentor.photos.images import write_whole
from identity.decisions.acceptance import DecisionConstants, LeadAndCrowding
from identity.decisions.open_set import Decision, ProbabilityCurve
from identity.networks.embedding import join
from identity.networks.face_space import unit
from identity.runs import bundle as bundle_module
from identity.runs.bundle import VERSION, Bundle
from identity.runs.collection import PeopleFile
from identity.runs.enrolled_people import EnrolledPeople
from tests.identity.changed_run import crowding_of, with_crowding, with_people


class FixedEmbedder:
    """Stands in for the networks: a chip's embedding is made of its mean colour."""

    def probes(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        colours = chips.reshape(len(chips), -1, 3).mean(axis=1)
        return {"dlib": unit(colours), "head": unit(colours[:, ::-1])}


def small_bundle() -> Bundle:
    rng = np.random.default_rng(0)
    return Bundle(
        people=EnrolledPeople(
            labels=("Ann", "Zoë 😀", ".hidden"),
            part_templates={"dlib": unit(rng.normal(size=(3, 3))), "head": unit(rng.normal(size=(3, 3)))},
            decision=Decision(
                LeadAndCrowding(DecisionConstants(), np.array([0.1, 0.2, 0.3], np.float32)),
                {"fpir_1": 0.9, "fpir_10": 0.5},
                ProbabilityCurve(1.0, 0.0),
                {"mated": 1.0},
            ),
            sources=pa.table(
                {
                    "photo": ["a.jpg"],
                    "sha256": ["00"],
                    "phash": pa.array([1], pa.uint64()),
                    "identity": ["Ann"],
                }
            ),
        ),
        features="both",
        shares={"dlib": 0.75, "head": 0.25},
        size=8,
        stranger_mean=np.zeros(6, np.float32),
        about={"seed": 0},
        model_card="# Model card",
    )


def test_bundle_comes_back_as_saved_without_pickle(tmp_path: Path) -> None:
    saved = small_bundle()
    saved.save(tmp_path)
    loaded = Bundle.load(tmp_path)
    assert loaded.labels == saved.labels
    assert loaded.decision == saved.decision
    assert loaded.thresholds == json.loads((tmp_path / "thresholds.json").read_text())
    assert np.array_equal(loaded.templates, saved.templates)
    assert loaded.sources.equals(saved.sources)
    assert not list(tmp_path.glob("*.pkl"))


def test_similarities_are_the_parts_cosines_weighted_by_their_shares() -> None:
    bundle = small_bundle()
    bundle._embedder = FixedEmbedder()  # type: ignore[assignment]
    chips = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    embeddings = bundle.embed(chips)
    parts = FixedEmbedder().probes(chips)
    expected = sum(s * parts[n] @ bundle.part_templates[n].T for n, s in bundle.shares.items())
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert np.allclose(bundle.similarities(embeddings), expected, atol=1e-6)


def test_a_part_without_a_share_is_left_out() -> None:
    parts = {"dlib": np.eye(2, dtype=np.float32), "head": np.eye(2, dtype=np.float32)}
    assert join(parts, {"dlib": 1.0, "head": 0.0}).shape == (2, 2)
    assert replace(small_bundle(), shares={"dlib": 1.0, "head": 0.0}).parts == ("dlib",)


@pytest.mark.parametrize("name", ["arrays", "sources", "head"])
def test_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    small_bundle().save(tmp_path)
    (file,) = tmp_path.glob(f"{name}-*")
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(InputError, match=name):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("after", range(7))
def test_a_save_that_is_cut_short_leaves_the_run_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before = small_bundle()
    before.save(tmp_path)
    names = tuple(f"new {name}" for name in before.labels)
    changed = replace(with_people(before, labels=names), head_weights=[np.ones(3)], stranger_mean=np.ones(6))
    written = []

    def until_the_power_fails(path: Path, content: bytes, **_how: bool) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(path)
        write_whole(path, content)

    monkeypatch.setattr(bundle_module, "write_whole", until_the_power_fails)
    try:
        changed.save(tmp_path)
    except KeyboardInterrupt:
        assert after < 7
    loaded = Bundle.load(tmp_path)
    assert loaded.labels == (names if "bundle.json" in [p.name for p in written] else before.labels)
    assert (loaded.stranger_mean == (changed if loaded.labels == names else before).stranger_mean).all()


def test_files_of_the_run_as_it_was_do_not_stay(tmp_path: Path) -> None:
    small_bundle().save(tmp_path)
    replace(small_bundle(), stranger_mean=np.ones(6, np.float32)).save(tmp_path)
    assert len(list(tmp_path.glob("arrays-*"))) == 1 and len(list(tmp_path.iterdir())) == 7


def test_no_bundle_a_damaged_one_and_another_version_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no bundle\.json"):
        Bundle.load(tmp_path)
    small_bundle().save(tmp_path)
    path = tmp_path / "bundle.json"
    path.write_text(path.read_text().replace(f'"version": {VERSION}', '"version": 99'))
    with pytest.raises(InputError, match="version 99"):
        Bundle.load(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Bundle.load(tmp_path)


def test_chips_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="8, 8"):
        small_bundle().embed(np.zeros((1, 9, 9, 3), np.uint8))


def test_what_the_old_run_consisted_of_goes_only_when_the_new_one_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small_bundle()
    before.save(tmp_path)
    old = {path.name for path in tmp_path.glob("*-*.*")}
    events: list[str] = []
    unlink, sync = Path.unlink, os.fsync

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        events.append(f"deleted {path.name}")
        unlink(path, missing_ok)

    def synced(number: int) -> None:
        events.append("synced folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "synced file")
        sync(number)

    monkeypatch.setattr(Path, "unlink", unlinked)
    monkeypatch.setattr(os, "fsync", synced)
    replace(before, stranger_mean=np.ones(6, np.float32)).save(tmp_path)
    first = next(n for n, event in enumerate(events) if event.startswith("deleted"))
    assert events[first].removeprefix("deleted ") in old
    # what has changed (the arrays and bundle.json), each with its folder
    assert events[:first] == ["synced file", "synced folder"] * 2


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
def test_a_run_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        small_bundle().save(tmp_path / "runs" / "a")
        PeopleFile(tmp_path / "runs" / "a").close()
    finally:
        os.umask(before)
    assert (tmp_path / "runs" / "a").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "runs" / "a").iterdir()} == {0o600}


def test_every_save_is_another_state_also_where_the_clock_stands_still(tmp_path: Path) -> None:
    small_bundle().save(tmp_path)
    bundle = Bundle.load(tmp_path)
    assert not bundle.outdated and bundle.as_it_is_now() is bundle
    time = (tmp_path / "bundle.json").stat().st_mtime_ns
    with_crowding(bundle, crowding_of(bundle) + 1).save(tmp_path)
    os.utime(tmp_path / "bundle.json", ns=(time, time))
    assert bundle.outdated
    np.testing.assert_array_equal(crowding_of(bundle.as_it_is_now()), crowding_of(bundle) + 1)


def _huge_npz() -> bytes:
    """An array that says it has 8 TB."""
    packed = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("stranger_mean.npy", header.getvalue())
    return packed.getvalue()


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04 cut", _huge_npz()], ids=["none", "cut", "huge"])
def test_a_forged_bundle_is_refused_in_one_clear_line(tmp_path: Path, content: bytes) -> None:
    small_bundle().save(tmp_path)
    described = json.loads((tmp_path / "bundle.json").read_text())
    listed = described["files"]["arrays.npz"]
    (tmp_path / listed["file"]).write_bytes(content)
    listed["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="damaged") as refused:
        Bundle.load(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_run_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InputError, match="cannot be opened for writing") as refused:
        PeopleFile(tmp_path)
    assert "move it away" not in str(refused.value)
