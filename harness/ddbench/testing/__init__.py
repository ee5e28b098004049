"""For authors of methods: small tasks without a run, and the proof that a method keeps its word."""

from ddbench.testing.conformance import CheckFailed, Finding, check_method, findings
from ddbench.testing.tasks import condense, one_thread, toy_task

__all__ = [
    "CheckFailed",
    "Finding",
    "check_method",
    "condense",
    "findings",
    "one_thread",
    "toy_task",
]
