"""Processes that keep names or faces of a run: albums that are being made, jobs of a server.

`identity.forget` must know about them, because what they keep would outlast the forgotten person. A process registers
itself before it reads the run and records which state of the run it has. It may record a newer state only when it keeps
nothing of an older one. Forgetting waits until every process has the new state or has ended.
"""

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from identity.runs.bundle import last_saved
from identity.runs.collection import PeopleFile

_POLL_SECONDS = 0.1


class Holder:
    """A registered process, as a context manager; it starts with the state that the run has now.

    Args:
        run: folder of the run.
        people: file of the run's people.
        doing: what the process does, for messages.
    """

    def __init__(self, run: Path, people: PeopleFile, doing: str) -> None:
        self._run, self._people = run, people
        self.saved = last_saved(run) or 0
        described = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "began": _began(os.getpid()),
            "doing": doing,
        }
        self.number = people.hold(json.dumps(described), self.saved)

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *_error: object) -> None:
        self._people.release(self.number)

    @property
    def outdated(self) -> bool:
        """True if the run was saved since `catch_up` or the beginning."""
        return (last_saved(self._run) or 0) != self.saved

    def catch_up(self, saved: int) -> None:
        """Record that this process keeps nothing older than this state (`identity.runs.bundle.last_saved`)."""
        self.saved = saved
        self._people.still_holds(self.number, saved)


def wait_for_holders(run: Path, people: PeopleFile, seconds: float, but: Sequence[int] = ()) -> list[str]:
    """Wait until every registered process has the present state of the run, and unregister those that have ended.

    Args:
        run: folder of the run.
        people: file of the run's people.
        seconds: longest time to wait.
        but: numbers of holders that are not waited for.

    Returns:
        A line for each process that still has an older state.
    """
    until = time.monotonic() + seconds
    while True:
        saved = last_saved(run) or 0
        behind = []
        for number, process, state in people.holders():
            described = json.loads(process)
            if not _lives(described):
                people.release(number)
            elif state != saved and number not in but:
                behind.append(described)
        if not behind or time.monotonic() >= until:
            return [
                f"process {one['pid']} on {one['host']} ({one['doing']}) still has the run as it was before; wait for "
                "it or end it, and run this command again"
                for one in behind
            ]
        time.sleep(_POLL_SECONDS)


def _lives(described: dict[str, object]) -> bool:
    """Return whether a process still runs; a process on another machine is taken to run."""
    if described["host"] != socket.gethostname():
        return True
    pid = int(str(described["pid"]))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs under another user
        return True
    return described["began"] in (None, _began(pid))


def _began(pid: int) -> str | None:
    """Return when a process was started, in ticks since the system started; None where the system has no /proc.

    It tells a process from a later one with the same number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19]  # field 22 of proc(5), counted from 1; 2 of them stand before the bracket
