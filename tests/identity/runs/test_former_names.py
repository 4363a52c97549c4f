"""A name that a person had before cannot be given to somebody else: files under it are the first one's."""
# ruff: noqa: F811  (fixtures of another module)

from pathlib import Path

import pytest

from augmentor.errors import InputError
from identity.runs.bundle import Bundle
from identity.runs.renaming import merged, renamed
from tests.identity.test_forget import ANN, run  # noqa: F401


def test_nobody_can_get_the_former_name_of_somebody_else(run: Path) -> None:
    bundle = renamed(Bundle.load(run), ANN, "Zed")
    with pytest.raises(InputError, match="a name of Zed before"):
        bundle.people.checked_name(ANN)
    with pytest.raises(InputError, match="a name of Zed before"):
        renamed(bundle, "person 0", ANN)
    other = bundle.labels[0] if bundle.labels[0] != "Zed" else bundle.labels[1]
    with pytest.raises(InputError, match=f"a name of {other} before"):
        merged(bundle, "Zed", other).people.checked_name(ANN)


def test_a_person_can_have_a_former_name_of_its_own_again(run: Path) -> None:
    bundle = renamed(renamed(Bundle.load(run), ANN, "Zed"), "Zed", ANN)
    assert ANN in bundle.labels and bundle.former_names == {ANN: ["Zed"]}
