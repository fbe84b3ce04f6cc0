"""``starling simulate``: training sets on disk."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starling.cli.stopping import stop_on_signal
from starling.cli.train import SPS_HOME_OPTION

if TYPE_CHECKING:
    from starling.emulators.simulate_config import SimulateConfig
    from starling.execution import ExecutionConfig


def simulate(
    config: Annotated[
        Path,
        typer.Argument(help="What to simulate (YAML), as configs/simulate_*.yaml or configs/train_*.yaml."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the sets; default runs/NAME/sets.")
    ] = None,
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of this machine; default: one for every core.")
    ] = None,
    execution: Annotated[
        Path | None,
        typer.Option(
            "--execution", "-x", help="Where to simulate (YAML): a cluster, as configs/execution_*.yaml."
        ),
    ] = None,
) -> None:
    """Draw galaxies, simulate them, and write the sets that emulators are trained on.

    What is there already is kept; what is missing or damaged is made. So Ctrl-C, SIGTERM or a crash lose a shard per
    worker at most: run the same command again. `starling train CONFIG --sets DIR` trains on the sets.
    """
    from rich.console import Console

    from starling.cli.display import training_display
    from starling.cli.shards import columns_of, open_configured, shard_job
    from starling.emulators.pipeline import make_sets
    from starling.emulators.simulate_config import load_simulate_config
    from starling.execution import Threads, open_executor
    from starling.simulation import StoppedError
    from starling.simulation.store import FAILED

    settings = load_simulate_config(config)
    folder = out or Path("runs") / settings.name / "sets"
    plans = settings.plans(lambda path: columns_of(config.parent / path))
    where = _where(settings, workers, execution, sum(plan.n_chunks for plan in plans.values()))
    here = where.kind == "threads"
    with training_display(Console()) as shown, stop_on_signal() as should_stop:
        hooks = shown._replace(should_stop=should_stop)
        with (
            open_configured(settings, sps_home, where.n_workers if here else 1) as source,
            nullcontext(Threads(source.threads)) if here else open_executor(where, hooks.say) as executor,
        ):
            try:
                failed = make_sets(
                    plans,
                    source.simulate,
                    source.description,
                    folder,
                    coordinates=source.coordinates,
                    executor=executor,
                    job=None if here else shard_job(settings, config.parent, folder, sps_home),
                    hooks=hooks,
                )
            except StoppedError as stopped:
                hooks.say(f"{stopped}; the same command goes on from there")
                raise typer.Exit(130) from None
    if source.description["surrogate"]:
        typer.echo("SURROGATE: these sets are not astrophysics")
    for name, plan in plans.items():
        lost = f", {failed[name]} failed: see {folder / name / FAILED}" if failed[name] else ""
        typer.echo(f"wrote {folder / name}: {plan.n} galaxies{lost}")


def _where(
    settings: "SimulateConfig", workers: int | None, execution: Path | None, n_shards: int
) -> "ExecutionConfig":
    """Where shards are made: as ``execution`` says; else in processes, and here where those would not help."""
    from starling.execution import ExecutionConfig, read_execution

    if execution is not None:
        if workers is not None:
            raise ValueError(
                "--workers are processes of this machine: leave it out where --execution says where"
            )
        return read_execution(execution)
    # FSPS has processes of its own, which share the galaxies of a shard
    here = settings.simulator.code == "fsps" or workers == 1 or n_shards == 1
    return ExecutionConfig(kind="threads" if here else "processes", workers=workers)
