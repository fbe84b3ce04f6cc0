"""``starling calibrate``: what an emulator knows of its errors, added to its file."""

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    emulator: Annotated[Path, typer.Argument(help="Emulator file.")],
    workdir: Annotated[
        Path, typer.Option(help="Folder of its training, with the simulated sets in WORKDIR/sets.")
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; default: EMULATOR itself.")] = None,
) -> None:
    """Measure how the errors of an emulator go together and where they are large, and what it was trained on.

    Fits need it that ask for model_error: covariance or local, and to count draws outside the emulator's domain.
    `starling train` does the same at its end; nothing is trained anew here but the small network of the errors.
    """
    import numpy as np
    from rich.console import Console

    from starling.emulators.calibrate import NEEDED, read_theta, residuals
    from starling.emulators.calibrate import calibrate as fit_errors
    from starling.emulators.config import TrainingConfig
    from starling.emulators.files import load_emulator, read_header, save_emulator
    from starling.emulators.pipeline import draw_plans, lines_of
    from starling.emulators.targets import totals
    from starling.simulation import read_set
    from starling.simulation.store import check_set
    from starling.validation.calibration import calibration_table, calibration_verdict

    console = Console()
    model, header = load_emulator(emulator), read_header(emulator)
    config = TrainingConfig.model_validate(header["config"])
    folder, plans = workdir / "sets", draw_plans(config)
    for name, plan in plans.items():
        check_set(folder / name, {"draws": plan.to_dict(), "simulator": header["simulator"]})
    training = [read_theta(folder / name, plan.n) for name, plan in plans.items() if name.startswith("train")]
    light = lines_of(config, header["simulator"])
    found = {}
    for name in NEEDED:
        simulated = read_set(folder / name, plans[name].n)
        found[name] = residuals(model, totals(model.space, model.softening, light, simulated))
    calibrated, statistics = fit_errors(model, found, np.concatenate(training), seed=config.seed)
    save_emulator(out or emulator, calibrated, header | {"calibration": statistics})
    console.print(calibration_table(statistics))
    console.print(calibration_verdict(statistics), highlight=False)
    console.print(f"wrote {out or emulator}", highlight=False, soft_wrap=True)
