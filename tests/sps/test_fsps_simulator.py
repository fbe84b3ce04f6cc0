"""FSPS itself, on made-up tables: against python-fsps by hand, against sums of its SSPs, and when it is ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling import igm
from starling.components import SPECTRAL_PROPERTIES, components_from
from starling.cosmology import age_gyr
from starling.emulators.spectra.model import whole
from starling.lines import AT_TEN_PC
from starling.parameters import ParameterSpace
from starling.photometry import LIGHT_AA_S, ab_zero_counts, load_bands, synthetic_maggies
from starling.sfh import bin_edges_gyr, mass_fractions, metallicity_basis, sfh_basis, stick_fractions
from starling.simulation import DrawPlan, draw_chunk, failures, read_set, simulate_set
from starling.spaces import METALS, STICKS, desi_bgs, prospector_alpha, prospector_alpha_14
from starling.sps.fsps import (
    Fsps,
    FspsError,
    FspsWarning,
    describe_fsps,
    photometry_simulator,
    pixel_simulator,
    spectrum_simulator,
)
from starling.sps.fsps.simulator import LSUN
from starling.sps.fsps.translate import Galaxies, translate
from starling.sps.pixels import make_pixels
from starling.sps.stars import age_weights, hat_weights

pytestmark = [pytest.mark.fsps, pytest.mark.filterwarnings("ignore::starling.sps.fsps.FspsWarning")]
SPACE, DESI = prospector_alpha(zred=(0.1, 6.0)), desi_bgs()
BANDS = ("galex_NUV", "sdss_g0", "sdss_r0", "wfc3_ir_f160w", "spitzer_irac_ch1", "spitzer_mips_24")

# python-fsps as its documentation has it, in a process of its own. Every line is a run: parameters that differ from the
# defaults, with `tage`, `zcontinuous` and `table` (or none).
BY_HAND = """
import json, sys
import numpy as np
import fsps

population = fsps.StellarPopulation(zcontinuous=1)
defaults = dict(population.params.iteritems())
for line in sys.stdin:
    run = defaults | json.loads(line)
    tage, table, population._zcontinuous = run.pop("tage"), run.pop("table", None), run.pop("zcontinuous")
    for name, value in run.items():
        population.params[name] = value
    if table is not None:
        population.set_tabular_sfh(np.array(table[0]), np.array(table[1]))
    wave, spectrum = population.get_spectrum(tage=tage)
    mass, lines = np.asarray(population.stellar_mass), population.emline_luminosity
    answer = {"wave": wave.tolist(), "spectrum": spectrum.tolist(), "mass": mass.tolist(), "lines": lines.tolist()}
    print("answer", json.dumps(answer), flush=True)
"""

ByHand = Callable[[list[dict[str, Any]]], tuple[np.ndarray, list[dict[str, np.ndarray]]]]


@pytest.fixture(scope="module")
def by_hand(fsps_home: Path) -> Iterator[ByHand]:
    """Wavelengths, and spectrum (Lsun/Hz), surviving mass and lines of every run."""
    process = subprocess.Popen(
        [sys.executable, "-c", BY_HAND],
        env=os.environ | {"SPS_HOME": str(fsps_home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, answered = process.stdin, process.stdout

    def run_all(runs: list[dict[str, Any]]) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
        answers = []
        for run in runs:
            asked.write(json.dumps(run) + "\n")
            asked.flush()
            said = next(line for line in answered if line.startswith("answer"))
            answers.append({k: np.array(v) for k, v in json.loads(said.removeprefix("answer")).items()})
        return answers[0]["wave"], answers

    with process:
        yield run_all
        asked.close()


def draws(space: ParameterSpace, n: int, **fixed: float) -> np.ndarray:
    theta = np.array(space.sample(jax.random.key(7), (n,)))
    for name, value in fixed.items():
        theta[:, space.index(name)] = value
    return theta


@pytest.fixture(scope="module")
def fsps(fsps_home: Path) -> Iterator[Fsps]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FspsWarning)
        started = Fsps(SPACE, fsps_home, workers=2)
    with started:
        yield started


def test_it_says_that_the_tables_are_made_up_and_what_fsps_gets_wrong(fsps_home: Path, fsps: Fsps) -> None:
    with pytest.warns(FspsWarning) as warned, Fsps(prospector_alpha(agn=False), fsps_home) as other:
        description = describe_fsps(other, BANDS)
    assert [
        word in str(said.message)
        for said, word in zip(warned, ("SURROGATE", "11 of the 13", "0.05 dex"), strict=True)
    ]
    assert description["surrogate"] is True
    assert description["space"] == "prospector_alpha_no_agn"
    assert description["tables"].startswith("FSPS 0.")
    assert description["tables"].endswith("mist + c3k_lr + DL07")
    assert json.loads(json.dumps(description)) == description
    assert description["tables_sha256"] == describe_fsps(fsps)["tables_sha256"]


def _run_of(values: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """Prospector's way to ask for a galaxy of 1e10 Msun: its steps are ramps of another width."""
    at = {name: float(value[row]) for name, value in values.items()}
    edges = np.asarray(bin_edges_gyr(jnp.asarray(at["zred"])), float)
    ratios = jnp.asarray([at[f"logsfr_ratios_{i}"] for i in range(1, 7)])
    rates = 1e10 * np.asarray(mass_fractions(ratios, jnp.asarray(edges)), float) / np.diff(edges) / 1e9
    ages, steps = edges[-1] - edges[::-1], rates[::-1]
    times = np.stack([ages[:-1], ages[1:] - 1e-6 * np.diff(ages)], axis=1).ravel()
    times[-1] = ages[-1]
    return {
        "zcontinuous": 1,
        "imf_type": 1,
        "sfh": 3,
        "tage": float(ages[-1]),
        "table": [times.tolist(), np.repeat(steps, 2).tolist()],
        "dust_type": 4,
        "add_neb_emission": True,
        "nebemlineinspec": False,
        "gas_logu": -2.0,
        "dust1": at["dust1_fraction"] * at["dust2"],
        "duste_gamma": 10 ** at["log_duste_gamma"],
        "fagn": 10 ** at["log_fagn"],
        "agn_tau": 10 ** at["log_agn_tau"],
        **{
            name: at[name]
            for name in ("logzsol", "dust2", "dust_index", "gas_logz", "duste_qpah", "duste_umin")
        },
    }


def test_it_is_fsps(fsps: Fsps, by_hand: ByHand) -> None:
    theta = draws(SPACE, 6)
    values = {name: np.asarray(value) for name, value in SPACE.unpack(jnp.asarray(theta)).items()}
    wave, expected = by_hand([_run_of(values, row) for row in range(6)])
    found = fsps.spectra(theta)
    np.testing.assert_array_equal(fsps.wave_aa, wave)
    for row, answer in enumerate(expected):
        l_lambda = answer["spectrum"] * LSUN / 1e10 * LIGHT_AA_S / wave**2
        np.testing.assert_allclose(found.smooth[row], l_lambda, rtol=1e-5, atol=1e-7 * l_lambda.max())
        np.testing.assert_allclose(found.lines[row], answer["lines"] * LSUN / 1e10, rtol=1e-5)
        np.testing.assert_allclose(found.mass_fraction[row], answer["mass"] / 1e10, rtol=1e-5)
    assert not found.failure.any()


def test_a_history_is_the_sum_of_its_ssps(fsps: Fsps, by_hand: ByHand) -> None:
    """Steps in a table that FSPS takes to be linear between rows: without bias, for any ratio of neighbouring bins."""
    theta = draws(SPACE, 4, dust2=0.0, log_fagn=-30.0, logzsol=-0.5, gas_logz=0.0)
    for i in range(1, 7):
        theta[0, SPACE.index(f"logsfr_ratios_{i}")] = (-4.9, 4.9)[i % 2]
    run = {"zcontinuous": 1, "imf_type": 1, "sfh": 0, "tage": 0.0, "logzsol": -0.5, "add_neb_emission": True}
    wave, [ssp] = by_hand([run | {"gas_logz": 0.0, "gas_logu": -2.0, "nebemlineinspec": False}])
    found = fsps.spectra(theta)
    log_age = np.log(10 ** (fsps.inventory.log_age - 9.0))
    with jax.enable_x64(True):
        for row, point in enumerate(theta):
            values = SPACE.unpack(jnp.asarray(point))
            edges = bin_edges_gyr(values["zred"])
            masses = mass_fractions(jnp.stack([values[f"logsfr_ratios_{i}"] for i in range(1, 7)]), edges)
            steps = (jnp.asarray(masses, float), jnp.asarray(edges, float), jnp.asarray(log_age))
            weights = np.asarray(age_weights(*steps, jnp.diff(jnp.asarray(log_age))))
            light = weights @ ssp["spectrum"] * LSUN * LIGHT_AA_S / wave**2
            np.testing.assert_allclose(found.smooth[row], light, rtol=3e-5)
            np.testing.assert_allclose(found.lines[row], weights @ ssp["lines"] * LSUN, rtol=3e-5)
            np.testing.assert_allclose(found.mass_fraction[row], weights @ ssp["mass"], rtol=3e-5)


def test_infrared_luminosity_is_that_of_the_dust(fsps: Fsps, by_hand: ByHand) -> None:
    """FSPS with and without dust emission; little dust, so that it hardly absorbs its own light."""
    theta = draws(SPACE, 3, dust2=0.05, dust_index=0.0, log_fagn=-30.0)
    values = {name: np.asarray(value) for name, value in SPACE.unpack(jnp.asarray(theta)).items()}
    runs = [_run_of(values, row) | {"add_dust_emission": on} for row in range(3) for on in (True, False)]
    wave, answers = by_hand(runs)
    infrared = (wave >= 8e4) & (wave <= 1e7)
    found = fsps.spectra(theta).log_lir_per_msun
    for row in range(3):
        dust = (answers[2 * row]["spectrum"] - answers[2 * row + 1]["spectrum"])[infrared]
        luminosity = -np.trapezoid(dust, LIGHT_AA_S / wave[infrared]) * LSUN / 1e10
        np.testing.assert_allclose(found[row], np.log10(luminosity), atol=0.002)


def test_dust_keeps_the_energy(fsps: Fsps) -> None:
    """What dust absorbs it emits, also of its own light: FSPS sees to that for a galaxy, not for a Msun."""
    theta = draws(SPACE, 4, dust2=3.0, log_fagn=-30.0)
    frequency = LIGHT_AA_S / fsps.wave_aa
    light = []
    for dust2 in (0.0, 3.0):
        theta[:, SPACE.index("dust2")] = dust2
        found = fsps.spectra(theta)
        spectrum = found.smooth * fsps.wave_aa**2 / LIGHT_AA_S
        light.append(-np.trapezoid(spectrum, frequency, axis=1) + found.lines.sum(axis=1))
    np.testing.assert_allclose(light[1], light[0], rtol=1e-6)


def test_photometry_is_the_spectrum_through_filters_and_igm_with_its_lines(fsps: Fsps) -> None:
    theta = draws(SPACE, 6)
    theta[:, SPACE.index("zred")] = (0.15, 0.6, 1.0, 2.0, 3.5, 5.5)
    spectra, outputs = fsps.spectra(theta), photometry_simulator(fsps, BANDS)(theta)
    assert outputs["rest_flux"].shape == (6, len(BANDS))
    bands, fine = (
        load_bands(BANDS),
        np.unique(np.concatenate([fsps.wave_aa, np.geomspace(700.0, 1e6, 40000)])),
    )
    for row, zred in enumerate(theta[:, SPACE.index("zred")].astype(float)):
        at = jnp.asarray(zred)
        smooth = np.interp(fine, fsps.wave_aa, spectra.smooth[row]) * np.asarray(
            igm.transmission(jnp.asarray(fine), at)
        )
        # a line at an edge of the absorption, Lyman alpha, is half behind it
        sides = jnp.asarray(np.multiply.outer((1.0 - 5e-4, 1.0 + 5e-4), fsps.line_wave_aa).ravel())
        passed = np.asarray(igm.transmission(sides, at)).reshape(2, -1).mean(axis=0)
        lines, seen = spectra.lines[row] * passed, fsps.line_wave_aa * (1 + zred)
        for band, flux in zip(bands, outputs["rest_flux"][row], strict=True):
            expected = synthetic_maggies(band, fine * (1 + zred), smooth / (1 + zred) * AT_TEN_PC)
            curve = np.interp(seen, band.wave_aa, band.transmission, left=0.0, right=0.0)
            expected += float(np.sum(lines * curve * seen)) * AT_TEN_PC / ab_zero_counts(band)
            # the pixels of the exact model are good to 0.3%, but where the IGM leaves next to nothing
            np.testing.assert_allclose(flux, expected, rtol=3e-3, atol=1e-7)
    properties = dict(zip(SPECTRAL_PROPERTIES, outputs["properties"].T, strict=True))
    np.testing.assert_allclose(10 ** properties["log_mass_fraction"], spectra.mass_fraction, rtol=1e-6)
    np.testing.assert_array_equal(properties["log_lir_per_msun"], spectra.log_lir_per_msun)
    assert np.all(np.isfinite(outputs["properties"]))


def test_whole_spectra_in_pixels_have_all_the_light(fsps: Fsps) -> None:
    theta, pixels = draws(SPACE, 4), make_pixels()
    simulate = pixel_simulator(fsps, pixels, slice(100, 3000))
    spectra, parts = fsps.spectra(theta), components_from(simulate(theta))
    total = jax.vmap(lambda t, p: whole(SPACE, t, p, jnp.zeros((0, 2900))))(jnp.asarray(theta), parts)
    widths, edges = pixels.widths_aa[100:3000], pixels.edges_aa[[100, 3000]]
    fine = np.unique(np.concatenate([fsps.wave_aa, np.geomspace(*edges, 10000)]))
    inside = (fine >= edges[0]) & (fine <= edges[1])
    seen = (fsps.line_wave_aa > edges[0]) & (fsps.line_wave_aa < edges[1])
    for row in range(4):
        smooth = np.interp(fine, fsps.wave_aa, spectra.smooth[row])[inside]
        expected = np.trapezoid(smooth, fine[inside]) + spectra.lines[row][seen].sum()
        np.testing.assert_allclose(np.asarray(total[row], float) @ widths, expected, rtol=1e-4)


def test_order_and_number_of_processes_change_nothing(fsps: Fsps, fsps_home: Path) -> None:
    theta = draws(SPACE, 24)
    order = np.random.default_rng(1).permutation(24)
    simulate = spectrum_simulator(fsps)
    first, mixed = simulate(theta), simulate(theta[order])
    with Fsps(SPACE, fsps_home, workers=1) as alone:
        again = spectrum_simulator(alone)(theta)
    for name, values in first.items():
        np.testing.assert_array_equal(values[order], mixed[name])
        np.testing.assert_array_equal(values, again[name])


def test_the_14_parameter_model_is_the_18_parameter_one_at_its_constants(fsps: Fsps, fsps_home: Path) -> None:
    space = prospector_alpha_14()
    theta = draws(space, 3)
    values = space.unpack(jnp.asarray(theta))
    same = np.stack([np.broadcast_to(np.asarray(values[name]), 3) for name in SPACE.names], axis=1)
    with Fsps(space, fsps_home) as other:
        np.testing.assert_array_equal(other.spectra(theta).smooth, fsps.spectra(same).smooth)


@pytest.mark.slow
def test_the_desi_model_is_a_sum_of_ssps_of_its_metallicities(fsps_home: Path, by_hand: ByHand) -> None:
    theta = draws(DESI, 3, dust2=0.0)
    with Fsps(DESI, fsps_home) as desi:
        found = desi.spectra(theta)
        log_age, log_z = desi.inventory.log_age, np.log10(desi.inventory.metals)
        with pytest.raises(ValueError, match="a model of spectra"):
            photometry_simulator(desi, BANDS)
        behind = desi.spectra(draws(DESI, 3, dust2=0.7)).smooth / found.smooth
    # Calzetti et al. (2000): 1 at V, and 0.7 exp(-tau) everywhere
    at_v = [np.interp(np.log(5500.0), np.log(desi.wave_aa), row) for row in behind]
    np.testing.assert_allclose(at_v, np.exp(-0.7), rtol=0.01)
    assert not found.failure.any()
    runs = [{"zcontinuous": 0, "imf_type": 1, "sfh": 0, "tage": 0.0, "zmet": k + 1} for k in range(13)]
    wave, ssps = by_hand(runs)
    light = np.stack([answer["spectrum"] for answer in ssps])
    with jax.enable_x64(True):
        fine = np.append(1e-6, np.geomspace(1e-5, 13.8, 3001))
        for row, point in enumerate(theta):
            values = DESI.unpack(jnp.asarray(point))
            age = float(age_gyr(values["zred"]))
            lookback = fine[fine < age]
            x = jnp.asarray(1.0 - lookback / age)
            shares = np.asarray(stick_fractions(jnp.stack([values[name] for name in STICKS])))
            basis, grid = sfh_basis(x), np.linspace(0, 1, 20001)
            norm = np.trapezoid(np.asarray(sfh_basis(jnp.asarray(grid))), grid, axis=0) * age
            formed = np.asarray(basis) / norm @ shares
            z = metallicity_basis(x) @ jnp.stack([values[name] for name in METALS])
            metals = jax.vmap(lambda value: hat_weights(value, jnp.asarray(log_z)))(jnp.log10(z))
            ages = jax.vmap(lambda value: hat_weights(value, jnp.asarray(log_age)))(jnp.log10(lookback * 1e9))
            weights = np.trapezoid(
                np.asarray(metals)[:, :, None] * np.asarray(ages)[:, None] * formed[:, None, None],
                lookback,
                axis=0,
            )
            expected = np.einsum("za,zaw->w", weights, light) * LSUN * LIGHT_AA_S / wave**2
            seen = (wave > 912) & (wave < 1e5)
            np.testing.assert_allclose(found.smooth[row][seen], expected[seen], rtol=2e-3)


def test_a_process_that_is_killed_costs_one_galaxy_at_most(fsps: Fsps) -> None:
    theta = draws(SPACE, 40)
    expected = fsps.spectra(theta).smooth
    victim = fsps.pool.processes[0]
    while len(victim.in_hand):  # nothing is running
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.warns(FspsWarning, match="FSPS failed at 1 of 40 galaxies: .*SIGKILL"):
        answer = fsps.spectra(theta)
    found, reasons = answer.smooth, answer.failure
    assert fsps.pool.processes[0].pid != victim.pid
    failed = np.isnan(found).all(axis=1)
    assert failed.sum() == 1
    assert "SIGKILL" in reasons[failed][0]
    assert not reasons[~failed].any()
    np.testing.assert_array_equal(found[~failed], expected[~failed])
    np.testing.assert_array_equal(fsps.spectra(theta).smooth, expected)


def test_a_set_of_fsps_keeps_the_reasons(fsps: Fsps, tmp_path: Path) -> None:
    """Galaxies without any star, which python-fsps refuses: NaN in the set, and why in its record."""
    plan, refused = DrawPlan(SPACE, 12, 3, chunk=8), [2, 9]
    bad = np.concatenate([draw_chunk(plan, 0), draw_chunk(plan, 1)])[refused]

    def starless(space: ParameterSpace, theta: np.ndarray) -> Galaxies:
        asked = translate(space, theta)
        history = asked.history.copy()
        history[(theta[:, None] == bad).all(axis=2).any(axis=1), 1] = 0.0
        return asked._replace(history=history)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("starling.sps.fsps.simulator.translate", starless)
        simulate = photometry_simulator(fsps, BANDS)
        assert simulate_set(simulate, plan, tmp_path / "set", description=describe_fsps(fsps, BANDS)) == 2
    found = failures(tmp_path / "set")
    assert list(found) == refused
    assert all("At least one sfr must be" in reason for reason in found.values())
    kept = read_set(tmp_path / "set")
    assert (kept.n_failed, kept.outputs["rest_flux"].shape) == (2, (10, len(BANDS)))


def test_a_fortran_stop_is_an_error_that_says_what_was_missing(fsps_home: Path, tmp_path: Path) -> None:
    """A file that goes after the check: FSPS ends its process with exit code 0 and a line on its output."""
    home = tmp_path / "home"
    shutil.copytree(fsps_home, home, copy_function=os.link)
    with Fsps(SPACE, home) as fsps:
        (home / "ISOCHRONES/MIST/isoc_feh_p000_afe_p0_vvcrit0.4_full.dat").unlink()
        os.kill(fsps.pool.processes[0].pid, signal.SIGKILL)
        with pytest.raises(FspsError, match=r"Fortran STOP.*isochrone files cannot be opened"):
            fsps.spectra(draws(SPACE, 2))
    with pytest.raises(FspsError, match="isoc_feh_p000"):
        Fsps(SPACE, home)


def test_a_galaxy_that_python_fsps_refuses_is_recorded(fsps: Fsps) -> None:
    asked = translate(SPACE, draws(SPACE, 3))
    history = asked.history.copy()
    history[1, 1] = 0.0  # no stars at all
    answers = fsps.pool.run(asked._replace(history=history))
    assert list(answers.failures) == [1]
    assert "At least one sfr must be" in answers.failures[1]
    assert np.isfinite(answers.numbers[[0, 2]]).all()
