"""Renaming and merging people, by hand-worked templates."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from augmentor.errors import InputError
from identity.people import main
from identity.runs.bundle import Bundle
from identity.runs.renaming import merged, photo_counts, renamed
from tests.identity.changed_run import crowding_of, with_crowding, with_people
from tests.identity.test_enrol import trained


@pytest.fixture
def bundle() -> Bundle:
    """Three people on axes of their own, with 3, 1 and no photos."""
    made = trained(people=3)
    rows = [("person 0", 3), ("person 1", 1)]
    sources = pa.Table.from_pylist(
        [
            {"photo": f"{n} {k}", "sha256": f"{n}{k}", "phash": k, "identity": n}
            for n, c in rows
            for k in range(c)
        ],
        made.sources.schema,
    )
    axes = np.eye(3, dtype=np.float32)
    crowding = np.array([0.1, 0.5, 0.3], np.float32)
    return with_crowding(
        with_people(made, part_templates={"dlib": axes, "head": axes}, sources=sources), crowding
    )


def test_a_new_name_changes_nothing_else(bundle: Bundle) -> None:
    found = renamed(bundle, "person 1", "Ben")
    assert found.labels == ("person 0", "Ben", "person 2")
    assert photo_counts(found) == {"person 0": 3, "Ben": 1, "person 2": 0}
    np.testing.assert_array_equal(found.templates, bundle.templates)
    assert photo_counts(bundle)["person 1"] == 1


def test_two_made_one_lie_between_the_two_nearer_to_the_one_with_more_photos(bundle: Bundle) -> None:
    found = merged(bundle, "person 1", "person 0")
    assert found.labels == ("person 0", "person 2") and photo_counts(found) == {"person 0": 4, "person 2": 0}
    np.testing.assert_allclose(found.part_templates["dlib"][0], np.array([3, 1, 0]) / np.sqrt(10), atol=1e-6)
    assert crowding_of(found)[0] == pytest.approx(0.75 * 0.1 + 0.25 * 0.5)
    np.testing.assert_array_equal(found.part_templates["dlib"][1], [0, 0, 1])


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        (renamed, ("nobody", "x"), "not enrolled"),
        (renamed, ("person 0", "person 1"), "of this name already"),
        (renamed, ("person 0", " "), "empty"),
        (merged, ("person 0", "nobody"), "not enrolled"),
        (merged, ("person 0", "person 0"), "itself"),
    ],
)
def test_what_cannot_be_is_refused(bundle: Bundle, change, names, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        change(bundle, *names)


def test_the_command_lists_renames_and_merges(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle.save(tmp_path)
    model = ["--model", str(tmp_path)]
    assert main([*model, "--rename", "person 2", "Zoë"]) == 0
    assert main([*model, "--merge", "person 1", "Zoë"]) == 0
    capsys.readouterr()
    assert main(model) == 0
    assert capsys.readouterr().out == "person 0\t3\nZoë\t1\n"
    assert main([*model, "--rename", "gone", "x"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
