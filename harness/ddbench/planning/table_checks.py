"""Check a user's registry, including the tables that this run does not use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ddbench.datasets import split_options
from ddbench.discovery.methods import unknown
from ddbench.planning.draft import Draft
from ddbench.planning.questions import merged, place_of_option, places_of
from ddbench.planning.registry import Layer, Preset, Where, axes_of, default_path
from ddbench.text.suggestions import is_typo, unknown_at

Table = tuple[tuple[str, ...], str, Layer]  # keys, row, options laid over those of the row


def read_architectures(draft: Draft) -> None:
    """Let `[methods.X.arch.NAME]` hold for its network, however the name is spelt."""
    if draft.registry.path == default_path():  # whose names are canonical, by a test
        return
    written = draft.registry.own_architectures()
    answers = _check_architectures(draft, written)
    spelt = {name: answer["canonical"] for name, answer in answers.items() if "canonical" in answer}
    draft.registry = replace(draft.registry, spelt=spelt)


def _check_architectures(draft: Draft, places: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return what is known of some architectures; name -> place, for those that are unknown."""
    asked = [[name, [1, 32, 32], 10] for name in places]
    answers = draft.context.ask({"architectures": asked})["architectures"] if asked else []
    for place, answer in zip(places.values(), answers, strict=True):
        if "unknown" in answer:
            draft.problems.append(f"{place}: {answer['unknown']}")
    return dict(zip(places, answers, strict=True))


def check_all_tables(draft: Draft) -> None:
    """Check names and options of all tables that do not come from the default registry."""
    registry = draft.registry
    if registry.path == default_path():
        return
    presets = registry.own_presets()
    tables = [(keys, keys[1], Layer({})) for keys, _ in registry.own_settings()]
    tables += _rows_of_presets(draft, presets)
    for name, named in registry.datasets.items():
        if not draft.is_dataset(named.source):
            place = registry.place("datasets", name, "source")
            names = draft.context.dataset_names()
            draft.problems.append(unknown_at(place, named.source, names))
    _check_options(draft, tables)
    _check_datasets(draft, presets)
    _check_architectures(draft, _architectures_of(draft, presets))
    _check_inits(draft, presets)


def _rows_of_presets(draft: Draft, presets: Mapping[str, Preset]) -> Iterator[Table]:
    """Go through the rows of some presets; a method that is misspelt is a problem."""
    registry, found = draft.registry, draft.context.found
    for preset, table in presets.items():
        for i, row in enumerate(table.rows):
            keys, method = ("presets", preset, "rows", str(i)), draft.method_of(row)
            if method not in found and is_typo(method, found):
                draft.problems.append(f"{registry.place(*keys)}: {unknown(method, found)}")
            yield keys, row.method, Layer(row.options, keys)


def _check_options(draft: Draft, tables: Iterable[Table]) -> None:
    """Ask the methods about the options of tables."""
    registry, found = draft.registry, draft.context.found
    asked, about = list[Any](), list[Any]()
    for keys, row, above in tables:
        method, plain = registry.method_of(row), row.partition("@")[0]
        if method in found:
            at = axes_of(keys) if keys[0] == "methods" else {}
            where = Where(at.get("dataset", ""), at.get("arch", ""), int(at.get("ipc", 1)))
            layers = [*registry.layers(row, where), above]
            about.append((row, places_of(draft, layers)))
            asked.append(_question(method, where, layers))
        elif keys[0] == "methods" and method == row != plain and plain in found:
            place = registry.place(*keys)
            draft.problems.append(f'{place} method: is missing; add method = "{plain}"')
    answers = draft.context.ask({"configure": asked})["configure"] if asked else []
    for (row, places), answer in zip(about, answers, strict=True):
        for option, text in answer.get("problems", ()):
            draft.problems.append(f"{place_of_option(option, text, places) or row}: {text}")


def _question(method: str, where: Where, layers: Iterable[Layer]) -> dict[str, Any]:
    """Return what to ask a method about options, for some images that may stand for any."""
    facts = {
        "dataset": where.dataset, "num_classes": 10, "shape": [1, 32, 32],
        "class_counts": [6000] * 10, "architecture": where.arch, "init": "real", "ipc": where.ipc,
    }  # fmt: skip
    return {
        "method": method, "options": merged(layers), "published": {}, "steps": None,
        "published_steps": None, "facts": facts,
    }  # fmt: skip


def _check_datasets(draft: Draft, presets: Mapping[str, Preset]) -> None:
    for preset, table in presets.items():
        for name in table.datasets:
            if not draft.is_dataset(name):
                place = draft.registry.place("presets", preset, "datasets")
                bare = split_options(name)[0]
                draft.problems.append(unknown_at(place, bare, draft.known_datasets()))


def _architectures_of(draft: Draft, presets: Mapping[str, Preset]) -> dict[str, str]:
    """Return the architectures of presets: name -> where it is named first."""
    places: dict[str, str] = {}
    for preset, table in presets.items():
        for key in ("architectures", "evaluate_on"):
            for name in getattr(table, key):
                places.setdefault(name, draft.registry.place("presets", preset, key))
    return places


def _check_inits(draft: Draft, presets: Mapping[str, Preset]) -> None:
    registry = draft.registry
    named = [(registry.place(*keys, "init"), settings["init"])
             for keys, settings in registry.own_settings() if "init" in settings]  # fmt: skip
    named += [(registry.place("presets", preset, "rows", str(i)) + " init", row.init)
              for preset, table in presets.items() for i, row in enumerate(table.rows)
              if row.init]  # fmt: skip
    known = draft.context.ask({"inits": True})["inits"]
    for place, init in named:
        if init not in known:
            draft.problems.append(unknown_at(place, init, known))
