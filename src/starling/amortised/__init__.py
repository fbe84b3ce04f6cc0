"""Amortised posteriors: a flow that was trained once proposes, the exact likelihood decides."""

from starling.amortised.engine import amortised_posterior
from starling.amortised.files import (
    Archive,
    load_proposal,
    save_proposal,
    shipped_proposal,
    shipped_proposals,
)
from starling.amortised.outcome import Amortised
from starling.amortised.proposal import Proposal
from starling.amortised.settings import AmortisedSettings, LatentChains, Stage
from starling.amortised.settle import Settled, settle
from starling.amortised.trained import Trained

__all__ = [
    "Amortised",
    "AmortisedSettings",
    "Archive",
    "LatentChains",
    "Proposal",
    "Settled",
    "Stage",
    "Trained",
    "amortised_posterior",
    "load_proposal",
    "save_proposal",
    "settle",
    "shipped_proposal",
    "shipped_proposals",
]
