"""Configurations of flows that train in seconds."""

from starling.amortised.config import AmortiseConfig

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
