"""The layout of a balanced set: the names of everything that `jobs/augment.py` writes below OUT.

    OUT/<person>/<image>.jpg            the images (`--format folder`)
    OUT/300w-lp/<person>/<image>.jpg    the images, each with its labels in <image>.mat (`--format 300w-lp`)
    OUT/shards/<part>.tar               the images of a part of the people (.tar, .tfrecord or .parquet)
    OUT/manifest.parquet                one row for each image (`augmentor.balanced_set.manifest`)
    OUT/holdout/<person>/<photo>        photos that were set aside for evaluation
    OUT/failures.csv                    photos that were not used, and why (`augmentor.balanced_set.failures`)
    OUT/summary.json                    what the last run did
    OUT/report/                         two pictures of the set
    OUT/.work/settings.json, lock       what the set is made with, and a lock so that only one run works on it
    OUT/.work/finished.json             the digest of the last complete manifest
    OUT/.work/parts/<part>.*            what is remembered of each part (`augmentor.balanced_set.part_records`)

Paths are relative to OUT and use slashes. This module is the only one that spells these names.
"""

from pathlib import PurePosixPath

MANIFEST = "manifest.parquet"
FAILURES = "failures.csv"
SUMMARY = "summary.json"
HELD_OUT = "holdout"
LANDMARK_SET = "300w-lp"
SHARDS = "shards"
SHARD_SUFFIXES = {"webdataset": "tar", "tfrecord": "tfrecord", "parquet": "parquet"}  # by --format

REPORT = "report"
BALANCE_PICTURE = "balance.png"
RENDERS_PICTURE = "renders.jpg"

WORK = ".work"
SETTINGS = f"{WORK}/settings.json"
LOCK = f"{WORK}/lock"
FINISHED = f"{WORK}/finished.json"
PARTS = f"{WORK}/parts"

# Folders below which each person has a folder of images; the empty one is OUT itself.
IMAGE_FOLDERS = ("", LANDMARK_SET)
# Folders and files directly in OUT that do not belong to a person.
FOLDERS_OF_THE_SET = frozenset({HELD_OUT, LANDMARK_SET, SHARDS, REPORT, WORK})
FILES_OF_THE_SET = frozenset({MANIFEST, FAILURES, SUMMARY})


def labels_file(image: str) -> str:
    """Return the file with the landmarks and the pose of an image of a 300w-lp set.

    Example:
        >>> labels_file("Anna/01_0.jpg")
        'Anna/01_0.mat'
    """
    return image.removesuffix(".jpg") + ".mat"


def held_out_file(person: str, photo: str) -> str:
    """Return the path of a photo that is set aside.

    Args:
        person: the person's folder in OUT.
        photo: the photo's path among the person's photos.

    Example:
        >>> held_out_file("Anna", "1999/party.jpg")
        'holdout/Anna/1999/party.jpg'
    """
    return f"{HELD_OUT}/{person}/{photo}"


def person_of(path: str) -> str:
    """Return the folder of the person to whom an image or a photo that was set aside belongs.

    Example:
        >>> person_of("holdout/Anna/party.jpg"), person_of("300w-lp/Anna/01_0.mat"), person_of("Anna/01_0.jpg")
        ('Anna', 'Anna', 'Anna')
    """
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 1 and parts[0] in (HELD_OUT, LANDMARK_SET) else parts[0]


def shard_file(part: str, kind: str) -> str:
    """Return the shard of a part.

    Args:
        part: the part's name (`jobs.balancing.partition`).
        kind: one of `SHARD_SUFFIXES`.
    """
    return f"{SHARDS}/{part}.{SHARD_SUFFIXES[kind]}"


def is_shard(path: str) -> bool:
    """Return whether the suffix of a file below `SHARDS` is that of a shard."""
    return PurePosixPath(path).suffix.removeprefix(".") in SHARD_SUFFIXES.values()
