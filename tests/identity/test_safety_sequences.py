"""Random sequences of commands that are killed and repeated, from `tests.identity.safety_sequences`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run_sequences(first: int, count: int, steps: int, seconds: float) -> str:
    """Run sequences in another process, because this one has threads and cannot fork safely; return its output."""
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
    output = run_sequences(0, 25, 5, 280)
    assert "25 sequences: nothing destroyed" in output
    # the sequences contain enough kills and enough commands of each kind
    assert output.count("killed at") >= 25
    assert output.count("forget ") >= 15 and output.count("organise ") >= 15


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are killed in forked processes")
@pytest.mark.parametrize("first", range(1000, 1500, 100))
def test_nothing_of_the_users_is_destroyed_and_nothing_of_a_forgotten_person_left_in_100_more(
    first: int,
) -> None:
    assert "100 sequences: nothing destroyed" in run_sequences(first, 100, 8, 3000)
