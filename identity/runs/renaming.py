"""Other names for the people of a run: one renamed, or two that are the same person made one."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from augmentor.errors import InputError
from augmentor.photos.names import checked_name, checked_new_name, found_name
from identity.networks.face_space import unit
from identity.runs.bundle import Bundle
from identity.runs.former_names import refuse_former_name
from identity.runs.unenrolment import enrolled_name, without


def photo_counts(bundle: Bundle) -> dict[str, int]:
    """How many photos each person of a run was made from, in the order of the templates."""
    counts = Counter(bundle.sources["identity"].to_pylist())
    return {name: counts[name] for name in bundle.labels}


def renamed(bundle: Bundle, old: str, new: str) -> Bundle:
    """The run with a person called otherwise.

    Raises:
        InputError: nobody is called `old`, or nobody can be called `new` (`augmentor.photos.names`), or somebody is
            or was.
    """
    old = enrolled_name(bundle, old)
    if found_name(new, bundle.labels) not in (None, old):
        raise InputError(f"{new}: there is a person of this name already; --merge makes two people one")
    new = checked_new_name(new, [label for label in bundle.labels if label != old])
    refuse_former_name(bundle, new, old)
    labels = tuple(new if label == old else label for label in bundle.labels)
    about = _remembering(bundle, old, new)
    return replace(bundle, labels=labels, sources=_called(bundle, old, new), about=about)


def merged(bundle: Bundle, one: str, into: str) -> Bundle:
    """The run with `one`'s photos counted as `into`'s: the template is the mean of both, weighted by their photos.

    Raises:
        InputError: one of them is not enrolled, they are the same, or nobody can be called `into`
        (`augmentor.photos.names`).
    """
    one, into = enrolled_name(bundle, one), enrolled_name(bundle, into)
    if one == into:
        raise InputError(f"{one}: merged with itself")
    checked_name(into)
    counts = photo_counts(bundle)
    a, b = bundle.labels.index(one), bundle.labels.index(into)
    weights = np.array([max(1, counts[one]), max(1, counts[into])], np.float64)
    weights /= weights.sum()
    templates = {}
    for part, rows in bundle.part_templates.items():
        templates[part] = rows.copy()
        templates[part][b] = unit(weights[0] * rows[a] + weights[1] * rows[b])
    crowding = bundle.crowding.copy()
    crowding[b] = weights @ bundle.crowding[[a, b]]
    both = replace(bundle, part_templates=templates, crowding=crowding, sources=_called(bundle, one, into))
    return replace(without(both, one), about=_remembering(bundle, one, into))


def _remembering(bundle: Bundle, old: str, new: str) -> dict[str, Any]:
    """What the run tells of itself, with the names that the person called `new` now had before.

    Forgetting goes by them: images and albums that were made under an earlier name are still called so.
    """
    former = {label: list(names) for label, names in bundle.former_names.items()}
    earlier = [*former.pop(old, []), *former.pop(new, []), old]
    former[new] = [name for name in dict.fromkeys(earlier) if name != new]
    return bundle.about | {"former_names": former}


def _called(bundle: Bundle, old: str, new: str) -> pa.Table:
    """The sources with one name in place of another."""
    names = [new if name == old else name for name in bundle.sources["identity"].to_pylist()]
    index = bundle.sources.column_names.index("identity")
    return bundle.sources.set_column(index, "identity", pa.array(names, pa.string()))
