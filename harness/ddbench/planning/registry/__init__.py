"""Read registry.toml once into typed records, and report all mistakes together."""

from ddbench.planning.registry.reading import default_path, lost_tables, parse, read
from ddbench.planning.registry.schema import Preset, Protocol, RegistryError
from ddbench.planning.registry.tables import Layer, Registry, Where, axes_of

__all__ = [
    "Layer",
    "Preset",
    "Protocol",
    "Registry",
    "RegistryError",
    "Where",
    "axes_of",
    "default_path",
    "lost_tables",
    "parse",
    "read",
]
