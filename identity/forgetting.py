"""Take a person out of a run, and everything this software made of the person out of the folders it knows of.

What goes: the template, the prototype in the head, the list of training photos; the caches of features (they hold the
person's among others', and are made again when they are needed); the person's images and rows in the balanced set, and
the pictures of its report; faces, album files and pages of organised photos. Afterwards every one of these places is
looked at again. The user's own photos are not touched, they are listed.

The head was trained with the person's images among others. Its prototype of the person is deleted, but what all people
share in its weights was shaped by these images a little: it forgets them at the next training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from augmentor.errors import InputError
from augmentor.names import found_name, printable
from augmentor.place import is_local
from identity import unpacked_images
from identity.albums_page import write_pages
from identity.bundle import Bundle
from identity.heads import PROTOTYPES_LAYER, build_head
from identity.organising import REVIEW, Albums, album_name, decide, take_out
from identity.people_file import PeopleFile
from identity.set_forgetting import forget_in_set

_CACHES = (
    *("maps.npy", "progress.json", "dlib.npz", "head.checkpoint.npz", "fine_tuning.checkpoint.npz"),
    *unpacked_images.FILES,
)
_TEXTS = frozenset([".json", ".csv", ".html", ".md", ".txt"])


@dataclass
class Forgotten:
    """What became of a person.

    Attributes:
        removed: what was deleted, in words.
        originals: the user's photos of the person, as the run called them, and in folders that were organised.
        left: places where the name still stands, or files that could not be dealt with; should be none.
    """

    removed: list[str] = field(default_factory=list)
    originals: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def enrolled_name(bundle: Bundle, name: str) -> str:
    """Return the name as the run spells it: in another Unicode form it is the same name.

    Raises:
        InputError: nobody is called so.
    """
    found = found_name(name, bundle.labels)
    if found is None:
        raise InputError(f"{printable(name)}: not enrolled in this run")
    return found


def without(bundle: Bundle, name: str) -> Bundle:
    """Return the run without a person; the one given is left as it is.

    Raises:
        InputError: nobody is called so, or nobody would be left.
    """
    name = enrolled_name(bundle, name)
    if len(bundle.labels) == 1:
        raise InputError(f"{name}: the only person of this run; delete the folder of the run")
    index = bundle.labels.index(name)
    templates = {part: np.delete(rows, index, axis=0) for part, rows in bundle.part_templates.items()}
    changed = replace(
        bundle,
        labels=tuple(label for label in bundle.labels if label != name),
        part_templates=templates,
        crowding=np.delete(bundle.crowding, index),
        sources=bundle.sources.filter(pc.not_equal(bundle.sources["identity"], name)),
    )
    if bundle.head is None:
        return changed
    trained = bundle.head.classes
    if index >= trained:  # enrolled later: the head knows nothing of the person
        return changed
    weights = list(bundle.head_weights)
    for place in _class_weights(bundle):
        weights[place] = np.delete(weights[place], index, axis=-1)
    if bundle.head.kind == "seed":  # its embedding has a dimension for each person
        templates["head"] = np.delete(templates["head"], index, axis=1)
        changed = replace(changed, stranger_mean=_without_dimension(bundle, index))
    return replace(changed, head=replace(bundle.head, classes=trained - 1), head_weights=weights)


def forget(run: Path, name: str, people: PeopleFile) -> Forgotten:
    """Forget a person, everywhere this run knows of.

    Args:
        run: folder of the run.
        name: of the person.
        people: the run's file.

    Raises:
        InputError: nobody is called so, or something cannot be deleted; the person is named no more in any case.
    """
    told = Forgotten()
    with people.exclusive():  # nobody may put the person back while this goes on
        bundle = Bundle.load(run)
        name = enrolled_name(bundle, name)
        photos = [row["photo"] for row in bundle.sources.to_pylist() if row["identity"] == name]
        smaller = without(bundle, name)
        smaller.save(run)  # from here on nobody is called so
    told.removed.append(f"template, prototype and {len(photos)} training photos in the list of the run")
    for albums, file_count, seen in _forget_in_albums(bundle, smaller, name, people):
        told.removed.append(f"{file_count} files in {albums}, and what was known of {len(seen)} photos there")
        told.originals += seen
    people.clean()
    trained_on = bundle.about.get("config", {}).get("data")
    data = Path(trained_on) if trained_on and is_local(trained_on) else None
    for folder in _cache_folders(run, bundle):
        removed = _remove_caches(folder)
        if removed:
            told.removed.append(f"caches of features in {folder}: {', '.join(removed)}")
    if data:
        in_set = forget_in_set(data, {name})
        told.removed += in_set.removed
        told.left += in_set.left
    told.originals = list(dict.fromkeys([*photos, *told.originals]))
    told.left += _what_is_left(run, name)
    if trained_on and data is None:
        told.left.append(
            f"{trained_on}: the set in this bucket was not touched; take the photos of {name} away and run "
            "jobs/augment.py again"
        )
    return told


def _class_weights(bundle: Bundle) -> list[int]:
    """Places in the head's weights of the arrays whose last axis are the people."""
    assert bundle.head is not None
    head = build_head(bundle.head)
    layer = head.get_layer(PROTOTYPES_LAYER if bundle.head.kind == "cosine" else "names")
    own = {id(weight) for weight in layer.weights}
    return [k for k, weight in enumerate(head.weights) if id(weight) in own]


def _without_dimension(bundle: Bundle, index: int) -> np.ndarray:
    """The strangers' mean without the person's dimension of the part `head`, which is joined last."""
    start = len(bundle.stranger_mean) - bundle.part_templates["head"].shape[1]
    return (
        np.delete(bundle.stranger_mean, start + index) if bundle.shares["head"] > 0 else bundle.stranger_mean
    )


def _forget_in_albums(
    bundle: Bundle, smaller: Bundle, name: str, people: PeopleFile
) -> Iterator[tuple[Path, int, list[str]]]:
    """Take the person out of every collection; its albums, how many files went, and the photos that show the person."""
    own = {album_name(name), f"{REVIEW}/{album_name(name)}"}
    for number, albums, photos in people.collections():
        before = decide(bundle, people, number, bundle.thresholds["fpir_1"])
        placed = [file for file in people.placed(number) if file.album in own]
        seen = {path for path, faces in before.faces.items() if any(face.album in own for face in faces)}
        seen |= {file.photo for file in placed}
        people.drop(number, sorted(seen))
        take_out(placed, people, number, photos, albums)
        if albums.is_dir() and (albums / "albums.json").is_file():
            after = _as_placed(smaller, people, number)
            write_pages(after, photos, albums)
        if seen:
            yield albums, len(placed), [str(photos / path) for path in sorted(seen)]


def _as_placed(bundle: Bundle, people: PeopleFile, number: int) -> Albums:
    found = decide(bundle, people, number, bundle.thresholds["fpir_1"])
    found.placed = people.placed(number)
    return found


def _cache_folders(run: Path, bundle: Bundle) -> list[Path]:
    """Where features of training photos may be kept."""
    own = bundle.about.get("config", {}).get("cache")
    return [run / "features", run / "evaluation_cache", *([Path(own)] if own else [])]


def _remove_caches(folder: Path) -> list[str]:
    """Delete what `identity.training` and `identity.probes` keep in a folder; the names of the files."""
    if not folder.is_dir():
        return []
    files = [folder / name for name in _CACHES] + sorted(folder.glob("faces-*.parquet"))
    removed = [file.name for file in files if file.is_file()]
    for name in removed:
        (folder / name).unlink()
    return removed


def _what_is_left(run: Path, name: str) -> Iterator[str]:
    """Look again in the run."""
    bundle = Bundle.load(run)
    if name in bundle.labels or name in bundle.sources["identity"].to_pylist():
        yield f"{run}: still has {name}"
    for file in run.rglob("*"):
        if file.is_file() and file.suffix in _TEXTS and name.encode() in file.read_bytes():
            yield f"{file}: mentions {name}; delete it, or make it again"
