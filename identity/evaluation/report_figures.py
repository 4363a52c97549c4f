"""Draw the figures of a report, each for light and for dark screens."""

import base64
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from identity.decisions.metrics import NEVER, NEVER_RANKED, accept_rate, cmc, det
from identity.evaluation.rates import Evaluation
from identity.evaluation.reliability import reliability
from identity.training.learning_curves import CURVES

_CHOICES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)  # false positive rates that a user may choose


@dataclass(frozen=True)
class _Theme:
    """The colours of a figure; its background is transparent."""

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


@dataclass(frozen=True)
class RunHistory:
    """The history of a run's training.

    Attributes:
        photos: number of training photos of each person, the largest first.
        epochs: rows of `curves.csv`: epoch, loss, rank-1 on training images, rank-1 on held-out photos (may be NaN).
    """

    photos: tuple[int, ...]
    epochs: tuple[tuple[float, float, float, float], ...]


def run_history(folder: Path, identities: Sequence[str]) -> RunHistory:
    """Return how a run was made.

    Args:
        folder: folder of the run.
        identities: name of the person in each training photo.
    """
    photos = tuple(sorted(Counter(identities).values(), reverse=True))
    curves = folder / CURVES[0]
    if not curves.is_file():  # no head was trained
        return RunHistory(photos, ())
    with curves.open(newline="", encoding="utf-8") as file:
        rows = [[float(value or "nan") for value in row.values()] for row in csv.DictReader(file)]
    return RunHistory(photos, tuple((row[0], row[1], row[2], row[3]) for row in rows))


def data_uri(data: bytes, kind: str) -> str:
    """Return a picture as a data URI.

    Args:
        data: content of the picture's file.
        kind: subtype of its media type, for example `png`.

    Example:
        >>> data_uri(b"abc", "png")
        'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def figures_of(evaluation: Evaluation, run: RunHistory | None = None) -> list[dict[str, str]]:
    """Draw every figure for which there are results.

    Args:
        evaluation: the results to show.
        run: how the run was made, if this is known.

    Returns:
        For each figure `title`, `text`, and data URIs `light` and `dark`.
    """
    probes, strangers, pairs = evaluation.probes, evaluation.strangers, evaluation.pairs
    wanted: list[tuple[str, str, Any]] = []
    if (probes is not None and strangers is not None) or pairs is not None:
        text = (
            "A curve that is lower and further left is better. Both axes are logarithmic. A curve ends where no error "
            "was observed."
        )
        wanted.append(("Detection error trade-off", text, _draw_det))
        text = "The same errors in another form: a curve that is higher and further left is better."
        wanted.append(("ROC", text, _draw_roc))
    if probes is not None or strangers is not None:
        text = (
            "Acceptance scores: those of right names should be to the right of the thresholds, those of strangers to "
            "the left."
        )
        wanted.append(("Scores of the search", text, _draw_scores))
    if pairs is not None:
        wanted.append(("Similarity of pairs", "Cosine of the two embeddings of each pair.", _draw_pairs))
    if probes is not None and len(evaluation.labels) > 1:
        text = "Share of probes whose right name is among the k most similar ones."
        wanted.append(("Cumulative match", text, _draw_cmc))
    if probes is not None and strangers is not None and evaluation.decision is not None:
        text = (
            "For each false positive rate that a user may choose: the rates measured at the calibrated threshold. A "
            "perfectly calibrated threshold would put the strangers on the dashed line."
        )
        wanted.append(("What a threshold costs", text, _draw_what_if))
        error = reliability(probes, strangers, evaluation.decision.probability).error
        text = (
            "Predicted probability of a right answer and the share of answers that are right, if half of all faces are "
            "strangers'. Points on the line are reliable; those below it are overconfident. The mean difference is "
            f"{100 * error:.1f} percentage points."
        )
        wanted.append(("Reliability", text, _draw_reliability))
    if run is not None and run.photos:
        text = "Number of training photos of each person, in descending order. People with few photos are hard to name."
        wanted.append(("Class balance", text, lambda axes, _, theme: _draw_balance(axes, run, theme)))
    if run is not None and run.epochs:
        text = "Rank-1 of the head after each epoch, and its loss."
        wanted.append(("Learning curves", text, lambda axes, _, theme: _draw_learning(axes, run, theme)))
    drawn = []
    for title, text, draw in wanted:
        pictures = {theme.name: _png(draw, evaluation, theme) for theme in _THEMES}
        drawn.append({"title": title, "text": text, **pictures})
    return drawn


def _png(draw: Any, evaluation: Evaluation, theme: _Theme) -> str:
    """Draw a figure and return it as a data URI; pyplot is not used, because it keeps global state."""
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
    if labels:  # the legend is below the axes, where it hides no curve
        figure.legend(
            handles, labels, loc="outside lower center", ncols=2, frameon=False, labelcolor=theme.ink
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return data_uri(buffer.getvalue(), "png")


def _curves(evaluation: Evaluation, theme: _Theme) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Return label, colour, false positive rates and miss rates of the search and of the pairs, as far as measured."""
    probes, strangers, pairs = evaluation.probes, evaluation.strangers, evaluation.pairs
    groups = []
    if probes is not None and strangers is not None:
        groups.append(("search", theme.mated, probes.right_score, strangers.score))
    if pairs is not None:
        others = pairs.score[~pairs.mated & (pairs.score > NEVER)]
        groups.append(("1:1", theme.stranger, pairs.score[pairs.mated], others))
    return [
        (label, colour, *det(mated, nonmated)[:2])
        for label, colour, mated, nonmated in groups
        if len(mated) and len(nonmated)
    ]


def _draw_det(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    lowest = 1.0
    for label, colour, far, frr in _curves(evaluation, theme):
        shown = (far > 0) & (frr > 0)
        names = "FNIR over FPIR" if label == "search" else "FRR over FAR"
        axes.plot(
            far[shown],
            frr[shown],
            color=colour,
            linewidth=2,
            drawstyle="steps-post",
            label=f"{label}: {names}",
        )
        lowest = min([lowest, *far[far > 0][:1], *far[far > 0][-1:], *frr[frr > 0][:1], *frr[frr > 0][-1:]])
    # The limits are set before the scales, because a logarithmic axis without any point cannot choose its limits.
    axes.set_xlim(lowest / 1.5, 1)
    axes.set_ylim(lowest / 1.5, 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("false positives (strangers, other people)")
    axes.set_ylabel("misses (mated, not correctly accepted)")


def _draw_roc(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    lowest = 0.1
    for label, colour, far, frr in _curves(evaluation, theme):
        shown = far > 0
        axes.plot(
            far[shown], 100 * (1 - frr[shown]), color=colour, linewidth=2, drawstyle="steps-post", label=label
        )
        lowest = min([lowest, *far[shown][:1], *far[shown][-1:]])
    axes.set_xlim(lowest / 1.5, 1)
    axes.set_ylim(min(axes.get_ylim()[0], 98), 100.5)
    axes.set_xscale("log")
    axes.set_xlabel("false positives (strangers, other people)")
    axes.set_ylabel("mated, correctly accepted, %")


def _draw_what_if(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    assert evaluation.probes and evaluation.strangers and evaluation.decision
    scores = evaluation.decision.stranger_scores
    chosen = [rate for rate in _CHOICES if rate >= 1 / max(len(scores), 1)]
    at = [evaluation.decision.threshold(rate) for rate in chosen]
    named = [100 * float(accept_rate(evaluation.probes.right_score, value)) for value in at]
    through = [100 * float(accept_rate(evaluation.strangers.score, value)) for value in at]
    percent = [100 * rate for rate in chosen]
    axes.plot(percent, named, color=theme.mated, linewidth=2, marker="o", label="correctly named")
    axes.plot(percent, through, color=theme.stranger, linewidth=2, marker="s", label="strangers named")
    axes.plot(percent, percent, color=theme.ink, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(percent, [f"{rate:g}" for rate in percent], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-2, 102)
    axes.set_xlabel("chosen false positive rate (--fpir), %")
    axes.set_ylabel("measured, %")


def _draw_balance(axes: Axes, run: RunHistory, theme: _Theme) -> None:
    axes.fill_between(np.arange(len(run.photos)), run.photos, step="mid", color=theme.mated, alpha=0.35)
    axes.step(np.arange(len(run.photos)), run.photos, where="mid", color=theme.mated, linewidth=1.5)
    axes.set_ylim(0, max(run.photos) * 1.05)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"people ({len(run.photos)})")
    axes.set_ylabel(f"photos ({sum(run.photos)})")


def _draw_learning(axes: Axes, run: RunHistory, theme: _Theme) -> None:
    epochs, loss, train, held = np.array(run.epochs).T
    axes.plot(epochs, 100 * train, color=theme.mated, linewidth=2, marker="o", label="training images")
    if np.isfinite(held).any():
        axes.plot(epochs, 100 * held, color=theme.stranger, linewidth=2, marker="s", label="held-out photos")
    axes.plot(
        epochs,
        100 * loss / loss.max(),
        color=theme.wrong,
        linestyle=":",
        label=f"loss (100: {loss.max():.2f})",
    )
    axes.set_ylim(0, 102)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("rank-1, %")


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
    assert evaluation.probes and evaluation.strangers and evaluation.decision
    bins = reliability(evaluation.probes, evaluation.strangers, evaluation.decision.probability)
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1.2)
    axes.plot(bins.predicted, bins.observed, color=theme.mated, linewidth=1.2)
    area = 12 + 200 * bins.answers / bins.answers.max()
    axes.scatter(bins.predicted, bins.observed, s=area, color=theme.mated, zorder=3)
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("predicted probability (larger dots: more answers)")
    axes.set_ylabel("share of right answers")


def _draw_pairs(axes: Axes, evaluation: Evaluation, theme: _Theme) -> None:
    pairs = evaluation.pairs
    assert pairs is not None
    _histograms(
        axes,
        [
            ("same person", theme.mated, pairs.score[pairs.mated]),
            ("different people", theme.stranger, pairs.score[~pairs.mated]),
        ],
    )
    axes.set_xlabel("cosine similarity")
    axes.set_ylabel("share of each group")


def _histograms(axes: Axes, groups: Sequence[tuple[str, str, np.ndarray]]) -> None:
    """Draw overlaid histograms of the finite scores; each histogram adds up to 1."""
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
    with_face = float(np.mean(ranks < NEVER_RANKED))
    axes.axhline(100 * with_face, color=theme.faint, linewidth=1.2)
    axes.set_ylim(min(100 * rates[0], 99) - 1, 100.5)
    axes.set_xlabel("k")
    axes.set_ylabel("right name among the first k, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
