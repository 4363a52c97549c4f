"""The evaluation as one self-contained web page, and its numbers as JSON and CSV.

`index.html` needs no network and no other file: pictures are inline, drawn once for light and once for dark
screens. It shows photos of people where the recogniser went wrong: treat it as the photos themselves.
"""

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from augmentor.errors import InputError, PhotoError
from augmentor.images import encode_jpeg, load_image, write_whole
from augmentor.manifest import read_manifest
from identity.measurement import NO_COLUMN, Evaluation
from identity.metrics import NEVER, NEVER_RANKED, cmc, det
from identity.probes import cut_again
from identity.reliability import reliability

TITLES = {
    "rank1": ("Rank-1", "closed set: the right name comes first"),
    "rank5": ("Rank-5", "the right name is among the first five"),
    "dir_at_fpir_1": ("DIR at FPIR 1 %", "right name first and accepted, 1 % of these strangers let through"),
    "dir_at_fpir_10": ("DIR at FPIR 10 %", "the same, 10 % let through"),
    "tpir_at_stored_1": ("TPIR, stored 1 % threshold", "what a user gets: right name first and accepted"),
    "fpir_realised_1": ("FPIR realised there", "strangers who were given a name; meant to be 1 %"),
    "tpir_at_stored_10": ("TPIR, stored 10 % threshold", "the same with the looser threshold"),
    "fpir_realised_10": ("FPIR realised there", "meant to be 10 %"),
    "eer": ("1:1 EER", "two photos, same person or not: both errors equally frequent"),
    "pair_accuracy": ("1:1 accuracy", "10 folds, threshold from the other nine"),
    "tar_at_far_1e2": ("1:1 TAR at FAR 1e-2", "mated pairs accepted when 1 % of others are"),
    "tar_at_far_1e3": ("1:1 TAR at FAR 1e-3", "when 0.1 % of others are"),
    "no_face_rejected": ("No face, none found", "photos without a person in which no face was found"),
    "failed_to_enrol": ("Failure to enrol", "photos of people in which no face was found"),
}
_MOST_CONFUSIONS, _MOST_PAIRS, _MOST_FAILURES = 12, 6, 200
_THUMBNAIL = 112


@dataclass(frozen=True)
class _Theme:
    """Colours of a figure; transparent background."""

    name: str
    ink: str
    faint: str
    mated: str
    stranger: str
    wrong: str


_THEMES = (
    _Theme("light", "#1d2430", "#d5dae3", "#1f5fbf", "#c2410c", "#8a6d00"),
    _Theme("dark", "#e6e9ef", "#3a4250", "#7fb0ff", "#ff9e64", "#e0c050"),
)


def write_report(evaluation: Evaluation, folder: Path, enrolled: Mapping[str, Path] | None = None) -> Path:
    """Write `index.html`, `report.json`, `report.csv` and `failures.csv`.

    Args:
        evaluation: What to show.
        folder: Made if missing.
        enrolled: A photo for each enrolled name, where there is one; see `enrolled_photos`.

    Returns:
        Path of `index.html`.

    Raises:
        InputError: The folder cannot be written.
    """
    failures = [photo for photo in evaluation.photos.values() if photo.reason is not None]
    numbers = evaluation.as_json()
    described = {
        "model": evaluation.model,
        "protocol": list(evaluation.protocol),
        "thresholds": evaluation.thresholds,
        "numbers": numbers,
    }
    rows = []
    for name, value in numbers.items():
        if not name.endswith("_ci"):
            span = numbers[f"{name}_ci"]
            rows.append([name, value, *(span if isinstance(span, list) else (None, None))])
    write_whole(folder / "report.json", json.dumps(described, indent=1, ensure_ascii=False).encode())
    write_whole(folder / "report.csv", _csv(["metric", "value", "low", "high"], rows))
    write_whole(
        folder / "failures.csv",
        _csv(["photo", "reason", "detail"], [[p.path, p.reason, p.detail] for p in failures]),
    )
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    page = template.render(
        evaluation=evaluation,
        rates=[
            (*title, evaluation.rates[name])
            for name, title in TITLES.items()
            if name in evaluation.rates and np.isfinite(evaluation.rates[name].value)
        ],
        figures=_figures(evaluation),
        confusions=_confusions(evaluation, enrolled or {}),
        named_strangers=_named_strangers(evaluation, enrolled or {}),
        worst_pairs=_worst_pairs(evaluation),
        failures=failures[:_MOST_FAILURES],
        failure_count=len(failures),
        false_faces=[
            (path, name, _thumbnail_of_file(path)) for path, name in evaluation.false_faces[:_MOST_CONFUSIONS]
        ],
    )
    write_whole(folder / "index.html", page.encode())
    return folder / "index.html"


def enrolled_photos(training_set: Path) -> dict[str, Path]:
    """One aligned photo of each person of a set that `jobs/augment.py` wrote; empty if the set is not there."""
    file = training_set / "manifest.parquet"
    if not file.is_file():
        return {}
    try:
        rows = read_manifest(file)
    except InputError:
        return {}  # the report is about the evaluation: without the set it names people instead of showing them
    photos: dict[str, Path] = {}
    columns = (rows[name].to_pylist() for name in ("identity", "kind", "file"))
    for identity, kind, name in zip(*columns, strict=True):
        if kind == "photo" and identity not in photos and (training_set / name).is_file():
            photos[identity] = training_set / name
    return photos


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue().encode()


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _thumbnail(evaluation: Evaluation, path: Path) -> str:
    """Chip of a photo of the evaluation as a data URI; empty when the photo has gone or had no face."""
    probe = evaluation.photos[path]
    if probe.landmarks is None:
        return ""
    try:
        return _data_uri(encode_jpeg(cut_again(probe, _THUMBNAIL), 85), "jpeg")
    except PhotoError:
        return ""


def _thumbnail_of_file(path: Path | None) -> str:
    """A whole picture, reduced, as a data URI; empty without one."""
    if path is None:
        return ""
    try:
        image = load_image(path)
    except PhotoError:
        return ""
    scale = _THUMBNAIL / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return _data_uri(encode_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA), 85), "jpeg")


def _short(path: Path) -> str:
    """The end of a path that tells photos apart."""
    return "/".join(path.parts[-2:])


def _confusions(evaluation: Evaluation, enrolled: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Mated probes with a wrong best name, the surest first."""
    probes = evaluation.probes
    if probes is None:
        return []
    wrong = np.flatnonzero((probes.best != NO_COLUMN) & (probes.rank > 1))
    wrong = wrong[np.argsort(-probes.score[wrong], kind="stable")]
    return [
        {
            "probe": _thumbnail(evaluation, probes.photos[i]),
            "photo": _short(probes.photos[i]),
            "right": evaluation.labels[probes.truth[i]],
            "wrong": evaluation.labels[probes.best[i]],
            "right_photo": _thumbnail_of_file(enrolled.get(evaluation.labels[probes.truth[i]])),
            "wrong_photo": _thumbnail_of_file(enrolled.get(evaluation.labels[probes.best[i]])),
            "score": probes.score[i],
            "rank": probes.rank[i],
            "accepted": bool(probes.score[i] >= evaluation.thresholds.get("fpir_1", np.inf)),
        }
        for i in wrong[:_MOST_CONFUSIONS]
    ]


def _named_strangers(evaluation: Evaluation, enrolled: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Strangers accepted at the stored 1 % threshold, the surest first."""
    strangers = evaluation.strangers
    if strangers is None:
        return []
    named = np.flatnonzero(strangers.score >= evaluation.thresholds["fpir_1"])
    named = named[np.argsort(-strangers.score[named], kind="stable")]
    return [
        {
            "probe": _thumbnail(evaluation, strangers.photos[i]),
            "photo": _short(strangers.photos[i]),
            "wrong": evaluation.labels[strangers.best[i]],
            "wrong_photo": _thumbnail_of_file(enrolled.get(evaluation.labels[strangers.best[i]])),
            "score": strangers.score[i],
        }
        for i in named[:_MOST_CONFUSIONS]
    ]


def _worst_pairs(evaluation: Evaluation) -> list[tuple[str, list[dict[str, Any]]]]:
    """The least similar mated and the most similar non-mated pairs, under a title each."""
    pairs = evaluation.pairs
    if pairs is None:
        return []
    found = pairs.score > NEVER
    groups = []
    for title, kind, sign in (
        ("Same person, least similar", pairs.mated, 1),
        ("Two people, most similar", ~pairs.mated, -1),
    ):
        index = np.flatnonzero(kind & found)
        index = index[np.argsort(sign * pairs.score[index], kind="stable")][:_MOST_PAIRS]
        entries = [
            {
                "a": _thumbnail(evaluation, evaluation.photo_pairs[i].photo_a),
                "b": _thumbnail(evaluation, evaluation.photo_pairs[i].photo_b),
                "name_a": evaluation.photo_pairs[i].photo_a.name,
                "name_b": evaluation.photo_pairs[i].photo_b.name,
                "score": pairs.score[i],
            }
            for i in index.tolist()
        ]
        if entries:
            groups.append((title, entries))
    return groups


def _figures(evaluation: Evaluation) -> list[dict[str, str]]:
    """Every figure that can be drawn: title, explanation, and a data URI for light and for dark."""
    probes, strangers, pairs = evaluation.probes, evaluation.strangers, evaluation.pairs
    wanted: list[tuple[str, str, Any]] = []
    if (probes is not None and strangers is not None) or pairs is not None:
        text = "Further down and left is better. Both axes logarithmic; a curve ends where no error was seen."
        wanted.append(("Detection error trade-off", text, _draw_det))
    if probes is not None or strangers is not None:
        text = "Acceptance scores: right names should lie right of the thresholds, strangers left of them."
        wanted.append(("Scores of the search", text, _draw_scores))
    if pairs is not None:
        wanted.append(("Similarity of pairs", "Cosine of two photos.", _draw_pairs))
    if probes is not None and len(evaluation.labels) > 1:
        wanted.append(("Cumulative match", "How often the right name is among the first k.", _draw_cmc))
    if probes is not None and strangers is not None and evaluation.probability is not None:
        error = reliability(probes, strangers, evaluation.probability).error
        text = (
            "Whether probabilities can be believed, were every second face a stranger's: points on the line are "
            f"honest, those below it boast. On average they are {100 * error:.1f} points off."
        )
        wanted.append(("Reliability", text, _draw_reliability))
    drawn = []
    for title, text, draw in wanted:
        pictures = {theme.name: _png(draw, evaluation, theme) for theme in _THEMES}
        drawn.append({"title": title, "text": text, **pictures})
    return drawn


def _png(draw: Any, evaluation: Evaluation, theme: _Theme) -> str:
    """A figure as a data URI; drawn without pyplot, which keeps state."""
    figure = Figure(figsize=(5.0, 4.2), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_color(theme.faint)
    axes.tick_params(which="both", colors=theme.ink)
    axes.grid(True, color=theme.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    draw(axes, evaluation, theme)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    handles, labels = axes.get_legend_handles_labels()
    if labels:  # below the curves, where it hides none of them
        figure.legend(
            handles, labels, loc="outside lower center", ncols=2, frameon=False, labelcolor=theme.ink
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return _data_uri(buffer.getvalue(), "png")


def _draw_det(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    probes, strangers, pairs = evaluation.probes, evaluation.strangers, evaluation.pairs
    curves = []
    if probes is not None and strangers is not None:
        curves.append(("search: FNIR over FPIR", theme.mated, probes.right_score, strangers.score))
    if pairs is not None:
        others = pairs.score[~pairs.mated & (pairs.score > NEVER)]
        curves.append(("1:1: FRR over FAR", theme.stranger, pairs.score[pairs.mated], others))
    lowest = 1.0
    for label, colour, mated, nonmated in curves:
        if not len(mated) or not len(nonmated):
            continue
        far, frr, _ = det(mated, nonmated)
        seen = (far > 0) & (frr > 0)
        axes.plot(far[seen], frr[seen], color=colour, linewidth=2, drawstyle="steps-post", label=label)
        lowest = min(lowest, 1 / len(nonmated), 1 / len(mated))
    # limits before scales: a log axis cannot find its own where no curve has a point
    axes.set_xlim(lowest / 1.5, 1)
    axes.set_ylim(lowest / 1.5, 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("false positives (strangers, other people)")
    axes.set_ylabel("misses (mated, not accepted rightly)")


def _draw_scores(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    groups = []
    if evaluation.probes is not None:
        probes = evaluation.probes
        right = probes.right_score > NEVER
        groups.append(("right name", theme.mated, probes.score[right]))
        groups.append(("enrolled, wrong name", theme.wrong, probes.score[~right]))
    if evaluation.strangers is not None:
        groups.append(("strangers", theme.stranger, evaluation.strangers.score))
    _histograms(axes, groups)
    for (name, at), style in zip(sorted(evaluation.thresholds.items()), ("-", "--"), strict=False):
        label = f"stored, FPIR {name.removeprefix('fpir_')} %"
        axes.axvline(at, color=theme.ink, linewidth=1.2, linestyle=style, label=label)
    axes.set_xlabel("acceptance score")
    axes.set_ylabel("share of each group")


def _draw_reliability(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    assert evaluation.probes and evaluation.strangers and evaluation.probability
    found = reliability(evaluation.probes, evaluation.strangers, evaluation.probability)
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1.2)
    axes.plot(found.told, found.true, color=theme.mated, linewidth=1.2)
    area = 12 + 200 * found.answers / found.answers.max()
    axes.scatter(found.told, found.true, s=area, color=theme.mated, zorder=3)
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("probability told (larger dots: more answers)")
    axes.set_ylabel("share of right answers")


def _draw_pairs(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    pairs = evaluation.pairs
    assert pairs is not None
    _histograms(
        axes,
        [
            ("same person", theme.mated, pairs.score[pairs.mated]),
            ("two people", theme.stranger, pairs.score[~pairs.mated]),
        ],
    )
    axes.set_xlabel("cosine similarity")
    axes.set_ylabel("share of each group")


def _histograms(axes: Axes, groups: Sequence[tuple[str, str, np.ndarray]]) -> None:
    """Overlaid histograms, each adding up to 1, of the finite scores."""
    finite = [(label, colour, scores[np.isfinite(scores)]) for label, colour, scores in groups]
    finite = [group for group in finite if len(group[2])]
    if not finite:
        return
    every = np.concatenate([scores for _, _, scores in finite])
    margin = 1e-3 + 0.02 * float(np.ptp(every))
    edges = np.linspace(every.min() - margin, every.max() + margin, 49)
    for label, colour, scores in finite:
        share = np.histogram(scores, edges)[0] / len(scores)
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(share, edges, color=colour, linewidth=1.5, label=f"{label} ({len(scores)})")


def _draw_cmc(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    assert evaluation.probes is not None
    ranks = evaluation.probes.rank
    most = min(20, len(evaluation.labels))
    rates = cmc(ranks, most)
    axes.plot(np.arange(1, most + 1), 100 * rates, color=theme.mated, linewidth=2, marker="o", markersize=4)
    found = float(np.mean(ranks < NEVER_RANKED))
    axes.axhline(100 * found, color=theme.faint, linewidth=1.2)
    axes.set_ylim(min(100 * rates[0], 99) - 1, 100.5)
    axes.set_xlabel("k")
    axes.set_ylabel("right name among the first k, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
