"""FedD3: Federated Learning via Decentralized Dataset Distillation (Song et al., IJCNN 2023).

Every client distils its own data alone and uploads its few images once; the server
trains on the union. The client's method is KIP: support images whose kernel ridge regression, with
the kernel of an infinitely wide network, predicts the client's data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from ddbench import Converged, Facts, MethodInfo, SyntheticSet, Task, Unsupported, hookimpl

from ddbench_fedd3 import budget, kip, partition, prototypes, report, upload
from ddbench_fedd3.clients import Clients
from ddbench_fedd3.kernel import Kernel
from ddbench_fedd3.prototypes import FITS, Fit

PAPER = "Song et al., FedD3: Federated Learning via Decentralized Dataset Distillation, IJCNN 2023"
BIBTEX = """@inproceedings{song2023federated,
  title = {Federated Learning via Decentralized Dataset Distillation in Resource-Constrained Edge
           Environments},
  author = {Song, Rui and Liu, Dai and Chen, Dave Zhenyu and Festag, Andreas and Trinitis, Carsten
            and Schulz, Martin and Knoll, Alois},
  booktitle = {International Joint Conference on Neural Networks (IJCNN)},
  year = {2023}
}"""
OF_KIP = "depth", "w_std", "b_std", "ridge", "lr_images", "stop_accuracy", "learn_labels"
REMADE = {"checkpoint": False}  # made again by init, and no step changes it


@dataclass(frozen=True)
class Config:
    """The options; their defaults are the paper's and its repository's."""

    clients: int = 10  # the abstract's CIFAR-10 runs; 500 in the repository's MNIST runs
    partition: str = "reference"  # or "iid", "dirichlet"
    classes_per_client: int = 2  # of the reference partition; 0 is all of them
    alpha: float = 0.5  # of the Dirichlet partition; smaller is more unequal
    client_distiller: str = "kip"  # or "random", "class_mean", "kmeans", "gmm"
    depth: int = 4  # hidden layers of the kernel's network
    w_std: float = math.sqrt(2)
    b_std: float = 0.1
    ridge: float = 1e-6  # times the mean diagonal of the support kernel
    lr_images: float = 0.004
    batch_real: int = 10  # real images per client and step
    stop_accuracy: float = 0.999  # a client stops once its accuracy on a batch is above it
    learn_labels: bool = False  # also move the support images' regression targets
    payload: str = "float32"  # or "uint8"
    participation: float = 1.0  # share of the clients that take part
    dropout: float = 0.0  # share of these that vanish before their upload
    server: str = "lenet"  # whose weights one FedAvg round would send

    def __post_init__(self) -> None:
        """Refuse values that are invalid for every dataset."""
        budget.check(self)


@dataclass
class State:
    """K clients of m images of d pixels; images in the units of each client, float64.

    Attributes:
        support: (K, m, d), what is condensed.
        labels: (K, m) int64.
        targets: (K, m, C), what the kernel regression fits to the support images.
        adam_images: Moments of `support`.
        adam_targets: Moments of `targets`.
        active: (K,) bool, on the CPU as all that follows: still at work.
        stopped_early: (K,) bool, by the stop rule.
        taken: (K,) int64, steps so far.
        seconds: (K,) float64, each client's share of the batched steps.
        bumps: (K,) float64, how often a ridge was multiplied by 10.
        participates: (K,) bool.
        uploads: (K,) bool, participates and does not drop out.
        clients: Their local data.
        config: The options.
    """

    support: torch.Tensor
    labels: torch.Tensor = field(metadata=REMADE)
    targets: torch.Tensor
    adam_images: kip.Adam
    adam_targets: kip.Adam
    active: torch.Tensor
    stopped_early: torch.Tensor
    taken: torch.Tensor
    seconds: torch.Tensor
    bumps: torch.Tensor
    participates: torch.Tensor = field(metadata=REMADE)
    uploads: torch.Tensor = field(metadata=REMADE)
    clients: Clients = field(metadata=REMADE)
    config: Config = field(metadata=REMADE)


@hookimpl
def describe() -> MethodInfo:
    """Tell the planner that the budget must divide among the clients and their classes."""
    return MethodInfo(
        config=Config,
        inits=("real",),
        own_init=lambda config: "real",  # each client's own
        step="client step",
        setting="federated",
        steps=lambda config, ipc: DISTILLERS[config.client_distiller].steps(config),
        quick={"clients": 5, "classes_per_client": 2, "lr_images": 0.02, "steps": 3000},
        check={"stop_accuracy": 1.0},  # toy data are predicted at once, and nothing would be done
        balanced=False,  # clients that drop out take their images with them
        published_at={"dataset": ("cifar10",)},  # it matches no network
        canonical=_canonical,
        needs=_needs,
        # The same clients, sending as many bytes of real images.
        controls=({"steps": 0, "options": {"client_distiller": "random"}},),
        paper=PAPER,
        bibtex=BIBTEX,
    )


def _canonical(config: Config, facts: Facts) -> Config:
    """Return the options with those that no image depends on at their defaults."""
    alpha = config.alpha if config.partition == "dirichlet" else Config.alpha
    config = replace(config, alpha=alpha, server=Config.server)
    if config.client_distiller == "kip" and facts.steps:
        return config
    usual = Config()
    return replace(config, **{name: getattr(usual, name) for name in OF_KIP})


def _needs(config: Config, facts: Facts) -> str | None:
    return budget.obstacle(config, facts.class_counts, facts.ipc)


@hookimpl
def prepare() -> bool:
    """Build nothing: no artifact is shared."""
    return True


@hookimpl
def init(task: Task, config: Config) -> State:
    """Partition the data; start every client from random images of its own.

    The method makes this init itself: a client must not start from the images of another client.
    """
    obstacle = budget.obstacle(config, task.class_counts, task.ipc)
    if obstacle:
        raise Unsupported(obstacle)
    if config.client_distiller in FITS:
        with task.off_the_clock():
            prototypes.load()
    clients = Clients.of(task, _split(task, config))
    m = budget.images_per_client(config, task.num_classes, task.ipc)
    short = budget.shortage(config, m, clients.groups.shape[1], clients.smallest_group)
    if short:
        raise Unsupported(short)
    everyone = torch.arange(config.clients)
    chosen = clients.draw(everyone, m)
    support = clients.images(task, everyone, chosen)
    labels = task.labels[chosen.to(task.device)]
    targets = centred(labels, task.num_classes)
    participates, uploads = _participants(task, config)
    return State(
        support=support,
        labels=labels,
        targets=targets,
        adam_images=kip.Adam.like(support),
        adam_targets=kip.Adam.like(targets),
        active=participates.clone(),
        stopped_early=torch.zeros(config.clients, dtype=torch.bool),
        taken=torch.zeros(config.clients, dtype=torch.int64),
        seconds=torch.zeros(config.clients, dtype=torch.float64),
        bumps=torch.zeros(config.clients, dtype=torch.float64),
        participates=participates,
        uploads=uploads,
        clients=clients,
        config=config,
    )


# FedD3 with KIP at the clients. k client, D_k its data, (S_k, y_k) what it distils, K the kernel.
#
# for every client k at once:           | for clients in kip.chunks(active, size, task.device):
#   sample a batch (X, y) from D_k      | real = state.clients.draw(clients, config.batch_real)
#   K_XS = K(X, S_k), K_SS = K(S_k, S_k)| across, within = ntk_blocks(kernel, batch[0], images)
#   K_SS + lambda I, factorised         | regularised_cholesky((within + within.mT) / 2, ridge)
#   p = K_XS (K_SS + lambda I)^-1 y_k   | across @ torch.cholesky_solve(targets, factor)
#   L_k = 1/2 |p - y|^2                 | losses = 0.5 * (prediction - batch[1]).square()
#   S_k <- S_k - eta Adam(grad_S L_k)   | state.adam_images.update(state.support, here,
#   if accuracy(p, y) > bound: k stops  | state.active[clients[stop]] = False
# then every k uploads (S_k, y_k), once | payloads = {int(i): _upload(state, task, int(i))
# the server trains on their union      | torch.cat(parts) for parts in zip(*received, strict=True)
@hookimpl
def condense_step(state: State, task: Task) -> dict[str, float]:
    """Advance all active clients by one local step; raise Converged once none is active."""
    metrics = DISTILLERS[state.config.client_distiller].step(state, task)
    if not state.active.any():
        raise Converged(metrics)
    return metrics


def kip_step(state: State, task: Task) -> dict[str, float]:
    """Move every active client's support images down its own regression loss."""
    active = state.active.nonzero().flatten()
    n, m, d = state.config.batch_real, state.support.shape[1], state.support.shape[2]
    size = kip.bytes_of_a_client(n, m, d, state.config.depth)
    losses, accuracies = [], []
    for clients in kip.chunks(active, size, task.device):
        with _clocked(state, clients):
            outcome = _move(state, task, clients)
        losses.append(outcome.losses.cpu())
        accuracies.append(outcome.accuracies.cpu())
    return {
        "loss": float(torch.cat(losses).mean()),
        "accuracy": float(torch.cat(accuracies).mean()),
        "active": float(state.active.double().mean()),
    }


def _move(state: State, task: Task, clients: torch.Tensor) -> kip.Outcome:
    config, here = state.config, clients.to(task.device)
    real = state.clients.draw(clients, config.batch_real)
    batch = state.clients.images(task, clients, real)
    batch_targets = centred(task.labels[real.to(task.device)], task.num_classes)
    outcome = kip.evaluate(
        Kernel(config.depth, config.w_std, config.b_std),
        config.ridge,
        (state.support[here], state.targets[here]),
        (batch, batch_targets),
    )
    state.taken[clients] += 1
    state.bumps[clients] += outcome.bumps.cpu()
    taken, lr = state.taken[clients], config.lr_images
    state.adam_images.update(state.support, here, outcome.gradients[0], taken, lr)
    if config.learn_labels:
        state.adam_targets.update(state.targets, here, outcome.gradients[1], taken, lr)
    # The reference looks at the accuracy before the update, and updates all the same.
    stop = outcome.accuracies.cpu() > config.stop_accuracy
    state.active[clients[stop]] = False
    state.stopped_early[clients[stop]] = True
    return outcome


def fit_step(fit: Fit, state: State, task: Task) -> dict[str, float]:
    """Replace the support images of the next client by prototypes of its classes."""
    for client in state.active.nonzero().flatten()[:1]:
        with _clocked(state, client[None]):
            _fit(fit, state, task, int(client))
        state.taken[client] += 1
        state.active[client] = False
    return {"active": float(state.active.double().mean())}


def _fit(fit: Fit, state: State, task: Task, client: int) -> None:
    members = state.clients.partition.members[client]
    images = state.clients.images(task, torch.tensor([client]), members[None])[0].cpu()
    classes = task.labels[members.to(task.device)].cpu()
    generator = state.clients.generators[client]
    for c in state.labels[client].unique().tolist():
        slots = state.labels[client] == c
        points, flops = fit(images[classes == c].numpy(), int(slots.sum()), generator)
        state.support[client, slots] = torch.from_numpy(points).to(state.support)
        task.count_flops(flops, state.config.client_distiller)


def nothing(state: State, task: Task) -> dict[str, float]:
    """Leave every client at the random images it started from: the control."""
    state.active[:] = False
    return {"active": 0.0}


@dataclass(frozen=True)
class Distiller:
    """What clients do: a step, and how many of them are published."""

    step: Callable[[State, Task], dict[str, float]]
    steps: Callable[[Config], int]


DISTILLERS = {
    "kip": Distiller(kip_step, lambda config: 3000),
    "random": Distiller(nothing, lambda config: 0),
    **{
        name: Distiller(partial(fit_step, fit), lambda config: config.clients)
        for name, fit in FITS.items()
    },
}


@hookimpl
def export(state: State, task: Task) -> SyntheticSet:
    """Let every client upload once, and the server join what arrives."""
    payloads = {int(i): _upload(state, task, int(i)) for i in state.uploads.nonzero().flatten()}
    received = [upload.unpack(payload) for payload in payloads.values()]
    images, labels = (torch.cat(parts) for parts in zip(*received, strict=True))
    senders = torch.tensor(list(payloads)).repeat_interleave(state.support.shape[1])
    return SyntheticSet(
        images.to(task.device),
        labels.to(task.device),
        columns={"client_id": senders.to(task.device)},
        measures=report.measures(state, task, payloads, labels),
        provenance={"partition": partition.encode(state.clients.partition, len(task.labels))},
    )


def _upload(state: State, task: Task, client: int) -> bytes:
    return upload.pack(
        upload.ENCODINGS[state.config.payload],
        state.support[client].unflatten(1, task.shape),
        state.targets[client].argmax(1),
        state.clients.mean[client],
        state.clients.std[client],
    )


def centred(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return one-hot minus 1 / C, (..., C) float64: the targets of the kernel regression."""
    return torch.nn.functional.one_hot(labels, num_classes).double() - 1 / num_classes


def _split(task: Task, config: Config) -> partition.Partition:
    members = [task.class_indices(c) for c in range(task.num_classes)]
    generator = task.new_generator("partition")
    if config.partition == "iid":
        return partition.iid(members, config.clients, generator)
    if config.partition == "reference":
        per_client = config.classes_per_client or task.num_classes
        return partition.by_classes(members, config.clients, per_client, generator)
    m = budget.images_per_client(config, task.num_classes, task.ipc)
    least = max(m, config.batch_real)
    split = partition.dirichlet(members, config.clients, config.alpha, least, generator)
    if split is None:
        raise Unsupported(
            f"partition dirichlet: no draw in {partition.TRIES} gave each of {config.clients} "
            f"clients {least} images at alpha {config.alpha:g}; raise alpha, or take fewer clients"
        )
    return split


def _participants(task: Task, config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Return who takes part, and who of these also uploads: (K,) bool each, one client at least.

    Both shares are of a number of clients, to the nearest one.
    """
    generator = task.new_generator("participation")
    order = torch.randperm(config.clients, generator=generator)
    count = max(1, round(config.participation * config.clients))
    lost = min(count - 1, round(config.dropout * count))
    participates, uploads = torch.zeros(2, config.clients, dtype=torch.bool)
    participates[order[:count]] = True
    uploads[order[: count - lost]] = True
    return participates, uploads


@contextmanager
def _clocked(state: State, clients: torch.Tensor) -> Iterator[None]:
    """Add the seconds of the block to `clients`, in equal shares: they run as one batch."""
    began = time.perf_counter()
    yield
    state.seconds[clients] += (time.perf_counter() - began) / len(clients)
