"""Files that ship inside the package, each beside a card in JSON that states its SHA-256."""

import hashlib
import json
from pathlib import Path

from augmentor.errors import InputError


def read_shipped(file: Path) -> tuple[bytes, str]:
    """Return the content of a shipped file and its SHA-256, hexadecimal, which is compared with the card's.

    Raises:
        InputError: file or card is missing, or the content is not the one that the card describes.
    """
    card = file.with_suffix(".json")
    try:
        content, expected = file.read_bytes(), json.loads(card.read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: missing or damaged ({error}); install the package again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise InputError(
            f"{file}: damaged (its checksum is not that of {card.name}); install the package again"
        )
    return content, digest
