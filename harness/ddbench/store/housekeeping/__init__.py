"""Housekeeping of run folders: status, retry, merge, verify, clean."""

from ddbench.store.housekeeping.cleaning import Litter, find_litter
from ddbench.store.housekeeping.merging import left_out, merge
from ddbench.store.housekeeping.retrying import to_retry
from ddbench.store.housekeeping.status import JobStatus, status_of

__all__ = [
    "JobStatus",
    "Litter",
    "find_litter",
    "left_out",
    "merge",
    "status_of",
    "to_retry",
]
