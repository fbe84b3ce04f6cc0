"""Whether a flow is for a forward model and its galaxies."""

import jax
import numpy as np
from jax import Array

from starling.amortised.proposal import Proposal
from starling.forward import ForwardModel
from starling.inference.coordinates import MASS
from starling.inference.observation import Observation


def check_fits(proposal: Proposal, observations: Observation, forward_model: ForwardModel) -> None:
    """ValueError unless a proposal is for these parameters, and the model's flux is linear in the mass."""
    coordinates = proposal.coordinates
    if forward_model.space != coordinates.space:
        raise ValueError(
            f"the flow is for the space {coordinates.space.name!r}, the model has {forward_model.space.name!r}, or "
            "other priors: train one for it with `starling amortise`"
        )
    if set(observations.fixed) != set(coordinates.fixed):
        raise ValueError(
            f"the flow is for galaxies with known {', '.join(coordinates.fixed) or 'nothing'}, these have "
            f"{', '.join(observations.fixed) or 'nothing'} fixed: train one for them with `starling amortise`"
        )
    if not set(forward_model.bands) & set(proposal.bands):
        raise ValueError("the flow knows none of the bands: train one with `starling amortise`")
    if coordinates.has_mass and not _linear_in_mass(forward_model):
        raise ValueError("the flux of the model is not linear in 10**logmass, which a flow takes for granted")


def _linear_in_mass(forward_model: ForwardModel) -> bool:
    space = forward_model.space
    theta = space.sample(jax.random.key(0), (4,))
    index = space.index(MASS)
    low, high = (float(end[index]) for end in space.bounds)
    flux = [np.asarray(_flux(forward_model, theta.at[:, index].set(m))) for m in (low, high)]
    return bool(np.allclose(flux[0] * 10.0 ** (high - low), flux[1], rtol=1e-3))


@jax.jit
def _flux(forward_model: ForwardModel, theta: Array) -> Array:
    return jax.vmap(forward_model)(theta)
