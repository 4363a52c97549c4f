"""Draw two pictures of a balanced set: the number of images per person before and after, and examples of the images.

Deterministic: the same numbers and images give the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa

from augmentor.photos.images import encode_jpeg, load_image

BEFORE_COLOUR, AFTER_COLOUR, INK = "#d9793c", "#2f6f9f", "#333333"
SHEET_PEOPLE = 8
SHEET_RENDERS = 11
GAP = 4  # pixels between the images of the contact sheet


def balance_picture(before: Mapping[str, int], after: Mapping[str, int]) -> bytes:
    """Draw the number of images per person before and after, with people sorted by their number of photos.

    Args:
        before: identity → number of photos.
        after: identity → number of images.

    Returns:
        A PNG, 1500 x 600 pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    people = sorted(before, key=lambda name: (-before[name], name))
    photos = np.array([before[name] for name in people])
    images = np.array([after.get(name, 0) for name in people])
    figure = Figure(figsize=(10, 4), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.14, top=0.91, wspace=0.16)
    left, right = figure.subplots(1, 2)
    _draw_counts(left, photos, BEFORE_COLOUR, f"Before: {_spread(photos, 'photo')}")
    _draw_counts(right, images, AFTER_COLOUR, f"After: {_spread(images, 'image')}")
    left.set_ylabel("photos", color=INK)
    right.set_ylabel("images", color=INK)
    picture = BytesIO()
    # Otherwise the file would contain Matplotlib's version and differ between machines.
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _draw_counts(axes: Any, counts: np.ndarray, colour: str, title: str) -> None:
    """Draw one panel: a bar for each person; with many people the bars join to an area."""
    from matplotlib.ticker import MaxNLocator

    edges = np.arange(len(counts) + 1) + 0.5
    axes.stairs(counts, edges, fill=True, color=colour, alpha=0.85, linewidth=0)
    if len(counts) <= 60:
        axes.vlines(
            edges, 0, np.maximum(np.append(counts, 0), np.append(0, counts)), color="white", linewidth=1
        )
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("people, those with most photos first", color=INK)
    axes.set_xlim(0.5, max(1, len(counts)) + 0.5)
    axes.set_ylim(0, max(1, int(counts.max(initial=0))) * 1.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")


def _spread(counts: np.ndarray, noun: str) -> str:
    """Say in words how counts spread: `1 to 15 photos a person, 4192 in all`."""
    if not len(counts):
        return "nobody"
    low, high = int(counts.min()), int(counts.max())
    each = f"{low:,} to {high:,}" if low < high else f"{low:,}"
    plural = "" if (low, high) == (1, 1) else "s"
    return f"{each} {noun}{plural} a person, {int(counts.sum()):,} in all"


def contact_sheet(
    read: Callable[[str], bytes], rows: pa.Table, people: int = SHEET_PEOPLE, renders: int = SHEET_RENDERS
) -> bytes:
    """Show some people: in each line a photo, then renders of the person from one profile to the other.

    Args:
        read: returns the content of an image, given its file in the manifest.
        rows: rows of the manifest (`augmentor.balanced_set.manifest.SCHEMA`), at least one.
        people: largest number of lines; the people are chosen evenly from all.
        renders: largest number of renders in a line.

    Returns:
        A JPEG.

    Raises:
        PhotoError: an image cannot be read.
    """
    names = sorted(set(rows["identity"].to_pylist()))
    chosen = {names[i] for i in evenly(len(names), people)}
    listed: dict[str, list[tuple[str, str, float]]] = {name: [] for name in sorted(chosen)}
    columns = (rows[name].to_pylist() for name in ("identity", "file", "kind", "yaw"))
    for identity, file, kind, yaw in zip(*columns, strict=True):
        if identity in listed:
            listed[identity].append((file, kind, yaw))
    lines = [_line_of(read, listed[name], renders) for name in listed]
    width = max(line.shape[1] for line in lines)
    padded = [
        np.pad(line, ((0, GAP), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines
    ]
    return encode_jpeg(np.pad(np.concatenate(padded), ((GAP, 0), (0, 0), (0, 0)), constant_values=255), 90)


def _line_of(
    read: Callable[[str], bytes], rows: Sequence[tuple[str, str, float]], renders: int
) -> np.ndarray:
    """Return one person's line: the first photo, a wider gap, then renders sorted by yaw."""
    photos = sorted(row[0] for row in rows if row[1] == "photo")[:1]
    turned = sorted((row[2], row[0]) for row in rows if row[1] == "render")
    files = photos + [turned[i][1] for i in evenly(len(turned), renders)]
    parts = []
    for number, file in enumerate(files):
        gap = GAP if number else 3 * GAP
        parts.append(
            np.pad(load_image(read(file), name=file), ((0, 0), (GAP, gap), (0, 0)), constant_values=255)
        )
    return np.concatenate(parts, axis=1)


def evenly(available: int, wanted: int) -> list[int]:
    """Return `wanted` indices spread evenly over `available`, with both ends; all indices if there are fewer.

    Example:
        >>> evenly(9, 3), evenly(2, 3)
        ([0, 4, 8], [0, 1])
    """
    if available <= wanted:
        return list(range(available))
    return np.linspace(0, available - 1, wanted).round().astype(int).tolist()
