"""Wait for a job to make progress."""

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], bool], job: "subprocess.Popen[Any]", seconds: float = 200) -> None:
    """Wait until the condition holds; fail if the job ends before, or makes no progress."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert job.poll() is None, f"the job ended with {job.returncode} before the condition held"
        assert time.monotonic() < deadline, "the job makes no progress"
        time.sleep(0.05)
