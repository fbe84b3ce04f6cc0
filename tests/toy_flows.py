"""Flows that train in seconds, how to draw from them, and galaxies for that."""

from dataclasses import replace

import jax
import numpy as np

from starling.amortised import AmortisedSettings, LatentChains, Stage, Trained
from starling.amortised.config import AmortiseConfig
from starling.inference import observe

BANDS = ("sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0", "twomass_J")


def toy_config(**changes):
    content = {
        "name": "toy",
        "bands": BANDS,
        "flow": {"width": 8, "depth": 2, "couplings": 2, "hidden": 8, "bins": 4},
        "training": {
            "steps": 8,
            "batch_size": 16,
            "warmup_steps": 2,
            "report_every": 2,
            "n_validation": 32,
            "checkpoint_minutes": 0.0,
        },
    }
    return AmortiseConfig.model_validate(content | changes)


EVERYTHING = Trained((0.0, 0.0, 0.0, 0.0), (9.0, 9.0, 99.0, 1.0))
SETTINGS = AmortisedSettings(
    stages=(Stage(2, 250), Stage(6, 700)),
    worth=0.3,
    n_components=2,
    batch_size=2,
    error_floor=0.0,
    model_error="none",
    chains=None,
)
NEVER = replace(
    SETTINGS,
    stages=(Stage(2, 250),),
    k_hat=-9.0,
    chains=LatentChains(n_warmup=150, mean_steps=5.0),
    ess=200.0,
)


def linear_data(model, n, snr=20.0, seed=1):
    """Galaxies from the prior of a model, their redshifts known."""
    theta = model.space.sample(jax.random.key(seed), (n,))
    flux = np.asarray(jax.vmap(model)(theta), float)
    error = np.abs(flux) / snr
    zred = np.asarray(theta)[:, model.space.index("zred")]
    noisy = flux + error * np.random.default_rng(seed).normal(size=flux.shape)
    return observe(noisy, error, fixed={"zred": zred})
