"""The tables of a registry file as pydantic models, and the error that names its mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from ddbench.contract.rows import AtLeastOne, AtLeastZero, Row, Strict


class RegistryError(ValueError):
    """What is wrong with a registry: one line for each mistake, with its place and a remedy."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Keep the mistakes, in the order of their lines."""
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


OneOrMore = Field(min_length=1)
Rate = Annotated[float, Field(gt=0)]


class Optimizer(Strict):
    """The optimizer of a protocol."""

    name: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)


class DropTable(Strict):
    """The one drop of a protocol's learning rate."""

    after_epochs: int = Field(ge=1)
    factor: float = Field(0.1, gt=0)
    reset_momentum: bool = False


class Protocol(Strict):
    """How sets are evaluated: everything but the set and the architecture."""

    summary: str = ""
    epochs: int = Field(ge=1)
    optimizer: Optimizer = Optimizer()
    drop: DropTable | None = None
    batch: int = Field(256, ge=1)
    augment: str = "none"  # "dsa" is the dataset's own strategy
    networks: int = Field(ge=1)
    learning_rates: tuple[Rate, ...] | None = Field(None, min_length=2)  # chosen on held-out images


class Preset(Strict):
    """A fixed list of rows, crossed with datasets, architectures, ipc and seeds."""

    summary: str = ""
    datasets: tuple[str, ...] = OneOrMore
    architectures: tuple[str, ...] = OneOrMore
    evaluate_on: tuple[str, ...] = OneOrMore
    ipc: tuple[AtLeastOne, ...] = OneOrMore
    seeds: tuple[AtLeastZero, ...] = Field((0,), min_length=1)
    protocol: tuple[str, ...] = OneOrMore
    rows: tuple[Row, ...] = ()
    others: bool = False  # plus every other installed method
    leave_out: tuple[str, ...] = ()  # of the other methods: those that another preset is for
    quick: bool = False  # take MethodInfo.quick of every method
    reference: str | None = None  # protocol of the whole training set's row
    reference_on: str | None = None  # its architecture; by default the first of evaluate_on
    validate_on: int | None = Field(None, ge=1, le=90)  # percent of the training images held out


class NamedDataset(Strict):
    """A dataset under a name of its own, with options."""

    source: str
    options: dict[str, Any] = {}


class File(Strict):
    """The tables of a registry file; those of methods are checked in `checks`."""

    presets: dict[str, Preset] = {}
    protocols: dict[str, Protocol] = {}
    methods: dict[str, dict[str, Any]] = {}
    datasets: dict[str, NamedDataset] = {}
