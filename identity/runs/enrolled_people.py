"""The people who are enrolled in a run, and everything that is kept of each of them, changed and written together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from augmentor.errors import InputError
from augmentor.photos.names import checked_name, checked_new_name, found_name, printable
from identity.decisions.open_set import Decision
from identity.decisions.pose_templates import SIDE_MARGIN, SIDES
from identity.networks.embedding import join
from identity.networks.face_space import unit

_TEMPLATES, _SIDES = "templates_", "sides_"


@dataclass(frozen=True, eq=False)
class EnrolledPeople:
    """The people of a run. Objects are never changed: methods return new ones.

    Attributes:
        labels: names, in the order of the templates.
        part_templates: source name -> (C, D_part) unit rows.
        decision: how a probe is named, with what the acceptance score knows of each person.
        sources: table of `photo, sha256, phash, identity`: every photo that a template was made from.
        former_names: name of today -> names that the person had before being renamed or merged. Forgetting needs them:
            images and albums that were made under an earlier name are still called so.
        enrolled_later: how many people were enrolled after the training.
        side_templates: source name -> (SIDES, C, D_part) unit rows, the templates of each side of the face; empty in a
            run without renders of the sides.
        side_margin: see `identity.decisions.pose_templates.PoseTemplates`.

    Raises:
        ValueError: labels, templates and acceptance score are of different lengths, or a source has templates of the
            sides only.
    """

    labels: tuple[str, ...]
    part_templates: dict[str, np.ndarray]
    decision: Decision
    sources: pa.Table
    former_names: dict[str, list[str]] = field(default_factory=dict)
    enrolled_later: int = 0
    side_templates: dict[str, np.ndarray] = field(default_factory=dict)
    side_margin: float = SIDE_MARGIN

    def __post_init__(self) -> None:
        people = len(self.labels)
        if any(len(rows) != people for rows in self.part_templates.values()):
            raise ValueError("labels and templates of different lengths")
        if self.side_templates and (
            self.side_templates.keys() != self.part_templates.keys()
            or any(
                rows.shape != (SIDES, *self.part_templates[part].shape)
                for part, rows in self.side_templates.items()
            )
        ):
            raise ValueError("templates of the sides that do not belong to the others")
        if not np.isfinite(self.side_margin):
            raise ValueError("a margin of the sides that is no number")
        if self.decision.acceptance.people not in (None, people):
            raise ValueError("labels and acceptance score of different lengths")

    def name_of(self, name: str) -> str:
        """Return a name as it is spelled here; in another Unicode form it is the same name.

        Raises:
            InputError: no person has this name.
        """
        enrolled = found_name(name, self.labels)
        if enrolled is not None:
            return enrolled
        for label, former in self.former_names.items():
            if found_name(name, former) is not None:
                raise InputError(
                    f"{printable(name)}: not enrolled in this run; the person is called {label} now, use that name"
                )
        raise InputError(f"{printable(name)}: not enrolled in this run")

    @property
    def photo_counts(self) -> dict[str, int]:
        """Number of photos that each person's template was made from, in the order of the templates."""
        counts = Counter(self.sources["identity"].to_pylist())
        return {name: counts[name] for name in self.labels}

    def checked_name(self, name: str, person: str | None = None) -> str:
        """Return a name, NFC-normalised, if a person can get it.

        Images and albums that were made under somebody's former name are still called so. Whoever else got that name
        would get them, too, and forgetting one of the two would delete what belongs to the other.

        Args:
            name: the new name.
            person: the name of the person now; None for somebody new.

        Raises:
            InputError: the name cannot be used (`augmentor.photos.names`), is taken, or was somebody else's before.
        """
        name = checked_new_name(name, [label for label in self.labels if label != person])
        for label, former in self.former_names.items():
            if label != person and found_name(name, former) is not None:
                raise InputError(
                    f"{printable(name)}: this was a name of {printable(label)} before, and images and albums may still "
                    "have it; choose another name"
                )
        return name

    def with_person(
        self,
        name: str,
        templates: Mapping[str, np.ndarray],
        photos: Sequence[Mapping[str, Any]],
        shares: Mapping[str, float],
        sides: Mapping[str, np.ndarray] | None = None,
    ) -> "EnrolledPeople":
        """Return the people and one more, who comes last.

        Args:
            name: of the person, not enrolled yet.
            templates: source name -> (D_part,) unit template, for every source that has a share. The templates of other
                sources are given up, since the new person has none.
            photos: `photo`, `sha256` and `phash` of every photo of the person.
            shares: source name -> share.
            sides: source name -> (SIDES, D_part) unit templates of the sides, in a run that has such; None: the new
                person has the same template for each side.

        Raises:
            InputError: the name cannot be used (`augmentor.photos.names`), is taken, or was somebody else's before.
        """
        name = self.checked_name(name)
        grown = {
            part: np.concatenate([self.part_templates[part], row[None]]) for part, row in templates.items()
        }
        grown_sides = {}
        for part in grown if self.side_templates else ():
            new = np.stack([templates[part]] * SIDES) if sides is None else sides[part]
            grown_sides[part] = np.concatenate([self.side_templates[part], new[:, None]], axis=1)
        joined = join(grown, shares)
        rows = [{**photo, "identity": name} for photo in photos]
        return replace(
            self,
            labels=(*self.labels, name),
            part_templates=grown,
            side_templates=grown_sides,
            decision=self.decision.with_person(joined @ joined[:-1].T),
            sources=pa.concat_tables([self.sources, pa.Table.from_pylist(rows, self.sources.schema)]),
            enrolled_later=self.enrolled_later + 1,
        )

    def without(self, name: str) -> "EnrolledPeople":
        """Return the people without one of them; nothing of the others changes.

        Raises:
            InputError: no person has this name, or no person would be left.
        """
        name = self.name_of(name)
        if len(self.labels) == 1:
            raise InputError(f"{name}: the only person of this run; delete the folder of the run")
        index = self.labels.index(name)
        return replace(
            self,
            labels=tuple(label for label in self.labels if label != name),
            part_templates={
                part: np.delete(rows, index, axis=0) for part, rows in self.part_templates.items()
            },
            side_templates={
                part: np.delete(rows, index, axis=1) for part, rows in self.side_templates.items()
            },
            decision=self.decision.without(index),
            sources=self.sources.filter(pc.not_equal(self.sources["identity"], name)),
            former_names={label: names for label, names in self.former_names.items() if label != name},
        )

    def renamed(self, old: str, new: str) -> "EnrolledPeople":
        """Return the people with another name for one of them.

        Raises:
            InputError: no person is called `old`, or `new` cannot be used (`augmentor.photos.names`), is taken, or was
                another person's name before.
        """
        old = self.name_of(old)
        if found_name(new, self.labels) not in (None, old):
            raise InputError(f"{new}: there is a person of this name already; --merge makes two people one")
        new = self.checked_name(new, old)
        return replace(
            self,
            labels=tuple(new if label == old else label for label in self.labels),
            sources=self._sources_with(old, new),
            former_names=self._former_names_with(old, new),
        )

    def merged(self, one: str, into: str) -> "EnrolledPeople":
        """Return the people with `one`'s photos counted as `into`'s.

        Each template is the mean of both, weighted by their numbers of photos.

        Raises:
            InputError: one of them is not enrolled, they are the same, or `into` cannot be used as a name
                (`augmentor.photos.names`).
        """
        one, into = self.name_of(one), self.name_of(into)
        if one == into:
            raise InputError(f"{one}: merged with itself")
        checked_name(into)
        counts = self.photo_counts
        a, b = self.labels.index(one), self.labels.index(into)
        weights = np.array([max(1, counts[one]), max(1, counts[into])], np.float64)
        weights /= weights.sum()
        templates = {}
        for part, rows in self.part_templates.items():
            templates[part] = rows.copy()
            templates[part][b] = unit(weights[0] * rows[a] + weights[1] * rows[b])
        sides = {part: rows.copy() for part, rows in self.side_templates.items()}
        for rows in sides.values():
            rows[:, b] = unit(weights[0] * rows[:, a] + weights[1] * rows[:, b])
        both = replace(
            self,
            part_templates=templates,
            side_templates=sides,
            decision=self.decision.merged(a, b, weights),
            sources=self._sources_with(one, into),
        )
        return replace(both.without(one), former_names=self._former_names_with(one, into))

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept as JSON; `arrays` and `sources` are kept beside it."""
        return {
            "labels": list(self.labels),
            "former_names": self.former_names,
            "enrolled_later": self.enrolled_later,
            "decision": self.decision.as_dict(),
            "side_margin": self.side_margin,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is kept as arrays, by the names that `from_parts` looks for."""
        sides = {f"{_SIDES}{part}": rows for part, rows in self.side_templates.items()}
        return {f"{_TEMPLATES}{part}": rows for part, rows in self.part_templates.items()} | sides

    @classmethod
    def from_parts(
        cls, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray], sources: pa.Table
    ) -> "EnrolledPeople":
        """Read what `as_dict` and `arrays` returned.

        Args:
            values: of `as_dict`.
            arrays: of `arrays`; others among them are left out.
            sources: see the attribute.

        Raises:
            KeyError, TypeError, ValueError: they are not of one `EnrolledPeople`.
            InputError: the acceptance score is not registered.
        """
        return cls(
            tuple(values["labels"]),
            _beginning(arrays, _TEMPLATES),
            Decision.from_dict(values["decision"]),
            sources,
            {label: list(names) for label, names in values["former_names"].items()},
            int(values["enrolled_later"]),
            _beginning(arrays, _SIDES),
            float(values["side_margin"]),
        )

    def _former_names_with(self, old: str, new: str) -> dict[str, list[str]]:
        """Return the earlier names when the person called `old` is called `new` from now on."""
        former = {label: list(names) for label, names in self.former_names.items()}
        earlier = [*former.pop(old, []), *former.pop(new, []), old]
        former[new] = [name for name in dict.fromkeys(earlier) if name != new]
        return former

    def _sources_with(self, old: str, new: str) -> pa.Table:
        """Return the sources with one name in place of another."""
        names = [new if name == old else name for name in self.sources["identity"].to_pylist()]
        index = self.sources.column_names.index("identity")
        return self.sources.set_column(index, "identity", pa.array(names, pa.string()))


def _beginning(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose name begins with a prefix, by the rest of the name."""
    return {name.removeprefix(prefix): rows for name, rows in arrays.items() if name.startswith(prefix)}
