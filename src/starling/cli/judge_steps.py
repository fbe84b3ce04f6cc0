"""From a catalogue to nested posteriors on disk: galaxies over processes, results as those of a fit."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import typer
import xarray as xr
from rich.console import Console

from starling.cli.errors import INTERRUPTED, say_error
from starling.cli.inputs import Inputs
from starling.cli.judged import GALAXIES, forget_attempts, seed_of, write_galaxies
from starling.cli.opened import HEADER_KEYS
from starling.cli.pipeline import this_command
from starling.cli.results import Results, write_results
from starling.execution import Job, Processes
from starling.forward import ForwardModel
from starling.inference import summary_table, take
from starling.inference.nested import NestedSettings, load_record, nested_tree, preset
from starling.runs import Fit, hash_arrays, progress_bar, run
from starling.runs.folder import PARTS, galaxy_path, part_path
from starling.runs.lock import locked
from starling.runs.parts import load_part


class How(NamedTuple):
    """How to judge: settings, seed, processes, and the forward model as ``open_judged`` takes it."""

    settings: NestedSettings
    seed: int
    workers: int
    model: dict[str, Any]


def settings_of(name: str, changed: Mapping[str, int]) -> NestedSettings:
    """A preset with some numbers changed; fewer live points than lanes make fewer lanes."""
    settings = preset(name)
    n_live = changed.get("n_live", settings.n_live)
    numbers: dict[str, Any] = {"lanes": min(settings.lanes, max(n_live // 4, 1)), **changed}
    return replace(settings, **numbers)


def judge_catalogue(
    console: Console, inputs: Inputs, how: How, folder: Path, *, fresh: bool, title: str
) -> Results:
    """Sample every galaxy of a catalogue and write posterior, summary, findings and report into ``folder``."""
    config, emulator, catalogue, _ = inputs
    photometry = config.photometry
    settings = replace(
        how.settings,
        error_floor=photometry.error_floor,
        model_error=photometry.model_error,
        errors=photometry.errors,
    )
    how = how._replace(settings=settings)
    model = emulator.model.select(catalogue.bands)
    how.model["sha256"] = hash_arrays((model, catalogue.bands))
    provenance = {
        "config": config.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "emulator": {key: emulator.header[key] for key in HEADER_KEYS if key in emulator.header},
        "seed": how.seed,
    }
    described = {
        "galaxies": hash_arrays((catalogue.observations, catalogue.ids)),
        "emulator": how.model["sha256"],
        "sampler": {"kind": "nested"} | asdict(settings),
        "seed": how.seed,
    }
    total = len(catalogue.ids)
    sampler = _Judge(inputs, how, model, folder, provenance)
    with locked(folder):  # nobody discards parts before the results are written
        try:
            with progress_bar(console, total) as show:
                tree = run(
                    Fit(tuple(catalogue.ids), sampler.part, described, batch_size=1),
                    folder,
                    fresh=fresh,
                    progress=show,
                    command=this_command(),
                )
        except KeyboardInterrupt:
            say_error(
                f"stopped; finished galaxies are in {folder}. To go on, run the same again:\n  {this_command()}"
            )
            raise typer.Exit(INTERRUPTED) from None
        return write_results(config, catalogue, summary_table(tree), tree, folder, title)


class _Judge:
    """What ``run`` calls for the tree of a galaxy; the first call samples all galaxies that have no record yet."""

    def __init__(
        self, inputs: Inputs, how: How, model: ForwardModel, folder: Path, provenance: Mapping[str, Any]
    ) -> None:
        self._catalogue, self._how, self._model = inputs.catalogue, how, model
        self._folder, self._provenance = folder, provenance
        self._failures: dict[int, str] | None = None

    def part(self, number: int, start: int, stop: int, report: Callable[[float, str], None]) -> xr.DataTree:
        """The tree of one galaxy."""
        del number
        if self._failures is None:
            self._failures = self._sample(report)
        record = load_record(galaxy_path(self._folder / PARTS, start), self._about(start))
        failure = "" if record is not None else self._failures.get(start, "its record cannot be read")
        return nested_tree(
            [record],
            take(self._catalogue.observations, np.arange(start, stop)),
            self._model,
            galaxy=self._catalogue.ids[start:stop],
            settings=self._how.settings,
            seed=seed_of(self._how.seed, self._catalogue.ids[start]),
            failures=[failure],
            attrs=self._provenance,
        )

    def _sample(self, report: Callable[[float, str], None]) -> dict[int, str]:
        """Sample every galaxy that has neither a record nor a part; why those failed that did."""
        ids, parts = self._catalogue.ids, self._folder / PARTS
        missing = [
            row
            for row in range(len(ids))
            if load_record(galaxy_path(parts, row), self._about(row)) is None
            and load_part(part_path(self._folder, row), ids[row : row + 1]) is None
        ]
        if not missing:
            return {}
        forget_attempts(parts)
        write_galaxies(self._catalogue.observations, parts / GALAXIES)
        job = Job.of(
            "starling.cli.judged:open_galaxies",
            {
                "folder": str(parts.absolute()),
                "settings": asdict(self._how.settings),
                "model": self._how.model,
                "about": [self._about(row) for row in range(len(ids))],
            },
        )
        failures: dict[int, str] = {}
        workers = min(self._how.workers, len(missing))
        report(0.0, f"sampling {len(missing)} galaxies")
        with Processes(workers) as processes:
            for count, done in enumerate(processes.run(job, missing), start=1):
                report(0.0, f"{count} of {len(missing)} sampled")
                if done.result:
                    failures[done.part] = str(done.result)
        return failures

    def _about(self, row: int) -> dict[str, Any]:
        return {"galaxy": self._catalogue.ids[row], "seed": self._how.seed}
