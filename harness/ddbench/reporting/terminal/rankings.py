"""The leaderboard in the terminal: one table for each dataset, ipc and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.reporting.terminal.tables import print_json, print_table, stdout
from ddbench.store.records import FAILED

if TYPE_CHECKING:
    from ddbench.reporting.leaderboard import Board, Leaderboard, RankedRow, Trouble


def print_leaderboard(leaderboard: Leaderboard, *, as_json: bool = False) -> None:
    """Print every ranking, and the jobs that have no result."""
    if as_json:
        print_json(_record(leaderboard))
        return
    from ddbench.reporting.leaderboard import grouped

    for boards in grouped(leaderboard.boards):
        _print_group(boards)
    out = stdout()
    for line in _answers(leaderboard):
        out.print(line, soft_wrap=True)
    if not leaderboard.boards:
        out.print("no evaluation has ended yet; `ddbench run` with the same --out goes on")
    for line in _left_out(leaderboard):
        out.print(line, soft_wrap=True)


def _record(leaderboard: Leaderboard) -> dict[str, Any]:
    from ddbench.reporting.leaderboard import flat

    return {
        "run": leaderboard.folder.name,
        "rows": [flat(board, place) for board in leaderboard.boards for place in board.places],
        "references": [
            {
                "dataset": one.dataset,
                "architecture": one.architecture,
                "protocol": one.protocol,
                "accuracy": one.score.mean,
                "spread_networks": one.score.spread,
                "images": one.images,
                "training": [vars(training) for training in one.training.values()],
            }
            for one in leaderboard.references
        ],
        "troubles": [vars(trouble) for trouble in leaderboard.troubles],
        "superseded": leaderboard.superseded,
        "stale_evaluations": leaderboard.stale_evaluations,
        "unreadable": [
            {"file": str(path), "reason": reason} for path, reason in leaderboard.records.unreadable
        ],
    }


def _print_group(boards: Sequence[Board]) -> None:
    from ddbench.reporting.leaderboard import table_format

    first, letters = boards[0], table_format.letters(boards)
    rows = [_row(boards, place, letters) for place in first.places]
    print_table(
        rows,
        title=f"{first.dataset_name}, ipc {first.ipc}, protocol {first.protocol_name}: "
        f"accuracy % of {first.data.images} on each evaluation architecture",
        captions=_captions(boards, letters),
        right=set(rows[0]) - {"method", "init"},
        droppable=_droppable(boards),
        legend=_legend(boards),
    )


def _droppable(boards: Sequence[Board]) -> list[str]:
    others = [board.architecture for board in boards[1:]]
    return ["artifacts s", *others, "own recipe", "balanced", "FLOPs", "train s", "memory", "set"]


def _legend(boards: Sequence[Board]) -> dict[str, str]:
    """Return what the columns mean, by their names."""
    first = boards[0].architecture
    return {
        first: f"ranked on {first}; ± is the standard deviation over the networks of all seeds",
        "n": "n: condensation seeds × networks",
        "balanced": f"balanced: mean of the accuracies on each class, on {first}",
        "own recipe": f"own recipe: that of the set itself, on {first}",
        "condense s": "condense s: shared artifacts in full",
        "FLOPs": "FLOPs: of condensing, artifacts in full; ≥: uncounted work dominates",
    }


def _row(boards: Sequence[Board], place: RankedRow, letters: Mapping[str, str]) -> dict[str, str]:
    from ddbench.reporting.leaderboard import table_format
    from ddbench.text import number_format

    def cost(show: Any) -> str:  # noqa: ANN401
        return table_format.by_class(place.costs, show, letters)

    accuracies = {
        board.architecture: table_format.accuracy(_same(board, place)) for board in boards
    }
    row = {
        "#": table_format.rank(place),
        "method": table_format.name(place.entry),
        "init": place.entry.init,
    }
    first = boards[0].architecture
    row |= {first: accuracies.pop(first), "n": table_format.samples(place.score)} | accuracies
    if boards[0].data.unequal:
        row["balanced"] = number_format.points(place.score.balanced)
    if boards[0].has_own:
        row["own recipe"] = table_format.accuracy(place, place.own)
    row["condense s"] = cost(lambda c: number_format.seconds(c.seconds))
    if any(c.artifact_s > 0 for p in boards[0].places for c in p.costs.values()):
        row["artifacts s"] = cost(lambda c: number_format.seconds(c.artifact_s))
    return row | {
        "train s": table_format.by_class(
            place.training, lambda t: number_format.seconds(t.train_s), letters
        ),
        "FLOPs": cost(lambda c: number_format.count(c.flops, c.lower_bound)),
        "memory": cost(lambda c: number_format.size(c.peak_memory)),
        "set": number_format.size(place.bytes),
    }


def _same(board: Board, place: RankedRow) -> RankedRow:
    """Return the row of the same entry on another board of the group."""
    return next(other for other in board.places if other.entry.key == place.entry.key)


def _captions(boards: Sequence[Board], letters: Mapping[str, str]) -> list[str]:
    from ddbench.reporting.leaderboard import table_format
    from ddbench.text import number_format

    first = boards[0]
    about = (table_format.quick_caption(first), table_format.validation_caption(first))
    lines = [*filter(None, about), table_format.data_caption(first)]
    for reference in (board.reference for board in boards if board.reference):
        time = next(iter(reference.training.values()))
        lines.append(
            f"whole training set on {reference.architecture}: "
            f"{number_format.points(reference.score.mean, reference.score.spread)}%, "
            f"{number_format.duration(time.train_s)} of training ({reference.protocol})"
        )
    lines += [*table_format.legend(first.places), *table_format.own_recipe_notes(first)]
    lines += table_format.notes(first.places)
    return [*lines, *filter(None, [table_format.hardware_caption(letters)])]


def _answers(leaderboard: Leaderboard) -> list[str]:
    """Return what validations say: which method, at what cost, or what would settle it."""
    from ddbench.reporting.leaderboard import answer, grouped
    from ddbench.store.records import VALIDATION

    chosen = [b for b in grouped(leaderboard.boards) if b[0].data.tested_on == VALIDATION]
    return [f"{b[0].dataset_name}, ipc {b[0].ipc}: {answer(b)}" for b in chosen]


def _can_show(trouble: Trouble) -> bool:
    """Say whether there is more to see of a job than its reason."""
    return trouble.status == FAILED and bool(trouble.id)


def _left_out(leaderboard: Leaderboard) -> list[str]:
    lines = []
    for trouble in leaderboard.troubles:
        seeds = ", ".join(map(str, trouble.seeds))
        which = f", seed {seeds}" if seeds else ""
        see = f"; see: {leaderboard.folder.show_command(trouble.id)}" if _can_show(trouble) else ""
        lines.append(f"{trouble.status}: {trouble.what}{which}: {trouble.reason}{see}")
    if leaderboard.superseded:
        from ddbench.text import number_format

        n = leaderboard.superseded
        what = number_format.several(n, "condensation")
        lines.append(f"left out: {what} done again since by other code; --old-code shows them")
    if leaderboard.stale_evaluations:
        n = leaderboard.stale_evaluations
        lines.append(f"left out: {n} evaluations of sets that have changed since")
    lines += [f"not read: {path}: {why}" for path, why in leaderboard.records.unreadable]
    return lines
