"""The tables: rankings, all architectures side by side, costs, measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ddbench.reporting.leaderboard import (
    Board,
    Costs,
    Leaderboard,
    RankedRow,
    Reference,
    Training,
    table_format,
)
from ddbench.reporting.markdown.document import Document, code, escaped
from ddbench.store.records import UsedArtifact
from ddbench.text import number_format

Letters = Mapping[str, str]
Row = dict[str, str]
FEW_CLASSES = 20  # whose sizes are shown where they differ; else a reader unfolds them
FLOPS = (
    "FLOPs: by the formulas of torch's FlopCounterMode, and ddbench's for what those leave out, 2 "
    "for each multiply-add"
)


def ranking_section(document: Document, boards: Sequence[Board]) -> None:
    """Write the rankings of one dataset, ipc and protocol, the first architecture's in full."""
    letters = table_format.letters(boards)
    first, *others = boards
    document.add(escaped(_sentence(table_format.validation_caption(first))))
    document.add(escaped(_data_line(first)))
    document.add(escaped(_sentence(first.data.notes)))
    class_table(document, first)
    document.heading(3, f"Ranking on {first.architecture}")
    _ranking(document, first, letters)
    document.bullets(_footnotes(first, letters))
    _training(document, first, letters)
    if not others:
        return
    document.heading(3, "Across architectures")
    _across(document, boards)
    for board in others:
        inner = document.inner()
        _ranking(inner, board, letters)
        inner.bullets(f"{escaped(line)}." for line in table_format.own_recipe_notes(board))
        _training(inner, board, letters)
        document.folded(f"Ranking on {board.architecture}", inner)


def _data_line(board: Board) -> str:
    text = table_format.data_caption(board)
    if board.reference:
        text += "; " + _reference_words(board.reference)
    return _sentence(text)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


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


def _reference_words(reference: Reference) -> str:
    score = number_format.points(reference.score.mean, reference.score.spread)
    text = (
        f"the whole training set ({reference.images:,.0f} images) on {reference.architecture}: "
        f"{score}%"
    )
    for training in reference.training.values():
        flops = number_format.flops(training.flops, training.lower_bound)
        text += f", {number_format.duration(training.train_s)} and {flops} of training"
    return f"{text} (protocol {reference.protocol})"


def _ranking(document: Document, board: Board, letters: Letters) -> None:
    """Write the accuracies."""
    rows = [_ranking_row(board, place, letters) for place in board.places]
    document.table(rows, set(rows[0]) - {"method", "init", "condensed on"})
    document.add(
        "<sub>Accuracy: mean ± sample standard deviation over the networks of all seeds together, "
        "after the last epoch. ± over seeds: of the seeds' means. "
        "n: condensation seeds × networks trained on each set. condense s: wall seconds until the "
        "set is there, shared artifacts in full.</sub>"
    )


def _training(document: Document, board: Board, letters: Letters) -> None:
    """Write what training on the sets cost."""
    rows = [_training_row(board, place, letters) for place in board.places if place.training]
    document.table(rows, set(rows[0]) - {"method", "init"})
    text = f"Wall seconds of training and of testing one network. {FLOPS}."
    if math.isfinite(board.forward_macs):
        macs = int(board.forward_macs)
        text += (
            f" One forward pass of {code(board.architecture)}: {macs:,} multiply-adds for an "
            f"image, {macs * board.data.n_test:,} for the test set (fvcore, 1 for each)."
        )
    if board.reference and not board.trained_alike:
        text += (
            " What a set saves of the training time is not shown: the whole training set was "
            f"trained on by another recipe ({code(board.reference.protocol)}: "
            f"{board.reference.epochs:.0f} epochs)."
        )
    elif board.reference:
        text += (
            " Time saved: of training one network, against the whole training set; pays off "
            "after: trainings after which that has made up for the seconds of condensing."
        )
    document.add(f"<sub>{text}</sub>")


def _ranking_row(board: Board, place: RankedRow, letters: Letters) -> Row:
    row = {"#": table_format.rank(place), "method": _name(place), "init": escaped(place.entry.init)}
    if len({p.entry.architecture for p in board.places}) > 1:
        row["condensed on"] = escaped(place.entry.architecture)
    accuracy = table_format.accuracy(place)
    row["accuracy %"] = f"**{accuracy}**" if place.rank == 1 else accuracy
    row["n"] = table_format.samples(place.score)
    if any(p.score.seeds > 1 for p in board.places):
        row["± over seeds"] = number_format.points(place.score.seed_spread)
    if board.data.unequal:
        row["balanced %"] = number_format.points(place.score.balanced)
    if board.has_own:
        row["own recipe %"] = table_format.accuracy(place, place.own)
    if board.baseline:
        gain = place.score.mean - board.baseline.score.mean
        row["vs random"] = (
            number_format.NOTHING if place is board.baseline else number_format.difference(gain)
        )
    if board.reference:
        row["vs whole"] = number_format.difference(place.score.mean - board.reference.score.mean)
    row["condense s"] = table_format.by_class(
        place.costs, lambda c: number_format.seconds(c.seconds), letters
    )
    return row


def _training_row(board: Board, place: RankedRow, letters: Letters) -> Row:
    def cell(show: Callable[[Training], str]) -> str:
        return table_format.by_class(place.training, show, letters)

    row = {"method": _name(place), "init": escaped(place.entry.init)}
    row["train s"] = cell(lambda t: number_format.seconds(t.train_s))
    row["test s"] = cell(lambda t: number_format.seconds(t.test_s))
    row["train FLOPs"] = cell(lambda t: number_format.count(t.flops, t.lower_bound))
    if board.reference and board.trained_alike:
        saved = _saved(place, board.reference)
        row["time saved"] = table_format.by_class(saved, lambda s: f"{100 * s:.0f}%", letters)
        after = _pays_off_after(place, board.reference)
        row["pays off after"] = table_format.by_class(after, lambda n: f"{n:,}", letters)
    return row


def _name(place: RankedRow) -> str:
    return escaped(table_format.name(place.entry))


def _saved(place: RankedRow, reference: Reference) -> dict[str, float]:
    """Return the share of training time that the set saves, inside a class of hardware."""
    return {
        name: 1 - training.train_s / reference.training[name].train_s
        for name, training in place.training.items()
        if name in reference.training and reference.training[name].train_s > 0
    }


def _pays_off_after(place: RankedRow, reference: Reference) -> dict[str, int]:
    """Return the trainings after which a set has saved the seconds that it took to make."""
    found = {}
    for name, training in place.training.items():
        if name not in place.costs or name not in reference.training:
            continue
        saved = reference.training[name].train_s - training.train_s
        if saved > 0 and math.isfinite(place.costs[name].seconds):
            found[name] = max(1, math.ceil(place.costs[name].seconds / saved))
    return found


def _footnotes(board: Board, letters: Letters) -> list[str]:
    lines = ["Network k starts from the same weights for every set."]
    against = ["vs random: random real images"] * bool(board.baseline)
    against += ["vs whole: the whole training set"] * bool(board.reference)
    if against:
        lines.append(f"Difference in points of accuracy, {', '.join(against)}.")
    if board.has_own:
        lines.append(
            "Own recipe: labels (soft ones too), learning rate and augmentation as the set brings "
            "them; the ranking is by hard labels under the common protocol, and no row is ranked "
            "by this column."
        )
    lines += [f"{escaped(line)}." for line in table_format.own_recipe_notes(board)]
    gains = [f"{table_format.CONTROL} {line}" for line in table_format.against_controls(board)]
    rest = [*table_format.legend(board.places), *gains, *table_format.notes(board.places)]
    rest += filter(None, [table_format.hardware_caption(letters)])
    return [*lines, *(f"{escaped(line)}." for line in rest)]


def _across(document: Document, boards: Sequence[Board]) -> None:
    rows = []
    for place in boards[0].places:
        row = {"method": _name(place), "init": escaped(place.entry.init)}
        row["condensed on"] = escaped(place.entry.architecture)
        for board in boards:
            same = next(p for p in board.places if p.entry.key == place.entry.key)
            row[escaped(board.architecture)] = table_format.accuracy(same)
        rows.append(row)
    document.table(rows, [escaped(board.architecture) for board in boards])
    document.add(
        "<sub>Accuracy in %, mean ± sample standard deviation over the networks of all seeds "
        "together, under the common protocol, of networks of each architecture trained on the "
        "same sets.</sub>"
    )


# -- costs -------------------------------------------------------------------------------------


def cost_section(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write what condensing cost, and the artifacts that several rows may share."""
    letters = table_format.letters(boards)
    places = [place for place in boards[0].places if place.costs]
    rows = [_cost_row(place, letters) for place in places]
    if not rows:
        return
    document.heading(3, "What condensing cost")
    document.table(rows, set(rows[0]) - {"method", "init", "hardware"})
    document.add(
        "<sub>Means over seeds. Seconds: wall clock of init, steps and export; waits and warm-up "
        f"apart. Artifacts: in full, as if the row were alone. {FLOPS}, counted on sampled steps "
        "and extrapolated; ≥: uncounted work dominates. Peak memory: of this job alone. Set: bytes "
        "of images and labels.</sub>"
    )
    _artifacts(document, leaderboard, places)


def _cost_row(place: RankedRow, letters: Letters) -> Row:
    def cell(show: Callable[[Costs], str]) -> str:
        return table_format.by_class(place.costs, show, letters)

    def artifacts(cost: Costs) -> str:
        if not cost.artifact_s > 0:
            return number_format.seconds(cost.artifact_s)
        return f"{number_format.seconds(cost.artifact_s)} ({100 * cost.artifact_share:.0f}%)"

    return {
        "method": _name(place),
        "init": escaped(place.entry.init),
        "steps": cell(lambda c: number_format.number(c.steps)),
        "own s": cell(lambda c: number_format.seconds(c.own_s)),
        "artifacts s (share)": cell(artifacts),
        "own FLOPs": cell(lambda c: number_format.count(c.flops_own, c.lower_bound)),
        "artifact FLOPs": cell(lambda c: number_format.count(c.flops_artifact)),
        "peak memory": cell(lambda c: number_format.size(c.peak_memory)),
        "set": number_format.size(place.bytes),
    }


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
    if alike:
        document.heading(3, "What methods measured")
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
