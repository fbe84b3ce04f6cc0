"""Whether the errors of a catalogue are right, without any model: bands at nearly one wavelength measure one flux.

    uv run python benchmarks/catalogue_errors.py COSMOS_td.cat

For each pair of bands of the 3D-HST COSMOS catalogue: the median ratio of the two fluxes, and the scatter (1.4826 times
the median absolute deviation) of their difference after it, in units of both errors and 5% of the flux in quadrature.
It should be 1, and less where the 5% are most of it, as the fluxes of one galaxy hardly differ by as much; so also over
the galaxies with S/N below 20 in the first band.
"""

import argparse

import numpy as np
from astropy.table import Table

FLOOR, BRIGHT, FAINT = 0.05, 10.0, 20.0
PAIRS = (
    *(("h", "uvista_h"), ("j", "uvista_j"), ("ks", "uvista_ks"), ("k", "uvista_ks"), ("j3", "f125w")),
    *(("uvista_j", "f125w"), ("ia624", "r"), ("ia464", "g"), ("ia484", "g"), ("ia767", "i"), ("zp", "z")),
    *(("f606w", "v"), ("f814w", "ia827"), ("rp", "r"), ("ip", "i")),
)


def scatter(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table")
    table = Table.read(parser.parse_args().table, format="ascii.commented_header")

    def band(name: str) -> tuple[np.ndarray, np.ndarray]:
        flux, error = (np.asarray(table[f"{kind}_{name}_cosmos"], float) for kind in "fe")
        return np.where((error > 0) & (flux > -90), flux, np.nan), error

    print(
        "| bands | galaxies | ratio | scatter, all | scatter, S/N below 20 |\n| --- | --- | --- | --- | --- |"
    )
    for first, second in PAIRS:
        (a, error_a), (b, error_b) = band(first), band(second)
        ratio = np.nanmedian((a / b)[b > BRIGHT * error_b])
        expected = np.hypot(np.hypot(error_a, ratio * error_b), FLOOR * ratio * b)
        apart = (a - ratio * b) / expected
        there = np.isfinite(apart)
        faint = there & (a < FAINT * error_a)
        print(
            f"| {first}, {second} | {there.sum()} | {ratio:.3f} | {scatter(apart[there]):.2f} "
            f"| {scatter(apart[faint]):.2f} |"
        )


if __name__ == "__main__":
    main()
