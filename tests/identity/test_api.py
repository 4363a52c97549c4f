"""What `from identity import ...` promises: its names, their signatures, its price, and the examples of docs/api.md."""

import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import identity
from augmentor.made_up.people import PeopleOptions, write_people
from identity.runs.bundle import Bundle
from tests.jobs.dlib_run import write_dlib_run

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
# Change these on purpose only, and say so in CHANGELOG.md.
FUNCTIONS = {
    "load_run": "(folder)",
    "name_faces": "(run, photos, *, fpir=0.01, faces='all', workers=1)",
    "compare_photos": "(photo_a, photo_b, *, model='both', fmr=0.001, face='largest')",
    "enrolled_people": "(folder)",
    "enrol_person": "(folder, name, photos, *, face='central')",
    "forget_person": "(folder, name, *, data=None, deleted=())",
}
CLASSES = {
    "Recogniser": {
        "__init__": "(self, bundle, fpir=0.01, policy='all', source=None)",
        "files": "(self, paths, workers=1)",
        "images": "(self, images, names=None)",
    },
    "Client": {
        "__init__": "(self, url, key=None, patience=60, timeout=600)",
        "identify": "(self, photos, fpir=None)",
        "verify": "(self, a, b, fmr=0.001)",
        "organise": "(self, photos, out, every=1.0)",
        "people": "(self)",
        "enrol": "(self, name, photos)",
        "forget": "(self, name)",
    },
    "Recognition": {"as_json": "(self)"},
    "NamedFace": {"as_json": "(self)"},
    "ServerError": {"__init__": "(self, status, kind, detail)"},
    "PhotoError": {"__init__": "(self, reason, path='', detail='')"},
    "Bundle": {},
    "Enrolment": {},
    "Forgotten": {},
    "InputError": {},
    "LikenessError": {},
}
FIELDS = {
    "Recognition": {"photo", "status", "reason", "detail", "faces"},
    "NamedFace": {
        *("box", "landmarks", "pose", "name", "score", "probability", "quality", "embedding", "best"),
    },
    "Enrolment": {"name", "photos", "left_out", "looks_like"},
    "Forgotten": {"removed", "originals", "left"},
}


def signature(function: object) -> str:
    """Return the parameters of a function with their defaults, without annotations."""
    parameters_of = inspect.signature(function)  # type: ignore[arg-type]
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in parameters_of.parameters.values()]
    return str(parameters_of.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_public_names_and_signatures_change_only_on_purpose() -> None:
    assert set(identity.__all__) == {*FUNCTIONS, *CLASSES} and identity.__all__ == sorted(identity.__all__)
    for name, expected in FUNCTIONS.items():
        assert signature(getattr(identity, name)) == expected, name
    for name, methods in CLASSES.items():
        for method, expected in methods.items():
            assert signature(getattr(getattr(identity, name), method)) == expected, (name, method)
    for name, fields in FIELDS.items():
        assert fields <= set(getattr(identity, name).__dataclass_fields__), name
    assert {"labels", "model_card", "thresholds"} <= set(dir(Bundle)) | set(Bundle.__dataclass_fields__)


def test_every_public_name_is_documented_and_explains_itself() -> None:
    table = PAGE[: PAGE.index("\n## ")]
    for name in identity.__all__:
        assert f"`{name}" in table, name
        assert inspect.getdoc(getattr(identity, name)), name


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'identity' has no attribute 'load_rum'"):
        identity.load_rum  # noqa: B018
    with pytest.raises(ImportError):
        exec("from identity import load_rum")


def test_importing_identity_loads_nothing_and_asking_for_a_run_does() -> None:
    program = (
        "import sys, identity\n"
        "print(sorted({'numpy', 'cv2', 'tensorflow'} & set(sys.modules)), 'load_run' in dir(identity))\n"
        "from identity import Client, load_run\n"
        "print('tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (result.stdout, result.stderr) == ("[] True\nFalse\n", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that docs/api.md names: a run of a made-up person, and photos of two."""
    folder = tmp_path_factory.mktemp("api")
    write_people(folder, PeopleOptions(identities=2, photos=(4, 4)), workers=1, progress=False)
    enrolled, newcomer = sorted((folder / "photos").iterdir())
    (folder / "holiday").mkdir()
    for photo, name in zip(sorted(newcomer.iterdir()), ("ada1", "ada2", "passport", "selfie"), strict=True):
        photo.rename(folder / f"{name}.jpg")
    party, beach, *_ = sorted(enrolled.iterdir())
    party.rename(folder / "party.jpg")
    beach.rename(folder / "holiday" / "beach.jpg")
    write_dlib_run(folder / "photos", [enrolled.name], folder / "runs" / "mine")
    bundle = Bundle.load(folder / "runs" / "mine")
    about = {"results": {"render_weight": 0.0, "seed": 0}}
    replace(bundle, about=about).save(folder / "runs" / "mine")
    return folder


def test_the_examples_of_the_page_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        if "Client(" not in example:  # which needs a server; tests/server/test_client.py has one
            exec(compile(example, "docs/api.md", "exec"), names)
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith("enrolled: ")
    assert lines[1].startswith("party.jpg [(") and lines[2].startswith(str(Path("holiday/beach.jpg")))
    assert "'photo': 'frame 17', 'status': 'no_face'" in lines[3]
    assert lines[4].startswith("True 0.") or lines[4].startswith("True 1.0")
    assert "ada1.jpg" in lines[5] and lines[6] == "2 photos"
    assert "no/such/run" in lines[7] and len(lines) == 9
