"""Read photos of any format as RGB, list folders of them, and write files whole or not at all.

How the contents of a file are treated:
    EXIF orientation is applied. A colour profile is converted to sRGB; one that cannot be read is ignored, as
    viewers do. Transparency is laid over white. Of several frames or pages only the first is used. Grey levels of
    more than 8 bits are scaled, never clipped (see `_GreyScale`).

A photo that cannot be used raises a `PhotoError` with the file's name and a reason; a folder or an output that cannot
be used raises an `InputError`. The listings silently leave out only the metadata files that operating systems leave
behind (`METADATA_FILES`).
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
LIMIT = "LIKENESS_MAX_PIXELS"  # environment variable that sets another limit
_MOST_PAGES = 1000  # pages of a document beyond this number are not counted
_BAND_PIXELS = (
    4_000_000  # converted at a time, so that a photo is held twice in memory, but not three or four times
)

# The Pillow readers that are used. EPS (runs Ghostscript), WMF, PDF and other page description formats are left out on
# purpose.
_FORMATS = (
    *("JPEG", "PNG", "HEIF", "AVIF", "WEBP", "TIFF", "BMP", "DIB", "GIF", "MPO"),
    *("PPM", "JPEG2000", "PSD", "ICO", "SGI", "QOI"),
)

NOT_UTF8 = "its name is not valid UTF-8; rename it"
_APPLE_DOUBLE = bytes.fromhex("00051607")

_HASHED_PIXELS = 64_000_000


@dataclass(frozen=True)
class LoadedPhoto:
    """An upright photo.

    Attributes:
        image: (H, W, 3) uint8 RGB, C-contiguous.
        more_pages: number of pages of a scanned document (TIFF) after the first; `image` holds only the first.
    """

    image: np.ndarray
    more_pages: int = 0

    @property
    def note(self) -> str:
        """A remark for the user about this photo; empty if there is nothing to say."""
        if not self.more_pages:
            return ""
        return f"{self.more_pages} more page{'s were' if self.more_pages > 1 else ' was'} ignored"


def load_image(source: Path | bytes, *, name: str = "", max_pixels: int | None = None) -> np.ndarray:
    """Read one photo and return `LoadedPhoto.image`; arguments and errors are those of `load_photo`."""
    return load_photo(source, name=name, max_pixels=max_pixels).image


def load_photo(source: Path | bytes, *, name: str = "", max_pixels: int | None = None) -> LoadedPhoto:
    """Read one photo and turn it upright.

    Decoding takes about 7 bytes of memory per pixel.

    Args:
        source: the file, or its content.
        name: what error messages call the photo; if empty, its path.
        max_pixels: a photo with more pixels is refused after its header was read, before anything is decoded;
            None stands for `pixel_limit()`.

    Raises:
        PhotoError: `unreadable` or `too_large`.
        InputError: the limit in the environment is not a number.
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
    """Return how many pixels a photo may have: LIKENESS_MAX_PIXELS from the environment, or else `MAX_PIXELS`.

    Raises:
        InputError: LIKENESS_MAX_PIXELS is not a number.
    """
    text = os.environ.get(LIMIT, "")
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise InputError(
            f"{LIMIT}={text}: not a number of pixels; set it to {MAX_PIXELS}, for example, or unset it"
        )
    return int(text or MAX_PIXELS)


def _too_large(name: str, pixels: str, limit: int) -> PhotoError:
    return PhotoError(
        "too_large", name, f"{pixels} than the limit of {limit} pixels ({LIMIT} sets another limit)"
    )


def _open_regular(path: Path, name: str) -> io.BufferedReader:
    """Open a regular file. Anything else is refused, because reading from a pipe, for example, would block.

    Raises:
        PhotoError: it is not a regular file, or tables, manifests and JSON could not hold its name.
        OSError: it cannot be opened.
    """
    if not is_utf8(path):
        raise PhotoError("unreadable", name, NOT_UTF8)
    if not stat.S_ISREG(path.stat().st_mode):
        raise PhotoError("unreadable", name, "not a file")
    return path.open("rb")


def _decode(file: IO[bytes], name: str, max_pixels: int) -> LoadedPhoto:
    """Decode an open file to upright RGB.

    Raises:
        PhotoError: the file is empty, not an image, of an unsupported format, or has too many pixels.
    """
    if not file.read(1):
        raise PhotoError("unreadable", name, "empty file")
    file.seek(0)
    formats = _readable_formats()
    # Pillow raises above twice this number, also for images inside of images. Its default would be below our limit.
    Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    try:
        image = Image.open(file, formats=formats)
    except Image.UnidentifiedImageError as error:
        raise PhotoError("unreadable", name, "not an image, or of an unsupported format") from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise _too_large(name, f"{width}x{height}, more", max_pixels)
        more_pages = _more_pages(image)
        image.load()
        orientation = _orientation(image)
        rgb = _as_rgb(image)
        image.close()  # frees its memory before turning the picture takes as much again
        return LoadedPhoto(np.ascontiguousarray(_upright(rgb, orientation)), more_pages)


def _more_pages(image: Image.Image) -> int:
    """Return how many pages a TIFF has after the first, not counting reduced copies of a page (thumbnails).

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
    except Exception:  # the first page can be used although a later one is damaged
        pages += 1
    image.seek(0)
    return pages


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that can be read here, after making Pillow load its readers."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.init()
    # Pillow warns about more than 89 megapixels, although the limit here is `max_pixels`, and about damaged EXIF,
    # which does not matter to the user: anything that makes a photo unusable raises an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    return tuple(kind for kind in _FORMATS if kind in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8. Call it after decoding, because some readers turn the picture themselves."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF: the picture itself could be decoded, and viewers show it unturned
        return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation.

    `PIL.ImageOps.exif_transpose` would do the same, but it also writes the rest of the EXIF data again, and fails on
    photos in which a tag other than the orientation is damaged. It also needs more memory, because Pillow holds 4
    bytes per pixel of RGB.

    Args:
        pixels: (H, W, 3).
        orientation: 1 to 8.

    Returns:
        A view of `pixels`: (H, W, 3), or (W, H, 3) for orientations 5 to 8.

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
    """Convert a decoded image of any mode to (H, W, 3) uint8 RGB."""
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
    """Yield an image in bands of whole rows with about `_BAND_PIXELS` pixels each; a small image is one band."""
    width, height = image.size
    step = max(1, _BAND_PIXELS // width)
    if step >= height:
        yield slice(0, height), image
        return
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top, bottom), image.crop((0, top, width, bottom))


def _colours(image: Image.Image) -> np.ndarray:
    """Convert a decoded image, in colour, in grey of 8 bits or with transparency, to (H, W, 3) uint8 RGB."""
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
    """Convert an image of mode RGB, L, CMYK or LAB to RGB in sRGB, by its colour profile if that is usable."""
    if image.mode == "LAB":
        return _convert_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    profile = image.info.get("icc_profile")
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(embedded).lower():
                return _convert_profile(image, embedded)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # damaged, or made for another mode: viewers also ignore such a profile
    return image.convert("RGB")


def _convert_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert an image from a colour profile to sRGB.

    Raises:
        ValueError: Pillow returned no image.
    """
    converted = ImageCms.profileToProfile(image, profile, _srgb_profile(), outputMode="RGB")
    if converted is None:
        raise ValueError("no conversion")
    return converted


@functools.cache
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    """Return the sRGB profile, which is made once per process."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclass(frozen=True)
class _GreyScale:
    """The linear scale that maps grey levels of any depth to 8 bits.

    White is the highest value of the smallest common depth (8, 10, 12, 14, 16, 24, 32 bits) that holds the
    brightest pixel, because cameras and scanners store 10 to 14 bits in 16. White of floating-point images is 1, or
    their maximum if that is a little more (up to 16, high dynamic range). If there are negative levels, black is the
    lowest of them.
    """

    black: float
    white: float

    @classmethod
    def of(cls, bands: Iterable[np.ndarray]) -> "_GreyScale":
        """Return the scale for an image whose bands are given one after the other."""
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
    """Counts the files that a listing leaves out, and phrases the one line that reports them.

    Attributes:
        not_photos: number of files that are not photos according to their suffix.
    """

    not_photos: int = 0

    def line(self) -> str:
        """Return the line, or an empty string if nothing was left out."""
        if not self.not_photos:
            return ""
        were = "file that is not a photo was" if self.not_photos == 1 else "files that are not photos were"
        return f"{self.not_photos} {were} left out (.json, .mp4, .txt and the like)"


def list_photos(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """Return every file below a folder that may be a photo, sorted.

    The list leaves out files of the operating system, hidden folders, and files that are not photos according to their
    suffix (`augmentor.photos.file_kinds`). It contains every other file, so that reading it reports the error; this
    includes links that lead nowhere and names that are not valid UTF-8. Linked folders are followed, each real folder
    once.

    Args:
        folder: the folder to list.
        left_out: counts the files that are left out.

    Raises:
        InputError: `folder`, or a folder below it, cannot be read.
    """
    return list(walk_photos(folder, left_out))


def walk_photos(folder: Path, left_out: LeftOut | None = None) -> Iterator[Path]:
    """Yield what `list_photos` returns, one path at a time, holding no more than the names in one folder.

    Raises:
        InputError: a folder cannot be read; raised when the walk comes to it.
    """
    for path in walk_files(folder):
        if not is_no_photo(path.name):
            yield path
        elif left_out is not None:
            left_out.not_photos += 1


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, sorted by whole path, except files of the operating system.

    Raises:
        InputError: a folder cannot be read; raised when the walk comes to it.
    """
    _require_folder(folder)
    return _walk(folder, _Links(folder.resolve()))


def list_identities(folder: Path, left_out: LeftOut | None = None) -> dict[str, list[Path]]:
    """Return the photos of each person from a folder with one folder per person, called like the person.

    `augmentor.photos.names` says which names are allowed, `augmentor.photos.identity_folders` how folders are spelled.
    Photos may lie at any depth below a person's folder. A person without photos is included, with an empty list. Photos
    beside the folders belong to nobody and are an error; other files there (a list, a licence) are ignored.

    Args:
        folder: the folder to list.
        left_out: counts the files that are left out of the people's folders.

    Returns:
        name → sorted photos, sorted by name.

    Raises:
        InputError: there is no folder per person, a photo lies beside them, or a folder has a name that nobody can
            have.
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
    """Return whether the operating system, not the user, put this file or folder there."""
    name = path.name
    if name.startswith("._") and path.is_file() and os.access(path, os.R_OK):
        with path.open("rb") as file:
            return file.read(4) == _APPLE_DOUBLE
    if is_system_file(name):
        return not path.is_dir()
    return is_system_folder(name) and path.is_dir()


class _Links:
    """Keeps track of the linked folders that a walk followed, so that circles end and each real folder is listed once.

    Args:
        root: the folder where the walk began, with links resolved.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._followed: set[Path] = set()

    def follow(self, folder: Path, linked: bool) -> bool:
        """Return whether the walk should enter a folder.

        Args:
            folder: a folder that the walk came to.
            linked: the folder is a link, or lies below one.
        """
        if not linked:
            return True  # the walk reaches each folder only once without links
        real = folder.resolve()
        if real in self._followed or self._is_walked(real):
            return False
        self._followed.add(real)
        return True

    def _is_walked(self, real: Path) -> bool:
        """Return whether the walk also reaches this folder without links."""
        if real == self._root:
            return True
        return self._root in real.parents and not any(
            map(is_system_folder, real.relative_to(self._root).parts)
        )


def _walk(folder: Path, links: _Links, linked: bool = False) -> Iterator[Path]:
    """Yield the files below `folder`, sorted; `linked` says that the walk came here through a link."""
    _require_folder(folder)
    names = []
    try:
        for path in folder.iterdir():
            if not _is_metadata(path):
                names.append(f"{path.name}/" if path.is_dir() else path.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    names.sort()  # the slash makes this the order of whole paths: a.jpg before a/b.jpg, a-b/ before both
    for name in names:
        path = folder / name
        if not name.endswith("/"):
            yield path
        elif links.follow(path, below := linked or path.is_symlink()):
            yield from _walk(path, links, below)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encode an image as JPEG with full colour resolution; the same pixels always give the same bytes.

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: JPEG quality, 0 to 100.

    Raises:
        ValueError: `image` is not (H, W, 3) uint8, or has no pixels.

    Example:
        >>> encode_jpeg(np.zeros((8, 8, 3), np.uint8))[:3].hex()
        'ffd8ff'
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
    """Write a file so that it appears whole or not at all; make its folder, and replace an existing file.

    A process that is killed while writing leaves at most a `.likeness-*.part` file beside it.

    Args:
        path: the file.
        data: its content.
        durable: return only when the file is on disk, not just in memory, so that it survives a power failure. This
            takes some milliseconds, and more on slow disks.
        private: make the file, and folders that are missing, accessible to the user alone.

    Raises:
        InputError: the file cannot be written, for example because the disk is full.
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
    """Remove the files that killed processes left half-written in a folder; no other program uses such names."""
    for file in folder.glob(f"{PARTIAL_PREFIX}*{PARTIAL_SUFFIX}") if folder.is_dir() else ():
        file.unlink(missing_ok=True)


def make_folder(folder: Path, *, private: bool = False) -> None:
    """Make a folder and the missing folders above it.

    A folder that exists keeps its permissions.

    Args:
        folder: the folder.
        private: new folders are accessible to the user alone.

    Raises:
        OSError: a folder cannot be made.
    """
    missing = [folder, *folder.parents]
    for above in reversed(missing[: next((k for k, f in enumerate(missing) if f.exists()), len(missing))]):
        above.mkdir(0o700 if private else 0o777, exist_ok=True)
    folder.mkdir(exist_ok=True)  # raises the right error if a file has this name


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure, after files were made, renamed or deleted there.

    Does nothing on systems that cannot open a folder (Windows), because those make names durable themselves.

    Raises:
        OSError: the folder cannot be opened or synchronised.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    except (
        OSError
    ) as error:  # some network file systems do not support this and promise no more than they do anyway
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _create(path: Path, private: bool) -> io.BufferedWriter:
    """Create a file and open it for writing.

    Raises:
        OSError: the file exists already, or cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600 if private else 0o666), "wb")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

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
    """Return 64 bits that stay nearly the same when a photo is encoded again, resized or made a little brighter.

    Two images show the same photo if at most 4 of the bits differ: `(a ^ b).bit_count() <= 4`. On LFW,
    JPEG at quality 20, or a reduction to 93 pixels, changes at most 4 bits (203 photos). Of 4.2 million pairs of a
    training and a test photo, one differs by 4 bits or fewer, and it is the same photo cropped twice; 3 differ by 6 or
    fewer, 13 by 8 or fewer. Cutting 2 % off each edge changes 6 bits on average and up to 14, so the hash does not
    recognise crops.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        0 to 2**64 - 1. Each bit says whether one of the 8x8 lowest frequencies of the grey image, without the means of
        rows and of columns, is above the median of all 64.

    Source:
        Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010 (DCT hash).
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    if grey.size > _HASHED_PIXELS:  # as 4-byte floats it would take more memory than the photo
        grey = cv2.resize(grey, (2048, 2048), interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    frequencies = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA))[1:9, 1:9].ravel()
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")
