"""Lines for people on stderr while a training runs."""

import sys


def say(text: str) -> None:
    """Print a line on stderr at once."""
    print(text, file=sys.stderr, flush=True)
