"""Other names for the people of a run: one renamed, or two that are the same person made one."""

from dataclasses import replace

from identity.runs.bundle import Bundle
from identity.runs.unenrolment import without_class


def photo_counts(bundle: Bundle) -> dict[str, int]:
    """Return how many photos each person of a run was made from, in the order of the templates."""
    return bundle.people.photo_counts


def renamed(bundle: Bundle, old: str, new: str) -> Bundle:
    """Return the run with another name for a person.

    Raises:
        InputError: no person is called `old`, or `new` cannot be used (`augmentor.photos.names`), is taken, or was
            another person's name before.
    """
    return replace(bundle, people=bundle.people.renamed(old, new))


def merged(bundle: Bundle, one: str, into: str) -> Bundle:
    """Return the run with `one`'s photos counted as `into`'s.

    The template is the mean of both, weighted by their numbers of photos.

    Raises:
        InputError: one of them is not enrolled, they are the same, or `into` cannot be used as a name
            (`augmentor.photos.names`).
    """
    people = bundle.people.merged(one, into)
    index = bundle.labels.index(bundle.people.name_of(one))
    return without_class(replace(bundle, people=people), index)
