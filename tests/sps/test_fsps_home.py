"""What an FSPS data directory must hold."""

import os
import shutil
from pathlib import Path

import pytest
from surrogate_home import N_OPENED

from starling.spaces import desi_bgs, prospector_alpha
from starling.sps.fsps import FspsError, Libraries, check_home
from starling.sps.fsps.home import cautions, check_path

WHEEL = Libraries("mist", "c3k_lr", "DL07")


@pytest.fixture
def home(surrogate_home: Path, tmp_path: Path) -> Path:
    """A copy whose files can be taken away."""
    copy = tmp_path / "home"
    shutil.copytree(surrogate_home, copy, copy_function=os.link)
    return copy


def test_a_complete_directory(surrogate_home: Path) -> None:
    found = check_home(surrogate_home, WHEEL)
    assert found.path == surrogate_home
    assert found.surrogate
    assert found.sha256 == check_home(surrogate_home, WHEEL).sha256


def test_a_directory_without_the_mark_is_no_surrogate_and_other_contents_have_another_hash(
    home: Path,
) -> None:
    before = check_home(home, WHEEL)
    (home / "SURROGATE.json").unlink()
    after = check_home(home, WHEEL)
    assert not after.surrogate
    assert after.sha256 == before.sha256
    changed = home / "dust/Gordon03_table4.dat"
    text = changed.read_text()
    changed.unlink()
    changed.write_text(text.replace("1", "2", 1))
    assert check_home(home, WHEEL).sha256 != before.sha256


@pytest.mark.parametrize(
    "name",
    [
        "ISOCHRONES/MIST/isoc_feh_m125_afe_p0_vvcrit0.4_full.dat",
        "SPECTRA/C3K/c3k_lr/c3k_lr_feh-0.75_afe+0.0.spec.bin",
        "SPECTRA/Hot_spectra/WMBASIC_z0.0140.spec",
        "SPECTRA/xrb/xsp_feh-0.50.spec",
        "dust/dustem/DL07_MW3.1_60.dat",
        "dust/Nenkova08_y010_torusg_n10_q2.0.dat",
        "nebular/ZAU_ND_mist.cont",
        "data/allfilters.dat",
    ],
)
def test_what_is_missing_is_named(home: Path, name: str) -> None:
    (home / name).unlink()
    with pytest.raises(FspsError, match=name.replace("+", r"\+")):
        check_home(home, WHEEL)


def test_a_missing_list_of_metallicities_is_named_and_not_what_it_would_list(home: Path) -> None:
    (home / "ISOCHRONES/MIST/zlegend.dat").unlink()
    with pytest.raises(FspsError, match=r"reads: ISOCHRONES/MIST/zlegend.dat, .*with 13 metallicities"):
        check_home(home, WHEEL)


def test_a_file_that_is_cut_short_is_named(home: Path) -> None:
    name = "SPECTRA/C3K/c3k_lr/c3k_lr_feh+0.00_afe+0.0.spec.bin"
    content = (home / name).read_bytes()
    (home / name).unlink()
    (home / name).write_bytes(content[:-4])
    with pytest.raises(FspsError, match=r"c3k_lr_feh\+0.00.*shorter than FSPS expects"):
        check_home(home, WHEEL)


@pytest.mark.parametrize(
    ("libraries", "missing"),
    [
        (Libraries("mist", "miles", "DL07"), "SPECTRA/MILES/zlegend.dat"),
        (Libraries("pdva", "c3k_lr", "DL07"), "ISOCHRONES/Padova/Padova2007/zlegend.dat"),
        (Libraries("bpss", "bpass", "DL07"), "bpass_v2.2_salpeter100.ssp.bin"),
        (Libraries("mist", "c3k_lr", "THEMIS"), "THEMIS_MW3.1_00.dat.* and 3 more"),
        (Libraries("mist", "basel", "DL07"), "spectra 'basel', which are not known"),
    ],
)
def test_a_directory_is_checked_for_the_libraries_that_fsps_has(
    surrogate_home: Path, libraries: Libraries, missing: str
) -> None:
    with pytest.raises(FspsError, match=missing):
        check_home(surrogate_home, libraries)


def test_paths(home: Path, tmp_path: Path) -> None:
    with pytest.raises(FspsError, match="--sps-home or the environment variable SPS_HOME"):
        check_path(None)
    with pytest.raises(FspsError, match="there is no FSPS data directory"):
        check_path(tmp_path / "nowhere")
    with pytest.raises(FspsError, match=r"no data/emlines_info.dat and no data/FILTER_LIST"):
        check_path(tmp_path)
    long = tmp_path / ("a" * 120) / ("b" * 120)
    long.parent.mkdir()
    home.rename(long)
    with pytest.raises(FspsError, match="keeps 250 characters"):
        check_path(long)
    (tmp_path / "short").symlink_to(long)
    assert check_path(tmp_path / "short") == tmp_path / "short"


def test_cautions_say_what_touches_the_space(surrogate_home: Path, home: Path) -> None:
    surrogate, solar, shifted = cautions(check_home(surrogate_home, WHEEL), prospector_alpha())
    assert "SURROGATE" in surrogate
    assert f"opens {N_OPENED} of the 13 metallicities" in solar
    assert "logzsol = 0.19" in solar
    assert "-2.25, -1.75, -1.25, -0.75, -0.25 are taken" in shifted
    # the DESI model stays below solar metallicity
    assert len(cautions(check_home(surrogate_home, WHEEL), desi_bgs())) == 2
    (home / "SURROGATE.json").unlink()
    assert cautions(check_home(home, WHEEL), desi_bgs()) == [shifted]
