"""Infrared luminosity of FSPS's dust: FSPS gives its mass, and the luminosity follows from the templates."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from starling.photometry import LIGHT_AA_S
from starling.sps.dust import emission_weights
from starling.sps.fsps.home import Home
from starling.sps.fsps_tables import DUST_NODES, dust_file

INFRARED_AA = (8e4, 1e7)
# Of mdust in FSPS's add_dust: absorbed luminosity over (4 pi mass of dust) per luminosity of the template.
_MASS_UNIT = 3.21e-3


class InfraredLight(NamedTuple):
    """Luminosity of the templates in 8-1000 um: ``luminosity`` [single field or power law, qpah, umin]."""

    qpah: np.ndarray
    umin: np.ndarray
    luminosity: np.ndarray

    def log_luminosity(
        self, values: Mapping[str, Array], dust_mass: Float[np.ndarray, " row"]
    ) -> Float[np.ndarray, " row"]:
        """log10 of the luminosity (Lsun) in 8-1000 um of dust of this mass in FSPS's units (``dust_mass``)."""
        names = ("duste_qpah", "duste_umin", "log_duste_gamma")
        qpah, umin, log_gamma = (jnp.broadcast_to(values[name], dust_mass.shape) for name in names)
        shares = _shares(qpah, umin, 10.0**log_gamma, jnp.asarray(self.qpah), jnp.asarray(self.umin))
        per_mass = np.tensordot(np.asarray(shares, float), self.luminosity, axes=3)
        with np.errstate(divide="ignore"):
            return np.log10(dust_mass * per_mass * 4.0 * np.pi / _MASS_UNIT)


@jax.jit
def _shares(
    qpah: Float[Array, " row"],
    umin: Float[Array, " row"],
    gamma: Float[Array, " row"],
    qpah_nodes: Float[Array, " qpah"],
    umin_nodes: Float[Array, " umin"],
) -> Float[Array, "row 2 qpah umin"]:
    """Share of the dust mass at every node."""
    equal = jnp.ones((2, qpah_nodes.size, umin_nodes.size))
    return jax.vmap(lambda q, u, g: emission_weights(q, u, g, qpah_nodes, umin_nodes, equal))(
        qpah, umin, gamma
    )


def read_infrared_light(home: Home, wave_aa: np.ndarray) -> InfraredLight:
    """The templates of a data directory, at the wavelengths at which FSPS sums them."""
    nodes = DUST_NODES.get(home.libraries.dust)
    if nodes is None:
        raise ValueError(
            f"FSPS was compiled with the dust emission {home.libraries.dust}: Prospector-alpha takes that of "
            "Draine & Li (2007), compile it with DL07"
        )
    qpah, umin = (np.array(values) for values in nodes)
    infrared = (wave_aa >= INFRARED_AA[0]) & (wave_aa <= INFRARED_AA[1])
    frequency = LIGHT_AA_S / wave_aa[infrared]
    luminosity = np.empty((2, qpah.size, umin.size))
    for k in range(qpah.size):
        table = np.loadtxt(dust_file(home.path, home.libraries.dust, k), skiprows=2)
        for column, template in enumerate(table[:, 1:].T):
            seen = np.interp(wave_aa[infrared], table[:, 0] * 1e4, template)
            luminosity[column % 2, k, column // 2] = -np.trapezoid(seen, frequency)
    return InfraredLight(qpah, umin, luminosity)
