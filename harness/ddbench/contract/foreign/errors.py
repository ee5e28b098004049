"""The error of files that no set can be made of."""

from __future__ import annotations


class ForeignError(ValueError):
    """A file that is not read, or says too little; one sentence with the place and the remedy."""
