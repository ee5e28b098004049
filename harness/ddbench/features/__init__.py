"""The shared feature network, and k-means in its space."""

from ddbench.features.clustering import Clustering as Clustering
from ddbench.features.clustering import kmeans as kmeans
from ddbench.features.clustering import nearest_to as nearest_to
from ddbench.features.extractor import FLOOR as FLOOR
from ddbench.features.extractor import FeatureError as FeatureError
from ddbench.features.extractor import TrainedNetwork as TrainedNetwork
from ddbench.features.extractor import class_features as class_features
from ddbench.features.extractor import distances as distances
from ddbench.features.extractor import features as features
from ddbench.features.extractor import trained_network as trained_network
