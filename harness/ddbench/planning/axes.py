"""Resolve the axes of a plan: available datasets, networks that fit them, known inits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ddbench.datasets import split_options
from ddbench.planning.draft import Draft, MissingData
from ddbench.text.suggestions import unknown_at


def find_datasets(draft: Draft) -> None:
    """Find the facts of each dataset of the preset, or the reason why it is missing."""
    for name in filter(draft.is_dataset, draft.preset.datasets):
        named = draft.registry.datasets.get(name)
        source, options = (named.source, named.options) if named else (name, {})
        if draft.preset.validate_on is not None:
            options = {**options, "validate": draft.preset.validate_on}
        try:
            draft.plan.datasets[name] = draft.context.dataset(source, options)
        except MissingData as missing:
            draft.absent[name] = str(missing)
        except ValueError as error:
            place = draft.place("datasets")
            if named:
                place = draft.registry.place("datasets", name, "options")
            file = split_options(name)[0].partition(":")[2]
            which = "" if file and file in str(error) else f"{name}: "
            draft.problems.append(f"{place}: {which}{error}")
            continue
        draft.datasets += (name,)


def find_architectures(draft: Draft) -> None:
    """Ask of each architecture whether it fits each dataset; ask for the inits on the way."""
    preset = draft.preset
    places = {name: draft.registry.place("presets", draft.choices.preset, "reference_on")
              for name in reference_on(draft)}  # fmt: skip
    places |= dict.fromkeys(preset.evaluate_on, draft.place("evaluate_on"))
    places |= dict.fromkeys(preset.architectures, draft.place("architectures"))
    shapes = {d: [list(f.shape), f.num_classes] for d, f in draft.plan.datasets.items()}
    shapes = shapes or {"": [[1, 32, 32], 10]}  # without data a name may still be wrong
    pairs = [(name, dataset) for name in places for dataset in shapes]
    asked = [[name, *shapes[dataset]] for name, dataset in pairs]
    answers = draft.context.ask({"architectures": asked, "inits": True})
    draft.inits, draft.formations = answers["inits"], answers["formations"]
    draft.fits = dict(zip(pairs, answers["architectures"], strict=True))
    for (name, _), answer in draft.fits.items():
        if "unknown" in answer:
            draft.problems.append(f"{places[name]}: {answer['unknown']}")
    for init in draft.choices.inits or ():
        if init not in draft.inits:
            draft.problems.append(unknown_at("--init", init, draft.inits))


def reference_on(draft: Draft) -> tuple[str, ...]:
    """Return the architecture of the whole training set's row, () where there is no such row."""
    on = draft.preset.reference_on
    return (on,) if draft.preset.reference and on else ()


def drop_second_spellings(draft: Draft) -> None:
    """Keep the first of several names that mean the same network or the same data."""
    canonical = {name: fits.get("canonical", name) for (name, _), fits in draft.fits.items()}
    axes = {
        axis: _first_of_each(getattr(draft.preset, axis), lambda name: canonical.get(name, name))
        for axis in ("architectures", "evaluate_on")
    }
    draft.preset = draft.preset.model_copy(update=axes)

    def content(name: str) -> tuple[str, str]:
        if name in draft.absent or name in draft.registry.datasets:
            return name, ""
        # a file's or folder's path may be written in many ways, a name's options in two
        bare = "" if ":" in name else split_options(name)[0]
        return bare, draft.plan.datasets[name].fingerprint

    draft.datasets = _first_of_each(draft.datasets, content)
    facts = draft.plan.datasets
    draft.plan.datasets = {name: facts[name] for name in draft.datasets if name in facts}


def _first_of_each(names: Iterable[str], meant: Callable[[str], object]) -> tuple[str, ...]:
    """Return the names less those that mean the same as an earlier one."""
    first: dict[object, str] = {}
    for name in names:
        first.setdefault(meant(name), name)
    return tuple(first.values())
