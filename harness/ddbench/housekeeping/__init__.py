"""Housekeeping of run folders: what is done, done again, joined, verified, thrown away."""

from ddbench.housekeeping.cleaning import Litter, find_litter
from ddbench.housekeeping.merging import left_out, merge
from ddbench.housekeeping.retrying import to_retry
from ddbench.housekeeping.status import JobStatus, status_of

__all__ = [
    "JobStatus",
    "Litter",
    "find_litter",
    "left_out",
    "merge",
    "status_of",
    "to_retry",
]
