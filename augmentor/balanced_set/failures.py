"""`failures.csv`: every photo that was not used, and the reason."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from augmentor.path_text import as_cell

NO_PHOTO = "no_photo"  # reason for an identity whose folder is empty


@dataclass(frozen=True, order=True)
class Failure:
    """One rejected photo; `photo` is empty for an identity without photos."""

    photo: str
    identity: str
    reason: str
    detail: str


def failures_csv(failures: Iterable[Failure]) -> bytes:
    """Return the table with its header, sorted, as UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "identity", "reason", "detail"])
    writer.writerows(map(as_cell, (f.photo, f.identity, f.reason, f.detail)) for f in sorted(failures))
    return text.getvalue().encode()


def by_reason(failures: Sequence[Failure]) -> str:
    """Return the number of photos for each reason, the most frequent first: `no_face 4, too_small 1`."""
    counts = Counter(f.reason for f in failures if f.photo)
    return ", ".join(
        f"{reason} {n}" for reason, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
