from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from starling.catalogues import CatalogueError, parse_config, read_config
from starling.inference import ErrorModel
from starling.photometry import available_bands

MakeConfig = Callable[..., dict[str, Any]]
CONFIGS = [
    path
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    if "photometry:" in path.read_text()
]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"redshfit": "z"}, "redshfit: unknown key; did you mean 'redshift'"),
        ({"photometry__units": "uJy"}, "photometry.units: unknown key; did you mean 'unit'"),
        ({"table__select__cut": {}}, "table.select.cut: unknown key; did you mean 'cuts'"),
        (
            {"table__select__cuts": {"mag": {"maximum": 3}}},
            "cuts.mag.maximum: unknown key; did you mean 'max'",
        ),
        ({"joins": {"z": {"pth": "a"}}}, "joins.z.pth: unknown key; did you mean 'path'"),
        (
            {"comparison": {"m": {"column": "a", "wiht": "b"}}},
            "comparison.m.wiht: unknown key; did you mean 'with'",
        ),
        (
            {"photometry__bands__sdss_g0": {"name": "g", "eror": "x"}},
            "sdss_g0.eror: unknown key; did you mean 'error'",
        ),
        ({"photometry__model_error": "ful"}, "photometry.model_error: Input should be 'band', 'covariance'"),
        ({"sampler": {"model_error": "local"}}, "sampler.model_error: unknown key"),
        ({"sampler": {"n_chians": 3}}, "sampler.n_chians: unknown key; did you mean 'n_chains'"),
        ({"sampler": {"n_chains": "many"}}, "sampler.n_chains: Input should be a valid integer.*'many'"),
        ({"sampler": {"n_chains": 0}}, "n_chains must be at least 1, got 0"),
        ({"redshift": {}}, "redshift: give one of"),
        ({"redshift": {"column": "z", "free": True}}, "redshift: give one of"),
        ({"photometry__unit": None}, "name the unit of the fluxes"),
        ({"photometry__bands": {}}, "photometry.bands"),
        ({"photometry__pattern": None}, "sdss_g0: a short name needs a `pattern:`"),
        ({"photometry__pattern": {"flux": "f_", "error": "e_{}"}}, "a pattern needs {} once"),
        ({"photometry__upper_limit": {"sigma": 3}}, "upper_limit: give one of"),
        ({"photometry__error_floor": 5}, "error_floor: Input should be less than 1, not 5"),
        (
            {"photometry__likelihood": "cauchy"},
            "photometry.likelihood: Input should be 'gaussian', 'student_t'",
        ),
        ({"photometry__f_outlier": 0.1}, "f_outlier: unknown key; did you mean 'f_outlier_phot'"),
        ({"photometry__f_outlier_phot": 0.1}, "f_outlier_phot has no effect with likelihood: gaussian"),
        (
            {"photometry__likelihood": "student_t", "photometry__model_error": "covariance"},
            "takes every band apart.*use model_error: band",
        ),
        (
            {"photometry__zero_points": {"groups": {"a": {"bands": ["sdss_g"], "sigma": 0.1}}}},
            "zero_points.groups.a.bands: 'sdss_g' is not among `bands`; did you mean 'sdss_g0'",
        ),
        (
            {"photometry__zero_points": {"groups": {"a": {"bands": ["sdss_g0"]}}}},
            "groups.a: give one of `sigma: FRACTION` and `sigma_mag: MAGNITUDES`",
        ),
        (
            {"photometry__bands__sdss_g0": {"name": "g", "error_floor": 2}},
            "sdss_g0.error_floor: Input should be less than 1, not 2",
        ),
        ({"sampler": {"errors": {}}}, "sampler.errors: unknown key"),
        ({"table": None}, "table: this key is needed"),
        ({"output": {"format": "hdf5"}}, "output.format: Input should be 'netcdf' or 'zarr', not 'hdf5'"),
    ],
)
def test_what_is_wrong_is_said_with_the_mend(
    changes: dict[str, Any], said: str, make_config: MakeConfig
) -> None:
    with pytest.raises(CatalogueError, match=said.replace("{", r"\{")):
        parse_config(make_config(**changes))


def test_all_errors_are_said_at_once(make_config: MakeConfig) -> None:
    with pytest.raises(CatalogueError, match=r"(?s)2 error\(s\).*photometry\.units.*redshfit"):
        parse_config(make_config(redshfit="z", photometry__units="uJy"))


def test_short_forms(make_config: MakeConfig) -> None:
    config = parse_config(make_config(redshift=0.7, comparison={"mass": "m"}))
    assert config.redshift.value == 0.7
    assert config.comparison["mass"].column == "m"
    assert config.photometry.bands["sdss_r0"].flux == "f_r"
    assert parse_config(make_config(redshift="free")).redshift.free
    assert parse_config(make_config(redshift="zz")).redshift.column == "zz"


def test_a_band_may_differ_from_the_others(make_config: MakeConfig) -> None:
    band = {"name": "h", "unit": "nJy", "missing": [0], "correction": 1.1}
    photometry = parse_config(make_config(photometry__bands__wfc3_ir_f160w=band)).photometry
    assert photometry.unit_of("wfc3_ir_f160w").name == "nJy"
    assert photometry.unit_of("sdss_g0").name == "uJy"
    assert photometry.missing_of("wfc3_ir_f160w") == (0,)
    assert photometry.missing_of("sdss_g0") == (-99,)


def test_sampler_settings_take_the_errors_of_the_photometry(make_config: MakeConfig) -> None:
    config = make_config(
        sampler={"n_draws": 100}, photometry__error_floor=0.1, photometry__model_error="covariance"
    )
    settings = parse_config(config).sampler_settings
    assert (settings.n_draws, settings.error_floor, settings.model_error) == (100, 0.1, "covariance")
    assert parse_config(make_config()).sampler_settings.model_error == "band"


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot read"):
        read_config(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    for text, said in (("a: [", "is not YAML"), ("", "holds no keys"), ("- 1", "holds no keys")):
        path.write_text(text)
        with pytest.raises(CatalogueError, match=said):
            read_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configurations_are_valid(path: Path) -> None:
    config = read_config(path)
    assert set(config.photometry.bands) <= set(available_bands())
    assert config.table.path is not None
    assert not Path(config.table.path).is_absolute()


def test_what_may_be_wrong_with_fluxes_reaches_the_sampler(make_config: MakeConfig) -> None:
    settings = parse_config(
        make_config(
            photometry__likelihood="mixture",
            photometry__f_outlier_phot="free",
            photometry__nsigma_outlier_phot=20,
            photometry__error_floor=0.03,
            photometry__bands__sdss_g0={"name": "g", "error_floor": 0.1},
            photometry__zero_points={
                "treatment": "free",
                "groups": {
                    "sdss": {"bands": ["sdss_g0", "sdss_r0"], "sigma": 0.05},
                    "hst": {"bands": ["wfc3_ir_f160w"], "sigma_mag": 0.1},
                },
            },
        )
    ).sampler_settings
    assert settings.error_floor == 0.03
    errors = settings.errors
    assert (errors.likelihood, errors.f_outlier_phot, errors.nsigma_outlier_phot) == ("mixture", "free", 20.0)
    assert errors.error_floors == (("sdss_g0", 0.1),)
    assert errors.free
    assert [group.name for group in errors.zero_points] == ["sdss", "hst"]
    # a tenth of a magnitude is 9.2% of the flux
    assert [group.sigma for group in errors.zero_points] == pytest.approx([0.05, 0.0921], abs=1e-4)


def test_without_such_keys_the_likelihood_is_gaussian(make_config: MakeConfig) -> None:
    assert parse_config(make_config()).sampler_settings.errors == ErrorModel()
