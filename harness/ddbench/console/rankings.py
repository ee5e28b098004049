"""The leaderboard in the terminal: one table for each dataset, ipc and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.console.tables import print_json, print_table, stdout
from ddbench.results import FAILED

if TYPE_CHECKING:
    from ddbench.leaderboard import Board, Leaderboard, Place, Trouble


def print_leaderboard(leaderboard: Leaderboard, *, as_json: bool = False) -> None:
    """Print every ranking, and the jobs that have no result."""
    if as_json:
        print_json(_record(leaderboard))
        return
    from ddbench.leaderboard import grouped

    for boards in grouped(leaderboard.boards):
        _print_group(boards)
    out = stdout()
    if not leaderboard.boards:
        out.print("no evaluation has ended yet; `ddbench run` with the same --out goes on")
    for line in _left_out(leaderboard):
        out.print(line, soft_wrap=True)


def _record(leaderboard: Leaderboard) -> dict[str, Any]:
    from ddbench.leaderboard import flat

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
    from ddbench.leaderboard import cells

    first, letters = boards[0], cells.letters(boards)
    rows = [_row(boards, place, letters) for place in first.places]
    print_table(
        rows,
        title=f"{first.dataset_name}, ipc {first.ipc}, protocol {first.protocol_name}: "
        "accuracy % on each evaluation architecture",
        captions=_captions(boards, letters),
        right=set(rows[0]) - {"method", "init"},
        droppable=_droppable(boards),
        legend=_legend(boards),
    )


def _droppable(boards: Sequence[Board]) -> list[str]:
    others = [board.architecture for board in boards[1:]]
    return ["artifacts s", *others, "own recipe", "FLOPs", "train s", "memory", "set"]


def _legend(boards: Sequence[Board]) -> dict[str, str]:
    """Return what the columns mean, by their names."""
    first = boards[0].architecture
    return {
        first: f"ranked on {first}; ± is the standard deviation over the networks of all seeds",
        "n": "n: condensation seeds × networks",
        "own recipe": f"own recipe: that of the set itself, on {first}",
        "condense s": "condense s: shared artifacts in full",
        "FLOPs": "FLOPs: of condensing, artifacts in full; ≥: uncounted work dominates",
    }


def _row(boards: Sequence[Board], place: Place, letters: Mapping[str, str]) -> dict[str, str]:
    from ddbench.leaderboard import cells, words

    def cost(show: Any) -> str:  # noqa: ANN401
        return cells.by_class(place.costs, show, letters)

    accuracies = {board.architecture: cells.accuracy(_same(board, place)) for board in boards}
    row = {"#": cells.rank(place), "method": cells.name(place.entry), "init": place.entry.init}
    first = boards[0].architecture
    row |= {first: accuracies.pop(first), "n": cells.samples(place.score)} | accuracies
    if boards[0].has_own:
        row["own recipe"] = cells.accuracy(place, place.own)
    row["condense s"] = cost(lambda c: words.seconds(c.seconds))
    if any(c.artifact_s > 0 for p in boards[0].places for c in p.costs.values()):
        row["artifacts s"] = cost(lambda c: words.seconds(c.artifact_s))
    return row | {
        "train s": cells.by_class(place.training, lambda t: words.seconds(t.train_s), letters),
        "FLOPs": cost(lambda c: words.count(c.flops, c.lower_bound)),
        "memory": cost(lambda c: words.size(c.peak_memory)),
        "set": words.size(place.bytes),
    }


def _same(board: Board, place: Place) -> Place:
    """Return the row of the same entry on another board of the group."""
    return next(other for other in board.places if other.entry.key == place.entry.key)


def _captions(boards: Sequence[Board], letters: Mapping[str, str]) -> list[str]:
    from ddbench.leaderboard import cells, words

    first = boards[0]
    lines = [*filter(None, [cells.quick_caption(first)]), cells.data_caption(first)]
    for reference in (board.reference for board in boards if board.reference):
        time = next(iter(reference.training.values()))
        lines.append(
            f"whole training set on {reference.architecture}: "
            f"{words.points(reference.score.mean, reference.score.spread)}%, "
            f"{words.duration(time.train_s)} of training ({reference.protocol})"
        )
    lines += [*cells.legend(first.places), *cells.own_recipe_notes(first)]
    lines += cells.notes(first.places)
    return [*lines, *filter(None, [cells.hardware_caption(letters)])]


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
        n = leaderboard.superseded
        lines.append(f"left out: {n} condensations that other code has done again since")
    if leaderboard.stale_evaluations:
        n = leaderboard.stale_evaluations
        lines.append(f"left out: {n} evaluations of sets that have changed since")
    lines += [f"not read: {path}: {why}" for path, why in leaderboard.records.unreadable]
    return lines
