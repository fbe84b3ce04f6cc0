"""What a path is taken for, and what the command line says of it."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from astropy.table import Table
from parrot_files import save_object
from typer.testing import CliRunner

from starling.cli import app
from starling.cli.opened import open_emulator
from starling.forward import ForwardModel
from starling.published import is_published, open_published, speculator_model

BANDS = ("acs_wfc_f606w", "wfc3_ir_f160w", "spitzer_irac_ch2")


def test_looks(tmp_path: Path) -> None:
    assert is_published(tmp_path)
    assert is_published(tmp_path / "model.pkl")
    assert is_published(tmp_path / "parrot.npy")
    assert not is_published(tmp_path / "mine.safetensors")


def test_the_published_networks(speculator_folder: Path) -> None:
    emulator = open_emulator(str(speculator_folder), Path(), BANDS)
    assert isinstance(emulator.model, ForwardModel)
    assert emulator.model.bands == BANDS
    assert "Speculator" in emulator.name
    assert "NO EMISSION LINES" in emulator.note
    # one of its files stands for the folder
    from_file = open_published(speculator_folder / "400_1100" / "model.pkl", BANDS[:1])
    assert from_file.model.bands == BANDS[:1]
    assert from_file.header["surrogate"] is False


def test_a_parrot(single: list[Any], tmp_path: Path) -> None:
    save_object(tmp_path / "parrot.npy", single)
    emulator = open_emulator("parrot.npy", tmp_path)
    assert "Parrot" in emulator.name
    assert set(BANDS) <= set(emulator.model.bands)


def test_what_cannot_be_fitted_with(
    items: dict[str, Any], photometry_items: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="folder without an emulator: Speculator's networks are 100_400"):
        open_published(tmp_path, BANDS)
    (tmp_path / "one.pkl").write_bytes(pickle.dumps(list(items.values())))
    with pytest.raises(ValueError, match=r"one Speculator spectrum network, 4000 to 5000 Angstrom"):
        open_published(tmp_path / "one.pkl", BANDS)
    (tmp_path / "photometry.pkl").write_bytes(pickle.dumps(list(photometry_items.values())))
    with pytest.raises(ValueError, match=r"photometry file for u, g, r.*does not name its inputs"):
        open_published(tmp_path / "photometry.pkl", BANDS)


def test_errors_of_the_folder_and_the_filters(
    speculator_folder: Path, items: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"lacks 100_400/model\.pkl, 400_1100/model\.pkl"):
        speculator_model(tmp_path, BANDS)
    with pytest.raises(ValueError, match=r"end at 29\.9 um.*leave out herschel_pacs_70"):
        speculator_model(speculator_folder, (*BANDS, "herschel_pacs_70"))
    with pytest.raises(ValueError, match="acs_wfc_f606w"):
        speculator_model(speculator_folder, ("acs_wfc_f606",))
    for name in ("100_400", "400_1100", "1100_30000"):
        (tmp_path / name).mkdir()
        shutil.copy(speculator_folder / name / "model.pkl", tmp_path / name)
    narrow = items | {
        "n_parameters": 3,
        "W": [items["W"][0][:3], *items["W"][1:]],
        "architecture": [3, 16, 16, 5],
    }
    narrow |= {name: items[name][:3] for name in ("parameters_shift", "parameters_scale")}
    (tmp_path / "400_1100" / "model.pkl").write_bytes(pickle.dumps(list(narrow.values())))
    with pytest.raises(ValueError, match="is not a spectrum network of the 14-parameter"):
        speculator_model(tmp_path, BANDS)


@pytest.mark.slow
def test_fit_with_the_published_networks(speculator_folder: Path, tmp_path: Path) -> None:
    """Three galaxies of the catalogue's kind through the command, with chains too short to converge."""
    import jax
    import numpy as np

    model = speculator_model(speculator_folder, BANDS)
    theta = np.array(model.space.sample(jax.random.key(3), (3,)))
    theta[:, 0], theta[:, -1] = 10.5, [0.7, 1.2, 2.0]
    flux = np.asarray(jax.vmap(model)(theta.astype("f4")), float) * 3.631e9
    columns = {"id": ["a", "b", "c"], "z": theta[:, -1]}
    columns |= {
        f"{kind}_{b}": flux[:, i] * f for i, b in enumerate(BANDS) for kind, f in (("f", 1), ("e", 0.05))
    }
    Table(columns).write(tmp_path / "table.ecsv")
    sampler = {"n_warmup": 15, "n_draws": 15, "chunk": 15, "n_chains": 2, "batch_size": 3, "n_descents": 1}
    config = {
        "table": {"path": "table.ecsv", "id": "id"},
        "redshift": "z",
        "photometry": {
            "unit": "uJy",
            "pattern": {"flux": "f_{}", "error": "e_{}"},
            "bands": {b: b for b in BANDS},
        },
        "model": {"emulator": str(speculator_folder)},
        "sampler": sampler | {"descent_steps": 10, "mean_steps": 5.0},
        "output": {"report": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = CliRunner().invoke(
        app, ["fit", str(tmp_path / "config.yaml"), "-o", str(tmp_path / "out"), "--debug"]
    )
    assert done.exit_code == 0, done.output
    assert "Speculator, Prospector-alpha spectra" in done.output
    assert "NO EMISSION LINES" in done.output
    summary = Table.read(tmp_path / "out" / "summary.ecsv")
    assert len(summary) == 3
    for name in ("logmass_50", "log_stellar_mass_50", "u_minus_v_50", "log_lir_50"):
        assert np.all(np.isfinite(np.asarray(summary[name]))), name
