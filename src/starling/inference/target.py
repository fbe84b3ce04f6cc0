"""What is sampled for one galaxy of a fit: the log density of a user's or our own model, given the prepared errors."""

import inspect

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from starling.forward import ForwardModel, KnowsDomain
from starling.inference.density import FlatDensity, Model, flat_density
from starling.inference.error_model import ErrorModel
from starling.inference.likelihood import galaxy_model
from starling.inference.noise import ModelError, Noise
from starling.inference.observation import Observation
from starling.inference.shear import can_shear, sheared


def takes_noise(model: Model) -> bool:
    """Whether a model can be handed the errors that were prepared."""
    known = inspect.signature(model).parameters
    return "noise" in known or any(p.kind is p.VAR_KEYWORD for p in known.values())


def check_model(model: Model, model_error: ModelError, errors: ErrorModel) -> None:
    """ValueError where a model cannot be told of the errors that the settings ask for."""
    if takes_noise(model):
        return
    if model_error != "band" or errors != ErrorModel():
        what = f"model_error: {model_error}" if model_error != "band" else f"an error model ({errors.words})"
        raise ValueError(
            f"the model takes no `noise`, which {what} needs: take it and hand it on to galaxy_model"
        )


def galaxy_density(
    model: Model,
    observation: Observation,
    forward_model: ForwardModel,
    noise: Noise,
    error_floor: float,
) -> FlatDensity:
    """The log density of one galaxy; a model that takes no ``noise`` makes its own from ``error_floor``.

    That of ``galaxy_model`` itself is in the coordinates of ``starling.inference.shear``, where there is a mass, and no
    zero point is sampled with it.
    """
    if model is galaxy_model and noise.free is None and can_shear(forward_model, observation):
        return sheared(observation, forward_model, noise)
    prepared = {"noise": noise} if takes_noise(model) else {}
    return flat_density(model, observation, forward_model, error_floor=error_floor, **prepared)


def remoteness(forward_model: ForwardModel, theta: Float[Array, " param"]) -> Float[Array, ""]:
    """How far out of the forward model's domain a point is (its edge is at 1); NaN where it does not know."""
    if isinstance(forward_model, KnowsDomain):
        return forward_model.remoteness(theta)
    return jnp.full((), jnp.nan, theta.dtype)
