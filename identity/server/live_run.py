"""The run as it is on disk: people enrolled or forgotten by any program count from the next answer on."""

import threading
from pathlib import Path

from identity.runs.bundle import Bundle
from identity.runs.recogniser import Recogniser

_MOST_RATES = 32


class LiveRun:
    """A run that other programs may change.

    Args:
        folder: folder of the run.

    Raises:
        InputError: The folder contains no run, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._bundle = Bundle.load(folder)
        self._recognisers: dict[float, Recogniser] = {}

    @property
    def changed(self) -> bool:
        """True if the run was saved since `current` read it."""
        return self._bundle.outdated

    def current(self) -> Bundle:
        """Return the run, which is read again if it was saved since the last call.

        Raises:
            InputError: The run is missing or damaged.
        """
        with self._lock:
            now = self._bundle.as_it_is_now()
            if now is not self._bundle:
                self._bundle, self._recognisers = now, {}
            return now

    def recogniser(self, bundle: Bundle, fpir: float) -> Recogniser:
        """Return a recogniser for the run.

        Args:
            bundle: the run that `current` returned.
            fpir: share of strangers who may be given a name.

        Raises:
            InputError: The run was calibrated with too few strangers for this rate.
        """
        # This needs the lock: a recogniser of an older run must not be stored among those of the newer run, where it
        # would continue to name people who were forgotten in between.
        with self._lock:
            if bundle is not self._bundle:
                return Recogniser(bundle, fpir)
            if fpir not in self._recognisers:
                if len(self._recognisers) >= _MOST_RATES:
                    self._recognisers.clear()
                self._recognisers[fpir] = Recogniser(bundle, fpir)
            return self._recognisers[fpir]
