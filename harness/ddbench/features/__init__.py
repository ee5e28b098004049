"""The shared feature network, and k-means in its space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddbench.features.extractor import FLOOR as FLOOR
from ddbench.features.extractor import FeatureError as FeatureError
from ddbench.features.extractor import TrainedNetwork as TrainedNetwork
from ddbench.features.extractor import class_features as class_features
from ddbench.features.extractor import distances as distances
from ddbench.features.extractor import features as features
from ddbench.features.extractor import trained_network as trained_network

if TYPE_CHECKING:
    from ddbench.features.clustering import Clustering as Clustering
    from ddbench.features.clustering import kmeans as kmeans
    from ddbench.features.clustering import nearest_to as nearest_to


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what clusters when it is asked for: scikit-learn takes seconds in every process."""
    if name not in ("Clustering", "kmeans", "nearest_to"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ddbench.features import clustering

    return getattr(clustering, name)
