"""``starling compare-simulators`` on toy tables, emulators and FSPS on made-up stars."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from astropy.table import Table
from toy_tables import make_toy_tables
from typer.testing import CliRunner

from starling.cli import app, comparison
from starling.cli.comparison import Compared, compare
from starling.cli.simulator_sides import Side, changed_tables, solar_of
from starling.photometry import load_bands
from starling.sps import Tables, exact_model
from starling.sps.files import save_ssp_tables
from starling.sps.fsps import FspsWarning
from starling.validation.simulators_config import CompareConfig, draw_galaxies

BANDS = ["sdss_g0", "sdss_z0", "twomass_Ks"]
SPACE = {"model": "prospector_alpha", "agn": False, "zred": [0.5, 1.0]}


def toy() -> Tables:
    return make_toy_tables()._replace(torus=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables: toy ones, brighter ones, ones that call another metallicity solar, and ones that are made up."""
    path, tables = tmp_path_factory.mktemp("tables"), toy()
    ssp = tables.ssp
    steeper = ssp.l_lambda * 10.0 ** (0.3 * ssp.log_z[:, None, None])  # so that metallicity counts
    kinds: dict[str, tuple[Tables, dict[str, Any]]] = {
        "toy": (tables._replace(ssp=ssp._replace(l_lambda=steeper)), {"solar_metal_fraction": 0.02}),
        "half": (
            tables._replace(ssp=ssp._replace(l_lambda=0.5 * steeper, mass_fraction=0.8 * ssp.mass_fraction)),
            {},
        ),
        "other_sun": (
            tables._replace(ssp=ssp._replace(l_lambda=steeper, log_z=ssp.log_z + 0.3)),
            {"solar_metal_fraction": 0.02 * 10**-0.3},
        ),
        "made_up": (tables._replace(ssp=ssp._replace(surrogate=True)), {}),
    }
    for name, (content, header) in kinds.items():
        save_ssp_tables(path / f"{name}.safetensors", content, header)
    return path


def configure(folder: Path, first: str, second: str, **changes: Any) -> dict[str, Any]:
    sides = {
        which: {"label": which, "simulator": {"tables": str(folder / f"{name}.safetensors"), "batch": 8}}
        for which, name in (("first", first), ("second", second))
    }
    return {"name": "toy", "n": 8, "space": SPACE, "bands": BANDS, **sides, **changes}


def run(content: dict[str, Any]) -> Compared:
    return compare(CompareConfig.model_validate(content), None, None, figures=False)


def call(tmp_path: Path, content: dict[str, Any], *words: object) -> tuple[int, str]:
    path = tmp_path / "compare.yaml"
    path.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["compare-simulators", str(path), *(str(word) for word in words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@contextmanager
def power_laws(config: CompareConfig, which: str, *_: object) -> Iterator[Side]:
    """In the place of simulators: the second is bluer by dust2, made up, and fails where there is much dust."""
    dust = config.space.build().index("dust2")
    waves = np.array([band.wave_effective_aa / 1e4 for band in load_bands(config.bands)])
    second = which == "second"

    def light(theta: np.ndarray, wave_um: np.ndarray) -> np.ndarray:
        slope = 0.3 * theta[:, [dust]] * second
        return 1e-9 * wave_um**-slope

    def simulate(theta: np.ndarray) -> dict[str, np.ndarray]:
        reasons = np.where(second & (theta[:, dust] > 2.0), "too much dust", "")
        return {"rest_flux": light(theta, waves), "properties": np.ones((len(theta), 4)), "failure": reasons}

    wave_aa = np.geomspace(900.0, 1e6, 300)
    yield Side(
        getattr(config, which).name,
        simulate,
        {"what": which},
        {"surrogate": second},
        lambda theta: (wave_aa, light(theta, wave_aa / 1e4)),
    )


def test_the_command_writes_a_page_with_figures_and_tables(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "open_side", power_laws)
    out, content = (
        tmp_path / "out",
        configure(folder, "toy", "toy", n=200, colours=[["sdss_g0", "twomass_Ks"]]),
    )
    code, text = call(tmp_path, content, "-o", out)
    assert code == 0, text
    assert "SURROGATE: second is computed on stand-ins" in text
    said = json.loads((out / "comparison.json").read_text())
    n = said["summary"]["n"]
    assert 100 < n < 200
    assert f"{200 - n} of 200 galaxies failed in second: too much dust" in text
    assert f"{n} galaxies with the same parameters in 3 bands" in text
    page = (out / "comparison.md").read_text()
    assert "SURROGATE" in page
    assert "`dust2` -1.00" in page
    for name in ("bands", "colours", "trends", "correlations", "spectra"):
        assert f"({name}.png)" in page
        assert (out / f"{name}.png").stat().st_size > 5000
    assert said["surrogate"] is True
    assert said["summary"]["cost_follows"][0][0] == "dust2"
    bands, galaxies = Table.read(out / "bands.ecsv"), Table.read(out / "galaxies.ecsv")
    assert list(bands["follows"]) == ["dust2"] * 3
    np.testing.assert_allclose(
        galaxies["dmag_twomass_Ks"],
        0.75 * galaxies["dust2"] * np.log10(bands["wave_effective_um"][2]),
        rtol=1e-5,
    )
    assert list(Table.read(out / "colours.ecsv")["colour"])[-1] == "sdss_g0 - twomass_Ks"


@pytest.mark.slow
def test_stars_of_half_the_light_are_a_matter_of_mass(folder: Path) -> None:
    found = run(configure(folder, "toy", "half", light="stars"))
    np.testing.assert_allclose(found.findings.raw.median, 2.5 * np.log10(2.0), atol=1e-4)
    np.testing.assert_allclose(found.findings.shape.quantiles, 0.0, atol=1e-4)
    np.testing.assert_allclose(found.findings.mass_dex, np.log10(2.0), atol=1e-4)
    np.testing.assert_allclose(found.findings.surviving_dex, np.log10(0.8), atol=1e-4)
    assert found.warnings == []
    assert found.files == {}


@pytest.mark.slow
def test_another_sun_is_undone_on_request(folder: Path) -> None:
    """The light of these stars grows with metallicity, so that the same one gives the same only if it is undone."""
    same = run(configure(folder, "toy", "other_sun", light="stars", solar="first"))
    np.testing.assert_allclose(same.findings.raw.quantiles, 0.0, atol=1e-4)
    assert same.facts["second"]["solar metallicity"] == "0.0100237, put on the scale of 0.02"
    assert same.facts["first"]["solar metallicity"] == "0.02"


@pytest.mark.slow
def test_tables_that_are_made_up_are_said_to_be(folder: Path) -> None:
    found = run(configure(folder, "toy", "made_up", n=4))
    assert "SURROGATE: second" in found.warnings[0]
    assert "made_up.safetensors holds SURROGATE tables" in found.warnings[1]
    assert np.all(found.findings.raw.median != 0.0)


def test_which_scale_of_metallicity_a_side_is_put_on(folder: Path) -> None:
    wanted = {"own": (None, None), "first": (None, 0.02), 0.0142: (0.0142, 0.0142)}
    for solar, expected in wanted.items():
        config = CompareConfig.model_validate(configure(folder, "toy", "other_sun", solar=solar))
        assert tuple(solar_of(config, which) for which in ("first", "second")) == expected


def test_light_is_left_out_on_request() -> None:
    tables = toy()
    assert tables.nebular is not None
    stars = changed_tables(tables, "stars")
    assert [part is None for part in stars] == [False, True, True, True]
    bare = changed_tables(tables, "no_lines", 0.1)
    assert bare.nebular is not None
    assert bare.nebular.lines.shape == (4, 6, 0)
    np.testing.assert_array_equal(bare.nebular.continuum, tables.nebular.continuum)
    np.testing.assert_allclose(bare.ssp.log_z, tables.ssp.log_z + 0.1)
    assert changed_tables(tables, "all") == tables


def test_a_model_without_lines_is_that_much_fainter() -> None:
    config = CompareConfig.model_validate(configure(Path(), "a", "b"))
    space = config.space.build()
    theta = jnp.asarray(draw_galaxies(space, 1, 0, {})[0])
    whole, bare = (exact_model(changed_tables(toy(), light), BANDS, space) for light in ("all", "no_lines"))
    spectrum, without = whole.spectrum(theta), bare.spectrum(theta)
    assert without.lines.shape == (0,)
    assert float(spectrum.lines.sum()) > 0.0
    np.testing.assert_allclose(without.nebular, spectrum.nebular, rtol=1e-5)
    assert float(without.line_spectrum.sum()) == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"second": {"simulator": {"tables": "absent.safetensors"}}},
            "there is no file of tables absent.safetensors",
        ),
        ({"second": {"simulator": {"tables": "bc04"}}}, "no SSP tables 'bc04'"),
        ({"bands": ["sdss_r0", "sdss_rr"]}, "no filter 'sdss_rr' in sedpy"),
        (
            {"second": {"emulator": "default"}, "bands": ["acs_wfc_f814w", "wfc3_ir_f160w"]},
            "of other parameters",
        ),
        ({"bands": ["sdss_r0", "sdss_r0"]}, "a band appears twice"),
        ({"space": SPACE | {"agn": True}}, "AGN"),
    ],
)
def test_what_is_wrong_is_one_clear_message(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    code, text = call(tmp_path, configure(folder, "toy", "half") | changes, "-o", tmp_path / "out")
    assert code == 1
    assert message in text
    assert "Traceback" not in text


def test_a_sun_that_is_not_said_is_an_error(folder: Path) -> None:
    for first, second in (("toy", "half"), ("half", "toy")):
        with pytest.raises(ValueError, match="a common `solar` needs tables that say what theirs is"):
            run(configure(folder, first, second, solar="first"))


@pytest.mark.fsps
@pytest.mark.slow
def test_fsps_and_the_exact_model_on_its_tables_agree(fsps_home: Path, tmp_path: Path) -> None:
    tables = tmp_path / "fsps.safetensors"
    runner = CliRunner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FspsWarning)
        made = runner.invoke(app, ["ssp", "export", "--sps-home", str(fsps_home), "-o", str(tables)])
    assert made.exit_code == 0, made.output
    content = {
        "name": "fsps",
        "n": 16,
        "space": SPACE,
        "bands": BANDS,
        "first": {"label": "FSPS", "simulator": {"code": "fsps"}},
        "second": {"label": "tables", "simulator": {"tables": str(tables), "batch": 16}},
    }
    code, text = call(tmp_path, content, "-o", tmp_path / "out", "--sps-home", fsps_home, "--workers", 1)
    assert code == 0, text
    assert text.count("SURROGATE") >= 3
    assert not (tmp_path / "out" / "spectra.png").exists()  # FSPS is asked for photometry
    bands = Table.read(tmp_path / "out" / "bands.ecsv")
    assert np.max(np.abs(bands["median_mag"])) < 0.01
