"""Waiting for a job to come so far."""

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], bool], job: "subprocess.Popen[Any]", seconds: float = 200) -> None:
    """Until the condition holds; fails if the job ends before, or stands still."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert job.poll() is None, f"the job ended with {job.returncode} before it came so far"
        assert time.monotonic() < deadline, "the job does not get on"
        time.sleep(0.05)
