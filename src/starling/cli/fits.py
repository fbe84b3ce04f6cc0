"""A fit of a catalogue as a run of parts, here or in other processes: what is sent to them, and how they open it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from starling.amortised import AmortisedSettings, Archive, Settled, settle
from starling.catalogues import Catalogue, FitConfig, load_catalogue
from starling.cli.compiled import keep_compiled
from starling.cli.flows import choose_flow
from starling.cli.opened import HEADER_KEYS, Emulator, exact_of, open_emulator
from starling.execution import Job
from starling.forward import ForwardModel, parts_of
from starling.inference import (
    Draws,
    Observation,
    Progress,
    SamplerSettings,
    diagnose,
    summary_table,
    take,
    to_datatree,
)
from starling.inference import fit as sample_galaxies
from starling.inference.nested import RecordOf, nested_for_the_rest, require_dynesty
from starling.inference.noise import model_share
from starling.runs import Fit, Report, hash_arrays, storage_of, work_on
from starling.runs.folder import PARTS, galaxy_path
from starling.runs.run import parts as parts_of_run

OPENER = "starling.cli.fits:open_parts"
_MOST_OF_VARIANCE = 0.5
_PATHS = ("base", "table", "data", "sps_home")


class Place(NamedTuple):
    """Where files are: ``base`` is the folder of the emulator, ``data`` that of the tables; ``table`` is one in place
    of the configuration's, and without ``data`` its folder is that of the others.

    With ``exact`` the model that the emulator imitates is in its place; ``sps_home`` is where that finds its torus.
    """

    base: Path
    table: Path | None
    data: Path | None
    exact: bool = False
    sps_home: Path | None = None


def open_catalogue(config: FitConfig, emulator: Emulator, place: Place) -> Catalogue:
    """The galaxies of a configuration, in the bands and the parameters' ranges that an emulator has."""
    return load_catalogue(
        config,
        available_bands=emulator.model.bands,
        bounds=bounds_of(emulator.model),
        table=place.table,
        folder=place.data,
        model=emulator.name,
    )


def open_fit(config: FitConfig, place: Place) -> tuple[Emulator, Catalogue]:
    """What a configuration fits with, and the galaxies."""
    emulator = open_emulator(config.model.emulator, place.base, tuple(config.photometry.bands))
    catalogue = open_catalogue(config, emulator, place)
    if place.exact:
        emulator = exact_of(emulator, catalogue.bands, place.sps_home, place.base)
    return emulator, catalogue


def bounds_of(model: ForwardModel) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of every parameter of a model."""
    low, high = model.space.bounds
    return {name: (float(a), float(b)) for name, a, b in zip(model.space.names, low, high, strict=True)}


class Planned(NamedTuple):
    """A run, the row of the catalogue that each of its galaxies is, and in words what makes the posteriors.

    ``warning`` says what is wrong with the model for such data; empty where nothing is.
    """

    fit: Fit
    order: np.ndarray
    engine: str
    warning: str = ""


def fit_of(
    config: FitConfig,
    catalogue: Catalogue,
    emulator: Emulator,
    truth: Mapping[str, np.ndarray] | None = None,
    folder: Path = Path(),
    results: Path | None = None,
) -> Planned:
    """The run of a catalogue. A path of a flow counts from ``folder``; ``results`` is the folder of the run.

    There what nested sampling finds is kept, galaxy by galaxy, for a part that is stopped half-way.
    """
    settings, model = config.sampler_settings, emulator.model.select(catalogue.bands)
    if settings.nested != "none":
        require_dynesty()
    flow, words = choose_flow(
        config.model.flow,
        config.model.emulator,
        folder,
        model,
        catalogue.observations,
        free_zero_points=settings.errors.free,
    )
    provenance = {
        "config": config.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "emulator": {key: emulator.header[key] for key in HEADER_KEYS if key in emulator.header},
        "seed": config.seed,
        "engine": words,
        "warning": (warning := _too_coarse(model, catalogue.observations, settings)),
    }
    # galaxies that one part of a model is enough for go together
    parts = parts_of(model, catalogue.observations.fixed, len(catalogue.ids))
    order = np.concatenate([part.rows for part in parts])
    sorted_truth = None if truth is None else {name: values[order] for name, values in truth.items()}
    ids = tuple(catalogue.ids[row] for row in order)
    observations = take(catalogue.observations, order)
    engine = _Engine(model, settings, flow)
    sample = _sampler(observations, ids, engine, config.seed, sorted_truth, provenance, results)
    inputs = {
        "galaxies": hash_arrays((catalogue.observations, catalogue.ids, dict(truth or {}))),
        "emulator": hash_arrays((model, catalogue.bands)),
        "sampler": asdict(settings),
        "seed": config.seed,
        **engine.identity,
    }
    storage = storage_of(config.output, len(ids))
    fit = Fit(ids, sample, inputs, settings.batch_size, summary_table, storage)
    return Planned(fit, order, words, warning)


def _too_coarse(model: ForwardModel, observations: Observation, settings: SamplerSettings) -> str:
    """Where the model's own error is most of what is not known of the data; empty where it is nowhere."""
    share = model_share(observations, model, settings.error_floor, settings.errors)
    worst = [row for row in np.argsort(-share, kind="stable") if share[row] > _MOST_OF_VARIANCE]
    if not worst:
        return ""
    named = ", ".join(f"{model.bands[row]} {share[row]:.0%}" for row in worst[:3])
    return (
        f"the model is coarser than the data in {len(worst)} of {len(model.bands)} bands: its own error is more than "
        f"half of the variance ({named}); posteriors are wider for it, and a more accurate emulator would mend that"
    )


def fit_job(config: FitConfig, place: Place, folder: Path) -> Job:
    """The parts of the run of a configuration, which has been begun in ``folder``; all paths are the workers' too."""
    where = {
        name: str(value.resolve()) if isinstance(value, Path) else value
        for name, value in place._asdict().items()
    }
    content = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return Job.of(OPENER, {"config": content, "place": where, "folder": str(folder.resolve())})


@contextmanager
def open_parts(settings: Mapping[str, Any]) -> Iterator[Callable[[int], int]]:
    """What makes the parts of a ``fit_job``."""
    keep_compiled()
    config = FitConfig.model_validate(settings["config"])
    where = settings["place"]
    paths = {name: None if where[name] is None else Path(where[name]) for name in _PATHS}
    place = Place(paths["base"] or Path(), paths["table"], paths["data"], where["exact"], paths["sps_home"])
    emulator, catalogue = open_fit(config, place)
    results = Path(settings["folder"])
    planned = fit_of(config, catalogue, emulator, folder=place.base, results=results)
    yield work_on(planned.fit, results)


class _Engine(NamedTuple):
    """What makes posteriors: a flow and what comes after it, or chains alone."""

    model: ForwardModel
    settings: SamplerSettings
    flow: Archive | None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the draws beside the sampler's settings."""
        if self.flow is None:
            return {}
        proposal = self.flow.proposal
        about = proposal.flow.shape, proposal.coordinates, proposal.bands, self.flow.trained
        return {
            "flow": hash_arrays((tuple(jax.tree.leaves(proposal)), repr(about))),
            "stages": json.loads(json.dumps(asdict(AmortisedSettings()))),
        }

    def settle(
        self,
        key: jax.Array,
        observations: Observation,
        size: int,
        progress: Callable[[Progress], None],
        record_of: RecordOf | None,
    ) -> Settled:
        """The posteriors of these galaxies, which chains fill up to ``size``, so that nothing compiles again."""
        if self.flow is not None:
            return settle(
                key,
                observations,
                self.model,
                self.flow,
                self.settings,
                progress=progress,
                record_of=record_of,
            )
        n = len(observations.flux)
        size = min(size, max(n, self.settings.together))
        padded = take(observations, np.minimum(np.arange(size), n - 1))
        draws = _first(sample_galaxies(key, padded, self.model, settings=self.settings, progress=progress), n)
        rest = key, observations, self.model, self.settings, draws, diagnose(draws)
        return Settled(
            *nested_for_the_rest(
                *rest, lambda share: progress(Progress(share, n, n, "nested sampling")), record_of
            )
        )


def _sampler(
    observations: Observation,
    ids: Sequence[str],
    engine: _Engine,
    seed: int,
    truth: Mapping[str, np.ndarray] | None,
    provenance: Mapping[str, Any],
    results: Path | None,
) -> Callable[[int, int, int, Report], xr.DataTree]:
    """What fits one part; the draws depend on the seed, the part and its galaxies only."""
    key = jax.random.key(seed)
    # a shorter last part is filled up, so that nothing compiles again and it is the same wherever it is made
    first, end = parts_of_run(len(ids), engine.settings.batch_size)[0]
    size = end - first

    def sample(part: int, start: int, stop: int, report: Report) -> xr.DataTree:
        mine = take(observations, np.arange(start, stop))
        settled = engine.settle(
            jax.random.fold_in(key, part),
            mine,
            size,
            lambda now: report(now.fraction, now.stage),
            None if results is None else lambda row: galaxy_path(results / PARTS, start + row),
        )
        return to_datatree(
            settled.draws,
            mine,
            engine.model,
            settled.diagnostics,
            galaxy=ids[start:stop],
            settings=engine.settings,
            truth=None if truth is None else {name: values[start:stop] for name, values in truth.items()},
            attrs=provenance,
        )

    return sample


def _first(draws: Draws, n: int) -> Draws:
    """The draws of the first ``n`` galaxies."""
    arrays: dict[str, Any] = {
        name: value[:n] for name, value in draws._asdict().items() if isinstance(value, np.ndarray)
    }
    extra = {name: value[:n] for name, value in draws.extra.items()}
    words = {name: getattr(draws, name)[:n] for name in ("problems", "every", "gave_up")}
    return draws._replace(**arrays, **words, extra=extra)
