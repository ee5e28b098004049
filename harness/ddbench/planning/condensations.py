"""The condensations of a plan: ask the method about each cell, and use its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ddbench.datasets import split_options
from ddbench.discovery.methods import install, package_of
from ddbench.planning import budgets
from ddbench.planning.blame import Blame, Place
from ddbench.planning.cells import Cell, leave_out
from ddbench.planning.draft import Draft
from ddbench.planning.job_ids import with_ids
from ddbench.planning.jobs import DatasetFacts
from ddbench.planning.name_checks import snapshots_of
from ddbench.planning.questions import Question, answers_to, question_about, refuse
from ddbench.store.records import Condensation
from ddbench.text.suggestions import unknown_at

Answered = Sequence[tuple[Question, Mapping[str, Any]]]


def add_condensations(draft: Draft, cells: Sequence[Cell]) -> None:
    """Ask the methods about the cells, and add the possible ones to the plan."""
    ready = [question_about(draft, cell) for cell in cells if _is_possible(draft, cell)]
    answered = list(zip(ready, answers_to(draft, ready), strict=True))
    if draft.choices.budget_total is not None and draft.budget is None:
        draft.budget = _part_of_total(draft, draft.choices.budget_total, answered)
    planned: set[tuple[str, str]] = set()
    for question, answer in answered:
        cell, own = question.cell, answer.get("own_init")
        cell = replace(cell, init=own) if own and own != cell.init else cell
        if "error" in answer:
            leave_out(draft, cell, answer["error"], Blame.METHOD)
        elif answer["problems"]:
            refuse(draft, question, answer["problems"])
        elif answer["needs"]:
            leave_out(draft, cell, answer["needs"], Blame.NOBODY)
        elif cell.init != (init := question.cell.init) and init in (draft.choices.inits or ()):
            makes = f"these options make a start of their own, {cell.init}"
            reason = f"{makes}, and take no --init {init}; use --init {cell.init}"
            leave_out(draft, question.cell, reason, Blame.NOBODY)
        else:
            job = _condensation(draft, cell, answer)
            name = "" if job.control_of else job.row  # a control may stand there by any name
            if (name, job.options_id) not in planned:
                draft.plan.condensations.append(job)
                planned |= {("", job.options_id), (job.row, job.options_id)}


def _is_possible(draft: Draft, cell: Cell) -> bool:
    """Return whether the method can be asked about a cell; if not, leave the cell out."""
    obstacle = _obstacle(draft, cell)
    if obstacle is not None:
        leave_out(draft, cell, *obstacle)
    return obstacle is None


def _obstacle(draft: Draft, cell: Cell) -> tuple[str, Blame] | None:
    """Return why a cell is impossible and who caused it, before its method is asked."""
    method = draft.method_of(cell.row)
    info = draft.info.get(method)
    if info is None:
        method = method.partition("@")[0]  # of a variant that the registry lacks
        install_it = install(package_of(method))
        return f"method {method!r} is not installed; {install_it}", Blame.NOBODY
    if "error" in info:
        return info["error"], Blame.METHOD
    if cell.dataset in draft.absent:
        return draft.absent[cell.dataset], Blame.NOBODY
    fits = draft.fits[cell.architecture, cell.dataset]
    if "error" in fits:
        return fits["error"], Blame.NOBODY
    if cell.init not in draft.inits:
        place = _init_place(draft, cell)
        return unknown_at(place.text, cell.init, draft.inits), place.blame
    if info["inits"] and cell.init not in info["inits"]:
        return f"starts from {' or '.join(info['inits'])}, not from {cell.init}", Blame.NOBODY
    if cell.init != "noise" and (short := _short_of(draft.plan.datasets[cell.dataset], cell.ipc)):
        return short, Blame.NOBODY
    return None


def _init_place(draft: Draft, cell: Cell) -> Place:
    """Return where the init of a row was named."""
    row = cell.row
    if cell.init in (draft.choices.inits or ()):
        return Place("--init")
    if row.init is not None and "init" in cell.planned.places:
        return cell.planned.places["init"]
    if row.init:
        return Place(f"{draft.row_place(row)} init")
    if keys := draft.registry.keys_of_init(row.method, cell.where):
        return Place(draft.registry.place(*keys))
    return Place.of_method(draft.method_of(row), "default_init")


def _short_of(facts: DatasetFacts, ipc: int) -> str | None:
    least = min(facts.class_counts)
    if ipc <= least:
        return None
    c = facts.class_counts.index(least)
    return (
        f"ipc {ipc} asks for more real images than class {c} of {facts.name} has ({least}); "
        f"use ipc {least} or less"
    )


def _part_of_total(draft: Draft, total: float, answered: Answered) -> float:
    """Return the seconds of each condensation that takes steps, of `--budget-total`."""
    stepping = {
        _condensation(draft, question.cell, answer).options_id
        for question, answer in answered
        if not ("error" in answer or answer["problems"] or answer["needs"]) and answer["steps"]
    }
    workers = draft.choices.workers
    part = budgets.share(total, len(stepping), workers)
    if part < budgets.LEAST_S:
        least = budgets.least_total(len(stepping), workers)
        draft.problems.append(
            f"--budget-total {total:g}s: is {part:g} s for each of {len(stepping)} "
            f"condensations; give at least {least:g}s, or choose fewer methods, rows or seeds"
        )
    return part


def _condensation(draft: Draft, cell: Cell, answer: Mapping[str, Any]) -> Condensation:
    method = draft.method_of(cell.row)
    found, info = draft.context.found[method], draft.info[method]
    facts = draft.plan.datasets[cell.dataset]
    budget = draft.budget if answer["steps"] else None
    job = Condensation(
        id="",
        options_id="",
        row=cell.row.method,
        method=method,
        source=found.source,
        code=found.code,
        dataset=cell.dataset,
        dataset_fingerprint=facts.fingerprint,
        architecture=cell.where.arch,
        init=cell.init,
        ipc=cell.ipc,
        seed=cell.seed,
        config=answer["config"],
        steps=answer["steps"],
        published_steps=answer["published_steps"],
        budget_s=budget,
        cycle=answer["cycle"],
        step_unit=info["step"],
        labels=info["labels"],
        balanced=info["balanced"],
        setting=info["setting"],
        reduced=_reduced(draft, cell, answer, budget),
        quick=draft.preset.quick,
        control_of=cell.planned.control_of,
        published=info["published"],
        paper=info["paper"],
        bibtex=info["bibtex"],
        snapshots=snapshots_of(draft, answer["steps"], budget),
        extensions=draft.extensions(cell.architecture, cell.dataset, cell.init, info["formations"]),
        validate=facts.validate,
    )
    return with_ids(job)


def _reduced(
    draft: Draft, cell: Cell, answer: Mapping[str, Any], budget: float | None
) -> dict[str, list[Any]]:
    """Return what differs from the published settings: option or axis -> [used, published]."""
    at = draft.published_at(cell.row, cell.where)
    used, published = answer["config"], answer["published"]
    expected = {name: at.get(name, [value]) for name, value in published.items()}
    reduced = {
        name: [used[name], _either(values)]
        for name, values in expected.items()
        if used[name] not in values and name not in answer["alike"]
    }
    if budget is not None:
        reduced["steps"] = [f"as many as {budget:g} s allow", answer["published_steps"]]
    elif answer["steps"] != answer["published_steps"]:
        reduced["steps"] = [answer["steps"], answer["published_steps"]]
    axes = {"dataset": cell.dataset, "arch": cell.where.arch, "ipc": cell.ipc, "init": cell.init}
    return reduced | {
        axis: [axes[axis], _either(values)]
        for axis, values in at.items()
        if axis in axes and not _stands_in(draft, axes[axis], axis, values)
    }


def _stands_in(draft: Draft, value: object, axis: str, values: Sequence[object]) -> bool:
    """Return whether a value of an axis is among `values`; a dataset may have several names."""
    if axis == "dataset":
        return _data(draft, str(value)) in [_data(draft, str(name)) for name in values]
    return value in values


def _data(draft: Draft, name: str) -> tuple[str, dict[str, str]]:
    """Return the source behind the name of a dataset, and its options as they are written."""
    named = draft.registry.datasets.get(name)
    if named is None and not {":", "?"} & set(name):
        return name, {}
    source, texts = split_options(named.source if named else name)
    options = {**dict(texts), **(named.options if named else {})}
    written = {key: str(value).lower() for key, value in options.items()}
    return source, {k: v for k, v in written.items() if v not in ("none", "false")}


def _either(values: Sequence[Any]) -> Any:  # noqa: ANN401
    """Return a single value as it is, several in words."""
    return values[0] if len(values) == 1 else " or ".join(map(str, values))
