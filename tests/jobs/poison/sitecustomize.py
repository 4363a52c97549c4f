"""Let photos that contain `POISON` kill the process that reads them, like a faulty decoder; used through PYTHONPATH."""

import os
import signal
from typing import Any

from augmentor.photos import images

_load_photo = images.load_photo


def load_photo(source: Any, **options: Any) -> Any:
    """Load a photo with the real function, or kill the process."""
    if isinstance(source, bytes) and b"POISON" in source:
        os.kill(os.getpid(), signal.SIGSEGV)
    return _load_photo(source, **options)


images.load_photo = load_photo
