"""Describe a run for people and programs: the table at the end, and `OUT/summary.json`.

`summary.json` describes the last run, and is the only file of an output that differs from run to run.
"""

import platform
from collections import Counter
from collections.abc import Iterable
from typing import Any

from augmentor.balanced_set.failures import Failure, by_reason
from jobs.balancing.partition_worker import STAGES, Done
from jobs.cluster.worker_pool import Losses, deaths_told


class RunTotals:
    """Sums over partitions, added one by one."""

    def __init__(self) -> None:
        self.identities = 0
        self.photos = 0
        self.held_out = 0
        self.rejected = 0
        self.images = 0
        self.renders = 0
        self.made = 0
        self.removed = 0
        self.not_photos = 0
        self.more_pages = 0
        self.scanned = 0
        self.partitions = 0
        self.unchanged = 0
        self.bytes_read = 0
        self.bytes_written = 0
        self.manifest_seconds = 0.0
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.failures: list[Failure] = []
        self.lacking: list[str] = []

    def add(self, done: Done) -> None:
        """Add one more partition."""
        account = done.account
        self.partitions += 1
        self.unchanged += done.unchanged
        self.identities += len(account.photos)
        self.photos += sum(account.photos.values())
        self.held_out += account.held_out
        self.rejected += account.rejected
        self.images += sum(account.images.values())
        self.renders += account.renders
        self.made += done.made
        self.removed += done.removed
        self.not_photos += done.not_photos
        self.more_pages += account.more_pages
        self.scanned += done.scanned
        self.bytes_read += done.bytes_read
        self.bytes_written += done.bytes_written
        for stage, seconds in done.seconds.items():
            self.seconds[stage] += seconds
        self.failures += account.failures
        self.lacking += account.lacking

    @property
    def used(self) -> int:
        """The number of photos that were not set aside."""
        return self.photos - self.held_out


def summary(totals: RunTotals, wall: float, workers: int, losses: Losses | None) -> dict[str, Any]:
    """Return the content of `summary.json`.

    Args:
        totals: sums over all partitions.
        wall: duration of the run, seconds.
        workers: number of workers.
        losses: what was lost on the way; None if no worker was started.
    """
    import ray

    seconds = totals.seconds
    counts = {"scan": totals.scanned, "render": totals.made, "storage": totals.made}
    return {
        "identities": totals.identities,
        "photos": totals.photos,
        "held_out": totals.held_out,
        "rejected": totals.rejected,
        "not_photos": totals.not_photos,
        "rejected_by_reason": dict(Counter(f.reason for f in totals.failures if f.photo)),
        "images": totals.images,
        "renders": totals.renders,
        "this_run": {
            "photos_scanned": totals.scanned,
            "images_made": totals.made,
            "images_removed": totals.removed,
            "partitions": totals.partitions,
            "partitions_unchanged": totals.unchanged,
            "bytes_read": totals.bytes_read,
            "bytes_written": totals.bytes_written,
            "seconds": round(wall, 2),
            "images_per_second": round(totals.made / wall, 2) if wall else None,
            "manifest_seconds": round(totals.manifest_seconds, 2),
            "workers": workers,
            "workers_died": losses.workers if losses else 0,
            "partitions_done_again": losses.units_again if losses else 0,
            "why_they_died": list(deaths_told(losses)) if losses else [],
        },
        "stages": {
            stage: {
                "seconds": round(seconds[stage], 2),
                "count": counts[stage],
                "ms_each": round(1e3 * seconds[stage] / counts[stage], 3) if counts[stage] else None,
                "per_second": round(counts[stage] / seconds[stage], 2) if seconds[stage] else None,
            }
            for stage in STAGES
        },
        "versions": {"python": platform.python_version(), "ray": ray.__version__},
    }


def table(totals: RunTotals, size: int, wall: float, losses: Losses | None) -> Iterable[str]:
    """Return the lines that are printed at the end; arguments as in `summary`, `size` is the images' side in pixels."""
    seconds = totals.seconds
    scan_ms = 1e3 * seconds["scan"] / totals.scanned if totals.scanned else 0.0
    render_ms = 1e3 * seconds["render"] / totals.made if totals.made else 0.0
    there_before = totals.images - totals.made
    lines = [
        ("identities", f"{totals.identities}"),
        ("photos", f"{totals.used}, and {totals.held_out} held out"),
        ("rejected", f"{totals.rejected}" + (f": {by_reason(totals.failures)}" if totals.failures else "")),
        (
            "images",
            f"{totals.images}: {totals.images - totals.renders} photos, {totals.renders} renders, {size} px",
        ),
        ("this run", f"{totals.made} made, {there_before} from earlier runs, {totals.removed} removed"),
        (
            "scanning",
            f"{seconds['scan']:.1f} core seconds, {scan_ms:.1f} ms for each of {totals.scanned} photos",
        ),
        ("images", f"{seconds['render']:.1f} core seconds, {render_ms:.2f} ms for each of {totals.made}"),
        ("storage", f"{seconds['storage']:.1f} s of waiting, summed over all workers"),
        ("in total", f"{wall:.1f} s, {totals.made / wall:.0f} images/s"),
    ]
    if losses and losses.workers:
        lines.append(
            ("workers", f"{losses.workers} died; {losses.units_again} parts of their work were done again")
        )
    return [f"{name:<12}{value}" for name, value in lines]
