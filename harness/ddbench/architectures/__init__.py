"""The network zoo: `build("convnet-w32", (1, 28, 28), 10)` and the families behind such names.

A name is a family and tokens: the papers' ConvNetW32, ConvNetASwishBN, AlexNetBN and ResNet18BN_AP
are `convnet-w32`, `convnet-swish-bn`, `alexnet-bn` and `resnet18-bn-ap`. Any family takes
`-w0.25`, a quarter of every hidden width; `listing` says which other tokens each has.

Networks have PyTorch's default initialisation, drawn from the global generator: whoever builds one
forks and seeds that generator. Other distributions add families by the hook
`register_architectures`, the door through which those of this package come in too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from .alexnet import ALEXNET
from .convnet import CONVNET
from .layers import Network, has_batchnorm
from .lenet import LENET
from .mlp import MLP
from .names import (
    Architecture,
    ArchitectureError,
    Choice,
    Options,
    Shape,
    Slot,
    Width,
    canonical_name,
    options_of,
    parse,
    scaled,
)
from .resnet import RESNET18
from .vgg import VGG11

__all__ = [
    "Architecture",
    "ArchitectureError",
    "Choice",
    "Listed",
    "Network",
    "Options",
    "Shape",
    "Slot",
    "Width",
    "build",
    "canonical",
    "catalogue",
    "has_batchnorm",
    "listing",
    "outline",
    "register_architectures",
    "scaled",
]

Catalogue = Mapping[str, Architecture]
LISTED_SHAPES: tuple[Shape, ...] = ((1, 28, 28), (3, 32, 32))
LISTED_CLASSES = 10


def register_architectures() -> dict[str, Architecture]:
    """Return the families of this package by name."""
    families = (CONVNET, MLP, LENET, ALEXNET, VGG11, RESNET18)
    return {family.name: family for family in families}


def catalogue(extra: Catalogue = MappingProxyType({})) -> Catalogue:
    """Return the families of this package and `extra` ones, such as a third party registers.

    Raises `ArchitectureError` for an extra family whose name is taken or is not its key.
    """
    known = register_architectures()
    for key, family in extra.items():
        if key != family.name:
            raise ArchitectureError(f"family '{family.name}' is registered as '{key}'; use one")
        if key in known:
            raise ArchitectureError(f"family '{key}' exists already; register it by another name")
        known[key] = family
    return MappingProxyType(known)


def canonical(name: str, catalogue: Catalogue | None = None) -> str:
    """Return the one name of a network: defaults dropped, tokens in the family's order.

    `convnet-bn-w0.25-relu` becomes `convnet-w32-bn`. Raises `ArchitectureError` for a name that
    does not exist, with the nearest that does.
    """
    return canonical_name(name, _known(catalogue))


def family_of(name: str, catalogue: Catalogue | None = None) -> str:
    """Return the family that `name` belongs to. Raises `ArchitectureError` as `canonical`."""
    known = _known(catalogue)
    family, _ = parse(name, known)
    return next(key for key, value in known.items() if value is family)


def build(
    name: str, shape: Shape, num_classes: int, catalogue: Catalogue | None = None
) -> nn.Module:
    """Return a new network for images of `shape` (channels, height, width).

    It maps float images (B, ch, H, W) to logits (B, num_classes), and its `embed` maps them to the
    input of the last linear layer, (B, d). Initial weights come from the global generator, in the
    default device and dtype. Raises `ArchitectureError` for a name that does not exist and for
    images that are too small for the network.
    """
    _check_sizes(name, shape, num_classes)
    family, filled = parse(name, _known(catalogue))
    try:
        network = family.build(shape, num_classes, options_of(family, filled))
    except ArchitectureError as error:
        raise ArchitectureError(f"{name}: {error}") from None
    if not callable(getattr(network, "embed", None)):
        raise ArchitectureError(
            f"{name}: the family built a {type(network).__name__} without embed(); "
            "return a ddbench.architectures.Network, or add the method"
        )
    return network


def outline(
    name: str, shape: Shape, num_classes: int, catalogue: Catalogue | None = None
) -> nn.Module:
    """Return a network as `build` does, with the shapes of its weights and without their numbers.

    It is on the device "meta": nothing is allocated, and nothing drawn.
    """
    with torch.device("meta"):
        return build(name, shape, num_classes, catalogue)


@dataclass(frozen=True)
class Listed:
    """One family as a listing shows it."""

    name: str
    summary: str
    tokens: str  # `w32 | w0.25, d3 | d1 | ...`: slots apart by commas, the default first
    parameters: Mapping[Shape, int | None]  # default form, 10 classes; None: not for this shape


def listing(catalogue: Catalogue | None = None) -> list[Listed]:
    """Return every family with its parameter counts, found without allocating a network."""
    return [
        Listed(
            name=family.name,
            summary=family.summary,
            tokens=family.usage,
            parameters={shape: _count(family, shape) for shape in LISTED_SHAPES},
        )
        for family in _known(catalogue).values()
    ]


def _count(family: Architecture, shape: Shape) -> int | None:
    try:
        network = outline(family.name, shape, LISTED_CLASSES, {family.name: family})
    except ArchitectureError:
        return None
    return sum(parameter.numel() for parameter in network.parameters())


def _known(catalogue: Catalogue | None) -> Catalogue:
    return register_architectures() if catalogue is None else catalogue


def _check_sizes(name: str, shape: Shape, num_classes: int) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise ArchitectureError(
            f"{name}: shape {tuple(shape)}; expected (channels, height, width), each at least 1"
        )
    if num_classes < 1:
        raise ArchitectureError(f"{name}: {num_classes} classes; expected at least 1")
