"""The grammar of architecture names: a family, then `-` separated tokens in any order.

`convnet-swish-bn` is the family `convnet` with two tokens. A family says which tokens it
understands by a tuple of slots (`Choice`, `Width`); a slot that a name leaves empty has its
default.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ddbench.text.suggestions import did_you_mean

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]  # (channels, height, width) of one image
Options = Mapping[str, Any]  # what the tokens of a name stand for, by slot name


class ArchitectureError(ValueError):
    """An architecture that does not exist, or not for these images or classes."""


class Slot(Protocol):
    """One thing that a name can say, such as the norm; at most one token of a name fills it."""

    @property
    def name(self) -> str:
        """The key under which the family's `build` finds the value."""

    @property
    def default(self) -> str:
        """The token that a name without one stands for."""

    @property
    def usage(self) -> tuple[str, ...]:
        """The tokens as a person reads them in a listing or an error."""

    def canonical(self, token: str) -> str | None:
        """Return the one spelling of `token`, or None where it belongs to another slot."""

    def value(self, token: str) -> Any:  # noqa: ANN401  (whatever the family's build takes)
        """Return what a canonical `token` stands for."""


@dataclass(frozen=True)
class Choice:
    """A slot filled by one of a few fixed tokens; the first of them is the default."""

    name: str
    values: Mapping[str, Any]  # token -> what the family's build receives

    @property
    def default(self) -> str:
        """The first token."""
        return next(iter(self.values))

    @property
    def usage(self) -> tuple[str, ...]:
        """Every token."""
        return tuple(self.values)

    def canonical(self, token: str) -> str | None:
        """Return `token` if it is one of the choices."""
        return token if token in self.values else None

    def value(self, token: str) -> Any:  # noqa: ANN401
        """Return what `token` stands for."""
        return self.values[token]


@dataclass(frozen=True)
class Width:
    """The slot of a width token: `w0.25`, a factor on every hidden width, or `w32`, a width.

    A family with a `base`, the one width of all its layers, takes both forms and receives the width
    (int): a factor then becomes the nearest multiple of `multiple`, so that `w0.25` and `w32` are
    one network with one name. Any other family takes factors only and receives the factor (float).
    """

    base: int | None = None
    multiple: int = 1
    name: str = "width"

    @property
    def default(self) -> str:
        """The published width."""
        return "w1.0" if self.base is None else f"w{self.base}"

    @property
    def usage(self) -> tuple[str, ...]:
        """One example of each form."""
        return ("w0.25",) if self.base is None else ("w32", "w0.25")

    def canonical(self, token: str) -> str | None:
        """Return `w` and the width or the factor in its shortest form."""
        if re.fullmatch(r"w\d+", token):
            return self._whole(token)
        if re.fullmatch(r"w(\d+\.\d*|\.\d+)", token):
            return self._factor(token)
        return None

    def value(self, token: str) -> int | float:
        """Return the width (families with a base) or the factor."""
        return float(token[1:]) if self.base is None else int(token[1:])

    def _whole(self, token: str) -> str:
        if self.base is None:
            raise ArchitectureError(
                f"'{token}' is a number of channels, which only a family of one width takes; "
                "give a factor with a decimal point, such as w0.25"
            )
        if int(token[1:]) < 1:
            raise ArchitectureError(f"'{token}': a width is at least 1")
        return f"w{int(token[1:])}"

    def _factor(self, token: str) -> str:
        shortest = f"{float(token[1:]):.6f}".rstrip("0")
        if float(shortest) <= 0:
            raise ArchitectureError(f"'{token}': a width factor is above 0")
        if self.base is None:
            return f"w{shortest}0" if shortest.endswith(".") else f"w{shortest}"
        return f"w{scaled(self.base, float(shortest), self.multiple)}"


def scaled(width: int, factor: float, multiple: int = 1) -> int:
    """Return `width * factor` as the nearest positive multiple of `multiple`, halves upwards."""
    return max(1, int(width * factor / multiple + 0.5)) * multiple


@dataclass(frozen=True)
class Architecture:
    """A family of networks, and how a name chooses one of them.

    `build(shape, num_classes, options)` returns a new network on the default device, initialised
    from the global generator: a module with `forward(images (B, ch, H, W)) -> (B, num_classes)`
    and `embed(images) -> (B, d)`, such as `ddbench.architectures.Network`. It raises
    `ArchitectureError` for images that the network cannot take. `options` holds one value for each
    of `tokens`.
    """

    name: str
    build: Callable[[Shape, int, Options], "nn.Module"]
    summary: str
    tokens: tuple[Slot, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a name that the grammar could not read."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ArchitectureError(
                f"'{self.name}': a family's name is a lower-case letter, then letters, digits and _"
            )

    @property
    def usage(self) -> str:
        """The tokens of every slot as text: `bn | in`, slots apart by commas, defaults first."""
        return ", ".join(" | ".join(slot.usage) for slot in self.tokens)


def canonical_name(name: str, known: Mapping[str, Architecture]) -> str:
    """Return the one name of a network: defaults dropped, tokens in the order of the slots."""
    family, filled = parse(name, known)
    said = (filled.get(slot.name, slot.default) for slot in family.tokens)
    extra = [t for t, slot in zip(said, family.tokens, strict=True) if t != slot.default]
    return "-".join([family.name, *extra])


def options_of(family: Architecture, filled: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of every slot of `family`, given the tokens that a name fills."""
    return {s.name: s.value(filled.get(s.name, s.default)) for s in family.tokens}


def parse(name: str, known: Mapping[str, Architecture]) -> tuple[Architecture, dict[str, str]]:
    """Return the family of `name` and the canonical token of each slot that the name fills."""
    head, *tokens = name.split("-")
    if head not in known:
        raise ArchitectureError(_unknown_family(name, known))
    family = known[head]
    filled: dict[str, str] = {}
    for token in tokens:
        slot, spelling = _slot_of(token, name, family)
        if slot.name in filled:
            raise ArchitectureError(
                f"'{name}': '{filled[slot.name]}' and '{token}' both set the {slot.name}; keep one"
            )
        filled[slot.name] = spelling
    return family, filled


def _slot_of(token: str, name: str, family: Architecture) -> tuple[Slot, str]:
    for slot in family.tokens:
        try:
            spelling = slot.canonical(token)
        except ArchitectureError as error:
            raise ArchitectureError(f"'{name}': {error}") from None
        if spelling is not None:
            return slot, spelling
    usable = [usage for slot in family.tokens for usage in slot.usage]
    raise ArchitectureError(
        f"'{name}': {family.name} has no token '{token}'{_hint(token, usable)}; "
        f"its tokens: {family.usage or 'none'}"
    )


def _unknown_family(name: str, known: Mapping[str, Architecture]) -> str:
    guess = _respelt(name, known)
    head = name.split("-")[0]
    hint = f" (did you mean '{guess}'?)" if guess else _hint(head, known)
    return f"unknown architecture '{name}'{hint}; families: {', '.join(sorted(known))}"


def _respelt(name: str, known: Mapping[str, Architecture]) -> str | None:
    """Return the name that papers' spellings such as `ConvNetW32` or `ResNet18BN_AP` stand for."""
    flat = name.lower().replace("_", "-")
    for family in (f for f in known if flat.startswith(f)):
        rest = flat.removeprefix(family).strip("-")
        try:
            return canonical_name(f"{family}-{rest}" if rest else family, known)
        except ArchitectureError:
            continue
    return None


def _hint(word: str, words: Iterable[str]) -> str:
    hint = did_you_mean(word, words)
    return f" ({hint})" if hint else ""
