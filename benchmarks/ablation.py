"""Measure what renders, and each stage of making them, are worth, with the same number of images for every person.

`python -m benchmarks.ablation --data OUT [--stage NAME=OUT2 ...] --probes DIR --strangers DIR --calibration DIR`

OUT is a balanced set with at least `--per-class` images a person, made without effects. For every seed each person gets
exactly that many training images, made in one of these ways:
    photos    the person's own photos, repeated
    flips     the own photos, then mirror images and random crops of them
    pose      the own photos, then renders of them onto the mean head (drawn from OUT)
    renders   the own photos, then renders of them onto all head shapes (drawn from OUT)
    half      the own photos, then as many flips as renders
    NAME      like `renders`, drawn from OUT2: the same set made with the effects of one stage, e.g. `--effects light`
With features `dlib`, a person's template is the mean of the embeddings of these images. With `b0`, a cosine head is
first trained on their maps, for the same number of steps each time, and then embeds them. Probes (photo and mirror
image averaged) are searched by cosine and accepted by the decision score with its default constants and with crowding
from the calibration strangers. `few` is rank-1 of the people with at most two training photos. Results are kept in
`--work`, so that an interrupted run continues when it is called again.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from augmentor.balanced_set.manifest import read_manifest
from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_identities, list_photos
from identity.chips.many_photos import find_chips
from identity.chips.photo_faces import PhotoFaces
from identity.decisions.acceptance import DecisionConstants, accept_score, crowding
from identity.decisions.metrics import NEVER, NEVER_RANKED, ranks_of_truth
from identity.evaluation.rates import NO_COLUMN, ProbeScores, Rate, measure_search, measure_share
from identity.networks.embedding import PartEmbedder, load_embedder
from identity.networks.face_space import unit
from identity.networks.feature_source import RunNetworks
from identity.networks.features import FrozenBackbone
from identity.training.training_set import TrainingSet, read_training_set, spread_renders

WAYS = ("photos", "flips", "pose", "renders", "half")
MEASURED = ("rank1", "few", "dir_at_fpir_1", "dir_at_fpir_10")
FEW_PHOTOS = 2


@dataclass(frozen=True)
class Images:
    """The training images of one way and seed.

    Attributes:
        chips: (U, S, S, 3) uint8 RGB, each picture once.
        shows: (N,) index of the chip that each image shows; a repeated photo is one chip.
        labels: (N,) number of the person.
    """

    chips: np.ndarray
    shows: np.ndarray
    labels: np.ndarray


@dataclass
class MapsInMemory:
    """Backbone maps of `Images`, as the training of a head reads them (`identity.networks.features.Maps`).

    Attributes:
        values: (U, h, w, c) float16, one for each chip.
        shows: (N,) index of the chip that each image shows.
        shape: (h, w, c).
    """

    values: np.ndarray
    shows: np.ndarray
    shape: tuple[int, int, int]

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        """Yield all rows in shuffled batches."""
        yield from self._parts(rng.permutation(rows), batch)

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        """Yield all rows once, in order."""
        yield from self._parts(rows, 512)

    def _parts(self, rows: np.ndarray, batch: int) -> Iterator[tuple]:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            yield part, self.values[self.shows[part]]


def cropped(chip: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Crop a photo, or its mirror image if `number` is odd, to 80 to 100 % of its edge, and enlarge it again."""
    size = chip.shape[0]
    edge = round(size * rng.uniform(0.8, 1.0))
    x, y = rng.integers(0, size - edge + 1, 2)
    part = chip[y : y + edge, x : x + edge]
    if number % 2:
        part = part[:, ::-1]
    return cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=cv2.INTER_CUBIC)


def training_images(data: TrainingSet, way: str, per_class: int, seed: int) -> Images:
    """Return `per_class` images of each person, made in one of `WAYS`; any other way uses renders like `renders`.

    Raises:
        InputError: the set has too few renders of a person.
    """
    rng = np.random.default_rng([seed, WAYS.index(way) if way in WAYS else WAYS.index("renders")])
    own_photos = {
        label: rng.permutation(np.flatnonzero(data.is_photo & (data.labels == label)))[:per_class]
        for label in range(len(data.names))
    }
    most = per_class - min(len(rows) for rows in own_photos.values())
    renders = spread_renders(data, len(data) if way == "pose" else most, seed)
    if way == "pose":
        shapes = read_manifest(data.root / "manifest.parquet")["shape"].to_pylist()
        renders = np.array([row for row in renders if shapes[row] == 0], np.int64)
    chips, shows, labels, made_so_far = [], [], [], 0
    for label, rows in tqdm(own_photos.items(), f"{way}, seed {seed}", unit="person"):
        photos = data.chips(rows)
        missing = per_class - len(rows)
        flipped = {"photos": 0, "flips": missing, "half": missing // 2}.get(way, 0)
        rendered = 0 if way == "photos" else missing - flipped
        shown = np.arange(per_class) % len(photos) if way == "photos" else np.arange(per_class)
        made = [cropped(photos[k % len(photos)], k // len(photos) + 1, rng) for k in range(flipped)]
        own = rng.permutation(renders[data.labels[renders] == label])[:rendered]
        if len(own) < (min(rendered, 1) if way == "pose" else rendered):
            raise InputError(f"{data.root}: fewer than {rendered} renders of {data.names[label]} ({way})")
        # Every tenth render has the mean head, which is not always enough; then some are used twice.
        own = np.resize(own, rendered)
        parts = [photos, np.stack(made) if made else photos[:0], data.chips(own) if rendered else photos[:0]]
        chips.append(np.concatenate(parts))
        shows.append(made_so_far + shown)
        labels.append(np.full(per_class, label))
        made_so_far += len(chips[-1])
    return Images(np.concatenate(chips), np.concatenate(shows), np.concatenate(labels))


def class_templates(embeddings: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the unit means (C, D) of each class's unit rows."""
    sums = np.zeros((classes, embeddings.shape[1]))
    np.add.at(sums, labels, unit(embeddings))
    return unit(sums)


def head_embedder(
    images: Images, classes: int, backbone: FrozenBackbone, epochs: int, seed: int, work: Path
) -> tuple[PartEmbedder, np.ndarray]:
    """Train a cosine head on the images; return an embedder with it, and the embeddings (N, D) of the images."""
    from identity.networks.heads import HeadConfig, embedding_model
    from identity.training.head_training import FitConfig, run_head, train_head

    parts = [
        backbone.maps(images.chips[k : k + 256])
        for k in tqdm(range(0, len(images.chips), 256), "maps", unit="batch")
    ]
    maps = MapsInMemory(np.concatenate(parts), images.shows, backbone.map_shape)
    rows = np.arange(len(images.labels))
    checkpoint = work / "ablation.checkpoint.npz"
    checkpoint.unlink(missing_ok=True)
    config = HeadConfig("cosine", classes, map_shape=backbone.map_shape)
    head, _history = train_head(
        config,
        FitConfig(epochs=epochs, seed=seed),
        maps,
        images.labels,
        train_rows=rows,
        held_rows=rows[:0],
        mean_rows=rows,
        checkpoint=checkpoint,
        key=f"{seed}",
    )
    checkpoint.unlink(missing_ok=True)
    embed = embedding_model(head, "cosine")
    return load_embedder(("head",), RunNetworks(backbone, embed)), run_head(embed, maps.values)[images.shows]


def scores(
    searched: Sequence[PhotoFaces],
    truth: np.ndarray,
    embedder: PartEmbedder,
    templates: np.ndarray,
    crowded: np.ndarray,
) -> ProbeScores:
    """Search the probes; those without a face are never named."""
    n = len(searched)
    best = np.full(n, NO_COLUMN)
    similarity, score = np.full(n, NEVER), np.full(n, NEVER)
    rank = np.full(n, NEVER_RANKED)
    rows = np.array([k for k, probe in enumerate(searched) if probe.chip is not None])
    chips = np.stack([searched[k].chip for k in rows])
    cosines = embedder.probes(chips)[embedder.parts[0]] @ templates.T
    best[rows], score[rows] = accept_score(cosines, crowded, DecisionConstants())
    similarity[rows] = cosines[np.arange(len(rows)), best[rows]]
    mated = truth[rows] != NO_COLUMN
    rank[rows[mated]] = ranks_of_truth(cosines[mated], truth[rows[mated]])
    who = [str(t) if t != NO_COLUMN else str(probe.path) for t, probe in zip(truth, searched, strict=True)]
    return ProbeScores([probe.path for probe in searched], who, truth, best, similarity, score, rank)


def ablate(options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure all ways, features and seeds, and return a row for each."""
    from identity.networks.backbone import load_weights

    cv2.setNumThreads(1)
    data = read_training_set(options.data)
    people = list_identities(options.probes)
    column = {name: k for k, name in enumerate(data.names)}
    strange = sorted(set(people) - set(column))
    if strange:
        raise InputError(
            f"{options.probes}: {len(strange)} people are not in {options.data} ({strange[0]}, ...)"
        )
    paths = [(path, column[name]) for name, photos in people.items() for path in photos]
    options.work.mkdir(parents=True, exist_ok=True)
    probes = find_chips([p for p, _ in paths], data.size, cache=options.work, progress="probes")
    truth = np.array([label for _, label in paths])
    strangers = find_chips(
        list_photos(options.strangers), data.size, cache=options.work, progress="strangers"
    )
    calibration = find_chips(
        list_photos(options.calibration), data.size, cache=options.work, progress="calibration"
    )
    nobody = np.full(len(strangers), NO_COLUMN)
    calibration_chips = np.stack([c.chip for c in calibration if c.chip is not None])
    backbone = FrozenBackbone(load_weights(options.weights), data.size)
    dlib = load_embedder(("dlib",))
    kept = options.work / "ablation.json"
    rows = _read_rows(kept, _made_with(options)) if kept.exists() else []
    sets = dict.fromkeys(WAYS, data) | read_stages(options.stage, data)
    photo_counts = np.bincount(data.labels[data.is_photo], minlength=len(data.names))
    few = np.flatnonzero(photo_counts[truth] <= FEW_PHOTOS)
    done = {(row["features"], row["images"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for way, images_from in sets.items():
            missing = [source for source in ("dlib", "b0") if (source, way, seed) not in done]
            if not missing:
                continue
            images = training_images(images_from, way, options.per_class, seed)
            for source in missing:
                if source == "dlib":
                    embedder = dlib
                    parts = [images.chips[k : k + 256] for k in range(0, len(images.chips), 256)]
                    by_batch = [dlib.compared(dlib.once(part))["dlib"] for part in parts]
                    embedded = np.concatenate(by_batch)[images.shows]
                else:
                    embedder, embedded = head_embedder(
                        images, len(data.names), backbone, options.epochs, seed, options.work
                    )
                templates = class_templates(embedded, images.labels, len(data.names))
                crowded = crowding(templates, embedder.probes(calibration_chips)[embedder.parts[0]])
                searched = scores(probes, truth, embedder, templates, crowded)
                refused = scores(strangers, nobody, embedder, templates, crowded)
                rates = measure_search(searched, refused, None)
                rates["few"] = measure_share(
                    searched.rank[few] == 1, [searched.identities[k] for k in few.tolist()]
                )
                rows.append(
                    {"features": source, "images": way, "seed": seed, **{m: rates[m] for m in MEASURED}}
                )
                rates_text = ", ".join(f"{m} {rates[m].value:.3f}" for m in MEASURED)
                tqdm.write(f"{source} {way} seed {seed}: {rates_text}")
            written = {"made_with": _made_with(options), "rows": [_plain(r) for r in rows]}
            kept.write_text(json.dumps(written))
    return rows


def read_stages(stages: Sequence[str], data: TrainingSet) -> dict[str, TrainingSet]:
    """Read the sets that `--stage` names.

    Raises:
        InputError: a value is not NAME=OUT2, a name is one of `WAYS`, or a set has other people or another size.
    """
    sets = {}
    for stage in stages:
        name, _, folder = stage.partition("=")
        if not name or not folder or name in WAYS:
            raise InputError(f"--stage {stage}: must be NAME=OUT2, with a name other than {', '.join(WAYS)}")
        sets[name] = read_training_set(Path(folder))
        if (sets[name].names, sets[name].size) != (data.names, data.size):
            raise InputError(f"--stage {stage}: the set has other people or another size than {data.root}")
    return sets


def table_of(rows: list[dict[str, object]]) -> str:
    """Return a Markdown table: the mean over seeds, their range, and the bootstrap interval of the first seed."""
    lines = ["| features | images | rank-1 | rank-1, few photos | DIR@FPIR 1 % | DIR@FPIR 10 % |"]
    lines.append("|---|---|---|---|---|---|")
    for source in ("dlib", "b0"):
        for way in dict.fromkeys(r["images"] for r in rows):
            own = [r for r in rows if r["features"] == source and r["images"] == way]
            cells = []
            for measure in MEASURED:
                rates = [r[measure] for r in own]
                assert all(isinstance(rate, Rate) for rate in rates)
                values = [rate.value for rate in rates]  # type: ignore[attr-defined]
                first = rates[0]
                assert isinstance(first, Rate)
                cells.append(
                    f"{np.mean(values):.1%} ({min(values):.1%} to {max(values):.1%}; "
                    f"95 % {first.low:.1%} to {first.high:.1%})"
                )
            lines.append(f"| {source} | {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _made_with(options: argparse.Namespace) -> dict[str, object]:
    """Return all options that the rows depend on."""
    names = ("data", "stage", "probes", "strangers", "calibration", "weights", "per_class", "epochs")
    return {name: str(getattr(options, name)) for name in names}


def _read_rows(kept: Path, made_with: dict[str, object]) -> list[dict[str, object]]:
    """Read the rows of an earlier call.

    Raises:
        InputError: they were made with other options.
    """
    written = json.loads(kept.read_text())
    if written["made_with"] != made_with:
        raise InputError(f"{kept}: made with other options; choose another --work, or delete it")
    return [{k: Rate(*v) if k in MEASURED else v for k, v in row.items()} for row in written["rows"]]


def _plain(row: dict[str, object]) -> dict[str, object]:
    return {k: [v.value, v.low, v.high] if isinstance(v, Rate) else v for k, v in row.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="balanced set of jobs/augment.py")
    parser.add_argument(
        "--stage", action="append", default=[], metavar="NAME=OUT2", help="the set made with one effect"
    )
    parser.add_argument(
        "--probes", type=Path, required=True, help="photos of enrolled people, one folder each"
    )
    parser.add_argument("--strangers", type=Path, required=True, help="photos of strangers to measure with")
    parser.add_argument("--calibration", type=Path, required=True, help="photos of strangers for crowding")
    parser.add_argument("--weights", default="face", help="weights of the B0 (%(default)s)")
    parser.add_argument("--per-class", type=int, default=16, help="images of each person (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (%(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of a cosine head (%(default)s)")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/ablation"), help="folder for results (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    options = parser.parse_args(arguments)
    try:
        rows = ablate(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps([_plain(r) for r in rows]) if options.json else table_of(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
