"""The page of the albums in a real browser."""

from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="make test-browser installs Playwright")

from identity.runs.bundle import Bundle  # noqa: E402
from tests.browser.chromium import chromium, scrolls_sideways, too_faint, watch  # noqa: E402
from tests.identity.test_organise import pages, photos, put, run  # noqa: E402, F401

pytestmark = pytest.mark.browser


def test_albums_are_shown_and_their_photos_open(run: Bundle, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    page_file = pages(put(run, photos, tmp_path / "albums"), photos, tmp_path / "albums")
    with chromium() as browser:
        for width in (360, 1280, 3840):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
                complaints = watch(page)
                page.goto(page_file.as_uri())
                assert not scrolls_sideways(page) and not too_faint(page)
                images = page.locator("img")
                assert images.count() >= 6
                for k in range(images.count()):
                    images.nth(k).scroll_into_view_if_needed()
                    assert images.nth(k).get_attribute("alt")
                page.wait_for_load_state("networkidle")
                assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
                assert not complaints
                page.close()
        page = browser.new_page()
        page.goto(page_file.as_uri())
        page.get_by_role("navigation").get_by_role("link").first.click()
        assert "#album-1" in page.url
        with page.expect_navigation():
            page.locator("section a").first.click()
        assert page.url.startswith("file:") and "/albums/" in page.url
