"""The folder in which a training keeps what takes long to compute: features, checkpoints, unpacked images.

A mark in the folder shows that a training made it. A folder of the user's with files of the same names has no mark, so
a training refuses it and forgetting deletes nothing in it.
"""

from pathlib import Path

from augmentor.errors import InputError
from augmentor.photos.images import make_folder, write_whole
from identity.chips.detection_cache import FILES as DETECTIONS
from identity.networks.sources import registered_names
from identity.training import unpacked_images

MARK = ".likeness-cache"
_TEXT = b"A cache of likeness. Whatever training made in this folder can be deleted; it is made again when needed.\n"
_FILES = (
    *("maps.npy", "progress.json", "head.checkpoint.npz", "fine_tuning.checkpoint.npz"),
    *unpacked_images.FILES,
)


def cached_files(folder: Path) -> list[Path]:
    """Return the files in a folder that have the names of cached ones. Links are not among them."""
    names = [*_FILES, *(f"{name}.npz" for name in registered_names())]
    files = [folder / name for name in names] + sorted(folder.glob(DETECTIONS))
    return [file for file in files if file.is_file() and not file.is_symlink()]


def is_cache_folder(folder: Path, run: Path) -> bool:
    """Return whether the files with the names of cached ones in this folder are a training's.

    They are if the folder lies in the run, or if a training made the folder or was given it without such files.
    """
    return run.resolve() in folder.resolve().parents or (folder / MARK).is_file()


def use_cache_folder(folder: Path, run: Path) -> None:
    """Make a folder for a cache, or use it again.

    Args:
        folder: the folder.
        run: folder of the run; a cache in it needs no mark of an earlier training.

    Raises:
        InputError: it cannot be made, or holds files that a training would overwrite and did not make.
    """
    try:
        make_folder(folder, private=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot make this folder ({error.strerror or error})") from error
    foreign = [] if is_cache_folder(folder, run) else cached_files(folder)
    if foreign:
        raise InputError(
            f"{foreign[0]}: would be overwritten, and was not made by a training; choose another folder for --cache"
        )
    if not (folder / MARK).is_file():
        write_whole(folder / MARK, _TEXT, private=True)
