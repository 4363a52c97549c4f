"""Files that ship inside the package, each with a card of JSON beside it that knows its SHA-256."""

import hashlib
import json
from pathlib import Path

from augmentor.errors import InputError


def read_shipped(file: Path) -> tuple[bytes, str]:
    """Content of a shipped file and its SHA-256, which is checked first.

    Raises:
        InputError: file or card is missing, or the content is not the one the card describes.
    """
    card = file.with_suffix(".json")
    try:
        content, told = file.read_bytes(), json.loads(card.read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: missing or damaged, it belongs to the package ({error}); install it again"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != told:
        raise InputError(f"{file}: damaged (its checksum is not that of {card.name}); install it again")
    return content, digest
