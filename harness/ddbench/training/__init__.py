"""The training loop, and the evaluation of a set with it."""

from ddbench.contract.recipes import Loss as Loss
from ddbench.contract.recipes import LRDrop as LRDrop
from ddbench.contract.recipes import Mix as Mix
from ddbench.contract.recipes import Recipe as Recipe
from ddbench.contract.recipes import Schedule as Schedule
from ddbench.formations.losses import cross_entropy as cross_entropy
from ddbench.training.loop import accuracy as accuracy
from ddbench.training.loop import fit as fit
from ddbench.training.loop import new_optimizer as new_optimizer
from ddbench.training.loop import predict as predict
from ddbench.training.loop import train as train
