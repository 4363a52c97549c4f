"""A process that may be crashed by what it is given to read, or kept busy for ever: found out, and replaced.

A worker that died may have died of the photo it had. Whoever takes over its photos has them read through here:
what crashes the process, twice, is the photo's fault, and it is reported like any that cannot be read.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as TooLong
from typing import Any

from pebble import ProcessExpired, ProcessPool

from augmentor.errors import PhotoError

TRIES = 2
SECONDS = 300.0  # for one photo; the largest take some ten


class CarefulProcess:
    """One process, spawned; `close` it.

    Args:
        start: called in the process when it starts, a function of a module.
        arguments: of `start`.
        seconds: after which a photo is given up.
    """

    def __init__(
        self, start: Callable[..., None], arguments: Sequence[Any], seconds: float = SECONDS
    ) -> None:
        self._seconds = seconds
        self._pool = ProcessPool(
            1, initializer=start, initargs=arguments, context=multiprocessing.get_context("spawn")
        )

    def ask(self, photo: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a module gives in the process.

        Args:
            photo: what errors call it.
            function: reads it.
            arguments: of `function`.

        Raises:
            PhotoError: it crashed the process, or took too long, each time it was tried.
        """
        detail = ""
        for _ in range(TRIES):
            try:
                return self._pool.schedule(function, args=arguments, timeout=self._seconds).result()
            except ProcessExpired:
                detail = f"crashes the program that reads it, tried {TRIES} times"
            except TooLong:
                detail = f"not read within {self._seconds:g} s, tried {TRIES} times"
        raise PhotoError("unreadable", photo, detail)

    def close(self) -> None:
        """End the process."""
        self._pool.stop()
        self._pool.join()
