"""``starling models``: the emulators in the package."""


def models() -> None:
    """List the emulators in the package: names that configurations and other commands take."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from starling.emulators.archive import format_of, shipped, shipped_names
    from starling.emulators.files import DEFAULT, read_header
    from starling.emulators.spectra.files import FORMAT, read_quantiles

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "gives", "parameters", "redshift", "error (held-out draws from the prior)"):
        table.add_column(heading)
    for name in shipped_names():
        path = shipped(name)
        if format_of(path) == FORMAT:
            header, _ = read_quantiles(path)
            spectra, found = header["config"]["spectra"], header["accuracy"]["prior"]["all"]
            gives = f"spectra, {spectra['low_aa']:g}-{spectra['high_aa']:g} A"
            error = f"99.9% of spectra within {100 * found['mean'][-1]:.2f}% in the mean"
        else:
            header = read_header(path)
            sigma = header["accuracy"]["prior"]["std"][: len(header["bands"])]
            gives = f"photometry, {len(header['bands'])} bands"
            error = (
                f"sigma {sorted(sigma)[len(sigma) // 2]:.4f} mag in the median band, {max(sigma):.4f} worst"
            )
        low, high = header["config"]["space"]["zred"]
        label = f"{name} (default)" if name == DEFAULT else name
        table.add_row(label, gives, str(len(header["space"]["parameters"])), f"{low:g}-{high:g}", error)
    Console().print(table)
