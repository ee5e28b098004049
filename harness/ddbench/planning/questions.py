"""Build the questions to each method about its cells, and report what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ddbench.planning.blame import Blame, Place
from ddbench.planning.cells import Cell, leave_out
from ddbench.planning.draft import Draft
from ddbench.planning.registry import Layer


@dataclass(frozen=True)
class Question:
    """A question to the method of a cell: what to ask, and where each option got its value."""

    cell: Cell
    asked: Mapping[str, Any]
    places: Mapping[str, Place]


def question_about(draft: Draft, cell: Cell) -> Question:
    """Return what to ask the method of a cell: its options, its steps and the facts."""
    registry, name, where = draft.registry, cell.row.method, cell.where
    layers = _layers(draft, cell)
    facts = draft.plan.datasets[cell.dataset]
    published = registry.layers(name, where, published=True)
    asked = {
        "method": draft.method_of(cell.row),
        "options": merged(layers),
        "published": merged([_published_options(draft, cell), *published]),
        "steps": _steps(draft, cell),
        "published_steps": registry.table_value(name, "steps", where, published=True),
        "facts": {
            "dataset": cell.dataset,
            "num_classes": facts.num_classes,
            "shape": list(facts.shape),
            "class_counts": list(facts.class_counts),
            "architecture": where.arch,
            "init": cell.init,
            "ipc": cell.ipc,
        },
    }
    return Question(cell, asked, places_of(draft, layers))


def _layers(draft: Draft, cell: Cell) -> list[Layer]:
    """Return the options of a cell from weak to strong."""
    method, planned = draft.method_of(cell.row), cell.planned
    layers = [_published_options(draft, cell)] if draft.choices.published else []
    layers += draft.registry.layers(cell.row.method, cell.where)
    quick = {key: value for key, value in _quick(draft, cell).items() if key != "steps"}
    layers.append(Layer(quick, place=Place.of_method(method, "quick")))
    row_place = planned.places.get("options") or Place(draft.row_place(cell.row))
    layers.append(Layer(cell.row.options, place=row_place))
    layers += [Layer({option: value}, place=Place(f"--set {name}.{option}"))
               for name, option, value in cell.settings]  # fmt: skip
    return [*layers, Layer(planned.forced, place=Place.of_method(method, "controls"))]


def _quick(draft: Draft, cell: Cell) -> Mapping[str, Any]:
    quick: Mapping[str, Any] = draft.info_of(cell.row)["quick"]
    return quick if draft.preset.quick else {}


def _published_options(draft: Draft, cell: Cell) -> Layer:
    """Return the options that the method was published with at this place, the first of several."""
    known = draft.info_of(cell.row)["options"]
    at = draft.published_at(cell.row, cell.where)
    options = {name: values[0] for name, values in at.items() if name in known}
    return Layer(options, place=Place.of_method(draft.method_of(cell.row), "published_at"))


def _steps(draft: Draft, cell: Cell) -> Any:  # noqa: ANN401
    """Return the steps from the source with the highest priority; None: the method decides."""
    given = (
        draft.choices.steps if cell.planned.control_of is None else None,
        cell.row.steps,
        _quick(draft, cell).get("steps"),
        draft.registry.table_value(cell.row.method, "steps", cell.where),
    )
    return next((steps for steps in given if steps is not None), None)


def places_of(draft: Draft, layers: Iterable[Layer]) -> dict[str, Place]:
    """Return where each option got its value, for messages."""
    return {
        name: layer.place or Place(draft.registry.place(*layer.keys, name))
        for layer in layers
        for name in layer.options
    }


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    """Return the options of some layers as one; later ones are stronger."""
    return {name: value for layer in layers for name, value in layer.options.items()}


def answers_to(draft: Draft, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Return what the methods answer to each question.

    A control that comes out the same without what `--set` changes in its row is the control
    of that row as it is without: one of all values of a sweep.
    """
    if not questions:
        return []
    swept = [
        number
        for number, question in enumerate(questions)
        if question.cell.planned.control_of and question.cell.settings
    ]
    plain = [question_about(draft, replace(questions[n].cell, settings=())) for n in swept]
    asked = [question.asked for question in (*questions, *plain)]
    answers = draft.context.ask({"configure": asked})["configure"]
    for number, without in zip(swept, answers[len(questions) :], strict=True):
        parts = ("canonical", "steps", "needs")
        if "canonical" in without and all(without[k] == answers[number].get(k) for k in parts):
            answers[number] = without
    return list(answers[: len(questions)])


def refuse(draft: Draft, question: Question, refused: Iterable[tuple[str, str]]) -> None:
    """Say who gave the options that a method refuses: (option, or "" where unknown; why) each.

    Options of the user are mistakes; the method's own cost it the row.
    """
    cell, places = question.cell, question.places
    method = Place.of_method(draft.method_of(cell.row), "config")
    its_own = all(place.blame is Blame.METHOD for place in places.values())
    unplaced = method if its_own else Place(cell.row.method)
    named = [(place_of_option(option, text, places) or unplaced, text) for option, text in refused]
    mistakes = [(place, text) for place, text in named if place.blame is Blame.USER]
    for place, text in mistakes or named[:1]:
        leave_out(draft, cell, f"{place}: {text}", place.blame)


def place_of_option(option: str, text: str, places: Mapping[str, Place]) -> Place | None:
    """Return where a refused option got its value, or None if that is unknown.

    A Config's own check names options in its text alone: what was set on the command line is
    likelier meant than other places, and else what is named first.
    """
    if option in places:
        return places[option]
    at = {name: found.start() for name in places
          if (found := re.search(rf"\b{re.escape(name)}\b", text))}  # fmt: skip
    named = sorted(at, key=lambda name: (not places[name].text.startswith("--set"), at[name]))
    return places[named[0]] if named else None
