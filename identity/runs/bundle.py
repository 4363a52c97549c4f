"""A trained run on disk: everything that naming people needs, in a folder, without pickle.

    bundle.json          version; the people in the order of the templates, with their former names and the decision
                         (acceptance score, thresholds, the calibration strangers' scores); features, shares and the
                         digest of each source; size, head, backbone, same_person, model card, record of the training
    arrays-HASH.npz      source -> (C, D) templates, and (2, C, D) of the sides of the face; mean of the
                         calibration strangers' embeddings
    head-HASH.npz        the head's weights, where a source needs them
    sources-HASH.parquet photo, sha256, phash, identity of every photo that a template was made from
    labels.json, thresholds.json, model_card.md    for people to read; bundle.json has the same content

The names of the files with arrays and sources contain a hash of their content, and bundle.json, which lists them, is
replaced in one go. Whatever interrupts a change, the run on disk is the one before the change or the one after it.
"""

import hashlib
import io
import json
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.faces.face_source import DEFAULT, SOURCES, FaceSource, face_source
from augmentor.photos.images import make_folder, remove_half_written, sync_folder, write_whole
from identity.decisions.open_set import Decision
from identity.decisions.pose_templates import PoseTemplates
from identity.decisions.same_person import SamePerson
from identity.networks.backbone import load_weights
from identity.networks.embedding import PartEmbedder, join, load_embedder
from identity.networks.feature_source import RunDigests, RunNetworks
from identity.networks.features import FrozenBackbone
from identity.networks.head_config import HeadConfig
from identity.networks.sources import sources_in_order
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.enrolled_people import EnrolledPeople
from identity.runs.leak_guard import TrainingPhotos
from identity.runs.training_record import TrainingRecord

VERSION = 7
RUN_FILES = ("labels.json", "thresholds.json", "model_card.md")  # for people
# what parsing may raise on files that this program did not write, even if their checksums are right
_DAMAGED = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, OSError, EOFError, MemoryError),
    *(OverflowError, struct.error, zlib.error, zipfile.BadZipFile, pa.ArrowException),
)
_SMALLEST_CHIP, _LARGEST_CHIP = 1, 1024  # pixels
_FILES = ("arrays.npz", "head.npz", "sources.parquet")


@dataclass(frozen=True)
class BackboneName:
    """The backbone weights that a run was made with.

    Attributes:
        weights: `face`, `imagenet`, `noisy-student`, or the name of a file inside the bundle.
        digest: SHA-256 of the weights file.
    """

    weights: str
    digest: str


@dataclass
class Bundle:
    """A trained run.

    Attributes:
        people: who is enrolled, with templates, decision and photos.
        features: as `--features` names them.
        shares: source name -> share, adding up to 1.
        size: height and width of the chips, pixels.
        align: `face`, or `whole` where the classes are not people and a chip is the middle square of a photo.
        detector: name of the face source that cut out the photos it was trained on, and cuts out those it names; a key
            of `augmentor.faces.face_source.SOURCES`.
        stranger_mean: (D,) mean of the calibration strangers' joined embeddings; zeros without strangers.
        same_person: for comparing two photos; None where calibration had too few photos.
        backbone, head, head_weights: where a source needs them.
        training: what the run remembers of its training.
        about: anything else worth knowing (`config`, the options of the training; `home`, the folder it was made in).
        model_card: Markdown.
        folder: from which the run was loaded.
        saved: state of the folder when the run was loaded (`last_saved`); None if it was not loaded.
    """

    people: EnrolledPeople
    features: str
    shares: dict[str, float]
    size: int
    stranger_mean: np.ndarray
    align: str = "face"
    detector: str = DEFAULT
    same_person: SamePerson | None = None
    backbone: BackboneName | None = None
    head: HeadConfig | None = None
    head_weights: list[np.ndarray] = field(default_factory=list)
    training: TrainingRecord = field(default_factory=TrainingRecord)
    about: dict[str, Any] = field(default_factory=dict)
    model_card: str = ""
    folder: Path | None = None
    saved: int | None = None
    _embedder: PartEmbedder | None = field(default=None, repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the enrolled people, in the order of the templates."""
        return self.people.labels

    @property
    def part_templates(self) -> dict[str, np.ndarray]:
        """Source name -> (C, D_part) unit rows."""
        return self.people.part_templates

    @property
    def decision(self) -> Decision:
        """Acceptance score, thresholds, probability curve."""
        return self.people.decision

    @property
    def sources(self) -> pa.Table:
        """Table of `photo, sha256, phash, identity`: every photo that a template was made from."""
        return self.people.sources

    @property
    def training_photos(self) -> TrainingPhotos:
        """The photos of `sources`, for the leak guard."""
        return TrainingPhotos.of_sources(self.sources)

    @property
    def faces(self) -> FaceSource:
        """The face source for photos that may show anybody."""
        return face_source(self.detector, second_opinion=True)

    @property
    def templates(self) -> np.ndarray:
        """(C, D) float32 unit rows, all parts joined; those of the sides are in `pose_templates`."""
        return join(self.part_templates, self.shares)

    @property
    def pose_templates(self) -> PoseTemplates:
        """All templates, joined; they give the similarities that people are named by."""
        people = self.people
        return PoseTemplates.joined(
            people.part_templates, people.side_templates, self.shares, people.side_margin
        )

    @property
    def thresholds(self) -> dict[str, float]:
        """`fpir_1` and `fpir_10`: acceptance scores."""
        return self.decision.thresholds

    @property
    def former_names(self) -> dict[str, list[str]]:
        """Name of today -> names that the person had before being renamed or merged."""
        return self.people.former_names

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the sources that have a share, in the order in which their parts are joined."""
        return tuple(source.name for source in sources_in_order(self.shares) if self.shares[source.name] > 0)

    @property
    def source_digests(self) -> dict[str, str]:
        """Digest of each feature source of this run, by its name (`identity.networks.feature_source`)."""
        head = hashlib.sha256()
        for weights in self.head_weights:
            head.update(np.ascontiguousarray(weights).tobytes())
        own = RunDigests(self.backbone.digest if self.backbone else "", head.hexdigest())
        return {source.name: source.digest(own) for source in sources_in_order(self.shares)}

    @property
    def space(self) -> str:
        """Equal for runs whose embeddings can be compared: those of the same networks, chips and shares."""
        parts = [self.align, self.detector, self.size, sorted(self.shares.items()), self.source_digests]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """Embed chips, each averaged with its mirror image.

        Args:
            chips: (N, size, size, 3) uint8 RGB, cut out by the points of its face source (`augmentor.faces.chip`).

        Returns:
            (N, D) float32 unit rows. Their products with each other are similarities; those with the enrolled people
            are what `similarities` returns.

        Raises:
            InputError: chips of another size or type, or weights that are missing or not those of the training.
        """
        if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (self.size, self.size, 3):
            raise InputError(
                f"this run takes (N, {self.size}, {self.size}, 3) uint8 chips, not {chips.shape} {chips.dtype}"
            )
        return join(self.networks.probes(chips), self.shares)

    def embed_with_quality(self, chips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what `embed` returns, and (N,) cosines of each chip and its mirror image, a measure of quality."""
        probes, alike = self.networks.probes_and_likeness(chips)
        return join(probes, self.shares), np.sum([self.shares[name] * alike[name] for name in alike], axis=0)

    def embed_for_template(self, chips: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Return rows for templates, with jittered copies averaged in: source name -> (N, D_part) unit rows."""
        return self.networks.probes_and_gallery(chips, seed)[1]

    def embed_renders(self, chips: np.ndarray) -> dict[str, np.ndarray]:
        """Return rows of renders for templates, without mirror images: source name -> (N, D_part) unit rows."""
        networks = self.networks
        return networks.compared(networks.once(chips))

    def similarities(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (N, C) similarities of (N, D) rows of `embed` to the enrolled people."""
        return self.pose_templates.similarities(embeddings)

    def score(self, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (N,) columns of the best names, and their (N,) acceptance scores, of (N, C) similarities."""
        return self.decision.score(similarities)

    def save(self, folder: Path) -> None:
        """Write the run; other files in `folder` stay.

        Raises:
            InputError: the folder cannot be written.
        """
        files = {
            "arrays.npz": _npz(self.people.arrays() | {"stranger_mean": self.stranger_mean}),
            "head.npz": _npz({f"weight_{i:03d}": w for i, w in enumerate(self.head_weights)}),
            "sources.parquet": _parquet(self.sources),
        }
        names = {name: _by_content(name, content) for name, content in files.items()}
        described = {
            "version": VERSION,
            "people": self.people.as_dict(),
            "features": self.features,
            "align": self.align,
            "detector": self.detector,
            "shares": self.shares,
            "size": self.size,
            "backbone": {"weights": self.backbone.weights, "sha256": self.backbone.digest}
            if self.backbone
            else None,
            "sources": self.source_digests,
            "head": self.head.as_dict() if self.head else None,
            "same_person": self.same_person.as_dict() if self.same_person else None,
            "model_card": self.model_card,
            "training": self.training.as_dict(),
            "about": self.about,
            "files": {
                name: {"file": names[name], "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
            },
        }
        for name, content in files.items():
            _write(folder / names[name], content)
        _write(folder / "bundle.json", json.dumps(described, indent=1, ensure_ascii=False).encode())
        _remove_earlier_files(folder, names.values())  # the new run is on disk now
        _write(folder / "labels.json", json.dumps(list(self.labels), ensure_ascii=False, indent=0).encode())
        _write(folder / "thresholds.json", json.dumps(self.thresholds, indent=1).encode())
        _write(folder / "model_card.md", self.model_card.encode())

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Read a run; its networks are loaded at the first `embed`.

        Raises:
            InputError: there is no run, it is damaged or of another version, or a source of it is not installed.
        """
        for _turn in range(3):  # another process may save it while this one reads
            before = last_saved(folder)
            try:
                bundle = cls._load(folder)
            except InputError:
                if last_saved(folder) == before:
                    raise
                continue
            bundle.saved = before
            return bundle
        return cls._load(folder)

    @classmethod
    def _load(cls, folder: Path) -> "Bundle":
        path = folder / "bundle.json"
        if not path.is_file():
            raise InputError(f"{folder}: no trained model (no bundle.json); make one with identity.train")
        try:
            described = json.loads(path.read_text("utf-8"))
            version, hashes = described["version"], described["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); train again") from error
        if version != VERSION:
            raise InputError(
                f"{path}: version {version} of the bundle, this program reads {VERSION}; train again"
            )
        try:
            listed = {name: (str(hashes[name]["file"]), hashes[name]["sha256"]) for name in _FILES}
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); train again") from error
        files = {name: _checked(folder / Path(file).name, sha256) for name, (file, sha256) in listed.items()}
        try:
            return cls._parse(folder, described, files)
        except _DAMAGED as error:
            raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); train again") from error

    @classmethod
    def _parse(cls, folder: Path, described: Mapping[str, Any], files: Mapping[str, bytes]) -> "Bundle":
        arrays = _read_npz(files["arrays.npz"])
        head_arrays = _read_npz(files["head.npz"])
        backbone, head = described["backbone"], described["head"]
        sources = pq.read_table(io.BytesIO(files["sources.parquet"]))
        bundle = cls(
            people=EnrolledPeople.from_parts(described["people"], arrays, sources),
            features=described["features"],
            align=described["align"],
            detector=described["detector"],
            shares={name: float(share) for name, share in described["shares"].items()},
            size=int(described["size"]),
            stranger_mean=arrays["stranger_mean"],
            same_person=SamePerson.from_dict(same) if (same := described["same_person"]) else None,
            backbone=BackboneName(backbone["weights"], backbone["sha256"]) if backbone else None,
            head=HeadConfig.from_dict(head) if head else None,
            head_weights=[head_arrays[name] for name in sorted(head_arrays)],
            training=TrainingRecord.from_dict(described["training"]),
            about=described["about"],
            model_card=described["model_card"],
            folder=folder,
        )
        _check_kinds(bundle)
        if bundle.detector not in SOURCES:
            raise InputError(
                f"{folder}: its faces were cut out with --detector {bundle.detector}, which this program "
                "does not have; install what brings it, or train again"
            )
        if not set(bundle.parts) <= set(bundle.part_templates):
            raise ValueError("a source without templates")
        for name, digest in bundle.source_digests.items():
            if described["sources"][name] != digest:
                raise InputError(
                    f"{folder}: trained with another version of the feature source {name} than the one installed; "
                    "train again, or install the version it was trained with"
                )
        return bundle

    @property
    def networks(self) -> PartEmbedder:
        """The networks, which are loaded once.

        Raises:
            InputError: weights are missing or are not those of the training.
        """
        if self._embedder is None:
            self._embedder = self._load_networks()
        return self._embedder

    @property
    def outdated(self) -> bool:
        """True if the run on disk was saved or removed since this object was loaded from it."""
        return self.folder is not None and self.saved is not None and last_saved(self.folder) != self.saved

    def as_it_is_now(self) -> "Bundle":
        """Return the run as it is on disk: this object, or a new one with the same networks if the run was saved since.

        People who were forgotten are no longer in it, so every decision on who a person is begins with this call.

        Raises:
            InputError: the run is gone or damaged now.
        """
        if not self.outdated or self.folder is None:
            return self
        now = Bundle.load(self.folder)
        if now.space == self.space:
            now.share_networks(self)
        return now

    def share_networks(self, other: "Bundle") -> None:
        """Use the networks of a run of the same `space`, which are loaded already."""
        self._embedder = other._embedder

    def _load_networks(self) -> PartEmbedder:
        sources = sources_in_order(self.parts)
        backbone = self._load_backbone() if any(source.uses_backbone for source in sources) else None
        head = self._load_head() if any(source.trained_on_the_photos for source in sources) else None
        return load_embedder(self.parts, RunNetworks(backbone, head))

    def _load_backbone(self) -> FrozenBackbone:
        if self.backbone is None:
            raise InputError(f"{self.folder}: names no backbone; train again")
        inside = self.folder / self.backbone.weights if self.folder else None
        weights = load_weights(inside if inside and inside.is_file() else self.backbone.weights)
        if weights.digest != self.backbone.digest:
            raise InputError(
                f"{self.folder}: trained with other {self.backbone.weights} weights than those installed; "
                "train again, or install the version it was trained with"
            )
        return FrozenBackbone(weights, self.size)

    def _load_head(self) -> Any:
        if self.head is None:
            raise InputError(f"{self.folder}: names no head; train again")
        load_tensorflow()
        from identity.networks.heads import build_head, embedding_model

        model = build_head(self.head)
        model.set_weights(self.head_weights)
        return embedding_model(model, self.head.kind)


def keep_backbone(weights: str, digest: str, folder: Path) -> BackboneName:
    """Return how a run names its backbone weights; a user's own file is copied into the folder of the run.

    Raises:
        InputError: the copy cannot be written.
    """
    path = Path(weights)
    if not path.is_file():
        return BackboneName(weights, digest)
    name = "backbone.npz"
    if path.resolve() != (folder / name).resolve():
        try:
            make_folder(folder, private=True)
            shutil.copyfile(path, folder / name)
        except OSError as error:
            raise InputError(f"{folder}: cannot write ({error.strerror or error})") from error
    return BackboneName(name, digest)


_HASH = 12  # hexadecimal digits of the hash in a file's name


def last_saved(folder: Path) -> int | None:
    """Return a number that differs after every save of the run in a folder; None if there is no run."""
    try:
        state = (folder / "bundle.json").stat()
    except OSError:
        return None
    # the time alone is not enough: some file systems count it in seconds
    state_text = f"{state.st_mtime_ns} {state.st_ino} {state.st_size}"
    return int.from_bytes(hashlib.sha256(state_text.encode()).digest()[:7], "big")


def _write(path: Path, content: bytes) -> None:
    """Write a file of a run so that it survives a power failure and only the user can read it: it is biometric data.

    A file that has this content already stays as it is, so that saving an unchanged run makes no new state.
    """
    if path.is_file() and path.read_bytes() == content:
        return
    write_whole(path, content, durable=True, private=True)


def _remove_earlier_files(folder: Path, present: Collection[str]) -> None:
    """Remove the files of the run before the change, and half-written files."""
    for name in _FILES:
        stem, suffix = name.split(".")
        for file in folder.glob(f"{stem}-{'?' * _HASH}.{suffix}"):
            if file.name not in present and re.fullmatch(f"[0-9a-f]{{{_HASH}}}", file.stem[-_HASH:]):
                file.unlink(missing_ok=True)
    remove_half_written(folder)
    sync_folder(folder)


def _by_content(name: str, content: bytes) -> str:
    stem, suffix = name.split(".")
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:_HASH]}.{suffix}"


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _checked(path: Path, sha256: str | None) -> bytes:
    """Return the content of a file of the run, if it is the one that was written with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: missing from the run ({error.strerror}); train again") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{path}: damaged or not of this run (its checksum differs); train again")
    return data


def _check_kinds(bundle: Bundle) -> None:
    """Refuse values that a file with the right checksums may still have, because anybody can write such a file.

    Raises:
        ValueError: a value is of another kind, or no number that a run can have.
    """
    config = bundle.about.get("config", {}) if isinstance(bundle.about, dict) else None
    if not isinstance(config, dict):
        raise ValueError("about: no dictionary with the configuration")
    places = [bundle.about.get("home"), config.get("data"), config.get("cache")]
    if not all(place is None or isinstance(place, str) for place in places):
        raise ValueError("about: a place that is no text")
    if not all(isinstance(label, str) for label in bundle.labels):
        raise ValueError("people: a name that is no text")
    former = bundle.people.former_names
    if not isinstance(former, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in former.values()
    ):
        raise ValueError("people: former names that are no lists of names")
    if not _SMALLEST_CHIP <= bundle.size <= _LARGEST_CHIP:
        raise ValueError(f"size: {bundle.size} pixels")
