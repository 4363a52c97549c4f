"""A run without one of its people: template, prototype in the head, acceptance score and sources of the person go."""

from dataclasses import replace

import numpy as np

from identity.networks.sources import HEAD
from identity.runs.bundle import Bundle


def without(bundle: Bundle, name: str) -> Bundle:
    """Return the run without a person; the one given and everything of the other people stay as they are.

    Raises:
        InputError: no person has this name, or no person would be left.
    """
    index = bundle.labels.index(bundle.people.name_of(name))
    return without_class(replace(bundle, people=bundle.people.without(name)), index)


def without_class(bundle: Bundle, index: int) -> Bundle:
    """Return the run with one class less in its head, after the person was taken out of its people.

    Args:
        bundle: the run, whose people lack the person already.
        index: column of the person before that. A person who was enrolled after the training has no class in the head.
    """
    head = bundle.head
    if head is None or index >= head.classes:
        return bundle
    weights = list(bundle.head_weights)
    for place in head.people_arrays(len(weights)):
        weights[place] = np.delete(weights[place], index, axis=-1)
    smaller = replace(bundle, head=replace(head, classes=head.classes - 1), head_weights=weights)
    return _without_dimension(smaller, index) if head.kind == "seed" else smaller


def _without_dimension(bundle: Bundle, index: int) -> Bundle:
    """Return the run without one dimension of the part `head`: the published head has a dimension for each person."""
    templates, mean = dict(bundle.part_templates), bundle.stranger_mean
    if HEAD.name in bundle.parts:
        before = bundle.parts[: bundle.parts.index(HEAD.name)]
        mean = np.delete(mean, sum(templates[part].shape[1] for part in before) + index)
    if HEAD.name in templates:
        templates[HEAD.name] = np.delete(templates[HEAD.name], index, axis=1)
    sides = dict(bundle.people.side_templates)
    if HEAD.name in sides:
        sides[HEAD.name] = np.delete(sides[HEAD.name], index, axis=2)
    people = replace(bundle.people, part_templates=templates, side_templates=sides)
    return replace(bundle, people=people, stranger_mean=mean)
