"""`python -m starling` is the command `starling`."""

from starling.cli import app

app()
