"""One galaxy through dynesty: nested sampling with the likelihood of the chains, in the unit cube of the prior."""

import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from starling.forward import ForwardModel, parts_of
from starling.inference.density import Model
from starling.inference.likelihood import galaxy_model
from starling.inference.nested.compiled import Galaxy, Static, density_of, meaning, move, values
from starling.inference.nested.lanes import make_lanes
from starling.inference.nested.record import Record
from starling.inference.nested.settings import NestedSettings
from starling.inference.noise import prepare_all
from starling.inference.observation import Observation
from starling.inference.target import check_model

Report = Callable[[int, float], None]  # iterations so far, ln of what the evidence may still grow by
_REPORT_EVERY_S = 0.5
_PIECE = 4096


def require_dynesty() -> None:
    """ImportError that says how to install dynesty where it is missing."""
    if find_spec("dynesty") is None:
        raise ImportError("nested sampling needs dynesty: pip install 'starling-sed[judge]'")


def sample_galaxy(
    observation: Observation,
    forward_model: ForwardModel,
    settings: NestedSettings,
    seed: int,
    *,
    model: Model = galaxy_model,
    report: Report = lambda _iteration, _rest: None,
) -> Record:
    """Weighted posterior samples and the evidence of ONE galaxy (no leading axis on the observation).

    ``model`` as in ``fit``. The result depends on the observation, the forward model, the settings and the seed.
    Raises ImportError where dynesty is not installed, ValueError where nothing is free or the model does not fit.
    """
    require_dynesty()
    check_model(model, settings.model_error, settings.errors)
    if not forward_model.space.free(observation.fixed):
        raise ValueError("every parameter is fixed: nothing to fit")
    fixed = {name: np.asarray(value)[None] for name, value in observation.fixed.items()}
    forward_model = parts_of(forward_model, fixed, 1)[0].model
    cpu, wall = time.process_time(), time.perf_counter()
    batch_of_one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], observation)
    noise = prepare_all(
        batch_of_one, forward_model, settings.error_floor, settings.model_error, settings.errors
    )
    galaxy = Galaxy(observation, jax.tree.map(lambda leaf: leaf[0], noise), forward_model)
    static = Static(model, settings.error_floor, settings.slices)
    # traced, not run: outside of compiled code every operation of the model would be compiled by itself
    dim = jax.eval_shape(lambda given: jnp.zeros(density_of(given, static).size), galaxy).size
    static = static._replace(n_slices=3 + settings.slices * dim)
    results = _run(galaxy, static, settings, dim, seed, report)
    theta, remote, extra = _in_pieces(np.asarray(results.samples_u, np.float32), galaxy, static)
    log_weight = results.logwt - results.logz[-1]
    return Record(
        names=forward_model.space.names,
        free=forward_model.space.free(observation.fixed),
        theta=theta,
        remoteness=remote,
        extra=extra,
        log_weight=log_weight.astype(np.float32),
        log_likelihood=np.asarray(results.logl, np.float32),
        strand=np.asarray(results.samples_id, np.int32),
        log_evidence=float(results.logz[-1]),
        log_evidence_err=float(results.logzerr[-1]),
        information=float(results.information[-1]),
        n_calls=int(np.sum(results.ncall)),
        n_iterations=int(results.niter),
        finished=int(np.sum(results.ncall)) < settings.max_calls,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
    )


def _run(
    galaxy: Galaxy, static: Static, settings: NestedSettings, dim: int, seed: int, report: Report
) -> Any:
    """dynesty's results."""
    import dynesty

    def batch(u: np.ndarray) -> np.ndarray:
        return np.asarray(values(jnp.asarray(u, jnp.float32), galaxy, static=static))

    def moved(key: Any, starts: np.ndarray, axes: np.ndarray, threshold: float) -> Any:
        # the threshold in float32 is where other points are above it in float32
        single = (jnp.asarray(a, jnp.float32) for a in (starts, axes, max(threshold, -3e38)))
        return move(key, *single, galaxy, static=static)

    options: dict[str, Any] = {
        "nlive": settings.n_live,
        "bound": "multi",
        "sample": "rslice",
        "slices": static.n_slices,
        "rstate": np.random.default_rng(seed),
    }
    if settings.lanes > 1:
        options |= {
            "pool": make_lanes(batch, moved, settings.lanes),
            "queue_size": settings.lanes,
            "use_pool": {"prior_transform": False, "update_bound": False, "stop_function": False},
        }
    arguments = (lambda u: float(batch(u[None])[0]), lambda u: u, dim)
    shown = {"print_func": _reporter(report), "print_progress": True, "save_bounds": False}
    with warnings.catch_warnings():
        # dynesty's remarks on plateaus and efficiency; what matters of them is in the record
        warnings.simplefilter("ignore")
        if settings.n_effective:
            sampler = dynesty.DynamicNestedSampler(*arguments, **options)
            sampler.run_nested(
                dlogz_init=settings.dlogz,
                n_effective=settings.n_effective,
                maxcall=settings.max_calls,
                **shown,
            )
        else:
            sampler = dynesty.NestedSampler(*arguments, **options)
            sampler.run_nested(dlogz=settings.dlogz, maxcall=settings.max_calls, **shown)
    return sampler.results


def _reporter(report: Report) -> Callable[..., None]:
    """What dynesty calls after every iteration, handed on a few times a second."""
    last = 0.0

    def show(results: Any, iteration: int, *_: Any, **__: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S:
            last = now
            report(iteration, float(results.delta_logz))

    return show


def _in_pieces(
    u: np.ndarray, galaxy: Galaxy, static: Static
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """``meaning`` of all points, in pieces of one size: galaxies have different numbers, and one compilation."""
    parts = []
    for first in range(0, len(u), _PIECE):
        rows = np.minimum(np.arange(first, first + _PIECE), len(u) - 1)
        parts.append(jax.tree.map(np.asarray, meaning(jnp.asarray(u[rows]), galaxy, static=static)))
    whole: tuple[np.ndarray, np.ndarray, dict[str, Any]] = jax.tree.map(
        lambda *leaves: np.concatenate(leaves)[: len(u)], *parts
    )
    return whole
