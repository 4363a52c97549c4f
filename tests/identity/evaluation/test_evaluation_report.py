"""The report is complete and self-contained, and its files contain the same numbers."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.photos.images import encode_jpeg
from identity.chips.photo_faces import PhotoFaces
from identity.decisions.acceptance import DecisionConstants, LeadAndCrowding
from identity.decisions.metrics import NEVER, NEVER_RANKED
from identity.decisions.open_set import Decision, ProbabilityCurve
from identity.evaluation.pairs import PhotoPair
from identity.evaluation.rates import Evaluation, PairScores, ProbeScores, measure_pairs, measure_search
from identity.evaluation.report import enrolled_photos, write_report
from identity.evaluation.report_figures import run_history
from tests.stand_in_faces import one_face

LABELS = ["Ann <b>", "Bö & Co", "😀"]


def landmarks() -> np.ndarray:
    points = np.full((68, 2), 60, np.float32)
    points[27:36] = [[60, 45 + 3 * i] for i in range(9)]
    points[36:42] += [-15, -12] + np.array([[-5, 0], [-2, -2], [2, -2], [5, 0], [2, 2], [-2, 2]])
    points[42:48] += [15, -12] + np.array([[-5, 0], [-2, -2], [2, -2], [5, 0], [2, 2], [-2, 2]])
    points[48:55] += [[-12 + 4 * i, 24] for i in range(7)]
    return points


def small_evaluation(folder: Path) -> Evaluation:
    """Make up results with photos in `folder`.

    There are six probes (one confusion, one without a face), five strangers (one of them named) and two pairs.
    """
    generator = np.random.default_rng(0)
    photos = {}
    for number in range(11):
        path = folder / f"photo {number}.jpg"
        cells = generator.integers(40, 220, (6, 6, 3), dtype=np.uint8)
        path.write_bytes(encode_jpeg(cv2.resize(cells, (120, 120), interpolation=cv2.INTER_CUBIC)))
        with_face = number != 5
        photos[path] = (
            one_face(path, None, "", 0, landmarks())
            if with_face
            else PhotoFaces(path.name, path, "no_face", phash=0)
        )
    paths = list(photos)
    probes = ProbeScores(
        paths[:6],
        ["a", "a", "b", "b", "c", "c"],
        np.array([0, 0, 1, 1, 2, 2]),
        np.array([0, 0, 1, 0, 2, -1]),
        np.array([0.9, 0.8, 0.7, 0.6, 0.9, NEVER]),
        np.array([1.0, 0.9, 0.8, 0.7, 1.0, NEVER]),
        np.array([1, 1, 1, 2, 1, NEVER_RANKED]),
    )
    strangers = ProbeScores(
        paths[6:],
        ["s", "t", "u", "v", "w"],
        np.full(5, -1),
        np.array([0, 1, 2, 0, 1]),
        np.linspace(0.1, 0.8, 5),
        np.linspace(0.1, 0.8, 5),
        np.full(5, NEVER_RANKED),
    )
    pairs = [PhotoPair(paths[0], paths[1], True), PhotoPair(paths[0], paths[2], False)]
    pair_scores = PairScores(
        np.array([True, False]), np.array([0.8, 0.3]), [Path("a"), Path("a")], [Path("a"), Path("b")]
    )
    thresholds = {"fpir_1": 0.75, "fpir_10": 0.5}
    rates = measure_search(probes, strangers, thresholds) | measure_pairs(pair_scores)
    return Evaluation(
        model="runs/<demo>",
        protocol=["Six probes."],
        labels=LABELS,
        thresholds=thresholds,
        rates=rates,
        counts={"n_probes": 6, "n_strangers": 5, "n_pairs": 2},
        ms_per_face=1.5,
        decision=Decision(
            LeadAndCrowding(DecisionConstants(), np.zeros(len(LABELS))),
            thresholds,
            ProbabilityCurve(10.0, -5.0),
            {},
            tuple(np.linspace(1, 0, 200).tolist()),
        ),
        probes=probes,
        strangers=strangers,
        pairs=pair_scores,
        photo_pairs=pairs,
        photos=photos,
        false_faces=[(paths[3], LABELS[1])],
    )


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return small_evaluation(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def report(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(evaluation, tmp_path_factory.mktemp("report")).parent


class Tags(HTMLParser):
    """A parser that collects the links of a page and checks that all tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing_from_outside(report: Path) -> None:
    page = (report / "index.html").read_text("utf-8")
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert tags.links and all(link.startswith("data:image/") for link in tags.links)
    assert not re.search(r"https?://|url\(|@import|<script", page)
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_names_are_escaped_and_all_errors_are_shown(report: Path) -> None:
    page = (report / "index.html").read_text("utf-8")
    assert "Ann &lt;b&gt;" in page and "Ann <b>" not in page and "runs/&lt;demo&gt;" in page
    assert "right name at rank 2" in page  # the confusion
    assert "score 0.800" in page  # the stranger above 0.75
    assert "no_face" in page and "photo 5.jpg" in page
    assert "named Bö &amp; Co" in page


def test_json_csv_and_page_contain_the_same_numbers(report: Path) -> None:
    page = (report / "index.html").read_text("utf-8")
    numbers = json.loads((report / "report.json").read_text("utf-8"))["numbers"]
    with (report / "report.csv").open(encoding="utf-8") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    assert numbers["rank1"] == pytest.approx(4 / 6, abs=1e-6)
    assert float(rows["rank1"]["value"]) == numbers["rank1"] and "66.67 %" in page
    assert float(rows["rank1"]["low"]) == numbers["rank1_ci"][0]
    assert rows["no_face_rejected"]["value"] == ""
    with (report / "failures.csv").open(encoding="utf-8") as file:
        assert [row["reason"] for row in csv.DictReader(file)] == ["no_face"]


def test_enrolled_photos_are_shown_if_there_are_any(
    evaluation: Evaluation, report: Path, tmp_path: Path
) -> None:
    without = (report / "index.html").read_text("utf-8").count("data:image/jpeg")
    enrolled = {LABELS[0]: next(iter(evaluation.photos))}
    shown = write_report(evaluation, tmp_path / "b", enrolled).read_text("utf-8").count("data:image/jpeg")
    assert shown > without
    assert enrolled_photos(tmp_path / "no set here") == {}


def test_a_report_can_be_about_pairs_alone(evaluation: Evaluation, tmp_path: Path) -> None:
    bare = replace(evaluation, probes=None, strangers=None, labels=[], thresholds={}, false_faces=[])
    page = write_report(bare, tmp_path / "report").read_text("utf-8")
    assert "Same person, least similar" in page and "Worst confusions" not in page


def test_every_figure_has_a_text_and_some_show_how_the_run_was_made(
    evaluation: Evaluation, report: Path, tmp_path: Path
) -> None:
    usual = [
        "Detection error trade-off",
        "ROC",
        "Scores of the search",
        "Similarity of pairs",
        "Cumulative match",
    ]
    usual += ["What a threshold costs", "Reliability"]
    page = (report / "index.html").read_text("utf-8")
    assert all(f'alt="{title}"' in page for title in usual) and "Class balance" not in page
    (tmp_path / "curves.csv").write_text("epoch,loss,train_rank1,held_out_rank1\n1,2.5,0.3,\n2,1.5,0.6,0.5\n")
    run = run_history(tmp_path, ["Ann", "Ann", "Bö"])
    assert run.photos == (2, 1) and len(run.epochs) == 2 and np.isnan(run.epochs[0][3])
    page = write_report(evaluation, tmp_path / "report", run=run).read_text("utf-8")
    assert 'alt="Class balance"' in page and 'alt="Learning curves"' in page
    assert run_history(tmp_path / "none", ["Ann"]).epochs == ()  # no head was trained


def test_an_unwritable_folder_is_an_error_in_one_line(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        write_report(evaluation, tmp_path / "file" / "report")
