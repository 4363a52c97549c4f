"""The report in a real browser: it loads nothing from outside and is readable on a phone, in light and in dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="make test-browser installs Playwright")

from identity.evaluation.report import write_report  # noqa: E402
from identity.evaluation.report_figures import run_history  # noqa: E402
from tests.browser.chromium import chromium, scrolls_sideways, too_faint, watch  # noqa: E402
from tests.identity.evaluation.test_evaluation_report import small_evaluation  # noqa: E402

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "curves.csv").write_text("epoch,loss,train_rank1,held_out_rank1\n1,2.5,0.3,\n2,1.5,0.6,0.5\n")
    run = run_history(folder, ["Ann"] * 5 + ["Bö"] * 2)
    evaluation = small_evaluation(tmp_path_factory.mktemp("photos"))
    return write_report(evaluation, folder / "out", run=run)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_the_report_fits_every_width(
    browser: "playwright.Browser", report: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints = watch(page)
    page.goto(report.as_uri())
    assert not complaints
    assert not scrolls_sideways(page)
    assert not too_faint(page)
    images = page.locator("img")
    assert images.count() >= 9
    for k in range(images.count()):
        image = images.nth(k)
        assert image.get_attribute("alt"), f"image {k} has no alt text"
        image.scroll_into_view_if_needed()
        if image.is_visible():
            assert image.evaluate("i => i.complete && i.naturalWidth > 0")
            assert image.evaluate("i => i.getBoundingClientRect().width") <= width
    page.close()


def test_the_report_loads_nothing_from_outside(browser: "playwright.Browser", report: Path) -> None:
    page = browser.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_load_state("networkidle")
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    page.close()
