"""DATM and MTT for ddbench: synthetic sets that lead a student along expert trajectories."""

from . import library
from .method import DATMConfig, MTTConfig, datm, mtt

__all__ = ["DATMConfig", "MTTConfig", "datm", "library", "mtt"]
