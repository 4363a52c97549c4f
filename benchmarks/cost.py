"""Estimate what a million photos would cost, from what a run measured: `python -m benchmarks.cost SUMMARY.json`.

SUMMARY is the `summary.json` of a run of `jobs/augment.py` that made a whole set. Scanning grows with photos, rendering
and storage with images. Prices are options; the defaults are approximate list prices of AWS in us-east-1, so look up
yours (a virtual core of a c6i $0.0425 an hour; S3 $0.005 for 1,000 writes or listings, $0.0004 for 1,000 reads, $0.023
for a gigabyte a month). A core of the measurement counts as two virtual ones, which is what a c6i sells as one core.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.errors import InputError
from jobs.balancing.image_shards import SHARD_IMAGES

MILLION = 1_000_000
VIRTUAL_PER_CORE = 2
FILES_PER_PARTITION = 4  # a shard, and three files of what is remembered


def cost(
    summary: dict[str, object], photos_each: float, per_class: int, prices: dict[str, float]
) -> dict[str, float]:
    """Return the figures for a million photos.

    Args:
        summary: content of `summary.json`.
        photos_each: photos of each person.
        per_class: images of each person.
        prices: dollars for a `core_hour` (virtual), `thousand_writes`, `thousand_reads`, `gigabyte_month`.

    Raises:
        InputError: the summary is of a run that made nothing.
    """
    run, stages = summary["this_run"], summary["stages"]
    assert isinstance(run, dict) and isinstance(stages, dict)
    scan, render, storage = (stages[name]["ms_each"] for name in ("scan", "render", "storage"))
    if not scan or not render:
        raise InputError("this run scanned or made nothing; use the summary of a run that made a whole set")
    people = MILLION / photos_each
    images = people * per_class
    partitions = images / SHARD_IMAGES
    hours = (MILLION * scan + images * (render + storage)) / 3.6e6
    read = MILLION * run["bytes_read"] / run["photos_scanned"]
    written = images * run["bytes_written"] / run["images_made"]
    writes = FILES_PER_PARTITION * partitions + people  # a listing for each person
    return {
        "people": people,
        "images": images,
        "core_hours": hours,
        "core_hours_scanning": MILLION * scan / 3.6e6,
        "core_hours_rendering": images * render / 3.6e6,
        "core_hours_storage": images * storage / 3.6e6,
        "gigabytes_read": read / 1e9,
        "gigabytes_written": written / 1e9,
        "objects_written": FILES_PER_PARTITION * partitions,
        "dollars_cores": hours * VIRTUAL_PER_CORE * prices["core_hour"],
        "dollars_requests": (writes * prices["thousand_writes"] + MILLION * prices["thousand_reads"]) / 1000,
        "dollars_a_month": written / 1e9 * prices["gigabyte_month"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("summary", type=Path, help="summary.json of jobs/augment.py")
    parser.add_argument("--photos-each", type=float, default=4.0, help="photos of each person (%(default)s)")
    parser.add_argument("--per-class", type=int, default=128, help="images of each person (%(default)s)")
    for name, price in (("core-hour", 0.0425), ("thousand-writes", 0.005), ("thousand-reads", 0.0004)):
        parser.add_argument(f"--{name}", type=float, default=price, help="price in dollars (%(default)s)")
    parser.add_argument("--gigabyte-month", type=float, default=0.023, help="price in dollars (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    names = ("core_hour", "thousand_writes", "thousand_reads", "gigabyte_month")
    try:
        summary = json.loads(options.summary.read_text("utf-8"))
        prices = {name: getattr(options, name) for name in names}
        result = cost(summary, options.photos_each, options.per_class, prices)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{options.summary}: not a summary.json of jobs/augment.py ({error})", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"{options.summary}: {error}", file=sys.stderr)
        return 2
    for name, value in result.items():
        print(f"{name:24}{value:,.2f}")
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
