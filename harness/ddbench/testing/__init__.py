"""For authors of methods: small tasks to try hooks on, and the conformance check."""

from ddbench.contract.synthetic_set import check as check_set
from ddbench.discovery.methods import bind
from ddbench.testing.conformance import CheckFailed, Finding, check_method, findings
from ddbench.testing.tasks import (
    built_init,
    condense,
    load_checkpoint,
    one_thread,
    save_checkpoint,
    toy_task,
)

__all__ = [
    "CheckFailed",
    "Finding",
    "bind",
    "built_init",
    "check_method",
    "check_set",
    "condense",
    "findings",
    "load_checkpoint",
    "one_thread",
    "save_checkpoint",
    "toy_task",
]
