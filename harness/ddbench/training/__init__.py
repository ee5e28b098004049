"""The training loop, and the evaluation of a set with it."""

from ddbench.training.loop import LRDrop as LRDrop
from ddbench.training.loop import Recipe as Recipe
from ddbench.training.loop import accuracy as accuracy
from ddbench.training.loop import cross_entropy as cross_entropy
from ddbench.training.loop import fit as fit
from ddbench.training.loop import new_optimizer as new_optimizer
from ddbench.training.loop import predict as predict
