"""Tables of the exact model as values: what a reader makes and ``ExactModel`` takes, whoever computed them.

All are NamedTuples of numpy arrays on the table's own wavelengths; nothing here knows a file format. Wavelengths are
rest-frame Angstrom, luminosities per wavelength Lsun / Angstrom.
"""

from typing import NamedTuple

import numpy as np

from starling.sps.conventions import FSPS, OWN, Conventions


class SSPGrid(NamedTuple):
    """Simple stellar populations.

    ``l_lambda`` [metallicity, age, wave] is Lsun/Angstrom per Msun formed; ``mass_fraction`` [metallicity, age] the
    fraction of the mass formed that still lives. ``log_z`` is log10 Z/Zsun, ascending; ``age_gyr`` ascending and
    positive: the spectrum is linear in log age between nodes and constant outside. ``remnants`` says whether
    ``mass_fraction`` counts stellar remnants.

    ``bolometric`` [metallicity, age] is the luminosity, Lsun per Msun formed, that the torus is measured by, where it
    is not that of the spectra (FSPS: that of the isochrones, which libraries of stars miss by some per cent).

    ``as_fsps`` are tables of FSPS, on which the model follows FSPS's ``Conventions``, to be the same within what it
    costs to have pixels.
    """

    name: str
    log_z: np.ndarray
    age_gyr: np.ndarray
    wave_aa: np.ndarray
    l_lambda: np.ndarray
    mass_fraction: np.ndarray
    remnants: bool = False
    surrogate: bool = False
    as_fsps: bool = False
    bolometric: np.ndarray | None = None

    @property
    def conventions(self) -> Conventions:
        """What a model on these tables follows unless it is told otherwise."""
        return FSPS if self.as_fsps else OWN

    def trim(self, max_age_gyr: float, log_z_range: tuple[float, float]) -> "SSPGrid":
        """The nodes that populations up to this age and within these metallicities can touch."""
        last = min(int(np.searchsorted(self.age_gyr, max_age_gyr)) + 1, self.age_gyr.size)
        first_z = max(int(np.searchsorted(self.log_z, log_z_range[0], side="right")) - 1, 0)
        last_z = min(int(np.searchsorted(self.log_z, log_z_range[1])) + 1, self.log_z.size)
        metals = slice(first_z, last_z)
        return self._replace(
            log_z=self.log_z[metals],
            age_gyr=self.age_gyr[:last],
            l_lambda=self.l_lambda[metals, :last],
            mass_fraction=self.mass_fraction[metals, :last],
            bolometric=None if self.bolometric is None else self.bolometric[metals, :last],
        )


class NebularGrid(NamedTuple):
    """Nebular emission per ionising photon rate of the stars that cause it.

    ``continuum`` [metallicity, age, wave] in Lsun/Angstrom and ``lines`` [metallicity, age, line] in Lsun, both per
    (hydrogen-ionising photon / s); ``log_z`` is log10 of the gas metallicity over solar. At one ionisation parameter.

    Stars in birth clouds have nebulae; by FSPS's conventions those of nodes up to the last age.
    """

    name: str
    log_u: float
    log_z: np.ndarray
    age_gyr: np.ndarray
    wave_aa: np.ndarray
    continuum: np.ndarray
    line_wave_aa: np.ndarray
    lines: np.ndarray


class DustEmissionGrid(NamedTuple):
    """Draine & Li (2007) emission: ``single`` and ``power_law`` [qpah, umin, wave], any common unit per wavelength.

    ``single`` is dust in one radiation field umin, ``power_law`` dust in fields from umin to 1e6. Their luminosities
    count: dust in stronger fields emits more.
    """

    name: str
    qpah: np.ndarray
    umin: np.ndarray
    wave_aa: np.ndarray
    single: np.ndarray
    power_law: np.ndarray


class TorusGrid(NamedTuple):
    """AGN torus (Nenkova et al. 2008): ``l_lambda`` [tau, wave] with a bolometric luminosity of 1."""

    name: str
    tau: np.ndarray
    wave_aa: np.ndarray
    l_lambda: np.ndarray


class Tables(NamedTuple):
    """All that the exact model is made of; parts that are None are left out of the model."""

    ssp: SSPGrid
    nebular: NebularGrid | None = None
    dust_emission: DustEmissionGrid | None = None
    torus: TorusGrid | None = None

    @property
    def surrogate(self) -> bool:
        return self.ssp.surrogate

    @property
    def description(self) -> str:
        return " + ".join(table.name for table in self if table is not None)
