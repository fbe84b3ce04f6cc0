"""Tables in: columns, units, masks and limits become observations; what is wrong is said at this edge, never inside."""

from starling.catalogues.catalogue import Catalogue, load_catalogue
from starling.catalogues.config import FitConfig, parse_config, read_config
from starling.catalogues.errors import CatalogueError
from starling.catalogues.findings import Finding, findings_table, summarise

__all__ = [
    "Catalogue",
    "CatalogueError",
    "Finding",
    "FitConfig",
    "findings_table",
    "load_catalogue",
    "parse_config",
    "read_config",
    "summarise",
]
