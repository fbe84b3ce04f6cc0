"""From photometry to posteriors: the likelihood as a NumPyro model, samplers over many galaxies, DataTrees."""

from starling.inference.convergence import Thresholds
from starling.inference.diagnostics import Diagnostics, diagnose
from starling.inference.error_model import ErrorModel, ZeroPoint
from starling.inference.fit import Draws, Progress, fit
from starling.inference.likelihood import galaxy_model, log_likelihood, log_likelihood_at
from starling.inference.noise import ModelError, Noise, prepare_noise, total_error
from starling.inference.observation import Observation, observe, stack, take
from starling.inference.posterior import open_posterior, save, to_datatree
from starling.inference.settings import SamplerSettings
from starling.inference.summary import summary_table

__all__ = [
    "Diagnostics",
    "Draws",
    "ErrorModel",
    "ModelError",
    "Noise",
    "Observation",
    "Progress",
    "SamplerSettings",
    "Thresholds",
    "ZeroPoint",
    "diagnose",
    "fit",
    "galaxy_model",
    "log_likelihood",
    "log_likelihood_at",
    "observe",
    "open_posterior",
    "prepare_noise",
    "save",
    "stack",
    "summary_table",
    "take",
    "to_datatree",
    "total_error",
]
