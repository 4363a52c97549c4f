"""Metrics of a worker of `jobs/identify.py` for Ray's dashboard and Prometheus, at every node's metrics port.

likeness_identify_photos_total{status}      photos read and named
likeness_identify_faces_total{named}        faces detected
likeness_identify_batches_total{unchanged}  batches done
likeness_identify_seconds_total{stage}      seconds of waiting for storage, detecting faces, naming them
likeness_identify_bytes_total               bytes of photos read
"""

from jobs.naming.batch_worker import BatchDone


class IdentifyMetrics:
    """The counters of one worker; they exist only inside Ray."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter

        self._photos = Counter("likeness_identify_photos", "photos read and named", tag_keys=("status",))
        self._faces = Counter("likeness_identify_faces", "faces detected", tag_keys=("named",))
        self._batches = Counter("likeness_identify_batches", "batches done", tag_keys=("unchanged",))
        self._seconds = Counter("likeness_identify_seconds", "seconds of each stage", tag_keys=("stage",))
        self._bytes = Counter("likeness_identify_bytes", "bytes of photos read")

    def add(self, done: BatchDone) -> None:
        """Count one more batch."""
        self._batches.inc(1, {"unchanged": "yes" if done.unchanged else "no"})
        if done.unchanged:
            return
        counts = done.counts
        for status, photos in counts.photos.items():
            self._photos.inc(photos, {"status": status})
        for named, faces in (("yes", counts.named), ("no", counts.faces - counts.named)):
            if faces:
                self._faces.inc(faces, {"named": named})
        for stage, seconds in done.seconds.items():
            if seconds > 0:
                self._seconds.inc(seconds, {"stage": stage})
        if done.bytes_read:
            self._bytes.inc(done.bytes_read)
