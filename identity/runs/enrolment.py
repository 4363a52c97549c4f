"""One person more in a trained run, without training: a template from photos, mirror images, renders if they weigh.

The frozen embeddings and the head keep what they learnt. The new person's prototype is imprinted: the unit mean of the
embeddings of the photos, as everybody's template is. How crowded the place of the new template is, that is how near
strangers come to it, cannot be measured, since a run keeps no strangers. It is read off the enrolled people: the
nearest of them are to a template what the nearest strangers are, and a straight line through all of them says how
crowding follows.

Source:
    Qi, Brown and Lowe, "Low-Shot Learning with Imprinted Weights", CVPR 2018.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from augmentor.errors import InputError
from augmentor.photos.images import load_image
from augmentor.photos.names import checked_new_name
from identity.chips.probes import ProbeChip
from identity.chips.renders_of_photo import WantedRenders, make_renders
from identity.decisions.open_set import CROWD, accept_score
from identity.networks.face_space import unit
from identity.runs.bundle import Bundle
from identity.runs.former_names import refuse_former_name
from identity.runs.leak_guard import TrainingPhotos, find_leaks

RENDERS = 16
_FEWEST_PEOPLE = 20  # for a line through them
_LIKE_ANOTHER = "fpir_1"  # the threshold above which a new person is taken for an enrolled one


def enrol(
    bundle: Bundle,
    name: str,
    photos: Sequence[ProbeChip],
    renders: np.ndarray | None = None,
) -> Bundle:
    """The run with one person more; the one given is left as it is.

    Args:
        bundle: a trained run.
        name: of the person, not enrolled yet.
        photos: of this person, each with a face.
        renders: (N, size, size, 3) uint8 RGB, what `wanted_renders` wants, made elsewhere; else made here from files.

    Raises:
        InputError: nobody can have this name (`augmentor.photos.names`), it is taken, there are no photos, or one of
        them
            shows somebody who is enrolled.
    """
    name = checked_new_name(name, bundle.labels)
    refuse_former_name(bundle, name)
    if not photos:
        raise InputError(f"{name}: no photo with a face")
    _refuse_known(bundle, photos)
    templates = _templates(bundle, photos, renders)
    added = {part: np.concatenate([bundle.part_templates[part], templates[part][None]]) for part in templates}
    grown = replace(bundle, labels=(*bundle.labels, name), part_templates=added)
    crowding = _crowding_of_last(bundle, grown)
    sources = pa.Table.from_pylist(
        [
            {"photo": str(p.path), "sha256": p.sha256, "phash": p.phash, "identity": name}
            for p in {photo.sha256: photo for photo in photos}.values()
        ],
        bundle.sources.schema,
    )
    enrolled = int(bundle.about.get("enrolled_later", 0)) + 1
    return replace(
        grown,
        crowding=np.append(bundle.crowding, crowding).astype(np.float32),
        sources=pa.concat_tables([bundle.sources, sources]),
        about=bundle.about | {"enrolled_later": enrolled},
        model_card=_card(bundle.model_card, enrolled),
    )


def taken_for(bundle: Bundle, photos: Sequence[ProbeChip]) -> list[tuple[str, ProbeChip]]:
    """Photos that the run would give a name of its own at FPIR 1 %: the person may be enrolled under another name."""
    chips = np.stack([photo.chip for photo in photos if photo.chip is not None])
    similarities = bundle.similarities(bundle.embed(chips))
    best, score = accept_score(similarities, bundle.crowding, bundle.constants)
    return [
        (bundle.labels[b], photo)
        for b, s, photo in zip(best, score, photos, strict=True)
        if s >= bundle.thresholds[_LIKE_ANOTHER]
    ]


def _refuse_known(bundle: Bundle, photos: Sequence[ProbeChip]) -> None:
    known = bundle.sources.to_pydict()
    training = TrainingPhotos(known["photo"], known["sha256"], np.array(known["phash"], np.uint64))
    for leak in find_leaks([p.sha256 for p in photos], [p.phash for p in photos], training):
        raise InputError(
            f"{photos[leak.photo].path}: a photo of {known['identity'][leak.training]} already; leave it out"
        )


def _templates(
    bundle: Bundle, photos: Sequence[ProbeChip], renders: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Part -> (D,) unit template, as `identity.decisions.templates` makes them."""
    chips = np.stack([photo.chip for photo in photos if photo.chip is not None])
    of_photos = bundle.embed_for_template(chips)
    weight = float(bundle.about["results"]["render_weight"])
    if weight == 0:
        return {part: unit(rows.mean(0)) for part, rows in of_photos.items()}
    if renders is None:
        wanted = wanted_renders(bundle, photos)
        renders = np.concatenate(
            [
                make_renders(load_image(photos[one.photo].path), str(photos[one.photo].path), one)
                for one in wanted
            ]
        )
    of_renders = bundle.embed_renders(renders)
    return {
        part: unit(rows.mean(0) + weight / len(rows) * of_renders[part].mean(0))
        for part, rows in of_photos.items()
    }


def wanted_renders(bundle: Bundle, photos: Sequence[ProbeChip]) -> list[WantedRenders]:
    """The renders from which `enrol` makes a template: RENDERS, of the photos in turn; none if renders do not weigh."""
    results = bundle.about["results"]
    if float(results["render_weight"]) == 0:
        return []
    turns = [tuple(range(number, RENDERS, len(photos))) for number in range(len(photos))]
    if bundle.align == "whole":
        return [WantedRenders(k, len(own), None, bundle.size, 0, own) for k, own in enumerate(turns) if own]
    return [
        WantedRenders(k, len(own), photos[k].landmarks, bundle.size, int(results["seed"]))
        for k, own in enumerate(turns)
        if own and photos[k].landmarks is not None
    ]


def _crowding_of_last(bundle: Bundle, grown: Bundle) -> float:
    """Crowding of the last template of `grown`, from what is known of all others."""
    people = len(bundle.labels)
    if people < _FEWEST_PEOPLE:
        return float(bundle.crowding.mean())
    strangers = max(1.0, bundle.decision.calibration.get("strangers", 1.0))
    near = int(np.clip(round(people * CROWD / strangers), 1, people - 1))
    templates = grown.templates
    neighbours = templates @ templates[:people].T
    neighbours[np.arange(people), np.arange(people)] = -np.inf
    nearest = -np.partition(-neighbours, near - 1, axis=1)[:, :near].mean(axis=1)
    slope, start = np.polyfit(nearest[:people], bundle.crowding, 1)
    return float(slope * nearest[-1] + start)


def _card(card: str, enrolled: int) -> str:
    """The model card with a line on who was enrolled later, in place of an earlier such line."""
    lines = [line for line in card.split("\n") if not line.startswith("- enrolled later")]
    at = next((i for i, line in enumerate(lines) if line.startswith("## Calibration")), len(lines))
    told = f"- enrolled later, by imprinting, not part of the calibration: {enrolled}"
    return "\n".join([*lines[: max(0, at - 1)], told, *lines[max(0, at - 1) :]])
