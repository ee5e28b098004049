"""Combine the registry and the choices into jobs."""

from __future__ import annotations

from ddbench.planning.axes import drop_second_spellings, find_architectures, find_datasets
from ddbench.planning.cells import cells_of
from ddbench.planning.condensations import add_condensations
from ddbench.planning.draft import Draft, PlanningContext
from ddbench.planning.evaluations import add_evaluations
from ddbench.planning.jobs import Choices, Plan
from ddbench.planning.name_checks import check_names, check_snapshots
from ddbench.planning.overrides import chosen, impossible
from ddbench.planning.registry import Registry, RegistryError
from ddbench.planning.rows import describe, rows_of, with_controls
from ddbench.planning.table_checks import check_all_tables, read_architectures
from ddbench.text.suggestions import unknown_at


def make(registry: Registry, choices: Choices, context: PlanningContext) -> Plan:
    """Return the plan of a run.

    Raises:
        RegistryError: Every unknown name and refused option at once.
    """
    _require_one_end(choices)
    draft = begun(registry, choices, context)
    read_architectures(draft)
    rows = rows_of(draft)
    describe(draft, rows)
    check_names(draft)
    check_all_tables(draft)
    find_datasets(draft)
    find_architectures(draft)
    drop_second_spellings(draft)
    add_condensations(draft, cells_of(draft, with_controls(draft, rows)))
    check_snapshots(draft)
    if draft.problems:
        raise RegistryError(dict.fromkeys(draft.problems))
    add_evaluations(draft)
    return draft.plan


def _require_one_end(choices: Choices) -> None:
    times = {"--budget": choices.budget, "--budget-total": choices.budget_total}
    given = [option for option, value in times.items() if value is not None]
    if choices.steps is not None and given:
        named = " and ".join([*given, "--steps"])
        raise RegistryError([f"{named}: a condensation ends by time or by steps; give one"])


def begun(registry: Registry, choices: Choices, context: PlanningContext) -> Draft:
    """Return a draft with the choices laid over their preset.

    Raises:
        RegistryError: There is no such preset.
    """
    problems = [*registry.faults, *choices.faults]
    if choices.preset not in registry.presets:
        place = f"--preset ({registry.path.name})"
        raise RegistryError([*problems, unknown_at(place, choices.preset, registry.presets)])
    as_written = registry.presets[choices.preset]
    return Draft(
        registry=registry,
        choices=choices,
        plan=Plan(total_s=choices.budget_total),
        context=context,
        as_written=as_written,
        preset=chosen(as_written, choices),
        budget=choices.budget,
        problems=[*problems, *impossible(choices)],
    )
