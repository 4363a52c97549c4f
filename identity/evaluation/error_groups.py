"""Error rates by group: whom does a model serve worse?

Labels come from the user, in a CSV with the column `person` and one column for each way to group people (age, sex,
skin, camera, decade ...). `person` is what tells people apart in the folders that are measured: the folder of probes,
the first folder or file name below the strangers. Nothing is guessed from faces.
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
FEW = 30  # people; below it an interval says little


@dataclass(frozen=True)
class GroupRates:
    """Rates of one group.

    Attributes:
        grouping: name of the column, e.g. `sex`.
        group: value in it, e.g. `female`.
        people: enrolled people and strangers in it.
        rates: those of `SHOWN` that could be measured.
    """

    grouping: str
    group: str
    people: int
    rates: Mapping[str, Rate]


def read_groups(file: Path) -> dict[str, dict[str, str]]:
    """Grouping -> person -> group; empty cells belong to no group.

    Raises:
        InputError: missing file or column, a person twice, or no grouping.
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
        raise InputError(f"{file}: the first line must read {PERSON} and one name for each grouping")
    groups: dict[str, dict[str, str]] = {name: {} for name in names}
    seen: set[str] = set()
    for row in rows:
        person = (row[PERSON] or "").strip()
        if not person or person in seen:
            raise InputError(
                f"{file}, line {rows.line_num}: {'no person' if not person else f'{person} again'}"
            )
        seen.add(person)
        for name in names:
            if value := (row[name] or "").strip():
                groups[name][person] = value
    return groups


def measure_groups(
    evaluation: Evaluation, groups: Mapping[str, Mapping[str, str]], seed: int = 0
) -> list[GroupRates]:
    """Rates of every group that is on the photos measured, in the order of the columns and of the groups' names.

    Raises:
        InputError: none of the people measured is in the list.
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
        raise InputError("--groups: none of the people measured is in the list")
    return out


def _of(scores: ProbeScores | None, members: set[str]) -> ProbeScores | None:
    """The photos of some people; None without any."""
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
    """For people to read."""
    lines = ["", "By group (95 %):"]
    for group in measured:
        told = ", ".join(
            f"{titles[name]} {100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
            for name, rate in group.rates.items()
        )
        few = "; few people, little is known" if group.people < FEW else ""
        lines.append(f"{group.grouping} {group.group}, {group.people} people: {told}{few}")
    return "\n".join(lines)
