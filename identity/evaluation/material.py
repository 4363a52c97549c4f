"""The photos to measure on: probes, strangers, pairs of photos, and photos without a person."""

from dataclasses import dataclass, replace
from pathlib import Path

from augmentor.errors import InputError
from identity.chips.photo_lists import photos_by_person, photos_in
from identity.evaluation.pairs import PhotoPair, read_pairs


@dataclass(frozen=True)
class Material:
    """The photos to measure on.

    Attributes:
        probes: photos of enrolled people, by name.
        strangers: photos of strangers.
        strangers_root: folder of the strangers; the folders and files directly in it distinguish them.
        pairs: pairs of photos.
        no_face: photos without a person.
    """

    probes: dict[str, list[Path]]
    strangers: list[Path]
    strangers_root: Path
    pairs: list[PhotoPair]
    no_face: list[Path]

    def without(self, photos: set[Path]) -> "Material":
        """Return the material without some photos and the pairs that contain them."""
        return replace(
            self,
            probes={
                name: kept
                for name, paths in self.probes.items()
                if (kept := [path for path in paths if path not in photos])
            },
            strangers=[path for path in self.strangers if path not in photos],
            pairs=[p for p in self.pairs if p.photo_a not in photos and p.photo_b not in photos],
        )

    @property
    def people(self) -> list[Path]:
        """Every photo of people once, in a fixed order."""
        of_pairs = [photo for pair in self.pairs for photo in (pair.photo_a, pair.photo_b)]
        of_probes = [photo for photos in self.probes.values() for photo in photos]
        return list(dict.fromkeys([*of_probes, *self.strangers, *of_pairs]))


def read_material(
    probes: Path | None,
    strangers: Path | None,
    pairs: Path | None,
    pairs_root: Path | None,
    no_face: Path | None,
) -> Material:
    """List the photos in some folders and in a list of pairs.

    Args:
        probes: folder with one folder of photos per enrolled person.
        strangers: folder of photos of strangers, at any depth.
        pairs: list of pairs, see `identity.evaluation.pairs`.
        pairs_root: folder that the paths in the list are relative to; the list's own folder if None.
        no_face: folder of photos without a person.

    Raises:
        InputError: A folder is missing or contains no photo, or the list of pairs is unusable.
    """

    def photos(folder: Path | None, option: str) -> list[Path]:
        listed = photos_in(folder) if folder else []
        if folder and not listed:
            raise InputError(f"{folder}: no photo in it ({option})")
        return listed

    people = photos_by_person(probes) if probes else {}
    if probes and not any(people.values()):
        raise InputError(f"{probes}: no photo in it (--probes)")
    return Material(
        {name: paths for name, paths in people.items() if paths},
        photos(strangers, "--strangers"),
        strangers or Path(),
        read_pairs(pairs, pairs_root or pairs.parent) if pairs else [],
        photos(no_face, "--no-face"),
    )
