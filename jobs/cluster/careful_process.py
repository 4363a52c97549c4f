"""A process that reads photos which may crash it or keep it busy for ever; it is replaced when that happens.

A photo may have killed the worker that read it. The worker that takes over its photos reads them through this process.
A photo that crashes the process twice is at fault, and is reported like any photo that cannot be read.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as TooLong
from typing import Any

from pebble import ProcessExpired, ProcessPool

from augmentor.errors import PhotoError

TRIES = 2
SECONDS = 300.0  # for one photo; the largest take about ten


class CarefulProcess:
    """One spawned process; call `close` at the end.

    Args:
        start: a function of a module, which is called in the process when it starts.
        arguments: arguments of `start`.
        seconds: time after which a photo is given up.
    """

    def __init__(
        self, start: Callable[..., None], arguments: Sequence[Any], seconds: float = SECONDS
    ) -> None:
        self._seconds = seconds
        self._pool = ProcessPool(
            1, initializer=start, initargs=arguments, context=multiprocessing.get_context("spawn")
        )

    def ask(self, photo: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the process and return its result.

        Args:
            photo: what error messages call the photo.
            function: a function of a module, which reads the photo.
            arguments: arguments of `function`.

        Raises:
            PhotoError: the function crashed the process, or took too long, each time it was tried.
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
