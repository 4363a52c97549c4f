"""Put on PYTHONPATH by tests: reading a photo that contains `POISON` kills the process, as a faulty decoder would."""

import os
import signal
from typing import Any

from augmentor.photos import images

_load_photo = images.load_photo


def load_photo(source: Any, **options: Any) -> Any:
    """As the real one, but for what it dies of."""
    if isinstance(source, bytes) and b"POISON" in source:
        os.kill(os.getpid(), signal.SIGSEGV)
    return _load_photo(source, **options)


images.load_photo = load_photo
