"""Training on derivatives: they are those of the simulator and of the network, and they bring the gradient closer."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from starling.emulators.direct import DirectRows, direct_task
from starling.emulators.networks import Architecture
from starling.emulators.pipeline import train_emulator
from starling.emulators.prepare import Prepared, prepare
from starling.emulators.sobolev import SobolevTask, rows_with_tangents, tangent_error
from starling.emulators.training import train_model
from starling.parameters import Parameter, ParameterSpace
from starling.priors import Uniform
from starling.simulation import SimulatedSet
from starling.simulation.directions import DIRECTION, direction_of, with_tangents, without_tangents
from starling.spaces import training_space
from tests.emulators.conftest import BANDS, DESCRIPTION, LIGHT, NETWORKS, SPACE, make_config, toy_components

STAGES = [{"epochs": 10, "batch_size": 64}]


def simulated(seed: int, n: int) -> SimulatedSet:
    theta = training_space(SPACE).sample(jax.random.key(seed), (n,))
    compute = jax.jit(jax.vmap(with_tangents(lambda point: toy_components(point)._asdict(), SPACE)))
    outputs = {name: np.asarray(array) for name, array in compute(theta).items()}
    return SimulatedSet(np.asarray(theta), outputs, 0)


@pytest.fixture(scope="module")
def sets() -> dict[str, SimulatedSet]:
    return {"train": simulated(0, 1024), "validation": simulated(1, 512)}


def prepared(sets: dict[str, SimulatedSet], kind: str, weight: float) -> Prepared:
    config = make_config(network=NETWORKS[kind], training={"sobolev_weight": weight, "stages": STAGES})
    return prepare(config, sets, LIGHT)


def test_directions_are_of_unit_variance_in_whitened_coordinates() -> None:
    theta = SPACE.sample(jax.random.key(0), (512,))
    directions = jax.vmap(lambda point: direction_of(SPACE, point))(theta)
    whitened = jax.vmap(lambda t, d: jax.jvp(SPACE.unconstrain, (t,), (d,))[1])(theta, directions)
    whitened = np.asarray(whitened)
    # rounding where a prior ends makes a few of them what they are not
    assert np.median(np.abs(whitened)) == pytest.approx(0.6745, rel=0.03)
    assert np.std(np.clip(whitened, -4, 4)) == pytest.approx(1.0, abs=0.03)
    assert len(np.unique(np.asarray(directions), axis=0)) == 512
    again = direction_of(SPACE, theta[7])
    np.testing.assert_array_equal(again, directions[7])


def test_tangents_of_rows_and_errors_are_derivatives() -> None:
    """Against central differences of the whole way from parameters to errors."""
    space = ParameterSpace("cube", tuple(Parameter(name, Uniform(-1.0, 1.0)) for name in "abc"))

    def simulate(theta: Array) -> dict[str, Array]:
        return {"values": jnp.stack([jnp.sin(2.0 * theta[0]) * theta[1], jnp.exp(theta[2] * theta[0])])}

    def make(theta: Array, outputs: Any) -> DirectRows:
        return DirectRows(jnp.cos(theta), jnp.log(3.0 + outputs["values"]))

    theta = 0.5 * space.sample(jax.random.key(0), (64,))
    outputs = jax.vmap(with_tangents(simulate, space))(theta)
    rows = rows_with_tangents(make, theta, outputs)
    task = direct_task(Architecture(3, 2, width=8, depth=1), rows.rows)
    model = task.start(0)
    ends = [
        task.error(model, make(point, jax.vmap(simulate)(point)))
        for point in (theta + sign * 3e-3 * outputs[DIRECTION] for sign in (1.0, -1.0))
    ]
    # float32: 1e-7 of rounding over a step of 6e-3, and the third derivative over the step's square
    np.testing.assert_allclose(
        tangent_error(task, model, rows), (ends[0] - ends[1]) / 6e-3, rtol=2e-3, atol=2e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "optimizer"), [("direct", "nadam"), ("mixture", "muon")])
def test_training_on_derivatives_brings_derivatives_closer(
    tmp_path: Path, sets: dict[str, SimulatedSet], kind: str, optimizer: str
) -> None:
    errors = {}
    for weight in (1e-12, 0.3):  # with as good as no weight it is training on values
        made = prepared(sets, kind, weight)
        config = make_config(
            training={
                "sobolev_weight": weight,
                "stages": STAGES,
                "optimizer": optimizer,
                "learning_rate": 2e-2 if optimizer == "muon" else 5e-3,
            }
        ).training
        model = train_model(
            made.task,
            made.train,
            made.validation,
            config,
            seed=1,
            workdir=tmp_path / str(weight),
            run_hash="one",
            output_names=[str(i) for i in range(20)],
        )
        assert isinstance(made.task, SobolevTask)
        change = jax.jit(tangent_error)(made.task.task, model, made.validation)
        errors[weight] = float(jnp.sqrt(jnp.mean(change[:, : len(BANDS)] ** 2)))
    assert errors[0.3] < errors[1e-12]


@pytest.mark.slow
def test_sets_without_derivatives_are_refused(sets: dict[str, SimulatedSet]) -> None:
    plain = {name: s._replace(outputs=without_tangents(s.outputs)) for name, s in sets.items()}
    with pytest.raises(ValueError, match="sobolev_weight needs sets with derivatives"):
        prepared(plain, "mixture", 0.1)
    # and derivatives that nobody asked for do no harm
    rows: Any = prepared(sets, "mixture", 0.0).train
    np.testing.assert_array_equal(rows.theta, prepared(plain, "mixture", 0.0).train.theta)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["direct", "mixture"])
def test_an_emulator_from_galaxies_drawn_as_it_goes_and_their_derivatives(
    tmp_path: Path, sets: dict[str, SimulatedSet], kind: str
) -> None:
    """Both at once, from the configuration to the file; a run without a simulator is refused."""
    config = make_config(
        network=NETWORKS[kind],
        sets={"n_train": 1024, "chunk": 256},
        training={
            "stages": [{"epochs": 30, "batch_size": 64}],
            "sobolev_weight": 0.03,
            "fresh": {"rows": 512, "epochs": 2},
        },
    )
    whole = dict(sets) | {"test_prior": sets["validation"], "test_training": sets["validation"]}
    one = with_tangents(lambda point: toy_components(point)._asdict(), SPACE)
    compute = jax.jit(jax.vmap(one))

    def simulator(theta: np.ndarray) -> dict[str, np.ndarray]:
        assert theta.shape == (256, len(SPACE))
        return {name: np.asarray(array) for name, array in compute(jnp.asarray(theta)).items()}

    out = tmp_path / "toy.safetensors"
    with pytest.raises(ValueError, match="takes the simulator"):
        train_emulator(config, whole, DESCRIPTION, workdir=tmp_path, out=out)
    emulator = train_emulator(config, whole, DESCRIPTION, workdir=tmp_path, out=out, simulator=simulator)
    assert np.all(np.isfinite(emulator.sigma_mag))
    assert float(jnp.median(emulator.sigma_mag)) < 0.2
    assert not (tmp_path / "fresh").exists()
