"""The tables: rankings, all architectures side by side, costs, measures."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ddbench.reporting.leaderboard import (
    Board,
    Leaderboard,
    RankedRow,
    columns,
    table_format,
)
from ddbench.reporting.leaderboard.columns import View
from ddbench.reporting.markdown.document import Document, code, escaped
from ddbench.store.records import UsedArtifact
from ddbench.text import number_format

Row = dict[str, str]
FEW_CLASSES = 20  # whose sizes are shown where they differ; else a reader unfolds them
FLOPS = (
    "FLOPs: by the formulas of torch's FlopCounterMode, and ddbench's for what those leave out, 2 "
    "for each multiply-add"
)


def ranking_section(document: Document, board: Board) -> None:
    """Write one ranking in full, and what training on its sets cost."""
    table(document, columns.RANKING, columns.views([board]))
    document.bullets(_footnotes(board))
    _training(document, board)


def own_recipe_section(document: Document, boards: Sequence[Board]) -> None:
    """Write what sets give by their own recipes, with what that takes; it ranks no row."""
    rows = [view for view in columns.views(boards) if view.place.own.known]
    if rows:
        table(document, columns.OWN_RECIPES, rows)


def class_table(document: Document, board: Board) -> None:
    """Write each class's name and how many images it has; many classes are folded away."""
    classes = board.data.classes
    kind = board.data.images
    rows = [
        {"class": escaped(name), "training images": f"{train:,}", kind: f"{test:,}"}
        for name, train, test in classes
    ]
    if not rows:
        return
    if len(rows) <= FEW_CLASSES and board.data.unequal:
        document.table(rows, ("training images", kind))
        return
    inner = document.inner()
    inner.table(rows, ("training images", kind))
    document.folded(f"The {len(rows)} classes: names and images", inner)


def table(document: Document, chosen: Sequence[columns.Column], rows: Sequence[View]) -> None:
    """Write rows as a table of some columns, and what the columns mean."""
    words = {column.heading for column in chosen if column.words}
    cells = [
        {heading: escaped(text) if heading in words else text for heading, text in row.items()}
        for row in columns.cells(chosen, rows)
    ]
    for row, view in zip(cells, rows, strict=True):
        if view.place.rank == 1 and "accuracy %" in row:
            row["accuracy %"] = f"**{row['accuracy %']}**"
    alike = [[place.entry.method for place in (view.place, *view.same)] for view in rows]
    about = [{"method": "\n".join(dict.fromkeys(methods))} for methods in alike]
    document.table(cells, columns.numeric(chosen), about)
    shown = [column for column in chosen if cells and column.heading in cells[0]]
    meanings = [column.meaning for column in shown if column.meaning]
    document.add(f"<sub>{'; '.join(meanings)}.</sub>" if meanings else "")


def _training(document: Document, board: Board) -> None:
    """Write what training on the sets cost: the same for all, but for the noise of the clock."""
    views = [view for view in columns.views([board]) if view.place.training]
    if not views:
        return
    flops = dict.fromkeys(columns.TRAIN_FLOPS.text(view) for view in views)
    seconds = [training.test_s for view in views for training in view.place.training.values()]
    text = f"Training one network on a set takes {' or '.join(flops)} FLOPs"
    if any(map(math.isfinite, seconds)):
        text += f", testing it {number_format.seconds(min(seconds))} s or more"
    if math.isfinite(board.forward_macs):
        macs = int(board.forward_macs)
        text += (
            f". One forward pass of {code(board.architecture)}: {macs:,} multiply-adds for an "
            f"image, {macs * board.data.n_test:,} for the test set (fvcore, 1 for each)"
        )
    if board.reference and not board.trained_alike:
        text += (
            ". What a set saves of the training time is not shown: the whole training set was "
            f"trained on by another recipe ({code(board.reference.protocol)}: "
            f"{board.reference.epochs:.0f} epochs)"
        )
    document.add(f"<sub>{text}.</sub>")


def _name(place: RankedRow) -> str:
    return escaped(table_format.name(place.entry))


def _footnotes(board: Board) -> list[str]:
    lines = ["Network k starts from the same weights for every set."]
    if any(place.entry.reduced for place in board.places):
        lines.append(
            f"{table_format.REDUCED} Its settings are not the published ones: see the table of "
            "settings below."
        )
    lines += table_format.own_recipe_notes(board)
    lines += [f"{table_format.CONTROL} {line}" for line in table_format.against_controls(board)]
    return [f"{escaped(line).removesuffix('.')}." for line in lines]


def across_section(document: Document, boards: Sequence[Board]) -> None:
    """Write the accuracies on all networks side by side."""
    rows = []
    for view in columns.views(boards):
        row = {"method": _name(view.place), "init": escaped(view.place.entry.init)}
        row["condensed on"] = escaped(view.place.entry.architecture)
        for board in boards:
            row[escaped(board.architecture)] = table_format.accuracy(view.on(board))
        rows.append(row)
    document.table(rows, [escaped(board.architecture) for board in boards])
    document.add(
        "<sub>Accuracy in %, mean ± sample standard deviation over the networks of all seeds "
        "together, under the common protocol, of networks of each architecture trained on the "
        "same sets.</sub>"
    )


def settings_section(document: Document, board: Board) -> None:
    """Write every option that differs from the published one, with both values."""
    rows = [
        {
            "rows": escaped(number_format.listed(names)),
            "option": code(option),
            "here": escaped(number_format.number(used)),
            "published": escaped(number_format.number(published))
            + (" (default)" if whose == "default" else ""),
        }
        for names, whose, options in table_format.settings(board.places)
        for option, (used, published) in options.items()
    ]
    document.table(rows)


# -- costs -------------------------------------------------------------------------------------


def cost_section(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write what condensing cost, and the artifacts that several rows may share."""
    rows = [view for view in columns.views(boards) if view.place.costs]
    if not rows:
        return
    table(document, columns.COSTS, rows)
    document.add(
        "<sub>Means over seeds. Seconds: wall clock of init, steps and export; waits and warm-up "
        f"apart. Artifacts: in full, as if the row were alone. {FLOPS}, counted on sampled steps "
        "and extrapolated; ≥: uncounted work dominates. Peak memory: of this job alone.</sub>"
    )
    _artifacts(document, leaderboard, [view.place for view in rows])


def _artifacts(document: Document, leaderboard: Leaderboard, places: Sequence[RankedRow]) -> None:
    users: dict[str, dict[str, None]] = {}
    artifacts: dict[str, UsedArtifact] = {}
    for place in places:
        for one in leaderboard.results.of(place.entry.ids):
            for artifact in one.record.artifacts:
                artifacts[artifact.id] = artifact
                users.setdefault(artifact.id, {})[place.entry.label] = None
    rows = [
        {
            "artifact": escaped(artifact.kind),
            "id": code(id),
            "seconds": number_format.seconds(artifact.seconds),
            "FLOPs": number_format.count(artifact.flops, artifact.lower_bound),
            "bytes": number_format.size(artifact.bytes),
            "used by": escaped(", ".join(users[id])),
        }
        for id, artifact in artifacts.items()
    ]
    document.table(rows, ("seconds", "FLOPs", "bytes"))


# -- measures ----------------------------------------------------------------------------------


def measure_section(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write what methods measured of themselves, with their controls beside.

    Methods that measured the same things share a table.
    """
    board = boards[0]
    own = {
        place.entry.key: _measures(
            [one.record.measures for one in leaderboard.results.of(place.entry.ids)]
        )
        for place in board.places
    }
    alike = _measured_alike(board, own)
    for methods in alike:
        columns = [
            place
            for place in board.places
            if (place.entry.method in methods and own[place.entry.key])
            or _controls(place, board, methods)
        ]
        names = dict.fromkeys(name for p in columns for name in own[p.entry.key])
        title = {p.entry.key: f"{_name(p)} ({escaped(p.entry.init)})" for p in columns}
        rows = [_accuracy_row(board, columns, title)]
        rows += [
            {"measure": escaped(name)}
            | {
                title[p.entry.key]: own[p.entry.key].get(name, number_format.NOTHING)
                for p in columns
            }
            for name in names
        ]
        document.table(rows, title.values())


def _measured_alike(board: Board, own: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    """Return the methods that measured something, those together that measured the same things."""
    names: dict[str, dict[str, None]] = {}
    for entry in (place.entry for place in board.places):
        if own[entry.key]:
            names.setdefault(entry.method, {}).update(dict.fromkeys(own[entry.key]))
    alike: dict[tuple[str, ...], list[str]] = {}
    for method, measured in names.items():
        alike.setdefault(tuple(measured), []).append(method)
    return list(alike.values())


def _controls(place: RankedRow, board: Board, methods: Collection[str]) -> bool:
    """Whether a row stands beside rows of methods as their control, or is the random baseline."""
    rows = {p.entry.row for p in board.places if p.entry.method in methods}
    return place.entry.control_of in rows or place is board.baseline


def _accuracy_row(board: Board, columns: Sequence[RankedRow], title: Mapping[str, str]) -> Row:
    cell = {title[p.entry.key]: table_format.accuracy(p) for p in columns}
    return {"measure": f"accuracy % on {escaped(board.architecture)}", **cell}


def _measures(by_seed: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return each measure as text: the mean of numbers over seeds, words once."""
    names = dict.fromkeys(name for measures in by_seed for name in measures)
    return {str(name): _over_seeds([m[name] for m in by_seed if name in m]) for name in names}


def _over_seeds(values: list[Any]) -> str:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > 1:
        return number_format.number(sum(numbers) / len(numbers))
    different = dict.fromkeys(number_format.number(value) for value in values)
    text = " / ".join(different)
    return escaped(text if len(text) <= 80 else text[:77] + "...")
