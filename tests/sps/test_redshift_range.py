"""The exact model from next door to the first galaxies, the range that stitched emulators cover."""

import jax
import jax.numpy as jnp
import numpy as np
from toy_tables import make_toy_tables

from starling.components import mixture_of, terms
from starling.spaces import prospector_alpha
from starling.sps import exact_model

SPACE = prospector_alpha(zred=(0.001, 12.0))
BANDS = ("acs_wfc_f606w", "wfc3_ir_f160w", "spitzer_mips_24")
ZRED = jnp.asarray([0.001, 0.0011, 0.1, 6.0, 11.999, 12.0])


def test_fluxes_slopes_and_components_at_both_ends() -> None:
    model = exact_model(make_toy_tables(), BANDS, SPACE)
    index = SPACE.index("zred")
    theta = SPACE.sample(jax.random.key(0), (len(ZRED),)).at[:, index].set(ZRED)

    @jax.jit
    def compute(theta: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def one(theta: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            slope = jax.jvp(model.rest_flux, (theta,), (jnp.zeros(theta.size).at[index].set(1.0),))[1]
            parts = model.components(theta)
            lines = parts.lines @ model.line_light(theta[index])
            whole = jnp.sum(terms(parts, mixture_of(SPACE, theta), lines), axis=0)[: len(BANDS)]
            return model.rest_flux(theta), slope, whole

        return jax.vmap(one)(theta)

    flux, slope, of_components = (np.asarray(array) for array in compute(theta))
    assert np.all(np.isfinite(flux))
    assert np.all(np.isfinite(slope))
    assert np.all(flux[:, 1:] > 0.0)
    # beyond Lyman alpha nothing is left in the bluest band
    assert np.all(flux[-2:, 0] < 1e-20)
    np.testing.assert_allclose(of_components, flux, rtol=1e-5, atol=1e-30)
