"""Share the budget of images among the clients, or say why that is not possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddbench import canonical_architecture, require

from ddbench_fedd3.partition import owners
from ddbench_fedd3.prototypes import FITS
from ddbench_fedd3.upload import ENCODINGS

if TYPE_CHECKING:
    from ddbench_fedd3 import Config

PARTITIONS = ("reference", "iid", "dirichlet")


def check(config: Config) -> None:
    """Refuse options that are wrong whatever the data.

    Raises:
        ValueError: An unknown name, or a number out of its range.
    """
    require(config, "partition", one_of=PARTITIONS)
    require(config, "client_distiller", one_of=("kip", "random", *FITS))
    require(config, "payload", one_of=ENCODINGS)
    require(config, "clients", "depth", "batch_real", least=1)
    require(config, "alpha", "w_std", "ridge", "lr_images", above=0)
    require(config, "b_std", "classes_per_client", least=0)  # no classes: all of them
    require(config, "participation", above=0, most=1)
    require(config, "dropout", least=0, below=1)
    try:
        canonical_architecture(config.server)
    except ValueError as error:
        raise ValueError(f"server: {error}") from None


def images_per_client(config: Config, num_classes: int, ipc: int) -> int:
    """Return m, each client's part of the C x ipc images."""
    return num_classes * ipc // config.clients


def groups(config: Config, num_classes: int) -> int:
    """Return how many classes each client draws from in equal numbers; 1 if it does not."""
    if config.partition == "reference":
        return config.classes_per_client or num_classes
    return num_classes if config.partition == "iid" else 1


def obstacle(config: Config, class_counts: Sequence[int], ipc: int) -> str | None:
    """Return why these clients cannot share this data and this budget, or None.

    `class_counts` are the training images of each class; nothing else of the data is needed.
    """
    num_classes, clients = len(class_counts), config.clients
    local = groups(config, num_classes)
    if clients > sum(class_counts):
        return f"{clients} clients for {sum(class_counts)} training images; take fewer clients"
    if local > num_classes:
        return f"classes_per_client is {local}; the data set has {num_classes} classes"
    if config.partition == "reference" and clients * local < num_classes:
        return (
            f"{clients} clients of {local} classes leave {num_classes - clients * local} of "
            f"{num_classes} classes without a client; take at least "
            f"{-(-num_classes // local)} clients, or "
            f"{-(-num_classes // clients)} classes_per_client"
        )
    return (
        _indivisible(clients, local, num_classes, ipc)
        or _unbalanced(config, local)
        or _too_little(config, class_counts, images_per_client(config, num_classes, ipc), local)
    )


def _indivisible(clients: int, local: int, num_classes: int, ipc: int) -> str | None:
    unit = clients * local  # the union needs a multiple of this many images
    if num_classes * ipc % unit == 0:
        return None
    step = unit // math.gcd(unit, num_classes)
    nearest = max(step, math.floor(ipc / step + 0.5) * step)
    of_classes = f" of {local} classes" if local > 1 else ""
    return (
        f"ipc {ipc} is {num_classes * ipc} images, which {clients} clients{of_classes} cannot "
        f"share equally; it takes a multiple of {unit} images: the nearest valid ipc is {nearest}"
    )


def _unbalanced(config: Config, local: int) -> str | None:
    if config.client_distiller != "kip" or config.batch_real % local == 0:
        return None
    nearest = max(1, round(config.batch_real / local)) * local
    return (
        f"batch_real is {config.batch_real}, not a multiple of the {local} classes per "
        f"client; use {nearest}"
    )


def _too_little(config: Config, class_counts: Sequence[int], m: int, local: int) -> str | None:
    if config.partition != "reference":
        needed = config.clients * _largest_draw(config, m)
        if needed <= sum(class_counts):
            return None
        return (
            f"{config.clients} clients need {needed} training images, there are "
            f"{sum(class_counts)}; take fewer clients, a smaller batch_real or ipc"
        )
    counts = owners(config.clients, local, len(class_counts))
    share = min(size // count for size, count in zip(class_counts, counts, strict=True))
    return shortage(config, m, local, share)


def shortage(config: Config, m: int, local: int, share: int) -> str | None:
    """Return why a client whose smallest group has `share` images has too few, or None."""
    needed = -(-_largest_draw(config, m) // local)
    if share >= needed:
        return None
    return (
        f"some client has {share} training images of a class and draws {needed} at once "
        f"(m {m}, batch_real {config.batch_real}, {local} classes); take fewer clients, a smaller "
        "batch_real or ipc"
    )


def _largest_draw(config: Config, m: int) -> int:
    return max(m, config.batch_real) if config.client_distiller == "kip" else m
