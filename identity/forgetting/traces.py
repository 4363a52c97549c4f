"""Search for traces of a person after forgetting: in the run, in everything made with it, and in other places.

The search does not depend on the deletion: it reads all files again and uses only the person's names.
"""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from augmentor.photos.place import is_local
from identity.forgetting.balanced_set import holds_person
from identity.forgetting.journal import ForgettingRecord
from identity.forgetting.mentions import Mentions
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile


def left_elsewhere(record: ForgettingRecord, names: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """Yield a line for each place that contains the person but must not be changed from this run.

    A place that does not exist at present may contain the person, too.

    Args:
        record: what had to be done to forget the person.
        names: names of the person.
        others: names of the people who are still enrolled.
    """
    for place in (place for place in record.sets if not is_local(place)):
        yield (
            f"{place}: the set in this bucket was not touched; remove the photos of {record.name} and run "
            "jobs/augment.py again"
        )
    for place in record.elsewhere:
        if not Path(place).is_absolute():
            yield (
                f"{place}: the run knows its training set only by this relative path, so the set was not touched; "
                "repeat the command with --data and the folder of the set"
            )
        elif not os.path.lexists(place):
            yield not_there(Path(place), "data of the run of which this one is a copy")
        elif Path(place).is_dir() and (
            holds_person(Path(place), names) or any(Mentions(names, others).below(Path(place)))
        ):
            yield (
                f"{place}: belongs to the run of which this one is a copy, and was not touched; forget the person in "
                "that run, too, or give the folder of the set with --data"
            )


def left_in_run(run: Path, names: Sequence[str]) -> Iterator[str]:
    """Search the run for the person and yield a line for each trace.

    The run's own files are searched by their meaning, all others by their text.

    Args:
        run: folder of the run.
        names: names of the person.
    """
    bundle = Bundle.load(run)
    mentions = Mentions(names, bundle.labels)
    own = {run / name for name in ("bundle.json", "labels.json", "thresholds.json", "model_card.md")}
    if not {*bundle.labels, *json.loads((run / "labels.json").read_text("utf-8"))}.isdisjoint(names):
        yield f"{run}: the person is still enrolled"
    for row in bundle.sources.to_pylist():
        if row["identity"] in names or mentions.in_text(row["photo"]):
            yield f"{run}: its list of training photos contains {row['photo']}; rename that photo and train again"
    for file, reason in mentions.below(run):
        if file not in own and not file.name.startswith("sources-"):
            yield f"{file}: {reason}; delete the file or make it again"


def left_in_albums(names: Sequence[str], others: Sequence[str], people: PeopleFile) -> Iterator[str]:
    """Search the albums that were made with the run, including the user's own files; yield a line for each trace.

    Args:
        names: names of the person.
        others: names of the people who are still enrolled.
        people: people file of the run.
    """
    mentions = Mentions(names, others)
    for collection in people.collections():
        if collection.own and collection.albums.is_dir():
            for file, reason in mentions.below(collection.albums):
                yield f"{file}: {reason}; delete the file or remove the name from it"


def left_in_outputs(names: Sequence[str], others: Sequence[str], people: PeopleFile) -> Iterator[str]:
    """Search reports, exports and tables that were made elsewhere with the run; yield a line for each trace.

    Args:
        names: names of the person.
        others: names of the people who are still enrolled.
        people: people file of the run.
    """
    mentions = Mentions(names, others)
    for path, kind in people.outputs().items():
        if not is_local(path):
            yield f"{path}: {kind} in a bucket, which was not searched; delete it or make it again"
        elif os.path.lexists(path):
            for file, reason in mentions.below(Path(path)):
                yield (
                    f"{file} ({kind}): {reason}; make it again without the person, or delete it and repeat the command "
                    f"with --deleted {shlex.quote(path)}"
                )
        elif os.path.lexists(f"{path}.parts"):
            yield f"{path}: a job is making this {kind} or was stopped; let it end, then repeat the command"
        else:
            yield not_there(Path(path), f"this {kind}")


def not_there(place: Path, what: str, advice: str = "") -> str:
    """Return the line about a place that may contain the person but does not exist at present.

    Args:
        place: path of the place.
        what: what the place contains, with its article.
        advice: a further sentence about what the user can do.
    """
    steps = [
        f"{place}: not there, so {what} could not be searched.",
        "Connect the disk that contains it or put it back.",
        *([advice] if advice else []),
        f"If it was deleted for good, give --deleted {shlex.quote(str(place))}.",
        "Then repeat the command.",
    ]
    return " ".join(steps)
