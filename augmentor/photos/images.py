"""Read photos of any format as RGB, list folders of them, and write files whole or not at all.

What becomes of what a file can hold:
    EXIF orientation is applied. A colour profile is converted to sRGB; one that cannot be read is ignored, as
    viewers do. Transparency is laid over white. Of several frames or pages the first counts. Grey levels of more than
    8 bits are scaled, never clipped (see `_GreyScale`).

A photo that cannot be used raises a `PhotoError` naming file and reason; a folder or output that cannot be
used raises an `InputError`. Nothing is left out silently but the metadata files systems leave behind
(`METADATA_FILES`).
"""

import errno
import functools
import hashlib
import io
import logging
import os
import secrets
import stat
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import Image, ImageCms

from augmentor.errors import InputError, PhotoError
from augmentor.path_text import is_utf8
from augmentor.photos.file_kinds import (
    PARTIAL_PREFIX,
    PARTIAL_SUFFIX,
    is_no_photo,
    is_system_file,
    is_system_folder,
)
from augmentor.photos.identity_folders import identity_folders

MAX_PIXELS = 250_000_000  # above the 200 megapixels of today's phones; 750 MB as RGB
LIMIT = "LIKENESS_MAX_PIXELS"  # in the environment: another limit
_MOST_PAGES = 1000  # of a document, that are counted
_BAND_PIXELS = 4_000_000  # converted at once: a photo is held twice, but not three or four times

# Pillow's readers that are used. Not among them: EPS (runs Ghostscript), WMF, PDF and other descriptions
# of pages.
_FORMATS = (
    *("JPEG", "PNG", "HEIF", "AVIF", "WEBP", "TIFF", "BMP", "DIB", "GIF", "MPO"),
    *("PPM", "JPEG2000", "PSD", "ICO", "SGI", "QOI"),
)

NOT_UTF8 = "its name is not valid UTF-8; rename it"
_APPLE_DOUBLE = bytes.fromhex("00051607")

_HASHED_PIXELS = 64_000_000


@dataclass(frozen=True)
class LoadedPhoto:
    """A photo, upright.

    Attributes:
        image: (H, W, 3) uint8 RGB, C-contiguous.
        more_pages: pages of a scanned document (TIFF) after the first, which alone is in `image`.
    """

    image: np.ndarray
    more_pages: int = 0

    @property
    def note(self) -> str:
        """What the user should know of it; empty if there is nothing."""
        if not self.more_pages:
            return ""
        return f"{self.more_pages} more page{'s were' if self.more_pages > 1 else ' was'} not looked at"


def load_image(source: Path | bytes, *, name: str = "", max_pixels: int | None = None) -> np.ndarray:
    """Read one photo, upright; see `load_photo`, whose `image` this is."""
    return load_photo(source, name=name, max_pixels=max_pixels).image


def load_photo(source: Path | bytes, *, name: str = "", max_pixels: int | None = None) -> LoadedPhoto:
    """Read one photo, upright.

    While it is decoded, a photo takes some 7 bytes a pixel.

    Args:
        source: the file, or its content.
        name: what errors call it; the path if empty.
        max_pixels: larger photos are refused from their header, before anything is decoded; `pixel_limit()` if None.

    Raises:
        PhotoError: `unreadable` or `too_large`.
        InputError: the limit in the environment is no number.
    """
    name = name or ("" if isinstance(source, bytes) else str(source))
    limit = pixel_limit() if max_pixels is None else max_pixels
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else _open_regular(source, name) as file:
            return _decode(file, name, limit)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, "more", limit) from error
    except MemoryError as error:
        raise PhotoError("unreadable", name, "not enough memory to decode it") from error
    except OSError as error:
        raise PhotoError("unreadable", name, error.strerror or str(error)) from error
    except Exception as error:  # decoders raise almost any kind of error on damaged files
        raise PhotoError("unreadable", name, f"{type(error).__name__}: {error}") from error


def pixel_limit() -> int:
    """Return how many pixels a photo may have: `MAX_PIXELS`, or what LIKENESS_MAX_PIXELS in the environment says.

    Raises:
        InputError: that is no number.
    """
    text = os.environ.get(LIMIT, "")
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise InputError(f"{LIMIT}={text}: not a number of pixels; say {MAX_PIXELS}, or leave it out")
    return int(text or MAX_PIXELS)


def _too_large(name: str, pixels: str, limit: int) -> PhotoError:
    return PhotoError("too_large", name, f"{pixels} than the limit of {limit} pixels ({LIMIT} sets it)")


def _open_regular(path: Path, name: str) -> io.BufferedReader:
    """Open a file that is a file; a pipe would block.

    Raises:
        PhotoError: it is none, or its name could stand in no table, no manifest and no JSON.
        OSError: it cannot be opened.
    """
    if not is_utf8(path):
        raise PhotoError("unreadable", name, NOT_UTF8)
    if not stat.S_ISREG(path.stat().st_mode):
        raise PhotoError("unreadable", name, "not a file")
    return path.open("rb")


def _decode(file: IO[bytes], name: str, max_pixels: int) -> LoadedPhoto:
    """Decode an open file to upright RGB."""
    if not file.read(1):
        raise PhotoError("unreadable", name, "empty file")
    file.seek(0)
    formats = _readable_formats()
    # Pillow refuses twice as much by itself, also of pictures inside of pictures. Its own number would be below ours.
    Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    try:
        image = Image.open(file, formats=formats)
    except Image.UnidentifiedImageError as error:
        raise PhotoError("unreadable", name, "not an image, or of an unknown format") from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise _too_large(name, f"{width}x{height}, more", max_pixels)
        more_pages = _more_pages(image)
        image.load()
        orientation = _orientation(image)
        rgb = _as_rgb(image)
        image.close()  # gives its memory back before the turn takes as much
        return LoadedPhoto(np.ascontiguousarray(_upright(rgb, orientation)), more_pages)


def _more_pages(image: Image.Image) -> int:
    """Return how many pages a TIFF has after the first; reduced copies of a page (thumbnails) are none.

    Source:
        TIFF 6.0, tag 254 (NewSubfileType), bit 0.
    """
    if image.format != "TIFF":
        return 0
    pages = 0
    try:
        for number in range(1, min(getattr(image, "n_frames", 1), _MOST_PAGES)):
            image.seek(number)
            pages += not int(getattr(image, "tag_v2", {}).get(254, 0)) & 1
    except Exception:  # a damaged page after the first does not spoil that
        pages += 1
    image.seek(0)
    return pages


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that can be read here; makes Pillow load its readers."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.init()
    # Pillow warns of more than 89 megapixels, where the limit here is `max_pixels`, and of damaged EXIF,
    # which nobody needs to know of: what makes a photo unusable is an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    return tuple(kind for kind in _FORMATS if kind in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8, to be asked after decoding: some readers turn the picture themselves."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF: the photo itself was read, and viewers show it as it lies
        return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation.

    Source:
        Exif 2.32, tag 0x0112: which side of the scene row 0 and column 0 show (6: right and top).
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _as_rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of a decoded image of any mode."""
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    if image.mode == "F" or image.mode.startswith("I"):
        scale = _GreyScale.of(np.asarray(band) for _, band in _bands(image))
        for rows, band in _bands(image):
            rgb[rows] = scale.eight_bits(np.asarray(band))[..., None]
        return rgb
    for rows, band in _bands(image):
        rgb[rows] = _colours(band)
    return rgb


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield an image in bands of whole rows, some `_BAND_PIXELS` each; a small one is one band."""
    width, height = image.size
    step = max(1, _BAND_PIXELS // width)
    if step >= height:
        yield slice(0, height), image
        return
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top, bottom), image.crop((0, top, width, bottom))


def _colours(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of a decoded image in colour, grey of 8 bits, or with transparency."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        profile = image.info.get("icc_profile")
        colour = Image.fromarray(np.asarray(image)[..., :3])
        if profile:
            colour.info["icc_profile"] = profile
        paper = Image.new("RGB", image.size, "white")
        paper.paste(_to_srgb(colour), mask=image.getchannel("A"))
        return np.asarray(paper)
    if image.mode in ("P", "1", "HSV", "YCbCr"):
        profile = image.info.get("icc_profile")
        image = image.convert("RGB")
        if profile:
            image.info["icc_profile"] = profile
    return np.asarray(_to_srgb(image))


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB of an image in mode RGB, L, CMYK or LAB, by its colour profile if that is usable."""
    if image.mode == "LAB":
        return _convert_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    profile = image.info.get("icc_profile")
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(embedded).lower():
                return _convert_profile(image, embedded)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # damaged, or made for another kind of image: viewers ignore such a profile, too
    return image.convert("RGB")


def _convert_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert an image from a colour profile to sRGB."""
    converted = ImageCms.profileToProfile(image, profile, _srgb_profile(), outputMode="RGB")
    if converted is None:
        raise ValueError("no conversion")
    return converted


@functools.cache
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    """sRGB, made once per process."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclass(frozen=True)
class _GreyScale:
    """How grey levels of any depth become 8 bits.

    White is the highest value of the smallest common depth (8, 10, 12, 14, 16, 24, 32 bits) that holds the
    brightest pixel: cameras and scanners store 10 to 14 bits in 16. Floats go to 1, or, where they exceed
    it by little (up to 16, high dynamic range), to their maximum. Negative levels shift the scale to start
    there.
    """

    black: float
    white: float

    @classmethod
    def of(cls, bands: Iterable[np.ndarray]) -> "_GreyScale":
        """Return the scale of a picture that is given in bands."""
        black, brightest, floating = 0.0, 0.0, False
        for band in bands:
            levels = _levels(band)
            black, brightest = min(black, float(levels.min())), max(brightest, float(levels.max()))
            floating = np.issubdtype(band.dtype, np.floating)
        peak = brightest - black
        if floating and peak <= 16:
            return cls(black, max(1.0, peak))
        depths = (float(2**bits - 1) for bits in (8, 10, 12, 14, 16, 24, 32) if peak < 2**bits)
        return cls(black, next(depths, peak))

    def eight_bits(self, grey: np.ndarray) -> np.ndarray:
        """Scale grey levels to uint8."""
        levels = (_levels(grey) - self.black) * (255 / self.white)
        return np.rint(levels).clip(0, 255).astype(np.uint8)


def _levels(grey: np.ndarray) -> np.ndarray:
    return np.nan_to_num(grey.astype(np.float64), posinf=0.0, neginf=0.0)


@dataclass
class LeftOut:
    """What a listing left out, for the one line that says so.

    Attributes:
        not_photos: files whose suffix says that they are no photos.
    """

    not_photos: int = 0

    def line(self) -> str:
        """Return the line, empty if nothing was left out."""
        if not self.not_photos:
            return ""
        were = "file that is not a photo was" if self.not_photos == 1 else "files that are not photos were"
        return f"{self.not_photos} {were} left out (.json, .mp4, .txt and the like)"


def list_photos(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """Return every file below a folder that may be a photo, sorted.

    Left out are what systems leave in folders, hidden folders, and files whose suffix says that they are no photos
    (`augmentor.photos.file_kinds`). Any other file is listed, so that reading it reports it; that goes for a link that
    leads nowhere and for a name that is not valid UTF-8, too. Linked folders are followed, each real folder once.

    Args:
        folder: to look in.
        left_out: counts what is left out.

    Raises:
        InputError: `folder`, or a folder below it, cannot be read.
    """
    return list(walk_photos(folder, left_out))


def walk_photos(folder: Path, left_out: LeftOut | None = None) -> Iterator[Path]:
    """Yield what `list_photos` returns, one after the other: no more is held than the names in one folder.

    Raises:
        InputError: as `list_photos`, when the folder's turn comes.
    """
    for path in walk_files(folder):
        if not is_no_photo(path.name):
            yield path
        elif left_out is not None:
            left_out.not_photos += 1


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder in the order of whole paths, but for what systems leave there.

    Raises:
        InputError: as `list_photos`, when the folder's turn comes.
    """
    _require_folder(folder)
    return _walk(folder, _Links(folder.resolve()))


def list_identities(folder: Path, left_out: LeftOut | None = None) -> dict[str, list[Path]]:
    """Return the photos of each person: one folder per person, whose name is the person's.

    Names follow `augmentor.photos.names`; see `augmentor.photos.identity_folders`. Below a person's folder photos may
    lie at any
    depth. A person without photos is listed with none. Photos beside the folders belong to nobody and are an error;
    other files there (a list, a licence) are not photos and play no part.

    Args:
        folder: to look in.
        left_out: counts what is left out of the people's folders.

    Returns:
        name → sorted photos, sorted by name.

    Raises:
        InputError: no folder per person, a photo beside them, or a name that nobody can have.
    """
    _require_folder(folder)
    folders: list[str] = []
    files: list[str] = []
    for path in sorted(folder.iterdir()):
        if not _is_metadata(path):
            (folders if path.is_dir() else files).append(path.name)
    people = identity_folders(str(folder), folders, files)
    return {name: list_photos(folder / own, left_out) for name, own in people.items()}


def _require_folder(folder: Path) -> None:
    if not folder.exists():
        raise InputError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"{folder}: no permission to read this folder")


def _is_metadata(path: Path) -> bool:
    """Return whether the system, not the user, put this file or folder there."""
    name = path.name
    if name.startswith("._") and path.is_file() and os.access(path, os.R_OK):
        with path.open("rb") as file:
            return file.read(4) == _APPLE_DOUBLE
    if is_system_file(name):
        return not path.is_dir()
    return is_system_folder(name) and path.is_dir()


class _Links:
    """Which linked folders a walk has followed, so that circles end and every real folder is listed once.

    Args:
        root: the folder where the walk began, without links.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._followed: set[Path] = set()

    def follow(self, folder: Path, linked: bool) -> bool:
        """Return whether to list a folder.

        Args:
            folder: on the walk.
            linked: it is a link, or lies below one.
        """
        if not linked:
            return True  # where the walk comes without links, it comes once
        real = folder.resolve()
        if real in self._followed or self._is_walked(real):
            return False
        self._followed.add(real)
        return True

    def _is_walked(self, real: Path) -> bool:
        """Return whether the walk comes to this folder without links."""
        if real == self._root:
            return True
        return self._root in real.parents and not any(
            map(is_system_folder, real.relative_to(self._root).parts)
        )


def _walk(folder: Path, links: _Links, linked: bool = False) -> Iterator[Path]:
    """Yield the files below `folder`, sorted; `linked`: a link led there."""
    _require_folder(folder)
    names = []
    try:
        for path in folder.iterdir():
            if not _is_metadata(path):
                names.append(f"{path.name}/" if path.is_dir() else path.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    names.sort()  # the slash is what makes this the order of whole paths: a.jpg before a/b.jpg, a-b/ before both
    for name in names:
        path = folder / name
        if not name.endswith("/"):
            yield path
        elif links.follow(path, below := linked or path.is_symlink()):
            yield from _walk(path, links, below)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB as JPEG with full colour resolution; the same pixels give the same bytes.

    Raises:
        ValueError: `image` is not (H, W, 3) uint8, or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of {image.shape}")
    return data.tobytes()


def write_whole(path: Path, data: bytes, *, durable: bool = False, private: bool = False) -> None:
    """Write a file so that it appears whole or not at all; make its folder, replace what was there.

    A process killed while writing leaves at most a `.likeness-*.part` beside it.

    Args:
        path: the file.
        data: its content.
        durable: the file is on disk, not only in memory, when the call returns: it survives a power failure. Costs some
            milliseconds, more on slow disks.
        private: nobody but the user may read the file, or folders that are made for it.

    Raises:
        InputError: the disk is full, the folder cannot be written, or the like.
    """
    partial = path.parent / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    try:
        try:
            try:
                created = _create(partial, private)
            except FileNotFoundError:
                make_folder(path.parent, private=private)
                created = _create(partial, private)
            with created as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
            if durable:
                sync_folder(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot write ({error.strerror or error}); make room or choose another output folder"
        ) from error


def remove_half_written(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; nobody else gives files such names."""
    for file in folder.glob(f"{PARTIAL_PREFIX}*{PARTIAL_SUFFIX}") if folder.is_dir() else ():
        file.unlink(missing_ok=True)


def make_folder(folder: Path, *, private: bool = False) -> None:
    """Make a folder and those above it that are missing; private ones are open to nobody but the user.

    A folder that is there already keeps its permissions.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder, *folder.parents]
    for above in reversed(missing[: next((k for k, f in enumerate(missing) if f.exists()), len(missing))]):
        above.mkdir(0o700 if private else 0o777, exist_ok=True)
    folder.mkdir(exist_ok=True)  # says what is wrong if a file has this name


def sync_folder(folder: Path) -> None:
    """Let the names in a folder, after files were made, renamed or deleted there, survive a power failure.

    Systems that cannot open a folder (Windows) make names durable themselves.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    except OSError as error:  # some network file systems cannot, and promise nothing more than they do
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _create(path: Path, private: bool) -> io.BufferedWriter:
    """Open a file that must not be there yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600 if private else 0o666), "wb")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        PhotoError: `unreadable`.
    """
    digest = hashlib.sha256()
    try:
        with _open_regular(path, str(path)) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise PhotoError("unreadable", path, error.strerror or str(error)) from error
    return digest.hexdigest()


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits that stay nearly the same when a photo is encoded again, resized or made a little brighter.

    The fewer bits differ, `(a ^ b).bit_count()`, the more alike the photos are. On LFW
    JPEG at quality 20, or a reduction to 93 pixels, changes at most 4 bits (203 photos); of 4.2 million
    pairs of a training and a test photo one differs by 4 or fewer, which is the same photo cut twice, 3 by
    6 and 13 by 8. Cutting 2 % off each edge changes 6 bits, up to 14: crops are not recognised.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        0 to 2**64 - 1: which of the 8x8 lowest frequencies of the grey picture, the mean of rows and of
        columns left out, are above their median.

    Source:
        Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010 (DCT hash).
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    if grey.size > _HASHED_PIXELS:  # as numbers of four bytes it would take more memory than the photo
        grey = cv2.resize(grey, (2048, 2048), interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    frequencies = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA))[1:9, 1:9].ravel()
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")
