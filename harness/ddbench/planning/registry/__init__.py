"""The registry: registry.toml read once into typed records, every mistake reported at once."""

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
