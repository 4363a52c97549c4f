"""The run as it is on disk: people enrolled or forgotten by anybody, from the next answer on."""

import threading
from pathlib import Path

from identity.bundle import Bundle, last_saved
from identity.recognise import Recogniser

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
        self._saved = last_saved(folder)
        self._bundle = Bundle.load(folder)
        self._recognisers: dict[float, Recogniser] = {}

    @property
    def changed(self) -> bool:
        """Whether it was saved since `current` read it."""
        return last_saved(self.folder) != self._saved

    def current(self) -> Bundle:
        """The run, read again if it was saved since.

        Raises:
            InputError: it is gone or damaged now.
        """
        with self._lock:
            if self.changed:
                saved = last_saved(self.folder)
                bundle = Bundle.load(self.folder)
                if bundle.space == self._bundle.space:  # the same networks
                    bundle.share_networks(self._bundle)
                self._bundle, self._saved, self._recognisers = bundle, saved, {}
            return self._bundle

    def recogniser(self, bundle: Bundle, fpir: float) -> Recogniser:
        """Decides by this run.

        Args:
            bundle: what `current` returned.
            fpir: share of strangers who may be given a name.

        Raises:
            InputError: the run cannot tell that rate.
        """
        if bundle is not self._bundle:
            return Recogniser(bundle, fpir)
        if fpir not in self._recognisers:
            if len(self._recognisers) >= _MOST_RATES:
                self._recognisers.clear()
            self._recognisers[fpir] = Recogniser(bundle, fpir)
        return self._recognisers[fpir]
