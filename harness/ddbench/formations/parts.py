"""The named parts of a set's formation, and the options that a set gives them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError

from ddbench.architectures import Architecture
from ddbench.contract.recipes import Recipe
from ddbench.contract.synthetic_set import SetError, SyntheticSet
from ddbench.text.suggestions import did_you_mean

STAGES = ("decode", "views", "targets")
FIRST = {"decode": "identity", "views": "protocol", "targets": "stored"}
WORDS = {"decode": "decoder", "views": "views part", "targets": "targets part"}


@dataclass(frozen=True)
class NoOptions:
    """The options of a part that takes none."""


@dataclass(frozen=True)
class Decoded:
    """Decoded images and where they come from.

    Attributes:
        images: (M, ch, H, W) float32.
        source: (M,) int64, the stored row of each: its label is that row's.
    """

    images: torch.Tensor
    source: torch.Tensor


@dataclass(frozen=True)
class Fit:
    """What a set has to fit.

    Attributes:
        num_classes: C.
        shape: (ch, H, W) of the images that networks see.
        images: M, how many these are.
        catalogue: Architecture families, None for the built-in ones.
    """

    num_classes: int
    shape: tuple[int, int, int]
    images: int
    catalogue: Mapping[str, Architecture] | None = None


@dataclass(frozen=True)
class Own:
    """A set that is trained on by its own recipe.

    Attributes:
        synthetic: The set, on the device to compute on.
        decoded: Its images.
        recipe: How networks are trained on it.
        generator: On the CPU; draws whatever is drawn.
        fit: What the set fits.
    """

    synthetic: SyntheticSet
    decoded: Decoded
    recipe: Recipe
    generator: torch.Generator
    fit: Fit


@dataclass(frozen=True)
class Formation:
    """One part that sets may name.

    Attributes:
        stage: "decode", "views" or "targets".
        options: A frozen dataclass: the plain parameters that a set may give.
        apply: What the part does. Of "decode": (options, set) -> `Decoded`, without any
            randomness, differentiable. Of "views": (options, `Own`) -> `batches.Views`. Of
            "targets": (options, `Own`) -> `batches.Targets`.
        summary: One line for people.
        check: (options, set, `Fit`) -> what is wrong with the set for this part, a sentence each;
            asked before `apply`.
    """

    stage: Literal["decode", "views", "targets"]
    options: type
    apply: Callable[..., Any]
    summary: str
    check: Callable[[Any, SyntheticSet, Fit], list[str]] = lambda options, synthetic, fit: []

    def __post_init__(self) -> None:
        """Refuse an unknown stage, and options that are no dataclass."""
        if self.stage not in STAGES:
            raise ValueError(f"stage is {self.stage!r}; expected one of {', '.join(STAGES)}")
        if not is_dataclass(self.options):
            raise TypeError(f"options is {self.options!r}; expected a frozen dataclass")


Parts = Mapping[str, Formation]


def register_formations() -> dict[str, Formation]:
    """Return the built-in parts by name."""
    from ddbench.formations import decoding, replay, targets

    return {**decoding.PARTS, **replay.PARTS, **targets.PARTS}


def name_of(synthetic: SyntheticSet, stage: str) -> str:
    """Return the name of the part that a checked set names or means for a stage."""
    return str(synthetic.formation.get(stage, {"name": FIRST[stage]})["name"])


def part_names(synthetic: SyntheticSet) -> list[str]:
    """Return the names of the parts that a set names itself."""
    return [str(given["name"]) for given in synthetic.formation.values()]


def part_of(
    synthetic: SyntheticSet, stage: str, parts: Parts | None = None
) -> tuple[str, Formation, Any]:
    """Return the part of a stage that a set names or means: (name, part, its options).

    `parts` None are the built-in ones.

    Raises:
        SetError: The part is unknown, of another stage, or does not take these options.
    """
    given = synthetic.formation.get(stage, {"name": FIRST[stage]})
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise SetError(f"formation: {stage} is {given!r}; expected a table with a name")
    name = given["name"]
    known = register_formations() if parts is None else parts
    part = known.get(name)
    if part is None or part.stage != stage:
        raise SetError(_unknown(synthetic, stage, name, known))
    return name, part, _options(part, {k: v for k, v in given.items() if k != "name"}, name)


def _unknown(synthetic: SyntheticSet, stage: str, name: str, known: Parts) -> str:
    brought = synthetic.provenance.get("parts")
    by = brought.get(name) if isinstance(brought, Mapping) else None
    if by:
        return (
            f"formation: {WORDS[stage]} {name!r} is not installed (made with {by});"
            f" install it: pip install {str(by).split()[0]}"
        )
    names = [key for key, part in known.items() if part.stage == stage]
    hint = did_you_mean(name, names)
    return (
        f"formation: {WORDS[stage]} {name!r} is not installed;"
        f" {hint}{' ' if hint else ''}known: {', '.join(names)}"
    )


def _options(part: Formation, values: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    known = [field.name for field in fields(part.options)]
    for key in values:
        if key not in known:
            expected = ", ".join(known) or "none"
            raise SetError(f"formation: {name} has no option {key!r} (known: {expected})")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(part.options)
        return adapter.validate_json(json.dumps(dict(values)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (name, *first["loc"])))
        text = first["msg"].removeprefix("Value error, ")
        raise SetError(f"formation: {place}: {text} (is {first['input']!r})") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise SetError(f"formation: {name}: options are not plain values ({error})") from error
