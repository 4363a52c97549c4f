"""The processes that decode photos: real ones, with a limit of memory that the system keeps."""

import asyncio
import hashlib
import io
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from augmentor.photos.images import encode_jpeg, load_image, perceptual_hash
from identity.server import photo_pool
from identity.server.photo_pool import PhotoLimits, PhotoPool, memory_for
from identity.server.source import Source, file_source

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")


def source(content: bytes, name: str = "a.jpg") -> Source:
    return Source(name, len(content), lambda: iter([content]))


def grey_tiff(width: int, height: int) -> bytes:
    """Floating point, which takes eight times its pixels while its levels are scaled."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.float32)).save(
        file, "TIFF", compression="tiff_adobe_deflate"
    )
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def with_pool(limits: PhotoLimits, ask: Callable[[PhotoPool], Awaitable[Any]], workers: int = 1) -> Any:
    async def asked() -> Any:
        pool = PhotoPool(64, "whole", workers, limits)
        try:
            return await ask(pool)
        finally:
            await asyncio.to_thread(pool.close)

    return asyncio.run(asked())


PHOTO = encode_jpeg(np.full((300, 400, 3), 120, np.uint8))


@LINUX
def test_a_photo_that_takes_too_much_memory_is_too_large_and_its_process_goes_on() -> None:
    limits = PhotoLimits(60, 120_000_000, 150_000_000)
    large = png(5000, 4900)

    async def ask(pool: PhotoPool) -> Any:
        first = await pool.faces(source(PHOTO))
        seen = await pool.faces(source(large))
        with pytest.raises(photo_pool.PhotoError) as error:
            await pool.thumbnail(source(large))
        return first, seen, error.value, await pool.faces(source(PHOTO)), await pool.thumbnail(source(PHOTO))

    first, seen, error, again, small = with_pool(limits, ask)
    assert (first.status, again.status) == ("ok", "ok") and small[:2] == b"\xff\xd8"
    assert (seen.status, seen.reason, error.reason) == ("error", "too_large", "too_large")
    assert "more than 150 MB of memory" in seen.detail


@LINUX
def test_no_kind_of_photo_gets_more_memory_than_another() -> None:
    limits = PhotoLimits(60, 120_000_000, memory_for(20_000_000))
    seen = with_pool(limits, lambda pool: pool.faces(source(grey_tiff(8000, 7000))))
    assert (seen.status, seen.reason) == ("error", "too_large")


@LINUX
def test_a_photo_that_did_not_fit_leaves_no_memory_behind() -> None:
    async def ask(pool: PhotoPool) -> int:
        for content in (png(5000, 4900), grey_tiff(9000, 8000)):
            assert (await pool.faces(source(content))).reason == "too_large"
        readers = [p for p in psutil.Process().children(recursive=True) if p.memory_info().rss > 50e6]
        return max(reader.memory_info().rss for reader in readers)

    assert with_pool(PhotoLimits(60, 120_000_000, 150_000_000), ask) < 250e6


def test_more_pixels_than_most_photos_have_are_looked_at_a_few_photos_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large photos wait for each other, small ones for none of them."""
    limits = PhotoLimits(60, 120_000_000, memory_for(120_000_000), large_at_once=1)
    assert limits.ordinary.pixels == photo_pool.ORDINARY_PIXELS and limits.ordinary.memory < 500_000_000
    assert PhotoLimits(60, 1_000, 10**9).ordinary == PhotoLimits(60, 1_000, memory_for(1_000))
    now, most, order = [0], [0], []

    async def turn(
        _self: Any, _pool: Any, _function: Any, of: Source, allowed: PhotoLimits, _more: Any
    ) -> Any:
        if of.name == "large" and allowed != limits:
            return photo_pool.PhotoError("too_large", of.name)
        now[0] += of.name == "large"
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.01)
        now[0] -= of.name == "large"
        order.append(of.name)
        return b""

    monkeypatch.setattr(PhotoPool, "_turn", turn)

    async def ask(pool: PhotoPool) -> None:
        large = [pool.thumbnail(source(b"x", "large")) for _ in range(5)]
        await asyncio.gather(*large, pool.thumbnail(source(b"x", "small")))

    with_pool(limits, ask, workers=2)
    assert most[0] == 1 and order.index("small") <= 1


def test_a_photo_gives_the_hashes_of_its_file_and_its_thumbnail(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(PHOTO)

    async def ask(pool: PhotoPool) -> Any:
        seen = await pool.faces(file_source(file, "a.jpg"), hashed=True)
        gone = await pool.faces(file_source(tmp_path / "none.jpg", "none.jpg"))
        return seen, gone, await pool.thumbnail(source(PHOTO))

    seen, gone, small = with_pool(PhotoLimits(60, 10**6, 10**9), ask)
    assert (seen.sha256, seen.phash) == (
        hashlib.sha256(PHOTO).hexdigest(),
        perceptual_hash(load_image(PHOTO)),
    )
    assert seen.status == "ok" and load_image(small).shape == (240, 320, 3)
    assert gone.status == "error" and str(tmp_path) not in gone.detail


def test_what_cannot_be_read_at_all_does_not_wait_for_large_photos() -> None:
    def refused() -> Any:
        raise photo_pool.PhotoError("too_large", "z.zip")

    async def ask(pool: PhotoPool) -> Any:
        async with pool._large.turn():
            return await asyncio.wait_for(pool.faces(Source("z.zip", 0, refused)), 60)

    assert with_pool(PhotoLimits(60, 120_000_000, 10**9), ask).reason == "too_large"


def test_too_many_pixels_are_refused_whatever_is_asked_of_a_photo() -> None:
    limits = PhotoLimits(60, 1_000, 10**9)

    async def ask(pool: PhotoPool) -> list[str]:
        reasons = []
        for work in (
            pool.thumbnail(source(PHOTO)),
            pool.face_again(source(PHOTO), Path("a"), (0.0, 0.0, 9.0, 9.0), 64),
        ):
            with pytest.raises(photo_pool.PhotoError) as error:
                await work
            reasons.append(error.value.reason)
        return [*reasons, (await pool.faces(source(PHOTO), "central")).reason]

    assert with_pool(limits, ask) == ["too_large"] * 3
