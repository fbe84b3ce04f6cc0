"""What runs in a process of its own: one StellarPopulation, which computes one galaxy after another.

Run as a script (``python -P worker.py FD``): it imports numpy and python-fsps and nothing of starling, so that it
starts in half a second. It speaks over the socket FD in frames: a tag of one byte and what follows.

    L  libraries and version of FSPS (JSON), before anything is read from SPS_HOME
    S  the caller: set up, with these settings (JSON)
    I  what FSPS has (JSON): wavelengths, lines, ages, metallicities
    G  the caller: a galaxy; float64 numbers: its index, the length of its history, the parameters in the order of
       the settings, and of the history the times (Gyr), rates (Msun/yr) and, where it has them, metallicities
    R  its result; float64 numbers: index, stellar, formed and dust mass (Msun), spectrum (Lsun/Hz), lines (Lsun)
    E  its failure (JSON): index, reason
    T  the caller: the SSP tables; and the answer, float64 numbers: spectra (Lsun/Hz) [metallicity, age, wavelength] and
       surviving masses and log luminosities (Lsun) [metallicity, age], all per Msun formed

The frames are the only sign of life that counts: FSPS may end the process with exit code 0.
"""

import json
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

N_SCALARS = 4  # of a result, before the spectrum


def serve(connection: Connection) -> None:
    """Answer until the caller hangs up."""
    import fsps
    from fsps.fsps import driver

    # constants of the compiled code: known before the setup, which a wrong directory would end
    libraries = [name.decode().strip() for name in driver.get_libraries()]
    _send(connection, b"L", {"libraries": libraries, "version": fsps.__version__})
    settings = json.loads(connection.recv_bytes()[1:])
    population = fsps.StellarPopulation(
        zcontinuous=settings["zcontinuous"], vactoair_flag=False, **settings["constants"]
    )
    _send(connection, b"I", _inventory(population))
    while True:
        frame = connection.recv_bytes()
        if frame[:1] == b"T":
            connection.send_bytes(b"T" + _tables(population).tobytes())
            continue
        numbers = np.frombuffer(frame[1:])
        try:
            result = _galaxy(population, numbers, settings["names"])
        except (AssertionError, ValueError, ArithmeticError) as error:
            _send(connection, b"E", {"index": int(numbers[0]), "reason": f"{type(error).__name__}: {error}"})
            continue
        connection.send_bytes(b"R" + result.tobytes())


def _inventory(population: Any) -> dict[str, Any]:
    return {
        "wave_aa": population.wavelengths.tolist(),
        "line_wave_aa": population.emline_wavelengths.tolist(),
        "log_age": population.ssp_ages.tolist(),
        "metals": np.asarray(population.zlegend).ravel().tolist(),
        "solar": float(population.solar_metallicity),
    }


def _galaxy(population: Any, numbers: np.ndarray, names: list[str]) -> np.ndarray:
    """The result of one galaxy."""
    n_times = int(numbers[1])
    history = numbers[2 + len(names) :].reshape(-1, n_times)
    for name, value in zip(names, numbers[2:], strict=False):
        population.params[name] = float(value)
    population.set_tabular_sfh(history[0], history[1], *history[2:])
    if len(history) == 3:
        _compute_many_metallicities(population, float(history[0, -1]))
    _, spectrum = population.get_spectrum(tage=float(history[0, -1]))
    masses = population.stellar_mass, population.formed_mass, population.dust_mass
    return np.concatenate([[numbers[0], *masses], spectrum, population.emline_luminosity])


def _tables(population: Any) -> np.ndarray:
    """All SSPs, built where they are not yet; spectra, then masses, then log luminosities."""
    return np.concatenate([table.T.ravel() for table in population._all_ssp_spec()])


def _compute_many_metallicities(population: Any, age_gyr: float) -> None:
    """What python-fsps 0.5.0 refuses (``zcontinuous`` 3), although the FSPS that it wraps does it."""
    from fsps.fsps import driver

    population.params["tage"] = age_gyr
    population._update_params()
    driver.compute_zdep(driver.get_nspec(), driver.get_ntfull(), 3)
    population._stats = None


def _send(connection: Connection, tag: bytes, content: dict[str, Any]) -> None:
    connection.send_bytes(tag + json.dumps(content).encode())


def main() -> None:
    """Serve on the socket that the caller left open, deaf to signals that are meant for the caller."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        serve(Connection(int(sys.argv[1])))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # the caller is gone; FSPS's own end of a process is not worth waiting for
        os._exit(0)


if __name__ == "__main__":
    main()
