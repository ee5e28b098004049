"""Real datasets by name: find, read, cache and identify them.

Importing this package needs numpy only; `ddbench.datasets.tensors` takes datasets to a device.
"""

from __future__ import annotations

from ddbench.datasets.catalogue import (
    Listing,
    Sizes,
    adopt,
    fetch,
    find,
    fingerprint,
    listing,
    load,
    locate,
    register_datasets,
    sizes,
    split_options,
    suggested_path,
)
from ddbench.datasets.dataset import (
    EPOCH_IMAGES,
    WITH_FLIP,
    WITHOUT_FLIP,
    Dataset,
    chance,
    class_counts,
    facts_of,
    majority_accuracy,
    passes,
    space_of,
)
from ddbench.datasets.errors import DatasetError, DatasetMissing
from ddbench.datasets.source import COMMON_OPTIONS, Option, Presence, Source, resolve_options

__all__ = [
    "COMMON_OPTIONS",
    "WITHOUT_FLIP",
    "WITH_FLIP",
    "Dataset",
    "DatasetError",
    "DatasetMissing",
    "Listing",
    "Option",
    "Presence",
    "Sizes",
    "Source",
    "adopt",
    "chance",
    "class_counts",
    "facts_of",
    "fetch",
    "find",
    "fingerprint",
    "listing",
    "load",
    "locate",
    "majority_accuracy",
    "EPOCH_IMAGES",
    "passes",
    "register_datasets",
    "resolve_options",
    "sizes",
    "space_of",
    "split_options",
    "suggested_path",
]
