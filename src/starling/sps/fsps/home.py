"""What an FSPS data directory (SPS_HOME) must hold, checked before any Fortran reads it.

FSPS stops the process where a file is missing: Python ends with exit code 0 and no exception. The names of the files
follow from the libraries that FSPS was compiled for and from the metallicities that the directory lists.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from starling.parameters import ParameterSpace

MAX_PATH = 250  # characters that FSPS keeps of SPS_HOME
SURROGATE = "SURROGATE.json"
BPASS = "bpss"  # as FSPS names its isochrones


class FspsError(RuntimeError):
    """FSPS cannot run, or ended where it should not have."""


class FspsWarning(UserWarning):
    """Something about the numbers of FSPS that their user has to know."""


class Libraries(NamedTuple):
    """What FSPS was compiled for, as it names them: isochrones, stellar spectra, dust emission."""

    isochrones: str
    spectra: str
    dust: str


class Home(NamedTuple):
    """A data directory that was found complete for ``libraries``."""

    path: Path
    libraries: Libraries
    surrogate: bool
    sha256: str


class _Isochrones(NamedTuple):
    folder: str
    n_metals: int
    nebular: bool


class _Spectra(NamedTuple):
    folder: str
    stem: str
    n_metals: int
    n_bytes: int  # of the file of one metallicity


_ISOCHRONES = {
    "mist": _Isochrones("ISOCHRONES/MIST", 13, True),
    "pdva": _Isochrones("ISOCHRONES/Padova/Padova2007", 22, True),
    "prsc": _Isochrones("ISOCHRONES/PARSEC", 15, True),
    "bsti": _Isochrones("ISOCHRONES/BaSTI", 10, False),
    "gnva": _Isochrones("ISOCHRONES/Geneva", 5, False),
    BPASS: _Isochrones("ISOCHRONES/BPASS", 12, True),
}
_SPECTRA = {
    "c3k_lr": _Spectra("SPECTRA/C3K/c3k_lr", "c3k_lr", 11, 4 * 1936 * 80 * 14),
    "c3k_hr": _Spectra("SPECTRA/C3K/c3k_hr", "c3k_hr", 11, 4 * 10992 * 80 * 14),
    "miles": _Spectra("SPECTRA/MILES", "miles", 5, 4 * 5994 * 68 * 19),
}
_DUST = {"DL07": 7, "THEMIS": 11}  # numbers of PAH fractions
_HOT = "SPECTRA/Hot_spectra"
_COMMON = (
    *(f"data/{name}" for name in ("emlines_info.dat", "FILTER_LIST", "allfilters.dat", "allindices.dat")),
    *(f"{_HOT}/{name}" for name in ("WMBASIC.teff", "WMBASIC_zlegend.dat", "ipagb.teff")),
    *(
        f"{_HOT}/{name}"
        for name in ("ipagb_solar.spec", "ipagb_halo.spec", "CMFGEN_WN.teff", "CMFGEN_WC.teff")
    ),
    *(f"{_HOT}/{name}" for name in ("CMFGEN_WN_Zall.spec", "CMFGEN_WC_Zall.spec")),
    *(f"SPECTRA/AGB_spectra/{name}" for name in ("Orich.teff", "Orich.spec", "Crich.teff", "Crich.spec")),
    *(f"SPECTRA/AGB_spectra/{name}" for name in ("Crich_Aringer.teff", "Crich_Aringer.spec")),
    *("SPECTRA/A0V_KURUCZ_92.SED", "SPECTRA/SUN_STScI.SED", "SPECTRA/xrb/xsp.lambda"),
    *(
        f"SPECTRA/xrb/xsp_feh-{feh}.spec"
        for feh in ("1.30", "1.00", "0.80", "0.70", "0.50", "0.40", "0.30", "0.20")
    ),
    *(f"SPECTRA/xrb/xsp_feh+{feh}.spec" for feh in ("0.00", "0.20", "0.30")),
    *("dust/Nenkova08_y010_torusg_n10_q2.0.dat", "dust/Gordon03_table4.dat"),
    *(f"dust/alldirty_{kind}.dat" for kind in "hc"),
    *(f"dust/dusty/{kind}rich_dusty.spec" for kind in "OC"),
)


def check_path(path: str | os.PathLike[str] | None) -> Path:
    """The absolute path of a data directory; FspsError where there is none, or where FSPS would cut its name."""
    if path is None:
        raise FspsError(
            "FSPS needs its data directory: name it with --sps-home or the environment variable SPS_HOME"
        )
    home = Path(path).expanduser().absolute()
    if not home.is_dir():
        raise FspsError(f"there is no FSPS data directory {home}")
    if len(os.fsencode(home)) > MAX_PATH:
        raise FspsError(
            f"FSPS keeps {MAX_PATH} characters of the path of its data directory, {home} has "
            f"{len(os.fsencode(home))}: name it by a symbolic link with a short path"
        )
    # python-fsps reads these two as it is imported
    missing = [name for name in _COMMON[:2] if not (home / name).is_file()]
    if missing:
        raise FspsError(f"{home} is no FSPS data directory: it has no {' and no '.join(missing)}")
    return home


def check_home(path: str | os.PathLike[str] | None, libraries: Libraries) -> Home:
    """The directory with all that FSPS reads from it, for these libraries.

    Raises FspsError that names every file that is missing or too short.
    """
    home = check_path(path)
    unknown = [
        f"{what} {name!r}"
        for what, name, known in zip(
            ("isochrones", "spectra", "dust emission"),
            libraries,
            (tuple(_ISOCHRONES), _known_spectra(libraries), tuple(_DUST)),
            strict=True,
        )
        if name not in known
    ]
    if unknown:
        raise FspsError(f"FSPS was compiled for {', '.join(unknown)}, which are not known here")
    files = list(_required(home, libraries))
    wrong = [name for name, n_bytes in files if not _is_there(home / name, n_bytes)]
    if wrong:
        more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise FspsError(
            f"the FSPS data directory {home} lacks what FSPS, compiled for {' + '.join(libraries)}, reads: "
            f"{', '.join(wrong[:8])}{more} (missing, or shorter than FSPS expects)"
        )
    return Home(home, libraries, (home / SURROGATE).exists(), _hash(home, [name for name, _ in files]))


def cautions(home: Home, space: ParameterSpace) -> list[str]:
    """What is wrong with FSPS for galaxies of this space, and that tables are stand-ins; sentences."""
    # the DESI model has no `logzsol`: its metallicities stay below solar
    high = space.parameters[space.index("logzsol")].high if "logzsol" in space else -1.0
    return table_cautions(home, high, f"{space.name} reaches logzsol = {high:g}")


def table_cautions(home: Home, high: float = 1.0, concerned: str = "the tables reach higher") -> list[str]:
    """The same for populations of metallicities up to ``high`` (log10 Z/Zsun); ``concerned`` says whose."""
    said = []
    if home.surrogate:
        said.append(
            f"SURROGATE tables in {home.path}: FSPS runs on stand-ins, and nothing that it computes is astrophysics"
        )
    if not home.libraries.spectra.startswith("c3k"):
        return said
    spectra = _SPECTRA[home.libraries.spectra]
    listed = _first_words(home.path / f"{spectra.folder}/{spectra.stem}_zlegend.dat", home.path)
    opened = spectra.n_metals
    if len(listed) > opened and high > 0.0:
        said.append(
            f"FSPS opens {opened} of the {len(listed)} metallicities of the C3K library: above [Fe/H] = "
            f"{listed[opened - 1]} stars have the spectra of that metallicity, though the evolution of theirs; "
            f"{concerned}"
        )
    shifted = [value for value in listed[:opened] if len(value) >= 5 and value[4] != "0"]
    if shifted:
        said.append(
            "FSPS reads the metallicities of the C3K library from their first four characters: the spectra of "
            f"[Fe/H] = {', '.join(shifted)} are taken for ones 0.05 dex off"
        )
    return said


def _known_spectra(libraries: Libraries) -> tuple[str, ...]:
    # BPASS comes as finished SSPs
    return ("bpass",) if libraries.isochrones == BPASS else tuple(_SPECTRA)


def _required(home: Path, libraries: Libraries) -> Iterator[tuple[str, int]]:
    """Every file, relative to the directory, and the number of bytes that it has at least."""
    for name in _COMMON:
        yield name, 1
    for z in _first_words(home / f"{_HOT}/WMBASIC_zlegend.dat", home)[:12]:
        yield f"{_HOT}/WMBASIC_z{float(z):.4f}.spec", 1
    isochrones = _ISOCHRONES[libraries.isochrones]
    legend = f"{isochrones.folder}/zlegend.dat"
    yield legend, 1
    metals = _first_words(home / legend, home)[: isochrones.n_metals]
    if len(metals) < isochrones.n_metals:
        yield f"{legend} with {isochrones.n_metals} metallicities", 1
    if libraries.isochrones == BPASS:
        yield from ((f"{isochrones.folder}/bpass.{kind}", 1) for kind in ("lambda", "mass"))
        yield f"{isochrones.folder}/bpass_v2.2_salpeter100.ssp.bin", 8 * 15000 * 43 * 12
    elif libraries.isochrones == "mist":
        yield from ((f"{isochrones.folder}/isoc_feh_{z}_afe_p0_vvcrit0.4_full.dat", 1) for z in metals)
    else:
        yield from ((f"{isochrones.folder}/isoc_z{float(z):.4f}.dat", 1) for z in metals)
    if libraries.spectra in _SPECTRA:
        yield from _required_spectra(home, _SPECTRA[libraries.spectra])
    for k in range(_DUST[libraries.dust]):
        yield f"dust/dustem/{libraries.dust}_MW3.1_{k}0.dat", 1
    if isochrones.nebular:
        yield from ((f"nebular/ZAU_ND_{libraries.isochrones}.{kind}", 1) for kind in ("cont", "lines"))


def _required_spectra(home: Path, spectra: _Spectra) -> Iterator[tuple[str, int]]:
    c3k = spectra.stem.startswith("c3k")
    legend = f"{spectra.folder}/{spectra.stem}_zlegend.dat" if c3k else f"{spectra.folder}/zlegend.dat"
    yield from (
        (name, 1)
        for name in (legend, *(f"{spectra.folder}/{spectra.stem}.{kind}" for kind in ("lambda", "res")))
    )
    yield from ((f"{spectra.folder}/{name}.dat", 1) for name in ("logt", "logg"))
    for z in _first_words(home / legend, home)[: spectra.n_metals]:
        name = f"{spectra.stem}_feh{z}_afe+0.0.spec.bin" if c3k else f"imiles_z{float(z):.4f}.spectra.bin"
        yield f"{spectra.folder}/{name}", spectra.n_bytes


def _first_words(legend: Path, home: Path) -> list[str]:
    """The first word of every line; nothing where the file is missing, which is then found to be."""
    if not legend.is_file():
        return []
    words = [line.split()[0] for line in legend.read_text(errors="replace").splitlines() if line.strip()]
    if not words:
        raise FspsError(f"{legend.relative_to(home)} of the FSPS data directory {home} is empty")
    return words


def _is_there(path: Path, n_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size >= n_bytes and os.access(path, os.R_OK)


def _hash(home: Path, files: list[str]) -> str:
    """One hash of the contents of files under their names."""
    digest = hashlib.sha256()
    for name in sorted(files):
        with (home / name).open("rb") as content:
            digest.update(f"{name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
