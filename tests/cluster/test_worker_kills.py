"""Tests with many random kills: nothing is lost, double, different or half-written."""

from pathlib import Path

import pytest

from augmentor.made_up.people import PeopleOptions, write_people
from benchmarks.worker_kills import main

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.timeout(1200)]


def test_fifteen_kills_cost_time_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_people(tmp_path, PeopleOptions(identities=40, photos=(2, 4)), workers=2, progress=False)
    few = ["--images", "5120", "--per-class", "128", "--kills", "15", "--seed", "1"]
    assert main(["--data", str(tmp_path / "photos"), *few]) == 0
    assert "| 15 |" in capsys.readouterr().out
