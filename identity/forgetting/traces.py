"""Search for what is left of a person after forgetting: in the run, in what was made with it, and in other places.

This search shares nothing with the deletion but the names: it reads files, it does not ask what was deleted.
"""

import json
import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from augmentor.photos.place import is_local
from identity.forgetting.balanced_set import holds_person
from identity.forgetting.journal import ForgettingRecord
from identity.forgetting.mentions import Mentions
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile


def left_elsewhere(record: ForgettingRecord, names: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """Places that hold the person but must not be changed from this run."""
    for place in (one for one in record.sets if not is_local(one)):
        yield (
            f"{place}: the set in this bucket was not touched; take the photos of {record.name} away and run "
            "jobs/augment.py again"
        )
    for place in record.elsewhere:
        if not Path(place).is_absolute():
            yield (
                f"{place}: the run was trained with this set by a relative path, so it is not known where it is; give "
                "the command again with --data and the folder of the set"
            )
        elif not os.path.lexists(place):
            yield not_there(Path(place), "what the run that this one is a copy of was made from", "")
        elif Path(place).is_dir() and (
            holds_person(Path(place), names) or any(Mentions(names, others).below(Path(place)))
        ):
            yield (
                f"{place}: belongs to the run that this one is a copy of, and was not touched; forget the person in "
                "that run, too, or name the set with --data"
            )


def left_in_run(run: Path, names: Sequence[str]) -> Iterator[str]:
    """Search the run for the person; its own files by what they mean, all others by their text."""
    bundle = Bundle.load(run)
    mentions = Mentions(names, bundle.labels)
    own = {run / name for name in ("bundle.json", "labels.json", "thresholds.json", "model_card.md")}
    if not {*bundle.labels, *json.loads((run / "labels.json").read_text("utf-8"))}.isdisjoint(names):
        yield f"{run}: still has the person"
    for row in bundle.sources.to_pylist():
        if row["identity"] in names or mentions.in_text(row["photo"]):
            yield f"{run}: its list of training photos has {row['photo']}; rename that photo and train again"
    for file, why in mentions.below(run):
        if file not in own and not file.name.startswith("sources-"):
            yield f"{file}: {why}; delete it, or make it again"


def left_in_albums(names: Sequence[str], others: Sequence[str], people: PeopleFile) -> Iterator[str]:
    """Search the albums that were made with the run, the user's own files in them included."""
    mentions = Mentions(names, others)
    for collection in people.collections():
        if collection.own and collection.albums.is_dir():
            for file, why in mentions.below(collection.albums):
                yield f"{file}: {why}; delete it, or take the name out"


def left_in_outputs(
    names: Sequence[str], others: Sequence[str], people: PeopleFile, searched: Collection[str]
) -> Iterator[str]:
    """Search what was made with the run elsewhere.

    Args:
        names: of the person.
        others: of the people who are still enrolled.
        people: the run's file; it remembers what was made.
        searched: what an earlier call for the same person searched. Whatever of it is gone now, the user deleted.
    """
    mentions = Mentions(names, others)
    for path, kind in people.outputs().items():
        if not is_local(path):
            yield f"{path}: {kind} in a bucket, which was not searched; delete it, or make it again"
        elif os.path.lexists(path):
            for file, why in mentions.below(Path(path)):
                yield f"{file}: {kind} that {why}; delete it, or make it again"
        elif os.path.lexists(f"{path}.parts"):
            yield f"{path}: a job is making this {kind}, or was stopped; let it end, then give the same command again"
        elif path in searched:
            people.drop_output(path)
        else:
            yield not_there(Path(path), f"{kind} of this run", "")


def not_there(place: Path, what: str, or_else: str) -> str:
    """Return the line about a place that may hold the person and cannot be searched.

    Args:
        place: where it was.
        what: what it is.
        or_else: another way out, beginning with a comma; may be empty.
    """
    return (
        f"{place}: {what} is not there; connect its disk or put it back{or_else}, or, if it was deleted for good, give "
        f"--deleted {shlex.quote(str(place))}; then give the same command again"
    )
