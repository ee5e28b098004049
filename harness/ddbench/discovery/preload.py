"""What the fork server imports where no jobs follow: torch, and the code that answers questions."""

from ddbench.processes.preloading import preload

preload("torch", "ddbench.discovery.introspection")
