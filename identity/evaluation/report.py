"""Write the results of an evaluation as one self-contained web page, and the numbers as JSON and CSV.

`index.html` needs no network and no other file: its pictures are inline, drawn for light and for dark screens. It shows
photos of people whom the model named wrongly, so it must be handled like the photos themselves.
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
from identity.chips.photo_faces import cut_again
from identity.decisions.metrics import NEVER
from identity.evaluation.rates import NO_COLUMN, Evaluation
from identity.evaluation.report_figures import RunHistory, data_uri, figures_of

TITLES = {
    "rank1": ("Rank-1", "closed set: the right name is the most similar one"),
    "rank5": ("Rank-5", "the right name is among the five most similar ones"),
    "dir_at_fpir_1": (
        "DIR at FPIR 1 %",
        "the right name is first and accepted, at the threshold that accepts 1 % of these strangers",
    ),
    "dir_at_fpir_10": ("DIR at FPIR 10 %", "the same at the threshold that accepts 10 % of these strangers"),
    "tpir_at_stored_1": (
        "TPIR, stored 1 % threshold",
        "the right name is first and accepted, at the threshold that users get",
    ),
    "fpir_realised_1": (
        "FPIR realised at this threshold",
        "strangers who were given a name; the target is 1 %",
    ),
    "tpir_at_stored_10": ("TPIR, stored 10 % threshold", "the same at the lower threshold"),
    "fpir_realised_10": (
        "FPIR realised at this threshold",
        "strangers who were given a name; the target is 10 %",
    ),
    "eer": (
        "1:1 EER",
        "comparison of two photos: the error rate at which both kinds of error are equally frequent",
    ),
    "pair_accuracy": ("1:1 accuracy", "10 folds, each with the threshold of the other nine"),
    "tar_at_far_1e2": (
        "1:1 TAR at FAR 1e-2",
        "mated pairs accepted at the threshold that accepts 1 % of non-mated pairs",
    ),
    "tar_at_far_1e3": (
        "1:1 TAR at FAR 1e-3",
        "the same at the threshold that accepts 0.1 % of non-mated pairs",
    ),
    "pair_accuracy_stored": (
        "1:1 accuracy, stored",
        "at the threshold for FMR 0.1 %, the default of identity.verify",
    ),
    "tar_at_stored_fmr_01": (
        "1:1 TAR, stored FMR 0.1 %",
        "mated pairs accepted at the threshold that users get",
    ),
    "fmr_realised_01": (
        "FMR realised at this threshold",
        "pairs of different people accepted; the target is 0.1 %",
    ),
    "tar_at_stored_fmr_1": ("1:1 TAR, stored FMR 1 %", "the same at the lower threshold"),
    "fmr_realised_1": (
        "FMR realised at this threshold",
        "pairs of different people accepted; the target is 1 %",
    ),
    "no_face_rejected": (
        "Nobody, no face detected",
        "photos without a person in which no face was detected",
    ),
    "no_face_named": (
        "Nobody, but named",
        "photos without a person that were given a name at FPIR 1 %",
    ),
    "failed_to_enrol": ("Failure to enrol", "photos of people in which no face was detected"),
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
        evaluation: the results to show.
        folder: folder to write to; made if missing.
        enrolled: a photo of each enrolled person, as far as there is one; see `enrolled_photos`.
        run: how the run was made, if this is known; see `identity.evaluation.report_figures`.

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
    """Return one aligned photo of each person in a balanced set.

    Args:
        training_set: folder of a set that `jobs/augment.py` wrote.

    Returns:
        A photo by person; nothing if the set or its manifest cannot be read.
    """
    file = training_set / MANIFEST
    if not file.is_file():
        return {}
    try:
        rows = read_manifest(file)
    except InputError:
        return {}  # without the set, the report names people but does not show them
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
    """Return the chip of a measured photo as a data URI; empty if the photo is gone or no face was detected."""
    probe = evaluation.photos[path]
    if probe.landmarks is None:
        return ""
    try:
        return data_uri(encode_jpeg(cut_again(probe, _THUMBNAIL), 85), "jpeg")
    except PhotoError:
        return ""


def _thumbnail_of_file(path: Path | None) -> str:
    """Return a whole photo, reduced in size, as a data URI; empty if there is none."""
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
    """Return the end of a path, which is enough to tell photos apart."""
    return shown("/".join(path.parts[-2:]))


def _confusions(evaluation: Evaluation, enrolled: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return the mated probes whose most similar name is wrong, those with the highest scores first."""
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
    """Return the strangers who are accepted at the stored 1 % threshold, those with the highest scores first."""
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
    """Return the least similar mated pairs and the most similar non-mated pairs, each with a title."""
    pairs = evaluation.pairs
    if pairs is None:
        return []
    compared = pairs.score > NEVER
    groups = []
    for title, kind, sign in (
        ("Same person, least similar", pairs.mated, 1),
        ("Different people, most similar", ~pairs.mated, -1),
    ):
        index = np.flatnonzero(kind & compared)
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
