"""Published figures: what others report of a method, where, and how far it is trusted."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ddbench.contract.rows import AtLeastOne, Strict

FILE = "references.toml"
WHOLE = "whole"  # in place of a method: the whole training set
OTHERS = "others"  # in place of an architecture: a mean over several, or one that was searched for
LAST = "the last epoch"  # what ddbench reports, and so the only thing that compares
ACCURACY: Literal["accuracy"] = "accuracy"
FIGURE = re.compile(r"(-?\d+(?:\.\d+)?)(?: ± (\d+(?:\.\d+)?))?")

Trust = Literal[
    "own", "quoted", "rerun", "reported", "read off", "notes", "recalled", "contradicted"
]


class ReferencesError(ValueError):
    """What is wrong with a file of published figures, with its place."""


class Source(Strict):
    """Where figures were read."""

    title: str = Field(min_length=1)
    trust: Trust
    note: str = ""


class Drop(Strict):
    """The one drop of a learning rate."""

    after_epochs: AtLeastOne
    factor: float
    reset_momentum: bool


class Training(Strict):
    """Every constant of how networks were trained.

    Attributes:
        augment: The operations; any of them, where they depend on the dataset.
    """

    epochs: AtLeastOne
    optimizer: Literal["sgd", "adam"]
    lr: float
    momentum: float = 0.0
    weight_decay: float
    batch: AtLeastOne
    drop: Drop | None = None
    augment: tuple[str, ...]


class Protocol(Strict):
    """How a figure came about.

    Attributes:
        summary: In words.
        recipe: How networks were trained; None where not all of it is known.
        own: Whether the labels and the learning rate were the set's own.
        reports: Which accuracy the figure is; "" where that is not known.
        networks: How many a set.
        sets: How many condensations; None where it is not known.
    """

    summary: str
    recipe: Training | None = None
    own: bool = False
    reports: str = ""
    networks: AtLeastOne | None = None
    sets: AtLeastOne | None = None


class Table(Strict):
    """Figures of one method on one dataset from one source: by ipc, by architecture, or one."""

    method: str
    dataset: str
    architecture: str = "convnet"
    condensed_on: str | None = None
    protocol: str
    source: str
    trust: Trust | None = None
    quantity: Literal["accuracy", "rank correlation"] = ACCURACY
    init: str | None = None
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    note: str = ""
    ipc: AtLeastOne | None = None
    by_ipc: dict[AtLeastOne, str] = {}
    by_architecture: dict[str, str] = {}
    figure: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Table:
        given = [bool(self.by_ipc), bool(self.by_architecture), self.figure is not None]
        if sum(given) != 1:
            raise ValueError("expected one of by_ipc, by_architecture and figure")
        if bool(self.by_architecture) != (self.ipc is not None):
            raise ValueError("ipc stands beside by_architecture, and there alone")
        if (self.figure is not None) != (self.method in (WHOLE, "fedavg", "scaffold")):
            raise ValueError("figure is for what has no ipc: the whole training set")
        for text in self.figures:
            if not FIGURE.fullmatch(text):
                raise ValueError(f"{text!r} is no figure; expected one such as '91.7 ± 0.5'")
        return self

    @property
    def figures(self) -> list[str]:
        """All figures, as printed."""
        one = [] if self.figure is None else [self.figure]
        return [*self.by_ipc.values(), *self.by_architecture.values(), *one]


class _File(Strict):
    sources: dict[str, Source]
    protocols: dict[str, Protocol]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Reference:
    """One published figure.

    Attributes:
        method: Its name in ddbench; "whole" for the whole training set.
        dataset: Its name in ddbench.
        ipc: Images per class; None without a synthetic set.
        architecture: What was trained on the set and tested.
        condensed_on: What was matched while condensing, where that is said apart.
        quantity: "accuracy" or "rank correlation".
        printed: The figure as printed: an accuracy in %.
        value: An accuracy in [0, 1], or a correlation.
        spread: The printed ±, in the same unit; None where there is none.
        protocol: Name of how it came about.
        how: That in full.
        source: Name of where it was read.
        title: That in words.
        trust: How far it is trusted; `references.toml` says what each word means.
        init: What condensing started from, where it is said.
        options: Options that a row must have to be the one meant.
        settings: What differs from the method's published settings on purpose.
        note: What to know before comparing.
    """

    method: str
    dataset: str
    ipc: int | None
    architecture: str
    condensed_on: str | None
    quantity: str
    printed: str
    value: float
    spread: float | None
    protocol: str
    how: Protocol
    source: str
    title: str
    trust: str
    init: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def record(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {**vars(self), "how": self.how.model_dump(exclude_none=True, exclude={"recipe"})}


@cache
def references() -> tuple[Reference, ...]:
    """Return all published figures that come with ddbench, in the order of their file."""
    return read((files(__name__) / FILE).read_text(encoding="utf-8"))


def read(text: str, place: str = FILE) -> tuple[Reference, ...]:
    """Return the figures of a file's text.

    Raises:
        ReferencesError: It is no TOML, has unknown or missing keys, or names a source or protocol
            that it does not have.
    """
    try:
        file = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ReferencesError(f"{place}: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ReferencesError("\n".join(f"{place}: {line}" for line in lines)) from error
    return tuple(one for k, table in enumerate(file.tables) for one in _of(file, k, table, place))


def _of(file: _File, k: int, table: Table, place: str) -> Iterable[Reference]:
    """Return the figures of one table."""
    for kind, name, known in (
        ("source", table.source, file.sources),
        ("protocol", table.protocol, file.protocols),
    ):
        if name not in known:
            raise ReferencesError(
                f"{place}: tables.{k}.{kind}: unknown {name!r}; available: {', '.join(known)}"
            )
    source, how = file.sources[table.source], file.protocols[table.protocol]
    for ipc, architecture, printed in _cells(table):
        value, spread = _numbers(printed, 100.0 if table.quantity == ACCURACY else 1.0)
        yield Reference(
            method=table.method,
            dataset=table.dataset,
            ipc=ipc,
            architecture=architecture,
            condensed_on=table.condensed_on,
            quantity=table.quantity,
            printed=printed,
            value=value,
            spread=spread,
            protocol=table.protocol,
            how=how,
            source=table.source,
            title="; ".join(filter(None, [source.title, source.note])),
            trust=table.trust or source.trust,
            init=table.init,
            options=table.options,
            settings=table.settings,
            note=table.note,
        )


def _cells(table: Table) -> Iterable[tuple[int | None, str, str]]:
    """Return (ipc, architecture, figure as printed) of each figure of a table."""
    if table.figure is not None:
        yield None, table.architecture, table.figure
    for ipc, printed in table.by_ipc.items():
        yield ipc, table.architecture, printed
    for architecture, printed in table.by_architecture.items():
        yield table.ipc, architecture, printed


def _numbers(printed: str, unit: float) -> tuple[float, float | None]:
    found = FIGURE.fullmatch(printed)
    assert found is not None  # noqa: S101  (the table has been checked)
    value, spread = found.groups()
    return _exact(value, unit), None if spread is None else _exact(spread, unit)


def _exact(text: str, unit: float) -> float:
    return round(float(text) / unit, 8)  # 18.31% is 0.1831, not 0.18309999999999998


def chosen(
    figures: Iterable[Reference], datasets: Collection[str] = (), **wanted: Collection[Any]
) -> list[Reference]:
    """Return the figures that fit: of each field any of the wanted values; none given takes all.

    A dataset stands for its whitened form too.
    """
    return [
        one
        for one in figures
        if all(not values or getattr(one, name) in values for name, values in wanted.items())
        and (not datasets or {one.dataset, data_of(one.dataset)} & {*datasets})
    ]


def data_of(dataset: str) -> str:
    """Return the data behind a dataset's name: without options, whitening or other constants."""
    return dataset.partition("?")[0].removesuffix("-zca").removesuffix("-mtt")
