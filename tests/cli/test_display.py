"""What a training says: bars on a terminal, lines in a file."""

import io

from rich.console import Console

from starling.cli.display import clock, training_display
from starling.emulators.training import EpochReport
from starling.simulation import Progress


def report(epoch: int, ended: str = "") -> EpochReport:
    return EpochReport(epoch, 3, 64, 1e-2, 0.0512, 0.0421, "acs_wfc_f814w", 0.0733, 4e4, 75.0, ended)


def shown(console: Console) -> str:
    with training_display(console) as hooks:
        hooks.say("set train: 64 draws from [prior]")
        hooks.simulated(Progress(32, 64, 1, 1900.0, 0.5))
        hooks.epoch(report(1))
        hooks.epoch(report(2, "the accuracy asked for is reached"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_has_bars_with_the_loss_and_the_time_left() -> None:
    text = shown(Console(file=io.StringIO(), force_terminal=True, width=200))
    assert "\x1b[" in text
    for part in ("━", "2/3", "loss 0.0512", "worst acs_wfc_f814w 0.0733", "1:15 left", "[prior]", "reached"):
        assert part in text


def test_a_file_has_a_line_for_every_chunk_and_epoch() -> None:
    lines = shown(Console(file=io.StringIO(), width=40)).splitlines()
    assert lines[0] == "set train: 64 draws from [prior]"
    assert lines[1].startswith("simulated 32/64 rows")
    assert lines[2] == str(report(1))
    assert lines[3:] == str(report(2, "the accuracy asked for is reached")).splitlines()
    assert "\x1b" not in "".join(lines)


def test_the_clock() -> None:
    assert [clock(s) for s in (0.4, 61.0, 3725.0)] == ["0:00", "1:01", "1:02:05"]
