"""Recipes: how a network is trained, and what a set may change in a protocol's recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from ddbench import augment
from ddbench.text.suggestions import did_you_mean

_STRICT: Any = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
WARMEST = 4.0  # the highest temperature at which SGD still learns from a loss not scaled by T^2


@dataclass(frozen=True)
class LRDrop:
    """One drop of the learning rate: after `after_epochs` epochs, times `factor`."""

    after_epochs: int
    factor: float = 0.1
    reset_momentum: bool = True  # the reference code builds a new optimizer (momentum lost)


@dataclass(frozen=True)
class Schedule:
    """How the learning rate moves during training.

    Attributes:
        name: "constant"; "multistep": times `factor` after each count of `at`; "cosine".
        at: Epochs or steps after which the rate is multiplied, rising.
        factor: The multiplier of "multistep".
        waves: How much of a cosine: 0.5 falls from 1 to `end`, 0.25 from 1 to one half.
        end: The share of the rate at which half a wave ends.
        by: Whether the rate changes with each "epoch" or each "step".
        warmup_steps: Steps over which the rate first rises linearly from 0.
    """

    __pydantic_config__ = _STRICT

    name: Literal["constant", "multistep", "cosine"] = "constant"
    at: tuple[int, ...] = ()
    factor: float = 0.1
    waves: float = 0.5
    end: float = 0.0
    by: Literal["epoch", "step"] = "epoch"
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        """Refuse values that make no schedule."""
        if self.waves not in (0.25, 0.5):
            raise ValueError(f"waves is {self.waves!r}; expected 0.5 or 0.25")
        if not 0 <= self.end <= 1 or not self.factor > 0 or self.warmup_steps < 0:
            raise ValueError("expected end from 0 to 1, factor above 0, warmup_steps from 0")
        if list(self.at) != sorted(set(self.at)) or any(count < 1 for count in self.at):
            raise ValueError(f"at is {list(self.at)}; expected rising whole numbers from 1")
        if (self.name == "multistep") != bool(self.at):
            raise ValueError(f"{self.name} with at = {list(self.at)}; only multistep has `at`")

    def share(self, epoch: int, epochs: int, step: int, steps: int) -> float:
        """Return the factor of the learning rate at a step; all counts begin at 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        if self.by == "epoch":
            done, total = epoch, epochs
        else:
            done, total = step - self.warmup_steps, steps - self.warmup_steps
        if self.name == "multistep":
            return float(self.factor ** sum(done >= count for count in self.at))
        if self.name == "cosine":
            falling = 0.5 * (1 + math.cos(2 * math.pi * self.waves * done / max(1, total)))
            return self.end + (1 - self.end) * falling if self.waves == 0.5 else falling
        return 1.0


@dataclass(frozen=True)
class Mix:
    """Two images made one, after the augmentation, with the labels of both.

    Attributes:
        name: "cutmix" (a box of the partner; Yun et al., ICCV 2019) or "mixup" (a weighted sum;
            Zhang et al., ICLR 2018).
        alpha: Of Beta(alpha, alpha), from which the share of the first image is drawn per batch.
        p: Probability that a batch is mixed.
    """

    __pydantic_config__ = _STRICT

    name: Literal["cutmix", "mixup"]
    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that make no distribution."""
        if not self.alpha > 0 or not 0 < self.p <= 1:
            raise ValueError(f"alpha {self.alpha}, p {self.p}; expected alpha > 0 and 0 < p <= 1")


@dataclass(frozen=True)
class Loss:
    """What training minimises, z being the logits of the network and y the targets.

    Attributes:
        name: "cross_entropy" (of class indices); "soft_cross_entropy" and "kl", between the
            softmax of z/T and the targets (the softmax of y/T where they are logits), means over
            the batch; "mse" between z and y.
        temperature: T, of the two soft losses.
        scale_t2: Whether "kl" is multiplied by T^2, which keeps its gradient as large as at T 1.
        half: Whether "mse" is half of the sum over the classes, a mean over the batch, or the
            mean of all elements.
        ce_weight: The weight of the cross-entropy with the hard labels, added to the loss.
    """

    __pydantic_config__ = _STRICT

    name: Literal["cross_entropy", "soft_cross_entropy", "kl", "mse"]
    temperature: float = 1.0
    scale_t2: bool = False
    half: bool = True
    ce_weight: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that make no loss."""
        if not self.temperature > 0 or self.ce_weight < 0:
            raise ValueError(
                f"temperature {self.temperature}, ce_weight {self.ce_weight};"
                " expected a temperature above 0 and a weight from 0"
            )


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: every constant of it.

    Attributes:
        epochs: Passes over the set; 301 in the papers' "300 epochs", which count from 0 to 300.
        optimizer: "sgd", "adam" or "adamw".
        lr: Learning rate.
        momentum: Of SGD; ignored by the others.
        weight_decay: L2 penalty on all parameters; decoupled in AdamW.
        batch: Images a step; the last batch of an epoch may be smaller.
        drop: The drop of the learning rate, or None.
        augment: Augmentation of each training batch: a strategy of `ddbench.augment`, or "none".
        learning_rates: Of which an evaluation takes the one that is best on held-out training
            images, in place of `lr`; () takes `lr`.
        decay_matrices_only: Whether the penalty leaves out biases and norms (tensors of rank 1).
        schedule: How the learning rate moves, in place of `drop`; None: by `drop` alone.
        steps: Optimizer steps, in place of `epochs`; None: by epochs.
        mix: How two images are made one, or None.
        loss: None is the cross-entropy, with soft labels at temperature 1.
    """

    epochs: int
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    drop: LRDrop | None = None
    augment: str = "none"
    learning_rates: tuple[float, ...] = ()
    decay_matrices_only: bool = False
    schedule: Schedule | None = None
    steps: int | None = None
    mix: Mix | None = None
    loss: Loss | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain values, as jobs and records hold them."""
        rates = tuple(values.get("learning_rates", ()))
        given = {**values, "learning_rates": rates}
        for name, kind in _NESTED.items():
            if given.get(name) is not None:
                given[name] = _made(kind, given[name])
        return cls(**given)

    def plain(self) -> dict[str, Any]:
        """Return the recipe as plain values; later fields only where they are not the default."""
        values = {
            **vars(self),
            **{name: value and asdict(value) for name, value in self._nested().items()},
        }
        for name, default in _LATER.items():
            if values[name] == default:
                del values[name]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def _nested(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _NESTED}

    def steps_of(self, images: int) -> int:
        """Return the optimizer steps of training on so many images."""
        return self.steps or self.epochs * -(-images // self.batch)

    def images_seen(self, images: int) -> int:
        """Return how many images, some of them often, training on so many takes in."""
        epochs, rest = divmod(self.steps_of(images), -(-images // self.batch))
        return epochs * images + min(images, rest * self.batch)

    def epochs_of(self, images: int) -> int:
        """Return the epochs begun in training on so many images."""
        return -(-self.steps // -(-images // self.batch)) if self.steps else self.epochs


_NESTED = {"drop": LRDrop, "schedule": Schedule, "mix": Mix, "loss": Loss}
_LATER = {
    field.name: field.default
    for field in fields(Recipe)
    if field.name in (
        "learning_rates", "decay_matrices_only", "schedule", "steps", "mix", "loss"
    )
}  # fmt: skip


def _made(kind: type, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    return TypeAdapter(kind).validate_json(json.dumps(values))


# -- a set's own -------------------------------------------------------------------------------


def recipe_faults(recipe: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with what a set changes in a protocol, one sentence each."""
    problems = []
    for key, value in recipe.items():
        if key not in _OWN:
            hint = did_you_mean(str(key), _OWN)
            problems.append(
                f"the recipe has the unknown key {key!r}; {hint}{' ' if hint else ''}"
                f"known: {', '.join(_OWN)}"
            )
        elif fault := _OWN[key](value):
            problems.append(f"the recipe's {key} is {value!r}; {fault}")
    if problems:
        return problems
    if "steps" in recipe and "epochs" in recipe:
        problems.append("the recipe has both steps and epochs; leave one of them out")
    loss = recipe.get("loss", {})
    if (
        loss.get("name") in ("kl", "soft_cross_entropy")
        and loss.get("temperature", 1) > WARMEST
        and not loss.get("scale_t2")
        and recipe.get("optimizer", "sgd") == "sgd"
    ):
        problems.append(
            f"the recipe trains by SGD on a loss at temperature {loss['temperature']:g} without"
            " scale_t2, whose gradient is T^2 times too small to learn from;"
            " set scale_t2 (of kl), or take adamw"
        )
    return problems


def _rate_fault(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if number and 0 < value < math.inf else "expected a finite number above 0"  # type: ignore[operator]


def _share_fault(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if number and 0 <= value < 1 else "expected a number from 0, below 1"  # type: ignore[operator]


def _count_fault(value: object) -> str:
    # bool is a kind of int
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "" if whole and value >= 1 else "expected a whole number of at least 1"  # type: ignore[operator]


def _strategy_fault(value: object) -> str:
    if not isinstance(value, str):
        return "expected the name of a strategy, such as task.strategy or 'none'"
    try:
        augment.operations(value)
    except ValueError as error:
        return str(error)
    return ""


def _one_of(*names: object) -> Callable[[object], str]:
    expected = " or ".join(map(repr, names))
    return lambda value: "" if value in names else f"expected {expected}"


def _flag_fault(value: object) -> str:
    return "" if isinstance(value, bool) else "expected true or false"


def _nested_fault(kind: type) -> Callable[[object], str]:
    def fault(value: object) -> str:
        known = [field.name for field in fields(kind)]
        if not isinstance(value, Mapping):
            return f"expected a table of {', '.join(known)}"
        try:
            _made(kind, value)
        except (ValidationError, ValueError, TypeError) as error:
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                text = first["msg"].removeprefix("Value error, ").lower()
                return f"{place}: {text}" if place else text
            return str(error)
        return ""

    return fault


# What is wrong with a value of each key of a set's own recipe, "" if nothing.
_OWN: Mapping[str, Callable[[Any], str]] = {
    "lr": _rate_fault,
    "batch": _count_fault,
    "epochs": _count_fault,
    "augment": _strategy_fault,
    "labels": _one_of("hard", "soft"),
    "optimizer": _one_of("sgd", "adam", "adamw"),
    "momentum": _share_fault,
    "weight_decay": _share_fault,
    "decay_matrices_only": _flag_fault,
    "steps": _count_fault,
    **{name: _nested_fault(kind) for name, kind in _NESTED.items() if name != "drop"},
}
