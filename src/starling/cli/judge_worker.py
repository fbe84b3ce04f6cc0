"""A process that samples galaxies for ``starling judge``: set-up and jobs in, answers out, records in files.

Run as ``python -m starling.cli.judge_worker``; ``starling.execution.workers`` has the protocol.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until the input ends."""
    # what libraries print must not be taken for answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    if first := sys.stdin.readline():
        serve(json.loads(first), sys.stdin, answer)


def serve(set_up: dict[str, Any], jobs: Iterable[str], answer: Callable[[str], None]) -> None:
    """Open the forward model, and sample a galaxy for every line."""
    from starling.cli.judged import open_judged, read_galaxy
    from starling.inference.nested import NestedSettings, sample_galaxy, save_record

    settings = NestedSettings(**set_up["settings"])
    model = None

    def say(**words: Any) -> None:
        answer(json.dumps(words))

    for line in jobs:
        job = json.loads(line)
        try:
            if model is None:
                say(state="reading the model")
                model = open_judged(set_up["model"])
            say(state="compiling")
            record = sample_galaxy(
                read_galaxy(Path(set_up["galaxies"]), job["row"]),
                model,
                settings,
                job["seed"],
                report=lambda n, rest: say(state=f"{n} points, ln Z to come {rest:.2f}"),
            )
            save_record(record, Path(job["file"]), job["about"])
        except (ValueError, RuntimeError, ArithmeticError, OSError) as error:
            say(failed=f"{type(error).__name__}: {error}")
        else:
            say(done=True)


if __name__ == "__main__":
    main()
