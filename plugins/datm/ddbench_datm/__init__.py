"""DATM and MTT for ddbench: synthetic sets that lead a student along expert trajectories."""

from .method import datm, mtt
from .options import DATMConfig, MTTConfig

__all__ = ["DATMConfig", "MTTConfig", "datm", "mtt"]
