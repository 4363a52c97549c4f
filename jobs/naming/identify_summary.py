"""Describe a run of `jobs/identify.py`: the lines at the end for people, `TABLE.summary.json` for programs.

The summary describes the last run that did something, and is the only file that differs from run to run.
"""

import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jobs.cluster.worker_pool import Losses, deaths_told
from jobs.naming.batch_worker import STAGES, BatchDone
from jobs.naming.names_table import Counts


@dataclass
class IdentifyTotals:
    """Sums over batches, added one by one.

    Attributes:
        counts: counts of all rows.
        made: counts of the rows made in this run.
        batches: number of batches.
        unchanged: number of batches that earlier runs had done.
        seconds: seconds by stage, over all workers.
        bytes_read: bytes of photos.
        kept: photos read in this run whose rows were in an earlier table.
        more_pages: photos with pages after the first, among those named in this run.
    """

    counts: Counts = field(default_factory=Counts)
    made: Counts = field(default_factory=Counts)
    batches: int = 0
    unchanged: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    bytes_read: int = 0
    kept: int = 0
    more_pages: int = 0

    def add(self, done: BatchDone) -> None:
        """Add one more batch."""
        self.counts.add(done.counts)
        self.batches += 1
        self.unchanged += done.unchanged
        if not done.unchanged:
            self.made.add(done.counts)
        self.bytes_read += done.bytes_read
        self.kept += done.kept
        self.more_pages += done.more_pages
        for stage, seconds in done.seconds.items():
            self.seconds[stage] += seconds


def identify_summary(totals: IdentifyTotals, wall: float, workers: int, losses: Losses) -> dict[str, Any]:
    """Return the content of `TABLE.summary.json`.

    Args:
        totals: sums over all batches.
        wall: duration of the run, seconds.
        workers: number of workers.
        losses: what was lost on the way.
    """
    import ray

    photos = totals.made.total - totals.kept
    worked = {"read": photos, "see": photos, "name": totals.made.faces}
    return totals.counts.as_dict() | {
        "this_run": {
            "photos": photos,
            "faces": totals.made.faces,
            "batches": totals.batches,
            "batches_unchanged": totals.unchanged,
            "bytes_read": totals.bytes_read,
            "seconds": round(wall, 2),
            "photos_per_second": round(photos / wall, 2) if wall else None,
            "workers": workers,
            "workers_died": losses.workers,
            "batches_done_again": losses.units_again,
            "why_they_died": list(deaths_told(losses)),
        },
        "stages": {
            stage: {
                "seconds": round(seconds, 2),
                "count": worked[stage],
                "of": "faces" if stage == "name" else "photos",
                "ms_each": round(1e3 * seconds / worked[stage], 3) if worked[stage] else None,
                "per_second": round(worked[stage] / seconds, 2) if seconds else None,
            }
            for stage, seconds in totals.seconds.items()
        },
        "versions": {"python": platform.python_version(), "ray": ray.__version__} | _versions(),
    }


def identify_lines(totals: IdentifyTotals, wall: float, losses: Losses) -> Iterable[str]:
    """Return the lines that are printed at the end; arguments as in `identify_summary`."""
    counts, made, seconds = totals.counts, totals.made, totals.seconds
    photos = made.total - totals.kept

    def each(stage: str, count: int, of: str) -> str:
        share = 1e3 * seconds[stage] / count if count else 0.0
        return f"{seconds[stage]:.1f} s over all workers, {share:.1f} ms for each of {count} {of}"

    lines = [
        ("photos", f"{counts.total}"),
        ("faces", f"{counts.faces}: {counts.named} named, {counts.faces - counts.named} of strangers"),
        (
            "without",
            ", ".join(f"{r} {n}" for r, n in counts.reasons.most_common()) or "every photo has a face",
        ),
        ("this run", f"{photos} photos named, {counts.total - photos} by earlier runs"),
        ("reading", each("read", made.total, "photos")),
        ("detecting", each("see", photos, "photos")),
        ("naming", each("name", made.faces, "faces")),
        ("in total", f"{wall:.1f} s, {photos / wall:.1f} photos/s"),
    ]
    if losses.workers:
        lines.append(
            ("workers", f"{losses.workers} died; {losses.units_again} parts of their work were done again")
        )
    return [f"{name:<12}{value}" for name, value in lines]


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("likeness", "tensorflow", "dlib-bin", "numpy", "pyarrow"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
