"""Nested sampling with dynesty, the judge of the other samplers: the same model, one galaxy at a time."""

from starling.inference.nested.record import Record, load_record, save_record
from starling.inference.nested.rest import RecordOf, nested_for_the_rest
from starling.inference.nested.result import nested_tree
from starling.inference.nested.sample import require_dynesty, sample_galaxy
from starling.inference.nested.settings import PRESETS, NestedSettings, preset

__all__ = [
    "PRESETS",
    "NestedSettings",
    "Record",
    "RecordOf",
    "load_record",
    "nested_for_the_rest",
    "nested_tree",
    "preset",
    "require_dynesty",
    "sample_galaxy",
    "save_record",
]
