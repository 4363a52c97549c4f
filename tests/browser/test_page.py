"""The web page in a real browser, on a run trained on made-up people."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="make test-browser installs Playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make test-browser installs axe")

from playwright.sync_api import Page, expect  # noqa: E402

from tests.browser.chromium import chromium, scrolls_sideways, watch  # noqa: E402
from tests.made_up_run import MadeUp, make, serving  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    return make(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(made_up: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(made_up.run, tmp_path_factory.mktemp("server") / "log") as (address, _process):
        yield address


def violations(page: Page) -> list[str]:
    """Return the serious violations that axe reports, with the elements."""
    page.wait_for_timeout(300)  # cards fade in, and too early their contrast is low
    reported = axe.Axe().run(page).response["violations"]
    serious = [v for v in reported if v["impact"] in SERIOUS]
    return [f"{v['id']}: {[node['target'] for node in v['nodes']][:3]}" for v in serious]


def called(path: Path) -> str:
    return path.name.replace("_", " ")


def test_photos_get_names_groups_get_named_and_people_are_forgotten(
    browser: "playwright.Browser", made_up: MadeUp, url: str, tmp_path: Path
) -> None:
    # the page's own policy would not allow axe to be put into it
    page = browser.new_page(bypass_csp=True, viewport={"width": 1280, "height": 900})
    complaints = watch(page)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(url)
    expect(page.locator("#about")).to_have_text("7 people enrolled")
    assert not violations(page)

    # upload, names appear
    people = sorted(made_up.unseen.iterdir())
    known = [next(folder.iterdir()) for folder in people]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    page.set_input_files("#name-files", [*known, *made_up.newcomer[:2], broken])
    expect(page.get_by_role("button", name=f"All {len(known) + 3}")).to_be_visible(timeout=60_000)
    cards = page.locator("#name-results .photo")
    expect(cards).to_have_count(len(known) + 3)
    right = 0
    for folder, photo in zip(people, known, strict=True):
        card = cards.filter(has=page.locator(".file", has_text=photo.name)).filter(
            has=page.locator("b", has_text=called(folder))
        )
        right += card.count() >= 1
    assert right >= len(known) - 1
    expect(page.locator(".box.known").first).to_be_visible()
    page.get_by_role("button", name="Unreadable 1").click()
    expect(page.locator("#name-results .photo:visible")).to_have_count(1)
    page.locator("#strict").focus()
    page.keyboard.press("Home")
    lax = page.locator("#strict-cost").inner_text()
    page.keyboard.press("End")
    strict = page.locator("#strict-cost").inner_text()
    assert "strangers" in lax and "strangers" in strict and lax != strict
    assert not violations(page) and not scrolls_sideways(page)

    # compare
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#file-a", made_up.newcomer[0])
    page.set_input_files("#file-b", made_up.newcomer[1])
    expect(page.locator("#verdict")).to_contain_text("person", timeout=30_000)
    page.set_input_files("#file-b", known[0])
    expect(page.locator("#verdict")).to_contain_text("Not the same person", timeout=30_000)
    assert not violations(page)

    # albums: a group of unknown faces gets a name
    page.get_by_role("tab", name="Albums").click()
    page.set_input_files("#albums-files", [*known, *made_up.newcomer, broken])
    expect(page.locator("#albums-list button").first).to_be_visible(timeout=60_000)
    group = page.get_by_role("button", name="Unknown person 001")
    expect(group).to_be_visible()
    assert not violations(page)
    group.click()
    page.get_by_label("Who is this?").fill("Nova Newcomer")
    page.get_by_role("button", name="Name this person").click()
    expect(page.locator("#about")).to_have_text("8 people enrolled", timeout=30_000)
    album = page.get_by_role("button", name="Nova Newcomer")
    expect(album).to_be_visible()
    album.click()
    tiles = page.locator(".tile")
    count = tiles.count()
    assert count >= 2 and not violations(page)
    tiles.first.get_by_role("combobox").select_option(label="A new album …")
    page.get_by_label("Name of the album").fill("Elsewhere")
    page.get_by_role("button", name="Move", exact=True).click()
    expect(page.locator(".tile")).to_have_count(count - 1, timeout=30_000)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all as zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
    assert any(name.startswith("albums/Nova Newcomer/") for name in names)
    assert any(name.startswith("albums/Elsewhere/") for name in names)
    page.get_by_role("button", name="Delete from the server").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#albums-start")).to_be_visible(timeout=30_000)

    # forget
    page.get_by_role("tab", name="People").click()
    page.get_by_label("Find").fill("nova")
    expect(page.locator("#people-list li")).to_have_count(1)
    assert not violations(page)
    page.get_by_role("button", name="Forget Nova Newcomer").click()
    page.get_by_role("button", name="Forget", exact=True).click()
    expect(page.locator("#about")).to_have_text("7 people enrolled", timeout=30_000)
    expect(page.locator("#people-list li")).to_have_count(0)
    assert not complaints, complaints
    assert all(address.startswith((url, "blob:", "data:")) for address in requested)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_the_page_fits_every_width_and_works_by_keyboard(
    browser: "playwright.Browser", url: str, made_up: MadeUp, width: int, scheme: str
) -> None:
    page = browser.new_page(
        bypass_csp=True,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    complaints = watch(page)
    page.goto(url)
    expect(page.locator("#about")).to_have_text("7 people enrolled")
    page.set_input_files("#name-files", made_up.newcomer[:2])
    expect(page.get_by_role("button", name="All 2")).to_be_visible(timeout=60_000)
    page.get_by_role("tab", name="Name").focus()
    for name in ("Name", "Compare", "Albums", "People"):
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        assert not scrolls_sideways(page) and not violations(page), name
        page.keyboard.press("ArrowRight")
    assert not complaints
    page.close()
