"""Measure error rates by group of people, to show for whom a model works less well.

The groups come from the user, in a CSV with the column `person` and a column for each way to group people (age, sex,
skin, camera, decade ...). `person` is the name of a folder in the probes, or of a folder or file at the top of the
strangers. Nothing is guessed from faces.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augmentor.errors import InputError
from identity.evaluation.rates import Evaluation, ProbeScores, Rate, measure_search

PERSON = "person"
SHOWN = ("rank1", "tpir_at_stored_1", "fpir_realised_1")
FEW = 30  # with fewer people, an interval says little


@dataclass(frozen=True)
class GroupRates:
    """The rates of one group.

    Attributes:
        grouping: name of the column, for example `sex`.
        group: value in the column, for example `female`.
        people: number of enrolled people and strangers in the group.
        rates: the rates in `SHOWN` that could be measured.
    """

    grouping: str
    group: str
    people: int
    rates: Mapping[str, Rate]


def read_groups(file: Path) -> dict[str, dict[str, str]]:
    """Read the groups of people from a CSV.

    Args:
        file: UTF-8 CSV with a header.

    Returns:
        The group of each person, for each grouping. People with an empty cell belong to no group.

    Raises:
        InputError: The file cannot be read, a column is missing, or a person is missing or listed twice.
    """
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 ({error.reason}); save the list as UTF-8 CSV") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    names = [name for name in rows.fieldnames or () if name and name != PERSON]
    if PERSON not in (rows.fieldnames or ()) or not names:
        raise InputError(f"{file}: the first line must read {PERSON} and the name of at least one grouping")
    groups: dict[str, dict[str, str]] = {name: {} for name in names}
    listed: set[str] = set()
    for row in rows:
        person = (row[PERSON] or "").strip()
        if not person or person in listed:
            problem = f"{person} is listed twice" if person else "no person"
            raise InputError(f"{file}, line {rows.line_num}: {problem}")
        listed.add(person)
        for name in names:
            if value := (row[name] or "").strip():
                groups[name][person] = value
    return groups


def measure_groups(
    evaluation: Evaluation, groups: Mapping[str, Mapping[str, str]], seed: int = 0
) -> list[GroupRates]:
    """Measure the rates of every group with people in the measured photos.

    Args:
        evaluation: the results of an evaluation.
        groups: the group of each person, for each grouping, from `read_groups`.
        seed: seed of the bootstrap.

    Returns:
        The rates, ordered by the columns of the list and then by the names of the groups.

    Raises:
        InputError: None of the measured people is in the list.
    """
    out = []
    for grouping, group_of in groups.items():
        for group in sorted(set(group_of.values())):
            members = {person for person, value in group_of.items() if value == group}
            probes, strangers = (_of(scores, members) for scores in (evaluation.probes, evaluation.strangers))
            people = sum(len(set(scores.identities)) for scores in (probes, strangers) if scores)
            if people:
                rates = measure_search(probes, strangers, evaluation.thresholds, seed)
                out.append(GroupRates(grouping, group, people, {k: rates[k] for k in SHOWN if k in rates}))
    if not out:
        raise InputError("--groups: none of the measured people is in the list")
    return out


def _of(scores: ProbeScores | None, members: set[str]) -> ProbeScores | None:
    """Return the scores of the photos of some people, or None if there are none."""
    if scores is None:
        return None
    rows = np.array(
        [k for k, who in enumerate(scores.identities) if who in members or Path(who).stem in members],
        np.int64,
    )
    if not len(rows):
        return None
    return replace(
        scores,
        photos=[scores.photos[k] for k in rows.tolist()],
        identities=[scores.identities[k] for k in rows.tolist()],
        truth=scores.truth[rows],
        best=scores.best[rows],
        similarity=scores.similarity[rows],
        score=scores.score[rows],
        rank=scores.rank[rows],
    )


def group_table(measured: list[GroupRates], titles: Mapping[str, str]) -> str:
    """Return the rates of groups as lines for people to read.

    Args:
        measured: the rates of each group.
        titles: title of each rate.
    """
    lines = ["", "By group (95 % intervals):"]
    for group in measured:
        rates = ", ".join(
            f"{titles[name]} {100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
            for name, rate in group.rates.items()
        )
        few = "; too few people for a reliable rate" if group.people < FEW else ""
        lines.append(f"{group.grouping} {group.group}, {group.people} people: {rates}{few}")
    return "\n".join(lines)
