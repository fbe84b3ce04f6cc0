"""Which flow a fit takes, and that it says so."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from commands import call
from toy_flows import EVERYTHING, toy_config

from starling.amortised import save_proposal
from starling.amortised.training import start_proposal
from starling.cli.flows import choose_flow
from starling.emulators import load_default
from starling.inference import observe

KNOWN = observe(np.ones((2, 1)), np.ones((2, 1)), fixed={"zred": np.ones(2)})
FREE = KNOWN._replace(fixed={})


def test_the_package_has_a_flow_for_its_emulator() -> None:
    model, here = load_default().select(("acs_wfc_f814w", "wfc3_ir_f160w")), Path()
    assert choose_flow("auto", "default", here, model, KNOWN).archive is not None
    assert choose_flow("auto", "prospector_alpha", here, model, KNOWN).archive is not None
    none, words = choose_flow("none", "default", here, model, KNOWN)
    assert (none, words) == (None, "chains alone, as configured")
    free = choose_flow("auto", "default", here, model, FREE).archive
    assert free is not None
    assert free.proposal.coordinates.fixed == ()
    dustless = KNOWN._replace(fixed=KNOWN.fixed | {"dust2": np.zeros(2)})
    none, words = choose_flow("auto", "default", here, model, dustless)
    assert none is None
    assert "galaxies with known zred, or nothing; these have zred, dust2 fixed" in words
    none, words = choose_flow("auto", "mine.safetensors", here, model, KNOWN)
    assert none is None
    assert "`starling amortise` trains one" in words


def test_a_flow_that_was_asked_for_is_for_this_or_an_error(tmp_path: Path) -> None:
    model = load_default().select(("acs_wfc_f814w",))
    with pytest.raises(ValueError, match=r"there is no file .*mine.safetensors; `starling amortise CONFIG`"):
        choose_flow("mine.safetensors", "default", tmp_path, model, KNOWN)


@pytest.mark.slow
def test_a_fit_with_a_flow_of_ones_own(inputs: Path, toy) -> None:
    names = {"name": "toy", "bands": toy.bands}
    save_proposal(inputs / "flow.safetensors", start_proposal(toy_config(**names), toy), EVERYTHING, names)
    config = yaml.safe_load((inputs / "config.yaml").read_text())
    (inputs / "config.yaml").write_text(yaml.safe_dump(config | {"model": {"flow": "flow.safetensors"}}))
    code, text = call("fit", inputs / "config.yaml", "--out", inputs / "out")
    assert code == 0, text
    assert "5 of 5 galaxies converged" in text
    with xr.open_datatree(inputs / "out" / "posterior.nc", engine="h5netcdf") as tree:
        assert tree.attrs["engine"].startswith("the flow flow.safetensors")
        stages = tree["diagnostics"]["stage"].values.astype(str)
        assert all(stage.startswith(("weights", "latent")) for stage in stages)
        assert np.all(np.isfinite(tree["evidence"]["log_evidence"]))
    again, text = call("fit", inputs / "config.yaml", "--out", inputs / "out")
    assert again == 0
    (inputs / "config.yaml").write_text(yaml.safe_dump(config | {"model": {"flow": "none"}}))
    code, text = call("fit", inputs / "config.yaml", "--out", inputs / "out")
    assert code == 1
    assert "flow" in text
