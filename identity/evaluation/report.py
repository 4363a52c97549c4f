"""The evaluation as one self-contained web page, and its numbers as JSON and CSV.

`index.html` needs no network and no other file: pictures are inline, drawn once for light and once for dark
screens. It shows photos of people where the recogniser went wrong: treat it as the photos themselves.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from augmentor.balanced_set.layout import MANIFEST
from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import InputError, PhotoError
from augmentor.path_text import shown
from augmentor.photos.images import encode_jpeg, load_image, write_whole
from identity.chips.probes import cut_again
from identity.decisions.metrics import NEVER
from identity.evaluation.rates import NO_COLUMN, Evaluation
from identity.evaluation.report_figures import RunHistory, data_uri, figures_of

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
    "pair_accuracy_stored": (
        "1:1 accuracy, stored",
        "at the threshold for FMR 0.1 %, what identity.verify uses",
    ),
    "tar_at_stored_fmr_01": ("1:1 TAR, stored FMR 0.1 %", "what a user gets: mated pairs accepted"),
    "fmr_realised_01": ("FMR realised there", "pairs of two people accepted; meant to be 0.1 %"),
    "tar_at_stored_fmr_1": ("1:1 TAR, stored FMR 1 %", "the same with the looser threshold"),
    "fmr_realised_1": ("FMR realised there", "meant to be 1 %"),
    "no_face_rejected": ("No face, none found", "photos without a person in which no face was found"),
    "no_face_named": ("No face, named", "photos without a person that were given a name at FPIR 1 %"),
    "failed_to_enrol": ("Failure to enrol", "photos of people in which no face was found"),
}
_MOST_CONFUSIONS, _MOST_PAIRS, _MOST_FAILURES = 12, 6, 200
_THUMBNAIL = 112


def write_report(
    evaluation: Evaluation,
    folder: Path,
    enrolled: Mapping[str, Path] | None = None,
    run: RunHistory | None = None,
) -> Path:
    """Write `index.html`, `report.json`, `report.csv` and `failures.csv`.

    Args:
        evaluation: What to show.
        folder: Made if missing.
        enrolled: A photo for each enrolled name, where there is one; see `enrolled_photos`.
        run: How the run was made, where it is known; see `identity.evaluation.report_figures`.

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
        _csv(["photo", "reason", "detail"], [[shown(p.path), p.reason, p.detail] for p in failures]),
    )
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent / "templates"),
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
        figures=figures_of(evaluation, run),
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
    file = training_set / MANIFEST
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


def _thumbnail(evaluation: Evaluation, path: Path) -> str:
    """Chip of a photo of the evaluation as a data URI; empty when the photo has gone or had no face."""
    probe = evaluation.photos[path]
    if probe.landmarks is None:
        return ""
    try:
        return data_uri(encode_jpeg(cut_again(probe, _THUMBNAIL), 85), "jpeg")
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
    return data_uri(encode_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA), 85), "jpeg")


def _short(path: Path) -> str:
    """The end of a path that tells photos apart."""
    return shown("/".join(path.parts[-2:]))


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
