"""The run as it is on disk: people enrolled or forgotten by anybody, from the next answer on."""

import threading
from pathlib import Path

from identity.runs.bundle import Bundle
from identity.runs.recogniser import Recogniser

_MOST_RATES = 32


class LiveRun:
    """A run that other processes may change.

    Args:
        folder: of the run.

    Raises:
        InputError: no run, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._bundle = Bundle.load(folder)
        self._recognisers: dict[float, Recogniser] = {}

    @property
    def changed(self) -> bool:
        """Whether it was saved since `current` read it."""
        return self._bundle.outdated

    def current(self) -> Bundle:
        """Return the run, read again if it was saved since.

        Raises:
            InputError: it is gone or damaged now.
        """
        with self._lock:
            now = self._bundle.as_it_is_now()
            if now is not self._bundle:
                self._bundle, self._recognisers = now, {}
            return now

    def recogniser(self, bundle: Bundle, fpir: float) -> Recogniser:
        """Return what decides by this run.

        Args:
            bundle: what `current` returned.
            fpir: share of strangers who may be given a name.

        Raises:
            InputError: the run cannot tell that rate.
        """
        # under the lock: a recogniser of an older run must not be kept as one of the newer, where it would go on naming
        # whoever was forgotten between the two
        with self._lock:
            if bundle is not self._bundle:
                return Recogniser(bundle, fpir)
            if fpir not in self._recognisers:
                if len(self._recognisers) >= _MOST_RATES:
                    self._recognisers.clear()
                self._recognisers[fpir] = Recogniser(bundle, fpir)
            return self._recognisers[fpir]
