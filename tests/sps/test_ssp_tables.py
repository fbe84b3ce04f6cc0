"""Tables in and out of FSPS: the reader of its nebulae, files of tables, and the exact model on them against FSPS."""

import json
import tarfile
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.runs import hash_arrays
from starling.spaces import prospector_alpha
from starling.sps import Tables, exact_model, load_ssp_tables
from starling.sps.files import SurrogateWarning, read_ssp_header, save_ssp_tables
from starling.sps.fsps import Fsps, FspsError, FspsWarning, photometry_simulator
from starling.sps.fsps.export import export_tables, ssp_grid
from starling.sps.fsps.home import Home, Libraries
from starling.sps.fsps.imf import IMFS, choose_imf
from starling.sps.fsps.pool import Inventory
from starling.sps.fsps_tables import LSUN, read_dust_emission, read_nebular
from starling.sps.stars import ionising_photon_rate

SPACE = prospector_alpha(zred=(0.1, 6.0))
BANDS = ("galex_NUV", "sdss_g0", "sdss_r0", "wfc3_ir_f160w", "spitzer_irac_ch1", "spitzer_mips_24")


@pytest.fixture(scope="module")
def exported(fsps_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "tables.safetensors"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tables, header = export_tables(fsps_home)
    assert [each.category for each in said] == [FspsWarning] * 3
    assert "SURROGATE" in str(said[0].message)
    save_ssp_tables(path, tables, header)
    return path


@pytest.fixture(scope="module")
def tables(exported: Path) -> Tables:
    with pytest.warns(SurrogateWarning, match="SURROGATE"):
        return load_ssp_tables(exported)


@pytest.mark.fsps
def test_a_file_says_what_it_was_made_from(exported: Path, tables: Tables) -> None:
    header = read_ssp_header(exported)
    assert header == json.loads(exported.with_suffix(".json").read_text())
    assert header["libraries"] == {"isochrones": "mist", "spectra": "c3k_lr", "dust": "DL07"}
    assert header["surrogate"] is True
    assert header["imf"] == {"name": "chabrier", "source": "Chabrier (2003)"}
    assert header["fsps_parameters"]["imf_type"] == 1
    assert tables.ssp.name == "mist + c3k_lr, Chabrier (FSPS)"
    assert len(header["source_sha256"]) == 64
    assert header["tables"]["ssp"]["remnants"] is True
    assert tables.ssp.l_lambda.shape == (13, 107, 1936)
    np.testing.assert_allclose(tables.ssp.log_z, np.arange(-2.5, 0.51, 0.25), atol=1e-6)
    # nothing has died at first; some of an old population survives
    np.testing.assert_allclose(tables.ssp.mass_fraction[:, 0], 1.0, atol=0.02)
    assert np.all((tables.ssp.mass_fraction[:, -1] > 0.1) & (tables.ssp.mass_fraction[:, -1] < 0.9))


@pytest.mark.fsps
@pytest.mark.slow
def test_the_exact_model_on_tables_of_fsps_is_fsps(tables: Tables, fsps_home: Path) -> None:
    """Broad bands within 1% for 99% of galaxies from the prior of all 18 parameters."""
    theta = np.array(SPACE.sample(jax.random.key(3), (60,)))
    model = exact_model(tables, BANDS, SPACE)
    ours = np.asarray(jax.lax.map(model.rest_flux, jnp.asarray(theta), batch_size=8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FspsWarning)
        with Fsps(SPACE, fsps_home) as fsps:
            found = photometry_simulator(fsps, BANDS)(theta)["rest_flux"]
    rest = np.asarray(model.wave_effective_aa) / (1.0 + theta[:, [SPACE.index("zred")]])
    seen = rest > 912.0
    difference = np.abs(ours[seen] / found[seen] - 1.0)
    assert np.percentile(difference, 99) < 0.01
    # what is left is of steep dust, behind which straight lines between points of a spectrum are no exponentials
    assert np.median(difference) < 2e-4


@pytest.mark.fsps
@pytest.mark.filterwarnings("ignore::starling.sps.fsps.FspsWarning")
def test_another_initial_mass_function(tables: Tables, fsps_home: Path) -> None:
    """More small stars: an old population keeps more of its mass and gives less light for it."""
    steep, header = export_tables(fsps_home, imf=choose_imf("kroupa", {"imf1": 2.3}))
    assert header["fsps_parameters"] | {"imf_type": 2, "imf1": 2.3, "imf2": 2.3} == header["fsps_parameters"]
    assert header["imf"] == {
        "name": "kroupa",
        "source": "Kroupa (2001)",
        "imf1": 2.3,
        "imf2": 2.3,
        "imf3": 2.3,
    }
    assert steep.ssp.name == "mist + c3k_lr, Kroupa, imf1 = 2.3 (FSPS)"
    old = int(np.searchsorted(steep.ssp.age_gyr, 5.0))
    assert np.all(steep.ssp.mass_fraction[:, old] > tables.ssp.mass_fraction[:, old] + 0.05)
    assert steep.ssp.bolometric is not None
    assert tables.ssp.bolometric is not None
    assert np.all(steep.ssp.bolometric[:, old] < 0.8 * tables.ssp.bolometric[:, old])
    assert hash_arrays(steep) != hash_arrays(tables)


def test_initial_mass_functions_by_name(surrogate_home: Path, tmp_path: Path) -> None:
    assert [choose_imf(name).constants["imf_type"] for name in IMFS] == [0, 1, 2, 3, 4, 5]
    assert choose_imf("dave", {"mdave": 0.7}).label == "Dave, mdave = 0.7"
    with pytest.raises(ValueError, match="no initial mass function 'krupa'"):
        choose_imf("krupa")
    with pytest.raises(ValueError, match="'chabrier' has no imf1; it has no parameters"):
        choose_imf("chabrier", {"imf1": 1.0})
    with pytest.raises(FspsError, match=r"data/imf\.dat, which is not there"):
        export_tables(surrogate_home, imf=choose_imf("tabulated"))


def test_nebulae_are_interpolated_as_fsps_does(surrogate_home: Path) -> None:
    """Against the formulas that the surrogate tables were made with: powers, so that only a logarithm is exact."""
    ages = 10 ** np.arange(-4.0, 1.2, 0.05)
    wave = np.array([1000.0, 3000.0, 5000.0])
    grid = read_nebular(surrogate_home, "mist", -2.25, wave, ages)
    assert grid.age_gyr[-1] < 0.0201
    age = np.clip(grid.age_gyr, 5e-4, None)[:, None] * 1e9
    strength = 4.78e-13 / 3.839e33 * (age / 1e6) ** -0.1 * 10 ** (0.1 * -0.25)
    line = int(np.argmin(np.abs(grid.line_wave_aa - 5008.2)))
    for k, log_z in enumerate(grid.log_z):
        expected = 2.0 * strength[:, 0] * 10 ** (0.4 * log_z) * LSUN
        np.testing.assert_allclose(grid.lines[k, :, line], expected, rtol=2e-4)
    assert np.max(np.diff(grid.log_z)) < 0.11
    with pytest.raises(ValueError, match="outside of FSPS's nebular tables"):
        read_nebular(surrogate_home, "mist", 0.0, wave, ages)
    with pytest.raises(FileNotFoundError, match="no nebular table"):
        read_nebular(surrogate_home, "bsti", -2.0, wave, ages)


def test_stronger_fields_make_dust_brighter(surrogate_home: Path) -> None:
    dust = read_dust_emission(surrogate_home)
    light = np.trapezoid(dust.single, dust.wave_aa, axis=-1)
    np.testing.assert_allclose(light / light[:, :1], (dust.umin / dust.umin[0])[None].repeat(7, 0), rtol=1e-3)
    assert np.all(dust.power_law.sum(axis=-1) > dust.single.sum(axis=-1))


def test_tables_survive_a_file(toy_tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_ssp_tables(path, toy_tables._replace(nebular=None), {"fsps_version": "none"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SurrogateWarning)
        again = load_ssp_tables(path)
    assert again.nebular is None
    assert again.description == toy_tables._replace(nebular=None).description
    for name, value in toy_tables.ssp._asdict().items():
        np.testing.assert_array_equal(getattr(again.ssp, name), value)


def test_a_file_that_is_none_is_told(tmp_path: Path, toy_tables: Tables) -> None:
    path = tmp_path / "toy.safetensors"
    with pytest.raises(ValueError, match="starling ssp export"):
        load_ssp_tables(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        load_ssp_tables(path)
    ssp = toy_tables.ssp
    save_ssp_tables(path, toy_tables._replace(ssp=ssp._replace(age_gyr=ssp.age_gyr[::-1].copy())), {})
    with pytest.raises(ValueError, match="age_gyr does not ascend"):
        load_ssp_tables(path)


def _basel_wavelengths(archive: Path) -> np.ndarray:
    """The 1963 wavelengths of BaSeL, on which FSPS's spectra of Wolf-Rayet stars are."""
    with tarfile.open(archive) as members:
        member = next(each for each in members if each.name.endswith("Hot_spectra/CMFGEN_WN_Zall.spec"))
        content = members.extractfile(member)
        assert content is not None
        return np.array(content.readline().split(), float)


@pytest.mark.slow
def test_a_genuine_ssp_of_fsps(shared_data: Path, tmp_path: Path) -> None:
    """BaSeL + Padova: the units of a table, its masses and its light are those of a real FSPS."""
    paths = (
        shared_data / "fsps_basel_padova" / "fsps_basel_padova_ref.npz",
        shared_data / "fsps_home_hybrid.tar.xz",
    )
    if missing := [path.name for path in paths if not path.is_file()]:
        pytest.skip(f"needs {' and '.join(missing)} in shared/data")
    with np.load(paths[0]) as found:
        spectra, masses, log_luminosity = found["spec_ssp"], found["mass"], found["lbol"]
    log_age, wave = np.arange(94) * 0.05 + 5.5, _basel_wavelengths(paths[1])
    found_by_worker = np.concatenate([spectra.ravel(), masses, log_luminosity])
    inventory = Inventory(wave, np.zeros(0), log_age, np.array([0.0020]), 0.0190)
    home = Home(tmp_path, Libraries("pdva", "basel", "DL07"), False, "")
    path = tmp_path / "basel.safetensors"
    save_ssp_tables(path, Tables(ssp_grid(home, inventory, found_by_worker, "Chabrier")), {})
    ssp = load_ssp_tables(path).ssp
    np.testing.assert_allclose(ssp.log_z, np.log10(0.0020 / 0.0190))
    np.testing.assert_array_equal(ssp.mass_fraction[0], masses)
    assert np.all(np.diff(masses) <= 0)
    # the luminosities that FSPS gives are those of the isochrones, its spectra those of the library: 2% apart
    assert ssp.bolometric is not None
    light = np.log10(np.trapezoid(ssp.l_lambda[0].astype(float), wave, axis=1) / LSUN)
    np.testing.assert_allclose(np.log10(ssp.bolometric[0] / LSUN), log_luminosity)
    np.testing.assert_allclose(light, log_luminosity, atol=0.02)
    # hydrogen-ionising photons of a young population, as everybody has them: 10**46.5 to 10**47 per s and Msun
    rate = np.log10(ionising_photon_rate(ssp)[0])
    assert 46.5 < rate[10] < 47.0
    assert rate[log_age > 8.0].max() < 44.0
