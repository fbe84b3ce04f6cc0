"""``starling mock``: a catalogue of simulated galaxies with known truths."""

from pathlib import Path
from typing import Annotated

import typer

from starling.cli.train import SPS_HOME_OPTION


def mock(
    config: Annotated[Path, typer.Argument(help="What to simulate (YAML), as configs/mock_quickstart.yaml.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Table to write; its suffix says the format.")
    ] = Path("mock.ecsv"),
    sps_home: Annotated[Path | None, SPS_HOME_OPTION] = None,
) -> None:
    """Simulate galaxies with the exact model, add noise, and write their fluxes (microJy) beside the truth."""
    from starling.cli.simulator import build_model, describe_model
    from starling.simulation.mock import mock_catalogue, read_mock_config
    from starling.spaces import prospector_alpha

    settings = read_mock_config(config)
    space = prospector_alpha(agn=settings.agn, zred=settings.zred)
    model = build_model("bagpipes", space, list(settings.depth_mag), sps_home)
    table = mock_catalogue(model, settings)
    simulator = describe_model(model)
    table.meta = {
        "simulated": "not an observation: galaxies drawn from the prior of the exact model, Gaussian noise added",
        "tables": simulator["tables"],
        "surrogate": simulator["surrogate"],
        "config": settings.model_dump(mode="json"),
    }
    table.write(out, overwrite=True)
    typer.echo(f"wrote {len(table)} galaxies to {out}")
