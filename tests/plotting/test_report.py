"""The HTML report: complete, self-contained, safe, readable."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from starling.catalogues import Finding
from starling.plotting import Comparison, style, write_report
from starling.plotting.bands import band_fluxes

NASTY = '<script>alert("x")</script>$\\frac{1}& \'"'


class Page(HTMLParser):
    """What a browser would load, run or find in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.identifiers: list[str] = []
        self.references: list[str] = []
        self.text: list[str] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            value = value or ""
            if name == "id":
                self.identifiers.append(value)
            if name in ("href", "xlink:href") and value.startswith("#"):
                self.references.append(value[1:])
            elif name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                self.loads.append(value)
            if name == "aria-label" and tag == "svg":
                self.labels.append(value)
            assert not name.startswith("on"), "no event handlers"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    other = tree["derived"]["log_stellar_mass"].median(("chain", "draw")).values - 0.25
    findings = [Finding("masked", 3, "cosmos-1074", "f_U", "u_megaprime", "error is not positive")] * 120
    write_report(
        tree,
        path,
        comparisons=[Comparison("log_stellar_mass", other, "FAST <catalogue>")],
        findings=findings,
        title="Two dozen & more",
        max_galaxies=3,
    )
    return path.read_text(encoding="utf-8")


def test_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert parsed.loads == []
    assert not {"script", "link", "iframe", "object", "embed", "img", "base"} & set(parsed.tags)
    style_text = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in page
    assert "url(" not in style_text
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {f"#{name}" for name in parsed.identifiers}
    assert "Content-Security-Policy" in page


def test_identifiers_are_unique_and_references_resolve(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.identifiers) == len(set(parsed.identifiers))
    assert set(parsed.references) <= set(parsed.identifiers)


def test_says_what_happened(page: str, tree: xr.DataTree) -> None:
    text = " ".join(" ".join(Page(page).text).split())
    diagnostics = tree["diagnostics"]
    n_passed = int(diagnostics["passed"].sum())
    assert f"{n_passed} of 24 galaxies passed" in text
    assert "the chains disagree: R-hat not below 1.01" in text
    assert "1 of 20 bands is off by more than its errors: band_05" in text
    assert "Two dozen & more" in text
    assert "numpyro" in text
    assert "9f2c61" in text
    assert "sampler.warmup" in text
    assert "against FAST <catalogue>: median offset +0.250" in text
    assert "The first 100 of 120" in text
    for identifier in tree["observed_data"]["galaxy"].values:
        assert str(identifier) in text
    mass = float(np.median(tree["derived"]["log_stellar_mass"].isel(galaxy=0)))
    assert f"{mass:.3f}" in text or f"{mass:.2f}" in text


def test_every_drawing_is_described(page: str) -> None:
    labels = Page(page).labels
    assert len(labels) == 2 + 1 + 9 + 1 + 3 * 3  # sample, calibration, recovery, comparison, galaxies
    assert all(len(label) > 20 for label in labels)


def test_follows_the_theme_of_the_reader(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    drawings = page[page.index("<svg") :]
    for colour in (style.INK, style.MODEL, style.PAPER):
        assert colour not in drawings, "colours in drawings are custom properties"


def luminance(colour: str) -> float:
    channels = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("colour", [style.INK, style.MUTED, style.MODEL, style.TRUTH, style.OTHER, style.BAD])
def test_contrast_of_text(colour: str, dark: bool) -> None:
    pair = [luminance(style.DARK[item] if dark else item) for item in (colour, style.PAPER)]
    assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5, "WCAG AA"


def test_nasty_names_are_harmless(tree_maker: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    tree = tree_maker(2, 6, n_draws=30, ids=[NASTY, "b"], truth=False)
    tree["diagnostics"]["flag"][:] = NASTY
    tree["diagnostics"]["passed"][:] = False
    tree.attrs["note"] = NASTY
    names = [NASTY, *tree["observed_data"]["band"].values[1:]]
    for group in ("observed_data", "posterior_predictive", "constant_data"):
        tree[group] = xr.DataTree(tree[group].to_dataset().assign_coords(band=names))
    path = write_report(
        tree,
        tmp_path / "report.html",
        title=NASTY,
        comparisons=[Comparison("logmass", np.array([9.0, 10.0]), NASTY)],
        findings=[Finding("masked", 1, NASTY, NASTY, NASTY, NASTY)],
        max_galaxies=1,
    )
    text = path.read_text(encoding="utf-8")
    assert "script" not in Page(text).tags
    assert "<script" not in text
    assert NASTY in "".join(Page(text).text)


def test_without_truth_comparison_or_findings(tree_maker: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    tree = tree_maker(1, 6, n_draws=30, truth=False)
    tree.attrs = {}
    text = write_report(tree, tmp_path / "report.html").read_text(encoding="utf-8")
    for section in ("recovery", "comparison", "findings"):
        assert f'id="{section}"' not in text
    assert text.count("<article") == 1


def test_all_failed(tree_maker: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    tree = tree_maker(3, 6, n_draws=30, passed=0.0, truth=False)
    text = write_report(tree, tmp_path / "report.html", max_galaxies=1).read_text(encoding="utf-8")
    assert "none passed" in text
    assert text.count("<article") == 1


def test_no_figures_of_galaxies(tree: xr.DataTree, tmp_path: Path) -> None:
    text = write_report(tree, tmp_path / "report.html", max_galaxies=0).read_text(encoding="utf-8")
    assert "<article" not in text


def test_a_long_table_is_cut_and_says_so(tree_maker: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    tree = tree_maker(210, 6, n_chains=2, n_draws=10, truth=False)
    text = write_report(tree, tmp_path / "report.html", max_galaxies=0).read_text(encoding="utf-8")
    assert "200 of 210, those of the smallest p-values" in text
    fluxes = band_fluxes(tree)
    tail = stats.chi2.sf(fluxes.chi2, fluxes.detected.sum(axis=1))
    ids = tree["observed_data"]["galaxy"].values[np.argsort(tail)]
    assert all(f">{name}</th>" in text for name in ids[:200])
    assert not any(f">{name}</th>" in text for name in ids[200:])


def test_reopened_from_a_file(tree: xr.DataTree, tmp_path: Path) -> None:
    tree.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as opened:
        path = write_report(opened, tmp_path / "report.html", max_galaxies=0)
    assert path.stat().st_size > 100_000
