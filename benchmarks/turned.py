"""Measure how many faces are found and named rightly that are turned away from the camera, with and without renders.

    python -m benchmarks.turned --people DIR [--model RUN|face|dlib|both] [--json]

Protocol: DIR has a folder for each person with photos named by the pose, such as `yaw+45_pitch-30.jpg` (degrees, signs
as the photos show them, not this project's convention). The frontal photo `yaw+00_pitch+00.jpg` enrols the person,
every other photo is a probe. A photo shows one person; the face is chosen as in training and evaluation, the most
central one. `found` is the share of probes in which a face is found. `rank1` is the share of probes whose own template
is the most similar one among all people of DIR. A probe without a face counts as an error, and so do all probes of a
person without a face in the frontal photo. Templates are made as the program makes them when it enrols somebody, from
the photo and from renders of it; those of `rank1_without_renders` are made of the photo alone. A run is used for its
features and for how it uses renders; the people whom it was trained on are not in the gallery.

A key such as `45/30` joins all probes with |yaw| 45 and |pitch| 30; the table has each pose, too. A key without a probe
is null. Intervals: 95 %, by drawing people (bootstrap).
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmentor.errors import InputError, LikenessError
from augmentor.faces.face_source import FaceSource
from augmentor.photos.images import list_identities, load_image
from benchmarks.finding import rate_with_interval
from identity.chips.many_photos import find_chips
from identity.chips.photo_faces import PhotoFaces
from identity.chips.renders_of_photo import make_renders
from identity.decisions.pose_templates import PoseTemplates
from identity.decisions.templates import DEFAULT_RENDER_WEIGHT, person_sides, person_template
from identity.networks.embedding import PartEmbedder, join
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.bare_features import BareFeatures
from identity.runs.comparison import load_comparer
from identity.runs.enrolment import renders_of, sides_wanted

KEYS = ("45/0", "45/30", "90/0", "90/30")
_NAME = re.compile(r"yaw([+-]\d+)_pitch([+-]\d+)")
_MEASURES = ("found", "rank1", "rank1_without_renders")


@dataclass(frozen=True)
class Probe:
    """A turned photo of a person and what became of it.

    Attributes:
        person: name of the person.
        yaw, pitch: degrees, as the file is named.
        found: a face was found.
        rank1: the person's own template, made with renders, is the most similar one.
        rank1_without_renders: the same with templates of the photo alone.
    """

    person: str
    yaw: int
    pitch: int
    found: bool
    rank1: bool
    rank1_without_renders: bool

    @property
    def key(self) -> str:
        """|yaw|/|pitch|."""
        return f"{abs(self.yaw)}/{abs(self.pitch)}"


def pose_of(path: Path) -> tuple[int, int]:
    """Return yaw and pitch in degrees from a photo's name.

    Raises:
        InputError: the photo is called otherwise.

    Example:
        >>> pose_of(Path("anna/yaw-45_pitch+30.jpg"))
        (-45, 30)
    """
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise InputError(f"{path}: not named by a pose, such as yaw+45_pitch-30.jpg")
    return int(match[1]), int(match[2])


def read_people(folder: Path) -> dict[str, dict[tuple[int, int], Path]]:
    """Return person -> (yaw, pitch) -> photo.

    Raises:
        InputError: there is nobody, a photo is not named by its pose, or somebody has no frontal photo or no other.
    """
    people = {
        name: {pose_of(path): path for path in paths} for name, paths in list_identities(folder).items()
    }
    for name, photos in people.items():
        if (0, 0) not in photos or len(photos) < 2:
            raise InputError(f"{folder / name}: needs yaw+00_pitch+00.jpg and a turned photo")
    if not people:
        raise InputError(f"{folder}: no person in it")
    return people


@dataclass(frozen=True)
class Templates:
    """Makes templates of one photo a person, with the networks of a run or with bare features.

    Attributes:
        embedder: the networks.
        shares: source name -> share.
        render_weight: as how many photos the renders of a person count.
        sides: whether there are templates of the sides.
        size: edge of the chips and renders, pixels.
        seed: draws the views.
        faces: the face source.
    """

    embedder: PartEmbedder
    shares: Mapping[str, float]
    render_weight: float
    sides: bool
    size: int
    seed: int
    faces: FaceSource

    @classmethod
    def of(cls, model: str) -> "Templates":
        """Load a run or bare features.

        Raises:
            InputError: no such run, or it is damaged.
        """
        loaded = load_comparer(model)
        if isinstance(loaded, BareFeatures):
            return cls(
                loaded.embedder, loaded.shares, DEFAULT_RENDER_WEIGHT, True, loaded.size, 0, loaded.faces
            )
        from identity.runs.bundle import Bundle

        assert isinstance(loaded, Bundle)
        record, sides = loaded.training, bool(loaded.people.side_templates)
        return cls(
            *(loaded.networks, loaded.shares, record.render_weight, sides),
            *(loaded.size, record.seed, loaded.faces),
        )

    def probes(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips (N, size, size, 3) uint8 RGB as unit rows (N, D)."""
        return join(self.embedder.probes(chips), self.shares)

    def made(self, photos: Sequence[PhotoFaces]) -> tuple[PoseTemplates, PoseTemplates]:
        """Return the templates of some people, made with renders and without, of one photo with a face each."""
        fronts: dict[str, list[np.ndarray]] = {}
        sides: dict[str, list[np.ndarray]] = {}
        alone: dict[str, list[np.ndarray]] = {}
        for photo in photos:
            assert photo.chip is not None
            of_photo = self.embedder.probes_and_gallery(photo.chip[None], 0)[1]
            wanted = renders_of([photo], self.size, self.seed, self.faces)
            renders = [make_renders(load_image(photo.path), str(photo.path), one) for one in wanted]
            of_renders = self.embedder.compared(self.embedder.once(np.concatenate(renders)))
            for part, rows in of_photo.items():
                front = person_template(rows, of_renders[part], self.render_weight)
                fronts.setdefault(part, []).append(front)
                sides.setdefault(part, []).append(person_sides(front, of_renders[part], sides_wanted(wanted)))
                alone.setdefault(part, []).append(person_template(rows, None, 0.0))
        with_sides = {part: np.stack(rows, axis=1) for part, rows in sides.items()} if self.sides else {}
        return (
            PoseTemplates.joined(_stacked(fronts), with_sides, self.shares),
            PoseTemplates.joined(_stacked(alone), {}, self.shares),
        )


def _stacked(rows: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    return {part: np.stack(each) for part, each in rows.items()}


def measure(options: argparse.Namespace) -> list[Probe]:
    """Find, enrol and compare everybody, and return what became of each probe."""
    people = read_people(options.people)
    templates = Templates.of(options.model)
    paths = [path for photos in people.values() for path in photos.values()]
    found = dict(
        zip(paths, find_chips(paths, templates.size, progress="photos", source=templates.faces), strict=True)
    )
    enrolled = [name for name, photos in people.items() if found[photos[0, 0]].chip is not None]
    probes = [
        (name, pose, found[path])
        for name, photos in people.items()
        for pose, path in photos.items()
        if pose != (0, 0)
    ]
    best: list[dict[int, str]] = [{}, {}]
    with_face = [number for number, (_, _, photo) in enumerate(probes) if photo.chip is not None]
    if with_face and enrolled:
        rows = templates.probes(np.stack([photo.chip for _, _, photo in probes if photo.chip is not None]))
        for which, made in enumerate(templates.made([found[people[name][0, 0]] for name in enrolled])):
            columns = made.similarities(rows).argmax(axis=1)
            best[which] = {n: enrolled[column] for n, column in zip(with_face, columns, strict=True)}
    return [
        Probe(
            name,
            *pose,
            photo.chip is not None,
            best[0].get(number) == name,
            best[1].get(number) == name,
        )
        for number, (name, pose, photo) in enumerate(probes)
    ]


def summary(probes: Sequence[Probe]) -> dict[str, Any]:
    """Return the object of the last line."""
    result: dict[str, Any] = {"n_people": len({probe.person for probe in probes})}
    for measure_name in _MEASURES:
        result[measure_name] = {}
        for key in KEYS:
            values = [getattr(probe, measure_name) for probe in probes if probe.key == key]
            result[measure_name][key] = float(np.mean(values)) if values else None
    return result


def print_table(probes: Sequence[Probe]) -> None:
    """Print the keys joined over signs, and then every pose by itself, with intervals."""
    joined: dict[str, list[Probe]] = {}
    single: dict[tuple[int, int], list[Probe]] = {}
    for probe in probes:
        joined.setdefault(probe.key, []).append(probe)
        single.setdefault((probe.yaw, probe.pitch), []).append(probe)
    rows = {
        f"{key} (signs joined)": joined[key]
        for key in sorted(joined, key=lambda k: [int(angle) for angle in k.split("/")])
    }
    rows |= {f"yaw {yaw:+d}, pitch {pitch:+d}": single[yaw, pitch] for yaw, pitch in sorted(single)}
    print(f"{len({probe.person for probe in probes})} people; 95 % intervals over people\n")
    print("| pose | probes | found | rank-1 | without renders |\n|---|---|---|---|---|")
    for name, group in rows.items():
        people = [probe.person for probe in group]
        cells = []
        for measure_name in _MEASURES:
            right = np.array([getattr(probe, measure_name) for probe in group])
            rate, low, high = rate_with_interval(right, people)
            cells.append(f"{rate:.1%} ({low:.1%} to {high:.1%})")
        print(f"| {name} | {len(group)} | " + " | ".join(cells) + " |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.turned", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="a folder of photos for each person"
    )
    parser.add_argument(
        "--model", default="both", help="a trained run, or bare features: face, dlib, both (both)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        load_tensorflow()
        probes = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print_table(probes)
    if options.json:
        print(json.dumps(summary(probes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
