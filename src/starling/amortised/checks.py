"""Whether a flow is for a forward model and its galaxies."""

from starling.amortised.proposal import Proposal
from starling.forward import ForwardModel, is_linear_in_mass
from starling.inference.observation import Observation


def check_fits(proposal: Proposal, observations: Observation, forward_model: ForwardModel) -> None:
    """ValueError unless a proposal is for these parameters, and the model says that its flux is linear in the mass."""
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
    if coordinates.has_mass and not is_linear_in_mass(forward_model):
        raise ValueError(
            "a flow takes for granted that the flux is linear in 10**logmass, and the model does not say so: give it "
            "`linear_in_mass = True` if it is, fit with chains alone (`model: {flow: none}`) if not"
        )
