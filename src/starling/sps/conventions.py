"""Where FSPS goes about the same physics in another way than this package: what a model follows, one by one."""

from typing import NamedTuple


class Conventions(NamedTuple):
    """All off is how this package goes about it, all on (``FSPS``) how FSPS does.

    - ``whole_nodes``: a node of the ages of SSPs is in birth clouds (to 10 Myr), or has a nebula (to the last age of
      the nebular table), as a whole or not at all; otherwise both end at 10 Myr, wherever the nodes are.
    - ``whole_wavelengths``: nebulae take the light of whole points of the stars' wavelengths, those up to 912 A, and
      stars are linear between the last of them (dark) and the next; otherwise all ends at 911.75 A.
    - ``calzetti``: A(V) is 0.9989 in the curve of Calzetti et al. (2000); otherwise 1.
    - ``self_absorption``: dust absorbs of its own emission, and emits that again; otherwise it is transparent to it.
    - ``torus_as_given``: the torus is as bright as its table, 0.4 to 1.1% below unit luminosity; otherwise of unit
      luminosity.
    - ``torus_by_isochrones``: the torus is measured by ``SSPGrid.bolometric``; otherwise by the light of the spectra.
    """

    whole_nodes: bool = False
    whole_wavelengths: bool = False
    calzetti: bool = False
    self_absorption: bool = False
    torus_as_given: bool = False
    torus_by_isochrones: bool = False


OWN = Conventions()
FSPS = Conventions(*(True for _ in Conventions._fields))
