import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starling.forward import PROPERTIES
from starling.inference import SamplerSettings, fit, observe
from starling.parameters import Parameter, ParameterSpace
from starling.priors import TruncatedNormal

N_BANDS = 6
SCALE = 1e-9  # maggies: what real photometry looks like to float32


@jax.tree_util.register_pytree_node_class
class LinearModel:
    """Fluxes linear in standard-normal parameters, so that the posterior is closed."""

    def __init__(self, matrix, offset, space, bands, model_error=0.0):
        self.matrix, self.offset, self.space, self.bands, self.model_error = (
            matrix,
            offset,
            space,
            bands,
            model_error,
        )

    def tree_flatten(self):
        return (self.matrix, self.offset), (self.space, self.bands, self.model_error)

    @classmethod
    def tree_unflatten(cls, static, leaves):
        return cls(*leaves, *static)

    @property
    def wave_effective_aa(self):
        return jnp.linspace(4e3, 2e4, len(self.bands))

    def __call__(self, theta):
        return self.offset + self.matrix @ theta

    def flux_error(self, flux):
        return self.model_error * jnp.abs(flux)

    def properties(self, theta):
        sizes = {"sfh": (7,), "sfh_edges_gyr": (8,)}
        return {name: jnp.broadcast_to(theta[0], sizes.get(name, ())) for name in PROPERTIES}

    def select(self, bands):
        keep = np.array([self.bands.index(band) for band in bands])
        return LinearModel(self.matrix[keep], self.offset[keep], self.space, tuple(bands), self.model_error)


def linear_space(names=("a", "logsfr_ratios_1", "logsfr_ratios_2", "zred")):
    normal = TruncatedNormal(0.0, 1.0, -9.0, 9.0)
    return ParameterSpace("linear", tuple(Parameter(name, normal, unit="dex") for name in names))


@pytest.fixture(scope="session")
def linear_model():
    rng = np.random.default_rng(5)
    space = linear_space()
    matrix = SCALE * rng.normal(size=(N_BANDS, len(space)))
    bands = tuple(f"band_{i}" for i in range(N_BANDS))
    return LinearModel(jnp.asarray(matrix, jnp.float32), jnp.full(N_BANDS, SCALE, jnp.float32), space, bands)


@pytest.fixture(scope="session")
def linear_data(linear_model):
    """Five galaxies with known redshift; the fourth has no band at all, the third an infinite flux."""
    rng = np.random.default_rng(6)
    theta = rng.normal(size=(5, len(linear_model.space)))
    flux = np.asarray(jax.vmap(linear_model)(jnp.asarray(theta, jnp.float32)))
    error = SCALE * rng.uniform(0.2, 0.6, flux.shape)
    flux = flux + error * rng.normal(size=flux.shape)
    flux[1, 2] = np.nan
    mask = np.isfinite(flux)
    mask[3] = False
    flux[2, 0] = np.inf
    return observe(flux, error, mask=mask, fixed={"zred": theta[:, 3]})


@pytest.fixture(scope="session")
def quick():
    """Settings of a short run without error floor; batches of two, so the last one of five galaxies is padded."""
    return SamplerSettings(
        n_warmup=100,
        n_draws=500,
        mean_steps=5,
        target_accept=0.8,
        n_descents=3,
        descent_steps=8,
        together=2,
        patience=1,
        error_floor=0.0,
    )


@pytest.fixture(scope="session")
def linear_draws(linear_model, linear_data, quick):
    return fit(jax.random.key(3), linear_data, linear_model, settings=quick)
