"""Finding model files, fetching those that no package brings, and noticing damaged ones."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from augmentor.errors import InputError
from augmentor.model_files import model_store
from augmentor.model_files.known_models import FACE_EMBEDDING, LANDMARKS_68
from augmentor.model_files.model_store import checked_model, model_path


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
