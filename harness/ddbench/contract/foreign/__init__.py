"""Sets that other programs wrote: read without running code, told apart, brought into our form."""

from __future__ import annotations

from ddbench.contract.foreign.errors import ForeignError
from ddbench.contract.foreign.images import SPACES, Source
from ddbench.contract.foreign.labels import KINDS
from ddbench.contract.foreign.layouts import LAYOUTS, Foreign, read_foreign
from ddbench.contract.foreign.sets import HowToRead, RealData, claims_of_file, set_of

__all__ = [
    "KINDS",
    "LAYOUTS",
    "SPACES",
    "Foreign",
    "ForeignError",
    "HowToRead",
    "RealData",
    "Source",
    "claims_of_file",
    "read_foreign",
    "set_of",
]
