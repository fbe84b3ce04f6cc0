"""The report in a real browser: everything drawn, nothing fetched, nothing wider than a phone."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from starling.plotting import style, write_report
from starling.plotting.report import About
from tests.browser import Tab, find_browser, open_tab

PHONE, DESKTOP = (390, 844), (1280, 900)
VIEWS = [(*size, dark) for size in (PHONE, DESKTOP) for dark in (False, True)]
BROWSER = find_browser()
LONG = "a_band_with_a_very_long_name_without_any_space_" * 3

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome (apt-get install chromium)")


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        assert BROWSER is not None
        with open_tab(BROWSER, Path(profile)) as opened:
            yield opened


@pytest.fixture(scope="module")
def page(tree_maker: Callable[..., xr.DataTree], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "summary.fits").write_bytes(b"")
    tree = tree_maker(14, 12, n_draws=40, passed=0.7, band_off=3)
    found = tree["diagnostics"].to_dataset(inherit=False)
    p = np.linspace(1e-9, 1.0, 14)
    texts = [f"the model does not explain the data (p = 1e-09): {LONG} +9.9 sigma", *[""] * 13]
    new = {"p_value": p, "p_value_band": p, "unexplained": np.asarray(texts)}
    tree["diagnostics"] = xr.DataTree(
        found.assign({name: ("galaxy", values) for name, values in new.items()})
    )
    about = About(
        facts=[("command", "starling fit " + LONG)],
        notices=["The run is not finished: this page is about 14 of 20 galaxies."],
        files=[("summary.fits", "summary.fits", "a row per galaxy")],
    )
    return write_report(tree, folder / "report.html", title="A run", max_galaxies=3, about=about)


@pytest.fixture(scope="module", params=VIEWS, ids=lambda view: f"{view[0]}-{'dark' if view[2] else 'light'}")
def view(request: pytest.FixtureRequest, tab: Tab, page: Path) -> tuple[Tab, bool]:
    width, height, dark = request.param
    tab.open(page, width, height, dark=dark)
    return tab, dark


def test_a_browser_shows_it(view: tuple[Tab, bool], page: Path, tmp_path: Path) -> None:
    tab, dark = view
    tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.requests == [page.resolve().as_uri()], "nothing else is asked for"
    assert tab.errors == []
    # nothing but the boxes of tables is wider than the window
    assert tab.value("document.documentElement.scrollWidth") <= tab.value("window.innerWidth")
    wide = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll *')
        && !one.closest('.skip') && !one.closest('svg *')
        && one.getBoundingClientRect().right > window.innerWidth + 1).map(one => one.tagName + '.' + one.className)"""
    assert tab.value(wide) == []
    boxes = "[...document.querySelectorAll('.scroll')]"
    assert tab.value(f"{boxes}.every(one => getComputedStyle(one).overflowX == 'auto')")
    # every drawing has a size and words; references in it are there
    sizes = tab.value(
        "[...document.querySelectorAll('svg')].map(one => [one.getBoundingClientRect().width, "
        "one.getBoundingClientRect().height, (one.getAttribute('aria-label') || '').length])"
    )
    assert len(sizes) >= 12
    assert all(width > 100 and height > 60 and words > 20 for width, height, words in sizes)
    assert tab.value(
        "[...document.querySelectorAll('use')].every(one => document.querySelector(one.href.baseVal))"
    )
    assert tab.value("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    # the theme is that of the reader
    paper = style.DARK[style.PAPER] if dark else style.PAPER
    red, green, blue = (int(paper[start : start + 2], 16) for start in (1, 3, 5))
    assert tab.value("getComputedStyle(document.body).backgroundColor") == f"rgb({red}, {green}, {blue})"
    assert len(tab.picture(tmp_path / "page.png").read_bytes()) > 50_000


def test_it_can_be_read_without_eyes(view: tuple[Tab, bool]) -> None:
    tab, _ = view
    assert tab.value("document.documentElement.lang") == "en"
    assert tab.value("document.querySelectorAll('h1').length") == 1
    levels = tab.value("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    assert tab.value("[...document.querySelectorAll('nav a')].every(one => document.querySelector(one.hash))")
    assert tab.value("[...document.querySelectorAll('th')].every(one => one.scope)")
    assert tab.value(
        "[...document.querySelectorAll('.scroll')].every(one => one.ariaLabel && one.tabIndex === 0)"
    )
    smallest = """Math.min(...[...document.querySelectorAll('p, td, th, dd, li, figcaption')]
        .filter(one => one.getClientRects().length).map(one => parseFloat(getComputedStyle(one).fontSize)))"""
    assert tab.value(smallest) >= 12


def test_links_lead_to_files_beside_it(view: tuple[Tab, bool], page: Path) -> None:
    tab, _ = view
    links = tab.value("[...document.querySelectorAll('#files a')].map(one => one.href)")
    assert links == [(page.parent / "summary.fits").resolve().as_uri()]


def test_says_what_is_wrong_first(view: tuple[Tab, bool]) -> None:
    tab, _ = view
    assert "14 of 20" in tab.value("document.querySelector('.notice').innerText")
    worst = tab.value("document.querySelector('article').innerText")
    assert "the model does not explain the data" in worst
    assert "+9.9 sigma" in worst
