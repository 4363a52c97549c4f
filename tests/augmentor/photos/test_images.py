"""Tests of `augmentor.photos.images`: reading photos of every kind, listing folders, writing files whole."""

import errno
import hashlib
import io
import os
import pickle
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms

from augmentor.errors import REASONS, InputError, LikenessError, PhotoError
from augmentor.path_text import shown
from augmentor.photos import images
from augmentor.photos.file_kinds import PHOTO_SUFFIXES
from augmentor.photos.images import (
    MAX_PIXELS,
    LeftOut,
    encode_jpeg,
    list_identities,
    list_photos,
    load_image,
    load_photo,
    perceptual_hash,
    pixel_limit,
    sha256_of,
    write_whole,
)
from augmentor.photos.people_folder import photos_of
from augmentor.photos.place import place_of

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\..*")  # as the module does; pytest resets it

COLOURS = [[(200, 40, 30), (40, 180, 60)], [(30, 60, 190), (220, 220, 210)]]
SAME_PHOTO_BITS = 4
# How a photo is transposed before it is stored, so that this EXIF orientation undoes it.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters(height: int = 40, width: int = 60) -> np.ndarray:
    """Return (height, width, 3) uint8: four quarters in four colours, so that every turn and flip shows."""
    image = np.zeros((height, width, 3), np.uint8)
    for row in (0, 1):
        for column in (0, 1):
            image[row * height // 2 :, column * width // 2 :] = COLOURS[row][column]
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the content of the file that Pillow writes."""
    load_image(b"GIF87a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2L\1\0;")  # makes HEIC known to Pillow
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason_of(source: Path | bytes, **options: int) -> str:
    """Return the reason for which a photo is refused; the error must be one line that names the photo."""
    with pytest.raises(PhotoError) as caught:
        load_image(source, name="" if isinstance(source, Path) else "photo", **options)
    assert str(source if isinstance(source, Path) else "photo") in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    "kind, options",
    [
        ("JPEG", {"quality": 97, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 95}),
        ("HEIF", {"quality": 95}),
        ("TIFF", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("JPEG2000", {}),
    ],
)
def test_every_format_gives_the_same_picture(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "photo.anything"
    path.write_bytes(saved(Image.fromarray(quarters()), kind, **options))
    image = load_image(path)
    assert image.dtype == np.uint8 and image.shape == (40, 60, 3) and image.flags.c_contiguous
    assert np.abs(image.astype(int) - quarters()).mean() < 4
    assert np.array_equal(image, load_image(path.read_bytes()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
@pytest.mark.parametrize("orientation", sorted(STORED_AS))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(quarters()).transpose(STORED_AS[orientation])
    image = load_image(saved(stored, kind, exif=exif.tobytes()))
    assert image.shape == (40, 60, 3) and image.flags.c_contiguous
    assert np.abs(image.astype(int) - quarters()).mean() < 8


@pytest.mark.parametrize(
    "mode, kind", [("CMYK", "TIFF"), ("CMYK", "JPEG"), ("YCbCr", "TIFF"), ("RGBA", "PNG"), ("LAB", "TIFF")]
)
def test_colour_modes_keep_their_colours(mode: str, kind: str) -> None:
    if mode == "YCbCr" and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow 12, the last for Python 3.10, cannot read its own uncompressed YCbCr TIFF")
    image = Image.fromarray(quarters())
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
        assert converted is not None
        image = converted
    else:
        image = image.convert(mode)
    difference = np.abs(load_image(saved(image, kind)).astype(int) - quarters())
    assert np.median(difference) <= 2 and difference.mean() < 4


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA"])
def test_grey_palette_and_bilevel_images_become_rgb(mode: str) -> None:
    source = Image.fromarray(quarters()).convert("L").convert(mode)
    expected = np.asarray(source.convert("L"))
    image = load_image(saved(source, "PNG"))
    assert image.shape == (40, 60, 3)
    assert np.array_equal(image, np.repeat(expected[..., None], 3, axis=2))


def test_levels_of_more_than_eight_bits_are_scaled_not_clipped() -> None:
    grey = np.array([[0, 100, 255]], np.uint8)
    cases = {
        "16 bit": (grey.astype(np.uint16) * 257, "PNG"),
        "12 bit in 16": (np.rint(grey / 255 * 4095).astype(np.uint16), "TIFF"),
        "8 bit in 16": (grey.astype(np.uint16), "PNG"),
        "32 bit": ((grey.astype(np.int64) * 0x7FFFFF // 255 * 2).astype(np.int32), "TIFF"),
        "float to 1": ((grey / 255).astype(np.float32), "TIFF"),
        "float to 255": (grey.astype(np.float32), "TIFF"),
    }
    for name, (levels, kind) in cases.items():
        image = load_image(saved(Image.fromarray(levels), kind))
        assert np.abs(image[0, :, 0].astype(int) - grey[0]).max() <= 1, name
        assert image.shape == (1, 3, 3)


def test_a_dark_float_image_with_broken_pixels_loads() -> None:
    levels = np.array([[np.nan, np.inf, -0.5, 0.5]], np.float32)
    assert load_image(saved(Image.fromarray(levels), "TIFF"))[0, :, 0].tolist() == [128, 128, 0, 255]


def test_transparency_is_laid_over_white() -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = [0, 128, 255]
    image = load_image(saved(Image.fromarray(pixels), "PNG"))
    assert image[0].tolist() == [[255, 255, 255], [227, 127, 127], [200, 0, 0]]


def test_transparent_palette_colour_is_laid_over_white() -> None:
    source = Image.fromarray(np.array([[0, 1]], np.uint8))
    source.putpalette([0, 0, 0, 9, 9, 9])
    assert load_image(saved(source, "PNG", transparency=0))[0].tolist() == [[255] * 3, [9] * 3]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_is_used(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options: dict[str, object] = {"save_all": True, "append_images": frames[1:]}
    image = load_image(saved(frames[0], kind, **options))
    assert image[4, 4, 0] > 240 and image[4, 4, 2] < 15


def test_colour_profile_is_converted_and_a_broken_one_ignored() -> None:
    grey_in_gamma = Image.new("RGB", (2, 2), (100, 100, 100))
    linear = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    broken = load_image(saved(grey_in_gamma, "PNG", icc_profile=bytes(linear[:200])))
    assert broken[0, 0].tolist() == [100, 100, 100]
    swapped = bytes(linear).replace(b"rXYZ", b"tmp_").replace(b"gXYZ", b"rXYZ").replace(b"tmp_", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert load_image(saved(red, "PNG", icc_profile=swapped))[0, 0].tolist()[:2] == [0, 255]


def test_one_pixel_loads() -> None:
    assert load_image(saved(Image.new("RGB", (1, 1), "red"), "PNG")).tolist() == [[[255, 0, 0]]]


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG that claims this size and ends after its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (16_000, 15_700), (60_000, 60_000)])
def test_too_many_pixels_are_refused_from_the_header(size: tuple[int, int]) -> None:
    assert reason_of(png_of_size(*size)) == "too_large"


def test_pixel_limit_can_be_set() -> None:
    data = saved(Image.fromarray(quarters()), "PNG")
    assert load_image(data, max_pixels=40 * 60).shape == (40, 60, 3)
    assert reason_of(data, max_pixels=40 * 60 - 1) == "too_large"


def test_the_limit_of_pixels_can_be_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pixel_limit() == MAX_PIXELS >= 16_320 * 12_240  # of a phone's photo of 200 megapixels
    data = saved(Image.fromarray(quarters()), "PNG")
    monkeypatch.setenv("LIKENESS_MAX_PIXELS", "2399")
    with pytest.raises(
        PhotoError,
        match=r"60x40, more than the limit of 2399 pixels \(LIKENESS_MAX_PIXELS sets another limit\)",
    ):
        load_image(data)
    assert load_image(data, max_pixels=2400).shape == (40, 60, 3)
    for wrong in ("-1", "120M", "0"):
        monkeypatch.setenv("LIKENESS_MAX_PIXELS", wrong)
        with pytest.raises(InputError, match="not a number of pixels"):
            load_image(data)


def test_pillows_own_limit_is_never_below_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = saved(Image.fromarray(quarters()), "PNG")
    assert load_image(data).shape == (40, 60, 3)
    assert load_image(data, max_pixels=2400).shape == (40, 60, 3)
    assert (
        reason_of(png_of_size(16_320, 12_240)) == "unreadable"
    )  # no pixels in it, but not refused for its size


MODES = ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_a_photo_in_bands_looks_as_in_one_piece(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    if mode in ("I;16", "I", "F"):
        levels = rng.uniform(-0.2 if mode == "F" else 0, 1 if mode == "F" else 4000, (67, 45))
        image = Image.fromarray(levels.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    else:
        image = Image.fromarray(rng.integers(0, 256, (67, 45, 3), np.uint8))
        image = image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else image
        image = _in_mode(image, mode)
    if mode in ("RGB", "RGBA"):
        image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    if mode == "P":
        image.info["transparency"] = 3
    whole = images._as_rgb(image)
    monkeypatch.setattr(images, "_BAND_PIXELS", 45 * 8)
    assert np.array_equal(images._as_rgb(image), whole)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode != "LAB":
        return image.convert(mode)
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert converted
    return converted


def test_pages_after_the_first_are_counted_but_not_thumbnails_or_films() -> None:
    pages = [Image.fromarray(quarters()) for _ in range(4)]
    for compression in ("raw", "tiff_lzw", "jpeg"):
        photo = load_photo(
            saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression=compression)
        )
        assert photo.more_pages == 3 and photo.note == "3 more pages were ignored"
        assert np.abs(photo.image.astype(int) - quarters()).mean() < 4
    thumbnail = pages[1].resize((30, 20))
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    with_one = load_photo(saved(pages[0], "TIFF", save_all=True, append_images=[thumbnail]))
    assert (with_one.more_pages, with_one.note) == (0, "")
    assert load_photo(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:2])).note == (
        "1 more page was ignored"
    )
    film = saved(pages[0], "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40), "red")])
    assert load_photo(film).more_pages == 0


def test_unusable_files_are_unreadable(tmp_path: Path) -> None:
    jpeg = saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")
    files = {
        "empty.jpg": b"",
        "text.jpg": b"this is a list of names\n" * 20,
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "header only.jpg": jpeg[:30],
        "truncated.png": saved(Image.fromarray(quarters()), "PNG")[:60],
        "truncated.heic": saved(Image.fromarray(quarters()), "HEIF")[:300],
        "truncated.avif": saved(Image.fromarray(quarters()), "AVIF")[:300],
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert reason_of(tmp_path / name) == "unreadable", name
        assert reason_of(data) == "unreadable", name
    assert reason_of(tmp_path) == "unreadable"
    assert reason_of(tmp_path / "missing.jpg") == "unreadable"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of(tmp_path / "pipe.jpg") == "unreadable"


def test_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(saved(Image.fromarray(quarters()), "JPEG"))

    def refuse(*_: object, **__: object) -> None:  # chmod would not stop root, whom containers run as
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PhotoError, match=r"secret\.jpg: unreadable \(Permission denied\)"):
        load_image(path)


def test_damaged_exif_leaves_the_photo_readable() -> None:
    data = saved(Image.fromarray(quarters()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x99")
    assert load_image(data).shape == (40, 60, 3)


def make(folder: Path, *names: str) -> None:
    """Make files with these paths below `folder`, each with one byte in it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def listed(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_photos(folder, left_out)]


def test_list_photos_is_sorted_recursive_and_leaves_out_metadata(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a/2.png", "a/1", ".hidden.jpg", ".DS_Store", "a/Thumbs.db", "__MACOSX/c.jpg")
    (tmp_path / "._b.jpg").write_bytes(bytes.fromhex("0005160700020000"))
    make(tmp_path, "._photo.jpg", "a/.likeness-0123456789abcdef.part")
    assert listed(tmp_path) == ["._photo.jpg", ".hidden.jpg", "a/1", "a/2.png", "b.jpg"]


def test_folders_of_systems_are_skipped_at_every_depth(tmp_path: Path) -> None:
    made = [".ipynb_checkpoints", ".AppleDouble", ".Trash-1000", "#recycle", "@Recycle", "@eaDir", ".git"]
    made += [
        ".picasaoriginals",
        ".dtrash",
        ".stversions",
        "lost+found",
        "#snapshot",
        ".Spotlight-V100",
        ".any",
    ]
    for folder in made:
        make(tmp_path, f"{folder}/1.jpg", f"Anna/{folder}/2.jpg", f"Anna/deep/{folder}/deeper/3.jpg")
    make(tmp_path, "Anna/deep/4.jpg", "Anna/@anna/5.jpg")
    assert listed(tmp_path) == ["Anna/@anna/5.jpg", "Anna/deep/4.jpg"]
    assert list(list_identities(tmp_path)) == ["Anna"]
    # a folder that the user names is listed, hidden or not
    assert listed(tmp_path / ".any") == ["1.jpg"]


def test_files_that_are_no_photos_are_left_out_and_counted(tmp_path: Path) -> None:
    takeout = [
        "1.HEIC.supplemental-metadata.json",
        "1.MP",
        "1.MP~2",
        "2.MP4",
        "3.AAE",
        "3.xmp",
        "list.csv",
        "a.html",
    ]
    make(
        tmp_path,
        *(f"Photos from 2019/{name}" for name in [*takeout, "1.HEIC", "no suffix", "4.CR2", "5.jpg_"]),
    )
    left_out = LeftOut()
    kept = ["1.HEIC", "4.CR2", "5.jpg_", "no suffix"]
    assert listed(tmp_path, left_out) == [f"Photos from 2019/{name}" for name in kept]
    assert left_out.line().startswith("8 files that are not photos were left out")
    assert LeftOut().line() == "" and LeftOut(1).line().startswith("1 file that is not a photo was")
    left_out = LeftOut()
    assert len(list_identities(tmp_path, left_out)["Photos from 2019"]) == 4 and left_out.not_photos == 8


def test_list_photos_follows_links_and_ends_in_circles(tmp_path: Path) -> None:
    make(tmp_path, "photos/x.jpg", "elsewhere/y.jpg", "elsewhere/deep/z.jpg")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos", target_is_directory=True)
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "photos" / "self.jpg").symlink_to(tmp_path / "photos" / "self.jpg")
    # elsewhere/deep/back leads above the photos: what lies there is listed, but no photo twice
    assert listed(tmp_path / "photos") == ["gone.jpg", "more/deep/z.jpg", "more/y.jpg", "self.jpg", "x.jpg"]


def test_a_photo_behind_several_folder_links_is_listed_once(tmp_path: Path) -> None:
    make(tmp_path, "photos/2019/a.jpg", "photos/2019/deep/b.jpg", "outside/c.jpg", "outside/deep/d.jpg")
    make(tmp_path, "photos/.store/e.jpg")
    photos = tmp_path / "photos"
    (photos / "0 best").symlink_to(photos / "2019")
    (photos / "0 deep").symlink_to(photos / "2019" / "deep")
    (photos / "2019" / "all").symlink_to(photos)
    (photos / "3 deep").symlink_to(tmp_path / "outside" / "deep")
    (photos / "4 out").symlink_to(tmp_path / "outside")
    (photos / "5 out").symlink_to(tmp_path / "outside")
    (photos / "6 kept").symlink_to(photos / ".store")  # as git-annex keeps photos
    expected = ["2019/a.jpg", "2019/deep/b.jpg", "3 deep/d.jpg", "4 out/c.jpg", "6 kept/e.jpg"]
    assert listed(photos) == expected
    assert [path for path, _ in place_of(photos).walk()] == expected


def test_a_file_whose_name_is_no_utf8_is_listed_and_unreadable(tmp_path: Path) -> None:
    make(tmp_path, "Anna/1.jpg")
    for name in (b"Anna/caf\xe9.jpg", b"Anna/\xff/2.jpg"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(saved(Image.fromarray(quarters()), "JPEG"))
    paths = list_identities(tmp_path)["Anna"]
    assert [shown(path.relative_to(tmp_path)) for path in paths] == [
        "Anna/1.jpg",
        "Anna/caf\\xe9.jpg",
        "Anna/\\xff/2.jpg",
    ]
    for path in paths[1:]:
        for read in (load_image, sha256_of):
            with pytest.raises(PhotoError) as caught:
                read(path)
            assert caught.value.reason == "unreadable"
            assert caught.value.detail == "its name is not valid UTF-8; rename it"
            str(caught.value).encode()
    # a place returns names that tables can hold, and says why the files cannot be read
    place = place_of(tmp_path)
    listed_paths = list(photos_of(place, "Anna"))
    assert listed_paths == [shown(path.relative_to(tmp_path)) for path in paths]
    with pytest.raises(OSError, match="not valid UTF-8; rename it"):
        place.read(listed_paths[1])


def test_identities_may_have_any_name(tmp_path: Path) -> None:
    people = ["Zoë Müller", "李小龙", "😀 smile", "a b", "x'\"&;$"]
    make(tmp_path, *(f"{person}/deeper/1.jpg" for person in people), "README.txt", ".DS_Store")
    (tmp_path / "nobody").mkdir()
    photos = list_identities(tmp_path)
    assert list(photos) == sorted([*people, "nobody"])
    assert photos["nobody"] == []
    assert photos["Zoë Müller"] == [tmp_path / "Zoë Müller" / "deeper" / "1.jpg"]


def test_folders_that_hold_no_identities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        list_identities(tmp_path / "missing")
    with pytest.raises(InputError, match="one folder of photos per person"):
        list_identities(tmp_path)
    make(tmp_path, "1.jpg")
    with pytest.raises(InputError, match=r"only loose photos \(1.jpg"):
        list_identities(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        list_identities(tmp_path / "1.jpg")


def test_photos_beside_the_folders_are_an_error(tmp_path: Path) -> None:
    make(tmp_path, "Anna/1.jpg", "stray.HEIC")
    with pytest.raises(InputError, match=r"1 photo\(s\) beside the folders, the first is stray.HEIC"):
        list_identities(tmp_path)


def test_write_whole_makes_its_folder_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / ("ä" * 120 + ".jpg")
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_failed_write_leaves_the_old_file_and_nothing_else(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.jpg"
    write_whole(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match=r"image\.jpg: cannot write \(.+\); make room") as caught:
        write_whole(path, b"new")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_under_a_file_is_one_clear_line(tmp_path: Path) -> None:
    make(tmp_path, "file")
    with pytest.raises(InputError, match="cannot write"):
        write_whole(tmp_path / "file" / "image.jpg", b"x")


def test_encode_jpeg_is_faithful_and_repeatable() -> None:
    data = encode_jpeg(quarters())
    assert data == encode_jpeg(quarters())
    assert np.abs(load_image(data).astype(int) - quarters()).max() < 12
    assert len(encode_jpeg(quarters(), quality=30)) < len(data)
    with pytest.raises(ValueError, match="expected"):
        encode_jpeg(quarters()[..., 0])


def test_sha256_of_matches_hashlib(tmp_path: Path) -> None:
    make(tmp_path, "file")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"x").hexdigest()
    with pytest.raises(PhotoError, match="unreadable"):
        sha256_of(tmp_path / "missing")


def made_up_scene(seed: int) -> np.ndarray:
    """Return (200, 200, 3) uint8: smooth random shapes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
    return np.asarray(coarse.resize((200, 200), Image.Resampling.BICUBIC))


SAME_PHOTO_BITS = 4


def test_perceptual_hash_survives_encoding_and_size_but_tells_photos_apart() -> None:
    scenes = [made_up_scene(seed) for seed in range(20)]
    hashes = [perceptual_hash(scene) for scene in scenes]
    assert all(0 <= value < 2**64 for value in hashes)
    for scene, value in zip(scenes, hashes, strict=True):
        small = np.asarray(Image.fromarray(scene).resize((90, 90), Image.Resampling.LANCZOS))
        brighter = np.clip(scene * 1.1 + 5, 0, 255).astype(np.uint8)
        for version in (load_image(encode_jpeg(scene, 40)), small, brighter):
            assert (perceptual_hash(version) ^ value).bit_count() <= SAME_PHOTO_BITS
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 2 * SAME_PHOTO_BITS


def test_perceptual_hash_of_a_plain_image_is_defined() -> None:
    assert perceptual_hash(np.full((1, 1, 3), 7, np.uint8)) == perceptual_hash(
        np.full((9, 5, 3), 7, np.uint8)
    )


def test_photo_error_names_reason_and_path_and_travels_between_processes() -> None:
    error = PhotoError("no_face", "Anna/1.jpg", "detected twice")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, LikenessError)
    assert (again.reason, again.path, str(again)) == (
        "no_face",
        "Anna/1.jpg",
        "Anna/1.jpg: no_face (detected twice)",
    )
    assert str(PhotoError("too_small")) == "too_small"
    with pytest.raises(ValueError, match="not a reason"):
        PhotoError("ugly")
    assert str(InputError("one\ntwo")) == "one two"
    assert len(set(REASONS)) == 6


def test_suffixes_are_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in PHOTO_SUFFIXES)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
def test_a_private_file_and_the_folders_made_for_it_are_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "secret"
    before = os.umask(0)
    try:
        write_whole(path, b"x", private=True)
        write_whole(tmp_path / "open" / "file", b"x")
    finally:
        os.umask(before)
    modes = [p.stat().st_mode & 0o777 for p in (path, path.parent, path.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]
    assert (tmp_path / "open" / "file").stat().st_mode & 0o777 == 0o666


def test_a_durable_file_is_on_disk_before_it_has_its_name_and_its_name_is_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(number: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        sync(number)

    def replaced(path: Path, target: Path) -> Path:
        done.append("named")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_whole(tmp_path / "quick", b"x")
    assert done == ["named"]
    done.clear()
    write_whole(tmp_path / "durable", b"x", durable=True)
    assert done == ["file", "named", "folder"]
