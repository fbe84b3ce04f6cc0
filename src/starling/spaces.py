"""The parameter spaces of the papers' models, and the wider ones that their training sets are drawn from."""

import math
from dataclasses import replace

from starling.parameters import Parameter, ParameterSpace
from starling.priors import (
    ConditionalPrior,
    MassMetallicity,
    PowerLaw,
    Prior,
    StudentT2,
    TruncatedNormal,
    Uniform,
)
from starling.sfh import N_HISTORIES

STICKS = tuple(f"z_fraction_{i}" for i in range(1, N_HISTORIES))
METALS = ("zh_1", "zh_2")


def prospector_alpha(agn: bool = True, zred: tuple[float, float] = (0.5, 3.0)) -> ParameterSpace:
    """The 18-parameter model of Mathews et al. (2023), table 1; 16 parameters without the AGN torus.

    ``zred`` is the support of a uniform prior on redshift, used where redshift is not fixed per galaxy.
    """
    ratios = tuple(
        Parameter(
            f"logsfr_ratios_{i}",
            StudentT2(0.3, -5.0, 5.0),
            rf"$\log\,{{\rm SFR}}_{i}/{{\rm SFR}}_{i + 1}$",
            "dex",
            f"log10 of the star-formation rate in age bin {i} over bin {i + 1}",
        )
        for i in range(1, 7)
    )
    torus = (
        Parameter(
            "log_fagn",
            Uniform(-5.0, math.log10(3.0)),
            r"$\log f_{\rm AGN}$",
            "dex",
            "log10 of the AGN torus luminosity over the stellar bolometric luminosity",
        ),
        Parameter(
            "log_agn_tau",
            Uniform(math.log10(5.0), math.log10(150.0)),
            r"$\log \tau_{\rm AGN}$",
            "dex",
            "log10 of the optical depth of an AGN torus clump",
        ),
    )
    return ParameterSpace(
        "prospector_alpha" if agn else "prospector_alpha_no_agn",
        (
            Parameter(
                "logmass", Uniform(6.0, 12.5), r"$\log M_{\rm formed}$", "log10 Msun", "stellar mass formed"
            ),
            Parameter("logzsol", MassMetallicity(), r"$\log Z_*/Z_\odot$", "dex", "stellar metallicity"),
            *ratios,
            Parameter(
                "dust2",
                TruncatedNormal(0.3, 1.0, 0.0, 4.0),
                r"$\hat\tau_2$",
                "",
                "optical depth of the diffuse dust at 5500 A",
            ),
            Parameter(
                "dust_index", Uniform(-1.2, 0.4), r"$n$", "", "power-law modifier of the Calzetti curve"
            ),
            Parameter(
                "dust1_fraction",
                TruncatedNormal(1.0, 0.3, 0.0, 2.0),
                r"$\hat\tau_1/\hat\tau_2$",
                "",
                "birth-cloud over diffuse optical depth",
            ),
            *(torus if agn else ()),
            Parameter(
                "gas_logz", Uniform(-2.0, 0.5), r"$\log Z_{\rm gas}/Z_\odot$", "dex", "gas-phase metallicity"
            ),
            Parameter("zred", Uniform(*zred), r"$z$", "", "redshift"),
            Parameter(
                "duste_qpah",
                TruncatedNormal(2.0, 2.0, 0.0, 7.0),
                r"$q_{\rm PAH}$",
                "per cent",
                "share of the dust mass in PAHs",
            ),
            Parameter(
                "duste_umin",
                TruncatedNormal(1.0, 10.0, 0.1, 25.0),
                r"$U_{\rm min}$",
                "",
                "minimum intensity of the radiation field that heats the dust",
            ),
            Parameter(
                "log_duste_gamma",
                TruncatedNormal(-2.0, 1.0, -4.0, 0.0),
                r"$\log \gamma$",
                "dex",
                "log10 of the share of dust that sees more than duste_umin",
            ),
        ),
    )


def prospector_alpha_14(zred: tuple[float, float] = (0.5, 2.5)) -> ParameterSpace:
    """The 14-parameter model of Alsing et al. (2020), section 4; ``zred``, which they count apart, is the fifteenth.

    The dust emission has no parameters: qpah 2 per cent, Umin 1, gamma 0.01.
    """
    whole = prospector_alpha(zred=zred).with_priors(logmass=Uniform(7.0, 12.5), dust_index=Uniform(-1.0, 0.4))
    constants = (("duste_qpah", 2.0), ("duste_umin", 1.0), ("log_duste_gamma", -2.0))
    return ParameterSpace(
        "prospector_alpha_14",
        tuple(p for p in whole.parameters if p.name not in dict(constants)),
        constants,
    )


def desi_bgs(zred: tuple[float, float] = (1e-3, 0.4)) -> ParameterSpace:
    """The 8-parameter model of DESI spectra of Alsing et al. (2020), section 3, and mass.

    Shares of the histories of ``starling.sfh.sfh_basis``: 4 that sum to 1 in the paper, 3 here; weights of its
    ``metallicity_basis``, dust and redshift.

    ``zred`` sets the age of the universe (9.5 to 13.7 Gyr for z below 0.4).
    """
    sticks = (
        Parameter(
            name,
            PowerLaw(float(N_HISTORIES - i)),
            rf"$z_{i}$",
            "",
            f"share of the mass that is not in histories 1 to {i} over that not in those before",
        )
        for i, name in enumerate(STICKS, start=1)
    )
    metals = (
        Parameter(name, Uniform(6.9e-5, 7.33e-3), rf"$\gamma_{i}$", "", f"metallicity component {i}")
        for i, name in enumerate(METALS, start=1)
    )
    return ParameterSpace(
        "desi_bgs",
        (
            Parameter(
                "logmass", Uniform(6.0, 12.5), r"$\log M_{\rm formed}$", "log10 Msun", "stellar mass formed"
            ),
            *sticks,
            *metals,
            Parameter(
                "dust2", Uniform(0.0, 3.0), r"$\tau_{\rm ISM}$", "", "optical depth of the dust at 5500 A"
            ),
            Parameter("zred", Uniform(*zred), r"$z$", "", "redshift; sets the age of the universe"),
        ),
    )


def training_space(space: ParameterSpace) -> ParameterSpace:
    """The space to draw training sets from: same support as ``space``, thicker tails (Mathews et al. 2023, s. 4.2).

    Student-t scales become 1.0, truncated normals three times as wide, conditional priors uniform on their support.
    """
    wider: dict[str, Prior] = {}
    for parameter in space.parameters:
        prior = parameter.prior
        if isinstance(prior, StudentT2):
            wider[parameter.name] = replace(prior, scale=max(1.0, prior.scale))
        elif isinstance(prior, TruncatedNormal):
            wider[parameter.name] = replace(prior, sigma=3.0 * prior.sigma)
        elif isinstance(prior, ConditionalPrior):
            wider[parameter.name] = Uniform(prior.low, prior.high)
    return replace(space.with_priors(**wider), name=f"{space.name}_training")
