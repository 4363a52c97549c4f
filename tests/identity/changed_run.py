"""Runs that differ in a few things from a given one."""

from dataclasses import replace
from typing import Any

import numpy as np

from identity.decisions.acceptance import LeadAndCrowding
from identity.runs.bundle import Bundle


def with_people(bundle: Bundle, **changes: Any) -> Bundle:
    """Return the run with other values of some attributes of its `EnrolledPeople`."""
    return replace(bundle, people=replace(bundle.people, **changes))


def with_decision(bundle: Bundle, **changes: Any) -> Bundle:
    """Return the run with other values of some attributes of its decision."""
    return with_people(bundle, decision=replace(bundle.decision, **changes))


def crowding_of(bundle: Bundle) -> np.ndarray:
    """Return the (C,) crowding of the templates."""
    assert isinstance(bundle.decision.acceptance, LeadAndCrowding)
    return bundle.decision.acceptance.crowding


def with_crowding(bundle: Bundle, crowding: np.ndarray) -> Bundle:
    """Return the run with another (C,) crowding of its templates."""
    return with_decision(bundle, acceptance=replace(bundle.decision.acceptance, crowding=crowding))  # type: ignore[call-arg]
