"""Random sequences of commands on a run: people are enrolled, renamed and forgotten, albums made and undone.

Run as a program: `python -m tests.identity.safety_sequences FIRST COUNT [STEPS]`. Each sequence has a number, which is
the seed of all its random choices. Each step runs in a process of its own, which may be killed when it is about to
touch a file; the step is then repeated until it ends by itself. After every step:

    no file that this software did not make has changed or vanished, wherever it is
    a photo that the user deleted is still in the albums, if it was there as a link or copy

After a `forget` that ends with 0, a search of every byte of every file must find neither the person's names nor their
template, embeddings, images or album files. The search shares no code with the software.
"""

import html
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import traceback
import unicodedata
import urllib.parse
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balanced_set.manifest import ManifestRow, write_manifest
from augmentor.balanced_set.part_records import Account, PartRecord
from augmentor.errors import LikenessError
from augmentor.faces.face_source import DEFAULT, SOURCES
from augmentor.photos.images import encode_jpeg
from augmentor.photos.place import FileStamp
from identity.albums.page import write_pages
from identity.albums.sorting import organise, undo
from identity.forgetting.forget_person import forget, refuse_forgotten
from identity.runs import holders
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile
from identity.runs.enrolment import enrol
from identity.runs.recogniser import Recogniser
from identity.runs.renaming import merged, renamed
from tests.identity.changed_run import with_people
from tests.identity.runs.test_recogniser import SquareFaces, photo
from tests.identity.test_enrol import ColourEmbedder, trained
from tests.stand_in_faces import one_face

NAMES = ["Ann Ü", "O'Brien", "Ada:B", "写真", "a", "Bo & Co", "[test]", "A#B?c=1", "Zoë", "Ada_B", "x<b>"]
_ENDED, _REFUSED, _LEFT = 0, 2, 1


class World:
    """The folders of a user: photos, a balanced set, a run and albums, with the user's own files in and around them."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random = root, random.Random(seed)
        self.run, self.set, self.photos, self.albums = (root / n for n in ("run", "set", "photos", "albums"))
        self.mine: dict[Path, bytes] = {}
        self.deleted: set[bytes] = set()  # photos that the user deleted while the albums had them
        self.how = self.random.choice(["hard", "copy", "symlink"])
        self._make_run()
        self._make_photos()
        for _ in range(self.random.randint(3, 8)):
            self._own_file()

    def _make_run(self) -> None:
        people = 6
        names = self.random.sample(NAMES, people)
        bundle = trained(people, seed=self.random.randrange(10**6))
        rows, sources, stamps = [], [], {}
        for name in names[:4]:  # the others were enrolled later
            for number in range(2):
                content = self.random.randbytes(self.random.randint(50, 90))
                photo_path, sha = f"{name}/{number}.jpg", f"{self.random.getrandbits(128):032x}"
                file = f"{name}/{number}-{self.random.getrandbits(32):08x}.jpg"
                self._write(self.set / file, content)
                self._write(self.set / "300w-lp" / file, content)
                self._write((self.set / "300w-lp" / file).with_suffix(".mat"), self.random.randbytes(20))
                rows.append(_row(file, name, photo_path, sha, len(content)))
                sources.append({"photo": photo_path, "sha256": sha, "phash": 1, "identity": name})
                stamps[photo_path] = FileStamp(30, 1)
            held = self.random.randbytes(30)
            self._write(self.set / "holdout" / name / "9.jpg", held)
            stamps[f"{name}/9.jpg"] = FileStamp(len(held), 1)
        write_manifest(self.set / "manifest.parquet", rows)
        account = Account(dict.fromkeys(names[:4], 3), {}, 0, 0, 0, [], [])
        record = PartRecord(stamps, [0, 1, 2, 3], "", account)
        self._write(self.set / ".work" / "parts" / "01-00000000.json", record.to_bytes())
        self._write(self.set / "report" / "renders.jpg", self.random.randbytes(40))
        about = bundle.about | {
            "config": {"data": str(self.set.resolve()), "cache": None},
            "home": str(self.run.resolve()),
        }
        table = pa.Table.from_pylist(sources, bundle.sources.schema)
        replace(with_people(bundle, labels=tuple(names), sources=table), about=about).save(self.run)

    def _make_photos(self) -> None:
        bundle = Bundle.load(self.run)
        for number in range(7):
            colours = [self._colour(bundle) for _ in range(self.random.choice([1, 1, 1, 2]))]
            path = self.photos / self.random.choice(["", "deeper/", "other/"]) / f"{number}.png"
            self._write(path, encode_jpeg(photo(*colours), self.random.randint(90, 99)))
            self.mine[path] = path.read_bytes()

    def _colour(self, bundle: Bundle) -> tuple[int, int, int]:
        template = bundle.part_templates["dlib"][self.random.randrange(len(bundle.labels))]
        noise = np.array([self.random.gauss(0, 0.05) for _ in range(3)])
        red, green, blue = (int(v) for v in np.rint(100 + 90 * (template + noise)).clip(1, 254))
        return red, green, blue

    def _own_file(self) -> None:
        """Put a file of the user's where the software might overwrite or delete it."""
        labels = Bundle.load(self.run).labels
        name = self.random.choice(labels)
        places = [
            *(self.root / "thesis.txt", self.root / "neighbour" / "1.jpg", self.run / "mine.bin"),
            *(self.set / "readme", self.set / "report" / "mine.png", self.set / "shards" / "mine.tar"),
            *(self.albums / "index.html", self.albums / "albums.csv", self.albums / ".thumbnails" / "m.jpg"),
            *(self.albums / "unknown" / "x.jpg", self.albums / "no face" / "0.png", self.albums / "3.png"),
            *(self.set / "holdout" / "list.txt", self.set / ".work" / "mine"),
            *(self.set / name / "mine.jpg", self.albums / name / "0.png", self.set / "holdout" / name / "m"),
        ]
        path = self.random.choice(places)
        if not os.path.lexists(path):
            self._write(path, b"the user's own " + self.random.randbytes(8))
            self.mine[path] = path.read_bytes()

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def step(self) -> None:
        """Do one thing, as the software or as the user, and check every file."""
        kinds = [self._enrol, self._rename, self._merge, self._forget, self._forget]
        kinds += [self._organise, self._organise, self._undo, self._as_user, self._as_user]
        self.random.choice(kinds)()
        self.check()

    def check(self) -> None:
        """Check that none of the user's files has changed or vanished."""
        for path, content in self.mine.items():
            assert path.is_file(), f"{path} vanished"
            assert path.read_bytes() == content, f"{path} changed"
        there = {p.read_bytes() for p in self.albums.rglob("*") if p.is_file()}
        assert self.deleted <= there, "the last copy of a photo is gone"

    # ------------------------------------------------------------------ what the software does

    def _label(self) -> str:
        return self.random.choice(Bundle.load(self.run).labels)

    def _enrol(self) -> None:
        name = self.random.choice([*NAMES, "..", "holdout", "Anna."])
        chip = np.full((8, 8, 3), self._colour(Bundle.load(self.run)), np.uint8)
        digest = f"{self.random.getrandbits(128):032x}"
        probe = one_face(Path(f"{digest}.jpg"), chip, digest, self.random.getrandbits(62))

        def act() -> int:
            with PeopleFile(self.run) as people, people.exclusive():
                refuse_forgotten(people, name)
                enrol(Bundle.load(self.run), name, [probe]).save(self.run)
            return _ENDED

        self._run_command(f"enrol {name}", act)

    def _rename(self) -> None:
        old, new = self._label(), self.random.choice([*NAMES, "..", "Anna "])

        def act() -> int:
            with PeopleFile(self.run) as people, people.exclusive():
                refuse_forgotten(people, new)
                renamed(Bundle.load(self.run), old, new).save(self.run)
            return _ENDED

        self._run_command(f"rename {old} {new}", act)

    def _merge(self) -> None:
        one, into = self._label(), self._label()

        def act() -> int:
            with PeopleFile(self.run) as people, people.exclusive():
                merged(Bundle.load(self.run), one, into).save(self.run)
            return _ENDED

        self._run_command(f"merge {one} {into}", act)

    def _organise(self) -> None:
        if self.random.random() < 0.2:
            self.how = self.random.choice(["hard", "copy", "symlink"])

        def act() -> int:
            recogniser = Recogniser(Bundle.load(self.run), 0.1)
            recogniser.threshold = 0.0
            with PeopleFile(self.run) as people, holders.Holder(self.run, people, "organise"):
                albums = organise(recogniser, self.photos, self.albums, people, how=self.how)
                write_pages(albums, people, self.photos.resolve(), self.albums.resolve())
            return _ENDED

        self._run_command(f"organise {self.how}", act)

    def _undo(self) -> None:
        def act() -> int:
            with PeopleFile(self.run) as people:
                undo(self.albums, people)
            return _ENDED

        self._run_command("undo", act)

    def _forget(self) -> None:
        name = self._label()
        if len(Bundle.load(self.run).labels) < 3:
            return
        expected = _Person(self, name)

        def act() -> int:
            with PeopleFile(self.run) as people:
                forgotten = forget(self.run, name, people, wait_seconds=0.2)
            for line in forgotten.left:
                print(f"    left: {line}", flush=True)
            return _LEFT if forgotten.left else _ENDED

        code = self._run_command(f"forget {name}", act)
        assert code in (_ENDED, _LEFT), f"forget {name} was refused"
        assert name not in Bundle.load(self.run).labels
        if code == _ENDED:
            expected.must_be_gone()

    def _run_command(self, what: str, act: Callable[[], int]) -> int:
        """Run a command; it is killed at most twice, when it is about to touch a file, and then repeated."""
        for turn in range(3):
            at = self.random.randint(1, 60) if turn < 2 and self.random.random() < 0.6 else 0
            code = _in_a_process(act, at)
            self.check()
            print(f"  {what}{f' killed at {at}' if code is None else ''}: {code}", flush=True)
            if code is not None:
                return code
        raise AssertionError(f"{what} was killed, but not by this program")

    # ------------------------------------------------------------------ what the user does

    def _as_user(self) -> None:
        self.random.choice(
            [self._own_file, self._delete_photo, self._edit_page, self._edit_album, self._move]
        )()

    def _delete_photo(self) -> None:
        photos = sorted(path for path in self.mine if self.photos in path.parents)
        if len(photos) < 3:
            return
        path = self.random.choice(photos)
        content = self.mine.pop(path)
        others = [mine for file, mine in self.mine.items() if self.photos in file.parents]
        in_albums = [p for p in self.albums.rglob("*") if p.is_file() and not p.is_symlink()]
        if content not in others and any(p.read_bytes() == content for p in in_albums):
            self.deleted.add(content)
        path.unlink()
        print(f"  the user deletes {path.name}", flush=True)

    def _edit_page(self) -> None:
        for name in ("index.html", "albums.json"):
            path = self.albums / name
            if path.is_file() and path not in self.mine:
                path.write_bytes(b"edited by the user " + self.random.randbytes(8))
                self.mine[path] = path.read_bytes()
                print(f"  the user edits {name}", flush=True)
                return

    def _edit_album(self) -> None:
        files = [
            p for p in self.albums.rglob("*.png") if p.is_file() and not p.is_symlink() and p not in self.mine
        ]
        files = [p for p in files if p.stat().st_nlink == 1 and p.read_bytes() not in self.deleted]
        if files:
            path = self.random.choice(sorted(files))
            path.write_bytes(b"painted by the user " + self.random.randbytes(8))
            self.mine[path] = path.read_bytes()
            print(f"  the user paints {path.name}", flush=True)

    def _move(self) -> None:
        """Move the photos to another folder."""
        target = self.root / f"library {self.random.randrange(10**6)}"
        self.photos.rename(target)
        self.mine = {_moved(path, self.photos, target): content for path, content in self.mine.items()}
        self.photos = target
        print("  the user moves the photos", flush=True)


class _Person:
    """Everything that exists of a person before forgetting, to check afterwards that it is gone."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        bundle = Bundle.load(world.run)
        index = bundle.labels.index(name)
        self.names = {name, *bundle.former_names.get(name, [])} - ({*bundle.labels} - {name})
        self.bytes = [rows[index].astype(np.float32).tobytes() for rows in bundle.part_templates.values()]
        self.bytes += [
            side[index].astype(np.float32).tobytes()
            for rows in bundle.people.side_templates.values()
            for side in rows
        ]
        shas = {row["sha256"] for row in bundle.sources.to_pylist() if row["identity"] == name}
        manifest = pq.read_table(world.set / "manifest.parquet").to_pylist()
        self.images = [row["file"] for row in manifest if row["source_sha256"] in shas]
        self.contents = [(world.set / f).read_bytes() for f in self.images if (world.set / f).is_file()]
        self.bytes += self._embeddings()

    def _embeddings(self) -> list[bytes]:
        """Return the embeddings of the faces in photos that are in the person's album."""
        if not (self.world.run / "people.sqlite").is_file():
            return []
        db = sqlite3.connect(self.world.run / "people.sqlite")
        try:
            rows = db.execute(
                "SELECT album, embedding FROM placed JOIN photos ON photos.path = placed.photo "
                "JOIN faces ON faces.photo = photos.id"
            ).fetchall()
        except sqlite3.Error:  # nothing was organised yet
            return []
        finally:
            db.close()
        return [embedding for album, embedding in rows if album in self.names]

    def must_be_gone(self) -> None:
        """Search every byte of every file for the person.

        Raises:
            AssertionError: Something of the person is left.
        """
        mine = set(self.world.mine)
        for path in sorted(self.world.root.rglob("*")):
            if path in mine or self.world.photos in path.parents or path == self.world.photos:
                continue
            where = path.relative_to(self.world.root)
            if path.is_dir() and any(file in mine for file in path.rglob("*")):
                continue  # the user's own file is in it
            for name in self.names:
                assert name not in where.parts, f"{where} is called {name}"
            if not path.is_file():
                continue
            raw = path.read_bytes()
            text = _readable(path, raw)
            for name in self.names:
                assert not any(_has(text, s, name) for s in _spellings(name)), f"{where} has {name}"
            for piece in self.bytes:
                assert piece not in raw, f"{where} has a template or an embedding"
            for content in self.contents:
                assert content not in raw, f"{where} has an image"


def _spellings(name: str) -> set[bytes]:
    decomposed = unicodedata.normalize("NFD", name)
    escaped = {html.escape(name), json.dumps(name)[1:-1], urllib.parse.quote(name)}
    return {s.encode() for s in {name, decomposed, *escaped}}


def _has(text: bytes, spelling: bytes, name: str) -> bool:
    """Return whether a text contains a name.

    Every file contains a name of one letter, so this counts only between quotes, slashes or tags. A longer name may be
    the beginning of another person's folder: `Ada_B ~e45f48153b` is the folder of `Ada:B`.
    """
    if len(name) > 1:
        return re.search(re.escape(spelling) + rb"(?!(?: |%20)~[0-9a-f]{10})", text) is not None
    return any(a + spelling + b in text for a, b in ((b'"', b'"'), (b"/", b"/"), (b">", b"<"), (b",", b",")))


def _readable(path: Path, raw: bytes) -> bytes:
    """Return the bytes of a file, followed by the unpacked bytes of what it contains."""
    if path.suffix == ".parquet":
        return raw + repr(pq.read_table(io.BytesIO(raw)).to_pydict()).encode()
    if path.suffix == ".npz":
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return raw + b"".join(archive.read(member) for member in archive.namelist())
    return raw


def _row(file: str, identity: str, source: str, sha256: str, size: int) -> ManifestRow:
    return ManifestRow(
        file=file,
        identity=identity,
        kind="photo",
        source=source,
        source_sha256=sha256,
        source_phash=1,
        face=0,
        shape=None,
        expression=None,
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        light=0,
        effects="",
        landmarks=np.zeros((68, 2), np.float32),
        visible=np.ones(68, bool),
        size=64,
        seed=0,
        bytes=size,
    )


def _moved(path: Path, old: Path, new: Path) -> Path:
    return new / path.relative_to(old) if old in path.parents else path


_TOUCHES = frozenset(
    ["open", "os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"]
)


def _in_a_process(act: Callable[[], int], kill_at: int) -> int | None:
    """Run an action in a process of its own; return its exit code, or None if it was killed.

    Args:
        act: the action.
        kill_at: the process kills itself just before it touches files for the `kill_at`-th time; 0 for never.
    """
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, f"died of signal {os.WTERMSIG(status)}"
            return None
        code = os.waitstatus_to_exitcode(status)
        assert code in (_ENDED, _LEFT, _REFUSED), f"ended with {code}"
        return code
    touched = 0

    def count(event: str, _arguments: tuple) -> None:
        nonlocal touched
        if event in _TOUCHES:
            touched += 1
            if touched == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 70
    try:
        if kill_at:
            sys.addaudithook(count)
        code = act()
    except LikenessError as error:
        print(f"    {error}", flush=True)
        code = _REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_sequence(seed: int, steps: int) -> None:
    """Run one sequence.

    Args:
        seed: number of the sequence.
        steps: number of steps.

    Raises:
        AssertionError: Something was destroyed or left behind.
    """
    root = Path(tempfile.mkdtemp(prefix="likeness-life-")).resolve()
    try:
        world = World(root, seed)
        world.check()
        for _ in range(steps):
            world.step()
    finally:
        shutil.rmtree(root)


def main(first: int, count: int, steps: int = 8) -> int:
    """Run `count` sequences from number `first` on; print each number and what happens in its steps."""
    SOURCES[DEFAULT] = SquareFaces
    Bundle.networks = property(lambda _self: ColourEmbedder())  # type: ignore[assignment, method-assign]
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="likeness-cache-")
    for seed in range(first, first + count):
        print(f"sequence {seed}", flush=True)
        run_sequence(seed, steps)
    print(f"{count} sequences: nothing destroyed, nothing left behind", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
