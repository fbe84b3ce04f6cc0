"""``starling models``: the emulators in the package."""


def models() -> None:
    """List the emulators in the package: names that configurations and other commands take."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from starling.archives import format_of
    from starling.emulators.archive import shipped, shipped_names
    from starling.emulators.files import DEFAULT, read_header
    from starling.emulators.spectra.files import FORMAT, read_quantiles

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "gives", "z", "error"):
        table.add_column(heading, no_wrap=heading == "name")
    for name in shipped_names():
        path = shipped(name)
        if format_of(path) == FORMAT:
            header, _ = read_quantiles(path)
            spectra, found = header["config"]["spectra"], header["accuracy"]["prior"]["all"]
            gives = f"spectra, {spectra['low_aa'] / 1e4:g}-{spectra['high_aa'] / 1e4:g} um"
            error = f"99.9% within {100 * found['mean'][-1]:.2f}%"
        else:
            header = read_header(path)
            sigma = header["accuracy"]["prior"]["std"][: len(header["bands"])]
            gives = f"{len(header['bands'])} bands"
            error = f"{sorted(sigma)[len(sigma) // 2]:.4f} mag, worst {max(sigma):.4f}"
        low, high = header["config"]["space"]["zred"]
        table.add_row(
            name, f"{gives}, {len(header['space']['parameters'])} parameters", f"{low:g}-{high:g}", error
        )
    console = Console()
    console.print(table)
    console.print(
        f"{DEFAULT} is the default. Errors on held-out draws from the prior: sigma of the median and the worst band; "
        "the mean error of a spectrum. More with `starling validate NAME`.",
        highlight=False,
    )
