"""DATM and MTT for ddbench: synthetic sets that lead a student along expert trajectories."""

from .method import datm, mtt

__all__ = ["datm", "mtt"]
