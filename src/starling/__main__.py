"""`python -m starling` is the command `starling`."""

from starling.cli import app

if __name__ == "__main__":
    app()
