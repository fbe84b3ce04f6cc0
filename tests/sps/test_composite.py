"""The exact model: its parts add up, energy is conserved, errors say what to do. Gradients: tests/contract."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.components import RATIOS, SPECTRAL_PROPERTIES, mixture_of, spectral_properties, terms
from starling.cosmology import flux_scale
from starling.forward import PROPERTIES
from starling.photometry import POGSON
from starling.sfh import bin_edges_gyr
from starling.spaces import prospector_alpha
from starling.sps import ExactModel, Tables, exact_model
from starling.sps.fsps_tables import read_torus

BANDS = (
    "cfht_megacam_us_9301",
    "acs_wfc_f606w",
    "subaru_suprimecam_ia738",
    "wfc3_ir_f160w",
    "spitzer_irac_ch4",
    "spitzer_mips_24",
)


@pytest.fixture(scope="module")
def model(toy_tables: Tables) -> ExactModel:
    return exact_model(toy_tables, BANDS)


@pytest.fixture(scope="module")
def real_model(real_tables: Tables) -> ExactModel:
    return exact_model(real_tables, BANDS)


# compiled once per model: op by op the exact model takes seconds
flux_of = jax.jit(lambda model, theta: model(theta))
spectrum_of = jax.jit(lambda model, theta: model.spectrum(theta))
properties_of = jax.jit(lambda model, theta: model.properties(theta))


def points(model: ExactModel, n: int = 4) -> jax.Array:
    return model.space.sample(jax.random.key(7), (n,))


def test_flux_is_linear_in_mass_and_falls_with_distance(model: ExactModel) -> None:
    theta = points(model)[0]
    i = model.space.index("logmass")
    assert np.allclose(flux_of(model, theta.at[i].add(0.7)), flux_of(model, theta) * 10**0.7, rtol=2e-5)
    values = model.space.unpack(theta)
    assert np.allclose(
        flux_of(model, theta),
        jax.jit(model.rest_flux)(theta) * flux_scale(values["logmass"], values["zred"]),
        rtol=1e-6,
    )


@pytest.mark.slow
def test_components_add_up_to_the_flux(model: ExactModel, real_model: ExactModel) -> None:
    """The sum of ``starling.components`` is the model: fluxes, rest-frame colours, masses and infrared light."""

    def totals(model: ExactModel, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        parts, mixture = model.components(theta), mixture_of(model.space, theta)
        zred = model.space.unpack(theta)["zred"]
        flux = jnp.sum(terms(parts, mixture, parts.lines @ model.line_light(zred)), axis=0)
        return flux[: len(model.bands)], spectral_properties(parts, mixture, flux[len(model.bands) :])

    for each in (model, real_model):
        for theta in points(each):
            flux, properties = jax.jit(totals)(each, theta)
            exact = jax.jit(lambda m, t: (m.rest_flux(t), m.spectral_properties(t)))(each, theta)
            assert np.allclose(flux, exact[0], rtol=1e-5)
            assert np.allclose(properties, [exact[1][name] for name in SPECTRAL_PROPERTIES], atol=1e-5)


def test_components_do_not_depend_on_what_mixes_them(model: ExactModel) -> None:
    theta = points(model)[2]
    mixed = [i for i, name in enumerate(model.space.names) if name in (*RATIOS, "log_fagn", "logmass")]
    other = theta.at[jnp.array(mixed)].set(points(model)[3][jnp.array(mixed)])
    components = jax.jit(lambda m, t: m.components(t))
    for one, two in zip(components(model, theta), components(model, other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_energy_balance(model: ExactModel, real_model: ExactModel) -> None:
    """What dust absorbs it emits, to 0.1%; absorbed is what attenuation took from stars and nebulae."""
    for each in (model, real_model):
        widths = each.pixels.widths_aa
        for theta in points(each):
            dusty = spectrum_of(each, theta)
            clear = spectrum_of(each, theta.at[each.space.index("dust2")].set(0.0))
            emitted = float(np.asarray(dusty.dust, float) @ widths)
            assert emitted == pytest.approx(float(dusty.absorbed), rel=1e-3)
            before, after = (
                np.asarray(each.young + each.nebular + each.line_spectrum + each.old, float) @ widths
                for each in (clear, dusty)
            )
            assert before - after == pytest.approx(emitted, rel=1e-3)


def test_torus_luminosity_is_a_fraction_of_the_stars(model: ExactModel) -> None:
    theta = points(model)[1].at[model.space.index("dust2")].set(0.0)
    spectrum = spectrum_of(model, theta)
    values = model.space.unpack(theta)
    ionised = model.prepared.nebular is not None
    assert ionised
    stars_and_nebulae = float(np.asarray(spectrum.young + spectrum.old, float) @ model.pixels.widths_aa)
    torus = float(np.asarray(spectrum.torus, float) @ model.pixels.widths_aa)
    # bolometric counts the ionising light that the nebulae took from the young stars
    assert torus >= 0.99 * 10 ** float(values["log_fagn"]) * stars_and_nebulae
    assert torus <= 1.6 * 10 ** float(values["log_fagn"]) * stars_and_nebulae


def test_gradients_are_finite_over_the_prior(real_model: ExactModel) -> None:
    gradient = jax.jit(jax.vmap(jax.jacfwd(real_model)))(points(real_model, 32))
    assert np.all(np.isfinite(np.asarray(gradient)))


def test_single_precision_is_enough(real_model: ExactModel) -> None:
    theta = points(real_model, 8)
    single = jax.jit(jax.vmap(real_model))(theta)
    with jax.enable_x64(True):
        double = jax.jit(jax.vmap(real_model))(jnp.asarray(np.asarray(theta), jnp.float64))
        assert double.dtype == jnp.float64
    assert np.max(np.abs(np.asarray(single) / np.asarray(double) - 1)) < 1e-4


def test_properties(model: ExactModel) -> None:
    theta = points(model)[2]
    properties = properties_of(model, theta)
    values = model.space.unpack(theta)
    assert set(properties) == set(PROPERTIES)
    assert float(properties["log_stellar_mass"]) < float(values["logmass"])
    assert float(properties["a_v"]) == pytest.approx(POGSON * float(values["dust2"]), rel=1e-5)
    spectrum = spectrum_of(model, theta)
    total = float(jnp.log10(spectrum.absorbed) + values["logmass"])
    assert total - 0.5 < float(properties["log_lir"]) <= total
    red = properties_of(model, theta.at[model.space.index("dust2")].add(1.0))
    assert float(red["u_minus_v"]) > float(properties["u_minus_v"])


def test_any_piecewise_history(model: ExactModel) -> None:
    """The 7 bins are one case of spectrum_of; splitting a bin changes nothing."""
    theta = points(model)[0]
    values = model.space.unpack(theta)
    edges = np.asarray(bin_edges_gyr(values["zred"]))
    once = model.spectrum_of(jnp.asarray([1.0]), jnp.asarray([edges[3], edges[5]]), values)
    split = model.spectrum_of(
        jnp.asarray([edges[4] - edges[3], edges[5] - edges[4]]) / (edges[5] - edges[3]),
        jnp.asarray(edges[3:6]),
        values,
    )
    assert np.allclose(once.total, split.total, rtol=2e-4, atol=1e-12)


def test_select_reorders_bands(model: ExactModel) -> None:
    theta = points(model)[0]
    part = model.select([BANDS[3], BANDS[0]])
    assert part.bands == (BANDS[3], BANDS[0])
    assert np.allclose(flux_of(part, theta), np.asarray(flux_of(model, theta))[[3, 0]], rtol=1e-6)
    with pytest.raises(ValueError, match="no band 'nonsense'"):
        model.select(["nonsense"])


def test_model_without_torus_or_nebulae(toy_tables: Tables) -> None:
    tables = toy_tables._replace(torus=None, nebular=None)
    model = exact_model(tables, BANDS[:2])
    assert "log_fagn" not in model.space
    flux = jax.jit(jax.vmap(model))(points(model))
    assert np.all(np.asarray(flux) > 0)


def test_space_and_tables_must_fit(toy_tables: Tables) -> None:
    with pytest.raises(ValueError, match="FSPS data directory"):
        exact_model(toy_tables._replace(torus=None), BANDS, prospector_alpha())
    with pytest.raises(ValueError, match="lacks"):
        exact_model(toy_tables, BANDS, prospector_alpha(agn=False))
    with pytest.raises(ValueError, match="attenuation"):
        exact_model(toy_tables, BANDS, attenuation="smc")
    with pytest.raises(ValueError, match="acs_wfc_f606w"):
        exact_model(toy_tables, ["acs_wfc_f606"])


def test_torus_reader(sps_home_with_torus: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    torus = read_torus(sps_home_with_torus)
    assert torus.tau.size == 9
    assert np.allclose(np.trapezoid(torus.l_lambda, torus.wave_aa, axis=1), 1.0)
    with pytest.raises(FileNotFoundError, match="Nenkova08"):
        read_torus(tmp_path_factory.mktemp("empty"))
