"""From a catalogue to nested posteriors on disk: galaxies over processes, results as those of a fit."""

import zlib
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
from starling.cli.judged import write_galaxies
from starling.cli.pipeline import HEADER_KEYS, Results, this_command, write_results
from starling.execution import Workers, hash_arrays, progress_bar, run
from starling.execution.folder import PARTS, load_part, part_path
from starling.forward import ForwardModel
from starling.inference import take
from starling.inference.nested import NestedSettings, load_record, nested_tree, preset

WORKER = "starling.cli.judge_worker"
# one thread for each process: XLA sizes its pool by this, BLAS by the others
ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
_PATIENCE_S = 0.5


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
    config, emulator, catalogue = inputs
    photometry = config.photometry
    settings = replace(how.settings, error_floor=photometry.error_floor, model_error=photometry.model_error)
    how = how._replace(settings=settings)
    model = emulator.model.select(catalogue.bands)
    how.model["sha256"] = hash_arrays((model, catalogue.bands))
    provenance = {
        "config": config.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "emulator": {key: emulator.header[key] for key in HEADER_KEYS if key in emulator.header},
        "seed": how.seed,
    }
    total = len(catalogue.ids)
    sampler = _Judge(inputs, how, model, folder, provenance)
    try:
        with progress_bar(console, total) as show, sampler:
            tree = run(
                sampler.part,
                catalogue.ids,
                folder,
                inputs={
                    "galaxies": hash_arrays((catalogue.observations, catalogue.ids)),
                    "emulator": how.model["sha256"],
                    "sampler": {"kind": "nested"} | asdict(settings),
                    "seed": how.seed,
                },
                batch_size=1,
                fresh=fresh,
                progress=show,
            )
    except KeyboardInterrupt:
        say_error(
            f"stopped; finished galaxies are in {folder}. To go on, run the same again:\n  {this_command()}"
        )
        raise typer.Exit(INTERRUPTED) from None
    extra = {name: ("galaxy", values) for name, values in catalogue.extra.items()}
    tree["catalogue"] = xr.Dataset(
        {"row": ("galaxy", catalogue.rows), **extra}, {"galaxy": list(catalogue.ids)}
    )
    return Results(tree, write_results(config, catalogue, tree, folder, title))


class _Judge:
    """Galaxies sampled in the background from the first one that is asked for; ``part`` is what ``run`` calls."""

    def __init__(
        self, inputs: Inputs, how: How, model: ForwardModel, folder: Path, provenance: Mapping[str, Any]
    ) -> None:
        self._catalogue, self._how, self._model = inputs.catalogue, how, model
        self._folder, self._provenance = folder / PARTS, provenance
        self._workers: Workers | None = None
        self._job_of: dict[int, int] = {}

    def __enter__(self) -> "_Judge":
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers.close()

    def part(self, number: int, start: int, stop: int, report: Callable[[float, str], None]) -> xr.DataTree:
        """The tree of one galaxy, when it is finished."""
        del number
        failure = self._wait(start, report)
        record = load_record(self._file(start), self._about(start))
        if record is None and not failure:
            failure = "its record cannot be read"
        return nested_tree(
            [record],
            take(self._catalogue.observations, np.arange(start, stop)),
            self._model,
            galaxy=self._catalogue.ids[start:stop],
            settings=self._how.settings,
            seed=self._seed(start),
            failures=[failure],
            attrs=self._provenance,
        )

    def _wait(self, row: int, report: Callable[[float, str], None]) -> str:
        """Why a galaxy has no record; empty where it has one."""
        if self._workers is None:
            self._start()
        assert self._workers is not None
        if row not in self._job_of:
            return ""
        while (failure := self._workers.result(self._job_of[row], _PATIENCE_S)) is None:
            ended, at_work = self._workers.state()
            states = ", ".join(at_work.values())
            report(0.0, f"{ended} of {len(self._job_of)} sampled; {states}")
        return failure

    def _start(self) -> None:
        """Begin with all galaxies that have no record and no part."""
        folder, ids = self._folder.parent, self._catalogue.ids
        missing = [
            row
            for row in range(len(ids))
            if load_record(self._file(row), self._about(row)) is None
            and load_part(part_path(folder, row), ids[row : row + 1]) is None
        ]
        galaxies = self._folder / "galaxies.safetensors"
        write_galaxies(self._catalogue.observations, galaxies)
        jobs = [
            {
                "row": row,
                "seed": self._seed(row),
                "file": str(self._file(row).absolute()),
                "about": self._about(row),
            }
            for row in missing
        ]
        self._job_of = {row: job for job, row in enumerate(missing)}
        set_up = {
            "galaxies": str(galaxies.absolute()),
            "settings": asdict(self._how.settings),
            "model": self._how.model,
        }
        self._workers = Workers(WORKER, set_up, jobs, self._how.workers, ONE_THREAD)

    def _file(self, row: int) -> Path:
        return self._folder / f"galaxy-{row:05d}.safetensors"

    def _about(self, row: int) -> dict[str, Any]:
        return {"galaxy": self._catalogue.ids[row], "seed": self._how.seed}

    def _seed(self, row: int) -> int:
        """The seed of a galaxy: of the run and the galaxy's id, wherever it stands."""
        words = [self._how.seed, zlib.crc32(self._catalogue.ids[row].encode())]
        return int(np.random.SeedSequence(words).generate_state(1)[0])
