"""Processes that keep names or faces from a run: albums that are being made, jobs of a server.

`identity.forget` has to know of them, because what they keep would outlast the person. A process registers itself
before it reads the run, and tells which state of the run it has; it may tell a new state only when nothing of an older
one is left with it. Forgetting waits until every process has the new state, or has ended.
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
    """A registered process; a context manager. It begins as one that has the run as it is now.

    Args:
        run: folder of the run.
        people: its file.
        doing: what the process does, for people.
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
        """Whether the run was saved since `catch_up` or the beginning."""
        return (last_saved(self._run) or 0) != self.saved

    def catch_up(self, saved: int) -> None:
        """Tell that nothing is kept that is older than this state of the run (`identity.runs.bundle.last_saved`)."""
        self.saved = saved
        self._people.still_holds(self.number, saved)


def wait_for_holders(run: Path, people: PeopleFile, seconds: float, but: Sequence[int] = ()) -> list[str]:
    """Wait until every registered process has the run as it is now; forget those that ended.

    Args:
        run: folder of the run.
        people: its file.
        seconds: how long to wait at most.
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
                "it or end it, and give this command again"
                for one in behind
            ]
        time.sleep(_POLL_SECONDS)


def _lives(described: dict[str, object]) -> bool:
    """Whether a process still runs; one on another machine may."""
    if described["host"] != socket.gethostname():
        return True
    pid = int(str(described["pid"]))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return described["began"] in (None, _began(pid))


def _began(pid: int) -> str | None:
    """When a process was started, in ticks since the system was: a number is given to other processes later.

    None where the system does not tell (it has no /proc).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19]  # field 22 of proc(5), counted from 1; 2 of them stand before the bracket
