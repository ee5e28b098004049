"""The imports of a fork server when no jobs follow: torch, and the code that answers questions."""

from ddbench.processes.preloading import preload

preload("torch", "ddbench.discovery.introspection")
