"""Training sets: draw parameters, run a simulator over them, keep the result on disk, continue after a kill."""

from starling.simulation.draws import DrawPlan, draw_chunk
from starling.simulation.generate import Progress, Simulator, StoppedError, simulate_set
from starling.simulation.store import SimulatedSet, read_set

__all__ = [
    "DrawPlan",
    "Progress",
    "SimulatedSet",
    "Simulator",
    "StoppedError",
    "draw_chunk",
    "read_set",
    "simulate_set",
]
