"""Training sets: draw parameters, run a simulator over them, keep the result on disk, continue after a kill."""

from starling.simulation.draws import DrawPlan, Plan, draw_chunk
from starling.simulation.generate import FAILURE, Progress, Simulator, StoppedError, simulate_set
from starling.simulation.points import PointsPlan, points_plan
from starling.simulation.store import SimulatedSet, StorageError, failures, read_set

__all__ = [
    "FAILURE",
    "DrawPlan",
    "Plan",
    "PointsPlan",
    "Progress",
    "SimulatedSet",
    "Simulator",
    "StoppedError",
    "StorageError",
    "draw_chunk",
    "failures",
    "points_plan",
    "read_set",
    "simulate_set",
]
