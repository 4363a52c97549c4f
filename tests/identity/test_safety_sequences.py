"""Random sequences of commands, killed and repeated: see `tests.identity.safety_sequences`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def lives(first: int, count: int, steps: int, seconds: float) -> str:
    """The output of a process that forks: this one has threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.identity.safety_sequences", *map(str, (first, count, steps))],
        cwd=ROOT,
        env=os.environ | {"PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are killed in forked processes")
def test_nothing_of_the_users_is_destroyed_and_nothing_of_a_forgotten_person_left_in_25_random_sequences() -> (
    None
):
    said = lives(0, 25, 5, 280)
    assert "25 sequences: nothing destroyed" in said
    # the sequences do what they are for
    assert said.count("killed at") >= 25 and said.count("forget ") >= 15 and said.count("organise ") >= 15


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are killed in forked processes")
@pytest.mark.parametrize("first", range(1000, 1500, 100))
def test_nothing_of_the_users_is_destroyed_and_nothing_of_a_forgotten_person_left_in_100_more(
    first: int,
) -> None:
    assert "100 sequences: nothing destroyed" in lives(first, 100, 8, 3000)
