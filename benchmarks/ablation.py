"""What renders, and each stage of making them, are worth: the same number of images a person, made in several ways.

`python -m benchmarks.ablation --data OUT [--stage NAME=OUT2 ...] --probes DIR --strangers DIR --calibration DIR`

OUT is a balanced set with at least `--per-class` images a person, made without effects. For every seed each person gets
exactly that many training images:
    photos    the own photos, repeated
    flips     the own photos, then mirror images and random crops of them
    pose      the own photos, then renders of them onto the mean head (drawn from OUT)
    renders   the own photos, then renders of them onto all head shapes (drawn from OUT)
    half      the own photos, then as many flips as renders
    NAME      as `renders`, drawn from OUT2: the same set made with the effects of one stage, e.g. `--effects light`
With features `dlib` a person's template is the mean of the embeddings of these images; with `b0` a cosine head is
trained on their maps first, for the same number of steps each time, and embeds them. Probes (photo and mirror image
averaged) are searched by cosine, accepted by the decision score with its default constants, crowding from the
calibration strangers. `few` is rank-1 of the people with at most two training photos. What is measured is kept in
`--work`: stopped and called again, it goes on.
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
from identity.chips.probes import ProbeChip, find_chips
from identity.decisions.metrics import NEVER, NEVER_RANKED, ranks_of_truth
from identity.decisions.open_set import DecisionConstants, accept_score, crowding
from identity.evaluation.rates import NO_COLUMN, ProbeScores, Rate, measure_search, measure_share
from identity.networks.embedding import PartEmbedder
from identity.networks.face_space import unit
from identity.networks.features import FrozenBackbone
from identity.training.training_set import TrainingSet, read_training_set, spread_renders

WAYS = ("photos", "flips", "pose", "renders", "half")
MEASURED = ("rank1", "few", "dir_at_fpir_1", "dir_at_fpir_10")
FEW_PHOTOS = 2


@dataclass(frozen=True)
class Images:
    """Training images of one way and seed.

    Attributes:
        chips: (U, S, S, 3) uint8, each picture once.
        shows: (N,) the chip that each image shows; a repeated photo is one chip.
        labels: (N,) the person.
    """

    chips: np.ndarray
    shows: np.ndarray
    labels: np.ndarray


@dataclass
class MapsInMemory:
    """Backbone maps of `Images`, as the training of a head reads them (`identity.networks.features.Maps`).

    Attributes:
        values: (U, h, w, c) float16, one for each chip.
        shows: (N,) the chip each image shows.
        shape: (h, w, c).
    """

    values: np.ndarray
    shows: np.ndarray
    shape: tuple[int, int, int]

    def batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[tuple]:
        """Shuffled batches."""
        yield from self._parts(rng.permutation(rows), batch)

    def read(self, rows: np.ndarray) -> Iterator[tuple]:
        """All rows once."""
        yield from self._parts(rows, 512)

    def _parts(self, rows: np.ndarray, batch: int) -> Iterator[tuple]:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            yield part, self.values[self.shows[part]]


def cropped(chip: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """A mirror image (odd `number`) or the photo itself, cropped to 80 to 100 % of its edge and enlarged again."""
    size = chip.shape[0]
    edge = round(size * rng.uniform(0.8, 1.0))
    x, y = rng.integers(0, size - edge + 1, 2)
    part = chip[y : y + edge, x : x + edge]
    if number % 2:
        part = part[:, ::-1]
    return cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=cv2.INTER_CUBIC)


def training_images(data: TrainingSet, way: str, per_class: int, seed: int) -> Images:
    """`per_class` images of each person, made in one of `WAYS`; any other way takes renders as `renders` does.

    Raises:
        InputError: the set holds too few renders of somebody.
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
        own = np.resize(
            own, rendered
        )  # every tenth render has the mean head: not always enough, so some twice
        parts = [photos, np.stack(made) if made else photos[:0], data.chips(own) if rendered else photos[:0]]
        chips.append(np.concatenate(parts))
        shows.append(made_so_far + shown)
        labels.append(np.full(per_class, label))
        made_so_far += len(chips[-1])
    return Images(np.concatenate(chips), np.concatenate(shows), np.concatenate(labels))


def class_templates(embeddings: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(C, D) unit means of unit rows."""
    sums = np.zeros((classes, embeddings.shape[1]))
    np.add.at(sums, labels, unit(embeddings))
    return unit(sums)


def head_embedder(
    images: Images, classes: int, backbone: FrozenBackbone, epochs: int, seed: int, work: Path
) -> tuple[PartEmbedder, np.ndarray]:
    """A cosine head trained on the images; the embedder with it, and the (N, D) embeddings of the images."""
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
    return PartEmbedder(("head",), backbone, embed), run_head(embed, maps.values)[images.shows]


def scores(
    found: Sequence[ProbeChip],
    truth: np.ndarray,
    embedder: PartEmbedder,
    templates: np.ndarray,
    crowded: np.ndarray,
) -> ProbeScores:
    """Search the probes; those without a face are never named."""
    n = len(found)
    best = np.full(n, NO_COLUMN)
    similarity, score = np.full(n, NEVER), np.full(n, NEVER)
    rank = np.full(n, NEVER_RANKED)
    rows = np.array([k for k, probe in enumerate(found) if probe.chip is not None])
    chips = np.stack([found[k].chip for k in rows])
    cosines = embedder.probes(chips)[embedder.parts[0]] @ templates.T
    best[rows], score[rows] = accept_score(cosines, crowded, DecisionConstants())
    similarity[rows] = cosines[np.arange(len(rows)), best[rows]]
    mated = truth[rows] != NO_COLUMN
    rank[rows[mated]] = ranks_of_truth(cosines[mated], truth[rows[mated]])
    who = [str(t) if t != NO_COLUMN else str(probe.path) for t, probe in zip(truth, found, strict=True)]
    return ProbeScores([probe.path for probe in found], who, truth, best, similarity, score, rank)


def ablate(options: argparse.Namespace) -> list[dict[str, object]]:
    """All ways, sources and seeds; one row each."""
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
    dlib = PartEmbedder(("dlib",))
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
                    found = [dlib.compared(dlib.once(part))["dlib"] for part in parts]
                    embedded = np.concatenate(found)[images.shows]
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
                told = ", ".join(f"{m} {rates[m].value:.3f}" for m in MEASURED)
                tqdm.write(f"{source} {way} seed {seed}: {told}")
            written = {"made_with": _made_with(options), "rows": [_plain(r) for r in rows]}
            kept.write_text(json.dumps(written))
    return rows


def read_stages(stages: Sequence[str], data: TrainingSet) -> dict[str, TrainingSet]:
    """The sets that `--stage` names.

    Raises:
        InputError: not NAME=OUT2, a name that is a way already, or a set of other people or sizes.
    """
    found = {}
    for stage in stages:
        name, _, folder = stage.partition("=")
        if not name or not folder or name in WAYS:
            raise InputError(f"--stage {stage}: give NAME=OUT2, the name none of {', '.join(WAYS)}")
        found[name] = read_training_set(Path(folder))
        if (found[name].names, found[name].size) != (data.names, data.size):
            raise InputError(f"--stage {stage}: other people or another size than {data.root}")
    return found


def table_of(rows: list[dict[str, object]]) -> str:
    """Markdown: mean over seeds, their range, and the bootstrap interval of the first seed."""
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
    """All that rows depend on."""
    names = ("data", "stage", "probes", "strangers", "calibration", "weights", "per_class", "epochs")
    return {name: str(getattr(options, name)) for name in names}


def _read_rows(kept: Path, made_with: dict[str, object]) -> list[dict[str, object]]:
    """Rows of an earlier call.

    Raises:
        InputError: made with other options.
    """
    written = json.loads(kept.read_text())
    if written["made_with"] != made_with:
        raise InputError(f"{kept} was made with other options: take another --work, or delete it")
    return [{k: Rate(*v) if k in MEASURED else v for k, v in row.items()} for row in written["rows"]]


def _plain(row: dict[str, object]) -> dict[str, object]:
    return {k: [v.value, v.low, v.high] if isinstance(v, Rate) else v for k, v in row.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--stage", action="append", default=[], metavar="NAME=OUT2")
    parser.add_argument("--probes", type=Path, required=True)
    parser.add_argument("--strangers", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--weights", default="face")
    parser.add_argument("--per-class", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
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
