"""Figures and the report of a fit, from its tree alone; nothing is computed from a model again.

Each ``plot_*`` returns a :class:`matplotlib.figure.Figure` that ``savefig`` writes; none touches ``pyplot``.
"""

from starling.plotting.comparison import Agreement, Comparison, agreement, plot_comparison
from starling.plotting.convergence import plot_convergence
from starling.plotting.corner import plot_corner
from starling.plotting.recovery import Recovery, plot_recovery, recovery
from starling.plotting.report import write_report
from starling.plotting.residuals import BandResidual, band_residuals, plot_residuals
from starling.plotting.sed import plot_sed
from starling.plotting.sfh import plot_sfh

__all__ = [
    "Agreement",
    "BandResidual",
    "Comparison",
    "Recovery",
    "agreement",
    "band_residuals",
    "plot_comparison",
    "plot_convergence",
    "plot_corner",
    "plot_recovery",
    "plot_residuals",
    "plot_sed",
    "plot_sfh",
    "recovery",
    "write_report",
]
