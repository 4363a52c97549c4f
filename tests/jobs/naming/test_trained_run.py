"""What the identify job says of a folder that is no run which this program reads."""

import json
from pathlib import Path

import pytest

from augmentor.errors import InputError
from jobs.naming.trained_run import check_run


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps({"version": 5}), "version 5 of the bundle, this program reads"),
        ("[]", "damaged"),
        ("{", "damaged"),
        (json.dumps({"version": 7}), "damaged"),
    ],
)
def test_a_run_of_another_version_or_a_damaged_one_is_one_line(
    tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(InputError, match=says):
        check_run(str(tmp_path), 0.01)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained model here"):
        check_run(str(tmp_path), 0.01)
