"""Search for traces of a person after forgetting: in the run, in everything made with it, and in other places.

The search does not depend on the deletion: it reads all files again and uses only the person's names.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from augmentor.photos.place import is_local
from identity.forgetting.balanced_set import holds_person
from identity.forgetting.journal import ForgettingRecord
from identity.forgetting.mentions import Mentions
from identity.runs.bundle import Bundle
from identity.runs.collection import PeopleFile


def left_elsewhere(record: ForgettingRecord, names: Sequence[str]) -> Iterator[str]:
    """Yield a line for each place that contains the person but must not be changed from this run.

    Args:
        record: what had to be done to forget the person.
        names: names of the person.
    """
    if record.data and not is_local(record.data):
        yield (
            f"{record.data}: the set in this bucket was not touched; remove the photos of {record.name} and run "
            "jobs/augment.py again"
        )
    for place in record.elsewhere:
        if not Path(place).is_absolute():
            yield (
                f"{place}: the run knows its training set only by this relative path, so the set was not touched; "
                "repeat the command with --data and the folder of the set"
            )
        elif Path(place).is_dir() and (
            holds_person(Path(place), names) or any(Mentions(names).below(Path(place)))
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
    mentions = Mentions(names)
    own = {run / name for name in ("bundle.json", "labels.json", "thresholds.json", "model_card.md")}
    if not {*bundle.labels, *json.loads((run / "labels.json").read_text("utf-8"))}.isdisjoint(names):
        yield f"{run}: the person is still enrolled"
    for row in bundle.sources.to_pylist():
        if row["identity"] in names or mentions.in_text(row["photo"]):
            yield f"{run}: its list of training photos contains {row['photo']}; rename that photo and train again"
    for file in mentions.below(run):
        if file not in own and not file.name.startswith("sources-"):
            yield f"{file}: mentions the person; delete the file or make it again"


def left_in_albums(names: Sequence[str], people: PeopleFile) -> Iterator[str]:
    """Search the albums that were made with the run, including the user's own files; yield a line for each trace.

    Args:
        names: names of the person.
        people: people file of the run.
    """
    mentions = Mentions(names)
    for collection in people.collections():
        if collection.own and collection.albums.is_dir():
            for file in mentions.below(collection.albums):
                yield f"{file}: mentions the person; delete the file or remove the name from it"


def left_in_outputs(names: Sequence[str], people: PeopleFile) -> Iterator[str]:
    """Search reports, exports and tables that were made elsewhere with the run; yield a line for each trace.

    Args:
        names: names of the person.
        people: people file of the run.
    """
    mentions = Mentions(names)
    for path, kind in people.outputs().items():
        if not is_local(path):
            yield f"{path}: {kind} in a bucket, which was not searched; delete it or make it again"
        elif not os.path.lexists(path):
            people.drop_output(path)
        else:
            for file in mentions.below(Path(path)):
                yield f"{file}: {kind} that mentions the person; delete it or make it again"
