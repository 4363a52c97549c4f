"""Metrics of a worker for Ray's dashboard and Prometheus, at every node's metrics port.

likeness_images_total                   images made
likeness_photos_total{reason}           photos scanned; the reason is empty for usable ones
likeness_partitions_total{unchanged}    partitions done
likeness_stage_seconds_total{stage}     seconds of scanning, rendering, waiting for storage
likeness_bytes_total{direction}         bytes read and written
"""

from collections import Counter as Tally

from jobs.balancing.partition_worker import Done


class RunMetrics:
    """The counters of one worker; they exist only inside Ray."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter

        self._images = Counter("likeness_images", "images made")
        self._photos = Counter("likeness_photos", "photos scanned", tag_keys=("reason",))
        self._partitions = Counter("likeness_partitions", "partitions done", tag_keys=("unchanged",))
        self._seconds = Counter("likeness_stage_seconds", "seconds of each stage", tag_keys=("stage",))
        self._bytes = Counter("likeness_bytes", "bytes of photos and images", tag_keys=("direction",))

    def add(self, done: Done) -> None:
        """Count one more partition."""
        self._partitions.inc(1, {"unchanged": "yes" if done.unchanged else "no"})
        if done.unchanged:
            return
        reasons = Tally(failure.reason for failure in done.account.failures if failure.photo)
        reasons[""] = max(0, done.scanned - sum(reasons.values()))
        for reason, count in reasons.items():
            if count:
                self._photos.inc(count, {"reason": reason})
        for direction, count in (("read", done.bytes_read), ("written", done.bytes_written)):
            if count:
                self._bytes.inc(count, {"direction": direction})
        for stage, seconds in done.seconds.items():
            if seconds > 0:
                self._seconds.inc(seconds, {"stage": stage})
        if done.made:
            self._images.inc(done.made)
