"""Templates, and the choice of their weights on calibration people.

For each feature source, a template is the unit mean of a person's photos (each with its mirror image and jittered
copies) and of some of its renders. All renders of a person together count as `render_weight` photos: much beside one
photo, little beside ten. Renders that show a side of the face also make templates of their own, for turned probes
(`identity.decisions.pose_templates`). The weight of renders and the shares of the sources are chosen on calibration
only: photos held out of the training, and strangers. Where calibration is too small, the defaults stay; the default
weight of renders was measured on LFW training people (docs/decisions/0011-training-and-calibration.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from identity.decisions.acceptance import AcceptanceScore, LeadAndCrowding
from identity.decisions.metrics import NEVER, threshold_at
from identity.decisions.open_set import SEARCHED_FPIRS, Decision, fit_decision
from identity.decisions.pose_templates import SIDES, PoseTemplates
from identity.networks.embedding import join
from identity.networks.face_space import unit
from identity.networks.sources import default_shares, share_grid, source_called, sources_in_order

RENDER_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
DEFAULT_RENDER_WEIGHT = 0.25
MIN_MATED, MIN_STRANGERS = 100, 100
# Choices worth less than this are noise of a few hundred probes: the simpler one stays.
MIN_GAIN = 0.002
_DRAWS = 4  # how often photos are left out at random: a single draw moves the measure by more than renders do


@dataclass(frozen=True)
class TrainingEmbeddings:
    """Embeddings of a training set, by feature source.

    Attributes:
        classes: number of people.
        photo_labels, photo_ids: (P,) person and photo of each aligned photo.
        probes: source name -> (P, D) unit rows of photos, each averaged with its mirror image.
        photos: source name -> (P, D) unit rows, with jittered copies averaged in as well.
        render_labels, render_photos: (R,) person and photo of each embedded render.
        renders: source name -> (R, D) unit rows.
        fixed: source name -> (C, D) templates that do not come from photos (the published head's one-hot rows).
        render_sides: (R,) int8, the side that each render shows (`identity.decisions.pose_templates.side_of`); empty
            where poses are not known.
    """

    classes: int
    photo_labels: np.ndarray
    photo_ids: np.ndarray
    probes: Mapping[str, np.ndarray]
    photos: Mapping[str, np.ndarray]
    render_labels: np.ndarray
    render_photos: np.ndarray
    renders: Mapping[str, np.ndarray]
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    render_sides: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))

    @property
    def shows_sides(self) -> bool:
        """True if there are renders of both sides, so that there are templates of the sides."""
        return all((self.render_sides == side).any() for side in range(SIDES))

    def templates(self, render_weight: float, without: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return source name -> (C, D) unit templates.

        Args:
            render_weight: the number of photos that the mean of a person's renders counts as.
            without: photo ids to leave out, with their renders.
        """
        left_out = np.zeros(0, np.int64) if without is None else without
        photo_kept = ~np.isin(self.photo_ids, left_out)
        render_kept = ~np.isin(self.render_photos, left_out)
        out = {}
        for name, photos in self.photos.items():
            if name in self.fixed:
                out[name] = self.fixed[name]
                continue
            photo_mean = _class_means(photos[photo_kept], self.photo_labels[photo_kept], self.classes)
            render_mean = _class_means(
                self.renders[name][render_kept], self.render_labels[render_kept], self.classes
            )
            count = np.bincount(self.photo_labels[photo_kept], minlength=self.classes)[:, None]
            # a person of whom only renders are left has a template made of them
            weight = np.where(count > 0, render_weight / np.maximum(count, 1), 1.0)
            out[name] = unit(photo_mean + weight * render_mean)
        return out

    def side_templates(
        self, front: Mapping[str, np.ndarray], without: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return source name -> (SIDES, C, D) unit templates of the sides; empty where no renders show them.

        A person without a render of one side gets the template of the other side, and without any, the own one of
        `front`. A source with `fixed` templates has these for each side.

        Args:
            front: what `templates` returned.
            without: photo ids to leave out, with their renders.
        """
        if not self.shows_sides:
            return {}
        left_out = np.zeros(0, np.int64) if without is None else without
        kept = ~np.isin(self.render_photos, left_out)
        out = {}
        for name, rows in front.items():
            if name in self.fixed:
                out[name] = np.stack([rows] * SIDES)
                continue
            chosen = [kept & (self.render_sides == side) for side in range(SIDES)]
            sums = [_sums(self.renders[name][c], self.render_labels[c], self.classes) for c in chosen]
            out[name] = sides_of_sums(rows, [total for total, _ in sums], [count for _, count in sums])
        return out

    def pose_templates(self, choice: "Choice", without: np.ndarray | None = None) -> PoseTemplates:
        """Return the joined templates of all people, made with some shares and a weight of renders.

        Args:
            choice: shares, and the weight of renders.
            without: photo ids to leave out, with their renders.
        """
        front = self.templates(choice.render_weight, without)
        return PoseTemplates.joined(front, self.side_templates(front, without), choice.shares)


def sides_of_sums(
    front: np.ndarray, totals: Sequence[np.ndarray], counts: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the (SIDES, C, D) unit templates of the sides.

    Args:
        front: (C, D) templates for people of whom no render shows a side.
        totals: for each side, the (C, D) sum of the renders' rows.
        counts: for each side, the (C,) number of renders.
    """
    out = []
    for side in range(SIDES):
        own, other = side, SIDES - 1 - side
        rows = np.where(counts[own][:, None] > 0, unit(totals[own]), unit(totals[other]))
        out.append(np.where((counts[own] + counts[other])[:, None] > 0, rows, front).astype(np.float32))
    return np.stack(out)


@dataclass(frozen=True)
class Choice:
    """Shares by source name, adding up to 1, and the weight of renders in templates."""

    shares: dict[str, float]
    render_weight: float


@dataclass(frozen=True)
class Calibration:
    """The photos that a run is calibrated with, by feature source.

    Attributes:
        mated: source name -> (M, D) unit rows of held-out photos.
        labels, photo_ids: (M,) person and photo of each held-out photo.
        strangers: source name -> (S, D) unit rows.
        stranger_labels: (S,) the enrolled person who plays this stranger and is left out of the comparison; -1 for
            people who are not enrolled.
    """

    mated: Mapping[str, np.ndarray]
    labels: np.ndarray
    photo_ids: np.ndarray
    strangers: Mapping[str, np.ndarray]
    stranger_labels: np.ndarray

    @property
    def is_enough(self) -> bool:
        """True if there are enough photos to choose shares and the weight of renders."""
        return len(self.labels) >= MIN_MATED and len(self.stranger_labels) >= MIN_STRANGERS


def calibration_of(
    embedded: TrainingEmbeddings, held: np.ndarray, strangers: Mapping[str, np.ndarray] | None
) -> Calibration:
    """Return the calibration photos of a training set.

    Args:
        embedded: photos and renders of the training set, embedded.
        held: (P,) bool, which photos are held out.
        strangers: source name -> (S, D) unit rows of people who are not enrolled. None: people of the training set are
            treated as strangers in turn. Where there are enough held-out photos, only these are used, since a head was
            trained on the others.
    """
    mated = {name: rows[held] for name, rows in embedded.probes.items()}
    if strangers is not None:
        counts = {len(rows) for rows in strangers.values()}
        labels = np.full(counts.pop(), -1)
        return Calibration(mated, embedded.photo_labels[held], embedded.photo_ids[held], strangers, labels)
    playing = held if held.sum() >= MIN_STRANGERS else np.ones_like(held)
    return Calibration(
        mated,
        embedded.photo_labels[held],
        embedded.photo_ids[held],
        {name: rows[playing] for name, rows in embedded.probes.items()},
        embedded.photo_labels[playing],
    )


def choose(
    embedded: TrainingEmbeddings, calibration: Calibration, kind: type[AcceptanceScore] = LeadAndCrowding
) -> tuple[Choice, bool]:
    """Return shares and render weight, and whether calibration chose them (else they are the defaults).

    Args:
        embedded: photos and renders of the training set, embedded.
        calibration: held-out photos and strangers.
        kind: the acceptance score to choose with.

    Source:
        Grid search. The measure is `named_rightly`; `worth` says how much a better choice must gain.
    """
    parts = tuple(source.name for source in sources_in_order(embedded.probes))
    usual = Choice(default_shares(parts), DEFAULT_RENDER_WEIGHT if len(embedded.render_labels) else 0.0)
    if not calibration.is_enough:
        return usual, False
    draws = [thinned(embedded, calibration, seed) for seed in range(_DRAWS)]
    best, best_named = usual, np.full(len(calibration.labels), -np.inf)
    for render_weight in RENDER_WEIGHTS if len(embedded.render_labels) else (0.0,):
        compared = []
        for left_out in draws:
            templates = embedded.templates(render_weight, left_out)
            mated = {name: calibration.mated[name] @ templates[name].T for name in parts}
            strangers = {name: calibration.strangers[name] @ templates[name].T for name in parts}
            compared.append((mated, strangers))
        for shares in share_grid(parts):
            reached = np.mean(
                [
                    named_rightly(
                        _weighted(mated, shares),
                        calibration.labels,
                        without_self(_weighted(strangers, shares), calibration.stranger_labels),
                        kind,
                    )
                    for mated, strangers in compared
                ],
                axis=0,
            )
            if np.isinf(best_named).all() or worth(
                reached - best_named, _leaves_trusted(best.shares, shares)
            ):
                best, best_named = Choice(shares, render_weight), reached
    return best, True


def thinned(embedded: TrainingEmbeddings, calibration: Calibration, seed: int = 0) -> np.ndarray:
    """Return the photos to leave out of the templates that choices are made with.

    These are the held-out photos and more photos of the same people. Only people with three photos or more can have one
    held out, and they have more photos left than most people have, so that renders would seem to be worth nothing. So
    each of these people keeps as many photos as a person of the set, drawn at random, has (at least one, at most what
    is left).

    Returns:
        Sorted photo ids.
    """
    rng = np.random.default_rng([seed, 7])
    photos = {
        label: np.setdiff1d(embedded.photo_ids[embedded.photo_labels == label], calibration.photo_ids)
        for label in np.unique(calibration.labels)
    }
    counts = np.bincount(
        np.unique(np.stack([embedded.photo_labels, embedded.photo_ids]), axis=1)[0],
        minlength=embedded.classes,
    )
    left_out = [calibration.photo_ids]
    for own in photos.values():
        kept = min(len(own), max(1, int(rng.choice(counts))))
        left_out.append(rng.permutation(own)[kept:])
    return np.unique(np.concatenate(left_out))


def named_rightly(
    mated: np.ndarray,
    labels: np.ndarray,
    strangers: np.ndarray,
    kind: type[AcceptanceScore] = LeadAndCrowding,
) -> np.ndarray:
    """Return the fraction of six false positive rates at which each probe is named rightly: (M,).

    One rate alone, of a few hundred strangers, is too noisy to choose by.

    Args:
        mated: (M, C) similarities of held-out photos.
        labels: (M,) column of the right name.
        strangers: (S, C) similarities.
        kind: the acceptance score, which is used with its usual constants.
    """
    acceptance = kind.measured(strangers).as_stored()
    best, score = acceptance(mated)
    _, stranger_score = acceptance(strangers)
    named = np.where(best == labels, score, NEVER)
    return np.mean([named >= threshold_at(stranger_score, fpir) for fpir in SEARCHED_FPIRS], axis=0)


def worth(gain: np.ndarray, leaves_trusted: bool) -> bool:
    """Return whether a choice is so much better than the one before that it is taken.

    Args:
        gain: (M,) gain of each probe.
        leaves_trusted: whether the choice before gives everything to a source that is `trusted_alone`. Such a choice
            needs no other network, and the constants of the decision may come from every photo in turn (see `settle`),
            so it is left only for more than two standard errors.
    """
    error = float(gain.std(ddof=1)) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return float(gain.mean()) > (max(MIN_GAIN, 2 * error) if leaves_trusted else MIN_GAIN)


def _leaves_trusted(before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    return any(
        share == 1.0 and after.get(name) != 1.0 and source_called(name).trusted_alone
        for name, share in before.items()
    )


def settle(
    embedded: TrainingEmbeddings,
    calibration: Calibration,
    choice: Choice,
    kind: type[AcceptanceScore] = LeadAndCrowding,
) -> Decision:
    """Return the decision for the final templates.

    Constants and the probability curve come from photos that their templates lack: where no source was trained on them,
    every photo in turn (`leave_one_out`), else the held-out ones. The thresholds, for which strangers suffice, come
    from the final templates.

    Args:
        embedded: photos and renders of the training set, embedded.
        calibration: held-out photos and strangers.
        choice: shares, and the weight of renders.
        kind: the kind of acceptance score.
    """
    strangers = join(calibration.strangers, choice.shares)
    final = embedded.pose_templates(choice)
    final_similarities = without_self(final.similarities(strangers), calibration.stranger_labels)
    if is_frozen(choice):
        mated, labels = leave_one_out(embedded, choice)
        if len(labels):
            return fit_decision(mated, labels, final_similarities, kind=kind)
    reduced = embedded.pose_templates(choice, calibration.photo_ids)
    mated = reduced.similarities(join(calibration.mated, choice.shares))
    reduced_similarities = without_self(reduced.similarities(strangers), calibration.stranger_labels)
    first = fit_decision(mated, calibration.labels, reduced_similarities, kind=kind)
    second = fit_decision(mated, calibration.labels, final_similarities, score=first.acceptance)
    return replace(second, probability=first.probability, calibration=first.calibration)


def is_frozen(choice: Choice) -> bool:
    """Return whether none of the sources that have a share was trained on the photos."""
    used = [name for name, share in choice.shares.items() if share > 0]
    return not any(source_called(name).trained_on_the_photos for name in used)


def leave_one_out(
    embedded: TrainingEmbeddings, choice: Choice, most: int = 5000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Compare photos, as probes of their own people, with templates that lack the photo and its renders.

    Args:
        embedded: photos and renders of the training set, embedded.
        choice: shares, and the weight of renders.
        most: how many probes at most; of more photos, this many are drawn at random.
        seed: of the draw.

    Returns:
        (M, C) similarities and (M,) labels of photos whose person has another photo.
    """
    labels, ids = embedded.photo_labels, embedded.photo_ids
    kinds = np.unique(np.stack([labels, ids]), axis=1)[0]  # equal files are one photo
    rows = np.flatnonzero(np.bincount(kinds, minlength=embedded.classes)[labels] >= 2)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng([seed, 11]).permutation(rows)[:most])
    probes = join({name: rows_of[rows] for name, rows_of in embedded.probes.items()}, choice.shares)
    similarities = embedded.pose_templates(choice).similarities(probes).astype(np.float64)
    own = _own_templates(embedded, rows, choice).similarity_of_each(probes)
    similarities[np.arange(len(rows)), labels[rows]] = own
    return similarities, labels[rows]


def _own_templates(embedded: TrainingEmbeddings, rows: np.ndarray, choice: Choice) -> PoseTemplates:
    """Return the templates of each row's person without the row's photo and its renders, one for each row."""
    labels, ids = embedded.photo_labels, embedded.photo_ids
    numbers = int(max(ids.max(initial=0), embedded.render_photos.max(initial=0))) + 1
    person, photo = labels[rows], ids[rows]

    def remaining(of: np.ndarray, who: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for each row the sum and the number of the person's `of` that are not of the row's photo."""
        total, count = _sums(of, who, embedded.classes)
        left_out, fewer = _sums(of, which, numbers)
        return total[person] - left_out[photo], count[person] - fewer[photo]

    fronts, sides = {}, {}
    for name in choice.shares:
        if choice.shares[name] <= 0:
            continue
        renders = embedded.renders[name]
        photo_total, count = remaining(embedded.photos[name], labels, ids)
        render_total, of_renders = remaining(renders, embedded.render_labels, embedded.render_photos)
        photo_mean = photo_total / np.maximum(count, 1)[:, None]
        render_mean = render_total / np.maximum(of_renders, 1)[:, None]
        fronts[name] = unit(photo_mean + choice.render_weight / np.maximum(count, 1)[:, None] * render_mean)
        if embedded.shows_sides:
            shown = [embedded.render_sides == side for side in range(SIDES)]
            sums = [
                remaining(renders[of], embedded.render_labels[of], embedded.render_photos[of]) for of in shown
            ]
            sides[name] = sides_of_sums(fronts[name], [t for t, _ in sums], [n for _, n in sums])
    return PoseTemplates.joined(fronts, sides, choice.shares)


def _sums(rows: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (C, D) sum of each class's rows, and the (C,) number of rows."""
    sums = np.zeros((classes, rows.shape[1]), np.float64)
    np.add.at(sums, labels, rows)
    return sums, np.bincount(labels, minlength=classes)


def person_sides(front: np.ndarray, renders: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return the (SIDES, D) unit templates of one person's sides, made as `side_templates` makes everybody's.

    Args:
        front: (D,) the person's template.
        renders: (R, D) unit rows of renders.
        sides: (R,) the side that each render shows.
    """
    sums = [_sums(renders[sides == side], np.zeros((sides == side).sum(), int), 1) for side in range(SIDES)]
    return sides_of_sums(front[None], [total for total, _ in sums], [count for _, count in sums])[:, 0]


def person_template(photos: np.ndarray, renders: np.ndarray | None, render_weight: float) -> np.ndarray:
    """Return the (D,) unit template of one person, made as `TrainingEmbeddings.templates` makes everybody's.

    Args:
        photos: (N, D) unit rows of the person's photos, for templates.
        renders: (R, D) unit rows of renders of them; None: the photos alone.
        render_weight: the number of photos that the mean of the renders counts as.
    """
    if renders is None:
        return unit(photos.mean(0))
    return unit(photos.mean(0) + render_weight / len(photos) * renders.mean(0))


def without_self(similarities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (S, C) similarities in which a person who plays the stranger is not compared with the own template."""
    out = similarities.astype(np.float64)
    rows = np.flatnonzero(labels >= 0)
    out[rows, labels[rows]] = NEVER
    return out


def _class_means(rows: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the (C, D) mean of each class's rows; zeros for a class without any."""
    sums, count = _sums(rows, labels, classes)
    return sums / np.maximum(count, 1)[:, None]


def _weighted(similarities: Mapping[str, np.ndarray], shares: Mapping[str, float]) -> np.ndarray:
    """Return the mean of the sources' (N, C) similarities, weighted by their shares."""
    used = [name for name in similarities if shares.get(name, 0.0) > 0]
    return np.asarray(sum(shares[name] * similarities[name] for name in used))
