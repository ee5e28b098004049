"""Housekeeping of run folders: what is done, done again, joined, packed, thrown away."""

from ddbench.housekeeping.cleaning import Litter, find_litter
from ddbench.housekeeping.merging import left_out, merge
from ddbench.housekeeping.packing import pack, unpack
from ddbench.housekeeping.retrying import to_retry
from ddbench.housekeeping.status import JobStatus, status_of

__all__ = [
    "JobStatus",
    "Litter",
    "find_litter",
    "left_out",
    "merge",
    "pack",
    "status_of",
    "to_retry",
    "unpack",
]
