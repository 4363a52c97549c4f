"""Enrol one person more in a trained run, without training.

The networks stay as they are. The new person's template is imprinted: it is the unit mean of the embeddings of the
photos, of their mirror images and, if renders have a weight in this run, of renders, as everybody's template is. Where
the others have templates of the sides, renders make such of the new person, too. The acceptance score estimates what it
has to know of the new person (`identity.decisions.acceptance`).

Source:
    Qi, Brown and Lowe, "Low-Shot Learning with Imprinted Weights", CVPR 2018.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from augmentor.errors import InputError
from augmentor.faces.face_source import FaceSource
from augmentor.faces.landmark_source import Landmarks
from augmentor.photos.images import load_image
from identity.chips.photo_faces import PhotoFaces
from identity.chips.renders_of_photo import WantedRenders, make_renders
from identity.decisions.pose_templates import side_of, wanted_yaws
from identity.decisions.templates import person_sides, person_template
from identity.runs.bundle import Bundle
from identity.runs.leak_guard import find_leaks

RENDERS = 16
_LIKE_ANOTHER = "fpir_1"  # the threshold from which a new person seems to be an enrolled one


def enrol(
    bundle: Bundle,
    name: str,
    photos: Sequence[PhotoFaces],
    renders: np.ndarray | None = None,
) -> Bundle:
    """Return the run with one person more; the one given is left as it is.

    Args:
        bundle: a trained run.
        name: of the person, not enrolled yet.
        photos: of this person, each with a face.
        renders: (N, size, size, 3) uint8 RGB, the renders that `wanted_renders` lists; None: they are made here, from
            the files of the photos.

    Raises:
        InputError: the name cannot be used (`augmentor.photos.names`) or is taken, there are no photos, or one of them
            is a photo of a person who is enrolled.
    """
    name = bundle.people.checked_name(name)
    if not photos:
        raise InputError(f"{name}: no photo with a face")
    _refuse_known(bundle, photos)
    files = {photo.sha256: photo for photo in photos}.values()
    templates, sides = _templates(bundle, photos, renders)
    people = bundle.people.with_person(
        name,
        templates,
        [{"photo": str(p.path), "sha256": p.sha256, "phash": p.phash} for p in files],
        bundle.shares,
        sides,
    )
    return replace(bundle, people=people, model_card=_card(bundle.model_card, people.enrolled_later))


def taken_for(bundle: Bundle, photos: Sequence[PhotoFaces]) -> list[tuple[str, PhotoFaces]]:
    """Return the photos that the run names already at FPIR 1 %, with these names.

    The person may be enrolled under another name.
    """
    chips = np.stack([photo.chip for photo in photos if photo.chip is not None])
    similarities = bundle.similarities(bundle.embed(chips))
    best, score = bundle.decision.score(similarities)
    return [
        (bundle.labels[b], photo)
        for b, s, photo in zip(best, score, photos, strict=True)
        if s >= bundle.thresholds[_LIKE_ANOTHER]
    ]


def _refuse_known(bundle: Bundle, photos: Sequence[PhotoFaces]) -> None:
    leaks = find_leaks([p.sha256 for p in photos], [p.phash for p in photos], bundle.training_photos)
    for leak in leaks:
        person = bundle.sources["identity"][leak.training].as_py()
        raise InputError(f"{photos[leak.photo].path}: a photo of {person} already; leave it out")


def _templates(
    bundle: Bundle, photos: Sequence[PhotoFaces], renders: np.ndarray | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    """Return source name -> (D,) unit template, and -> (SIDES, D) templates of the sides in a run that has such."""
    chips = np.stack([photo.chip for photo in photos if photo.chip is not None])
    of_photos = bundle.embed_for_template(chips)
    wanted = wanted_renders(bundle, photos)
    if not wanted:
        return {part: person_template(rows, None, 0.0) for part, rows in of_photos.items()}, None
    if renders is None:
        renders = np.concatenate(
            [
                make_renders(load_image(photos[one.photo].path), str(photos[one.photo].path), one)
                for one in wanted
            ]
        )
    of_renders, weight = bundle.embed_renders(renders), bundle.training.render_weight
    templates = {part: person_template(rows, of_renders[part], weight) for part, rows in of_photos.items()}
    if not bundle.people.side_templates:
        return templates, None
    sides = sides_wanted(wanted)
    return templates, {part: person_sides(templates[part], of_renders[part], sides) for part in templates}


def wanted_renders(bundle: Bundle, photos: Sequence[PhotoFaces]) -> list[WantedRenders]:
    """Return the renders that `enrol` needs: RENDERS of them, of the photos in turn; none if the run uses none."""
    if bundle.training.render_weight == 0 and not bundle.people.side_templates:
        return []
    if bundle.align == "whole":
        turns = [tuple(range(number, RENDERS, len(photos))) for number in range(len(photos))]
        return [
            WantedRenders(k, None, bundle.size, 0, bundle.faces, seeds=own)
            for k, own in enumerate(turns)
            if own
        ]
    return renders_of(photos, bundle.size, bundle.training.seed, bundle.faces)


def renders_of(photos: Sequence[PhotoFaces], size: int, seed: int, source: FaceSource) -> list[WantedRenders]:
    """Return the renders that the templates of one person are made of, RENDERS of them, of the photos in turn.

    Args:
        photos: with one face each; those whose face has no landmarks are not rendered.
        size: edge of the renders, pixels.
        seed: draws the views.
        source: the face source that gave the landmarks.
    """
    yaws = wanted_yaws(RENDERS).tolist()
    turns = [tuple(yaws[number :: len(photos)]) for number in range(len(photos))]
    return [
        WantedRenders(k, Landmarks(photo.landmarks, photo.visible), size, seed, source, own)
        for k, (photo, own) in enumerate(zip(photos, turns, strict=True))
        if own and photo.landmarks is not None and photo.visible is not None
    ]


def sides_wanted(wanted: Sequence[WantedRenders]) -> np.ndarray:
    """Return (R,) int8, the side that each of these renders shows (`identity.decisions.pose_templates.side_of`)."""
    return side_of(np.array([yaw for one in wanted for yaw in one.yaws]))


def _card(card: str, enrolled: int) -> str:
    """Return the model card with the number of people who were enrolled later, in place of an earlier such line."""
    lines = [old for old in card.split("\n") if not old.startswith("- enrolled later")]
    at = next((i for i, old in enumerate(lines) if old.startswith("## Calibration")), len(lines))
    line = f"- enrolled later, by imprinting, not part of the calibration: {enrolled}"
    return "\n".join([*lines[: max(0, at - 1)], line, *lines[max(0, at - 1) :]])
