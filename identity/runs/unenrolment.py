"""A run without one of its people: template, prototype in the head, crowding and sources, nothing of the others."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from augmentor.errors import InputError
from augmentor.photos.names import found_name, printable
from identity.networks.sources import HEAD, in_order
from identity.runs.bundle import Bundle


def enrolled_name(bundle: Bundle, name: str) -> str:
    """Return the name as the run spells it: in another Unicode form it is the same name.

    Raises:
        InputError: nobody is called so.
    """
    found = found_name(name, bundle.labels)
    if found is None:
        raise InputError(_not_enrolled(bundle, name))
    return found


def without(bundle: Bundle, name: str) -> Bundle:
    """Return the run without a person; the one given is left as it is.

    Raises:
        InputError: nobody is called so, or nobody would be left.
    """
    name = enrolled_name(bundle, name)
    if len(bundle.labels) == 1:
        raise InputError(f"{name}: the only person of this run; delete the folder of the run")
    index = bundle.labels.index(name)
    templates = {part: np.delete(rows, index, axis=0) for part, rows in bundle.part_templates.items()}
    former = {label: names for label, names in bundle.former_names.items() if label != name}
    changed = replace(
        bundle,
        about=bundle.about | {"former_names": former} if bundle.former_names else bundle.about,
        labels=tuple(label for label in bundle.labels if label != name),
        part_templates=templates,
        crowding=np.delete(bundle.crowding, index),
        sources=bundle.sources.filter(pc.not_equal(bundle.sources["identity"], name)),
    )
    if bundle.head is None:
        return changed
    trained = bundle.head.classes
    if index >= trained:  # enrolled later: the head knows nothing of the person
        return changed
    weights = list(bundle.head_weights)
    for place in bundle.head.people_arrays(len(weights)):
        weights[place] = np.delete(weights[place], index, axis=-1)
    if bundle.head.kind == "seed":  # its embedding has a dimension for each person
        templates[HEAD.name] = np.delete(templates[HEAD.name], index, axis=1)
        changed = replace(changed, stranger_mean=_without_dimension(bundle, index))
    return replace(changed, head=replace(bundle.head, classes=trained - 1), head_weights=weights)


def _without_dimension(bundle: Bundle, index: int) -> np.ndarray:
    """Return the mean of the strangers without the person's dimension of the head's part."""
    if bundle.shares[HEAD.name] == 0:
        return bundle.stranger_mean
    before = [source.name for source in in_order(bundle.parts)]
    before = before[: before.index(HEAD.name)]
    start = sum(bundle.part_templates[name].shape[1] for name in before)
    return np.delete(bundle.stranger_mean, start + index)


def _not_enrolled(bundle: Bundle, name: str) -> str:
    for label, former in bundle.former_names.items():
        if found_name(name, former) is not None:
            return f"{printable(name)}: not enrolled in this run; the person is called {label} now, use that name"
    return f"{printable(name)}: not enrolled in this run"
