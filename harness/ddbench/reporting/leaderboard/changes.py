"""What changed from one run to another, row by row, and whether that is more than noise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ddbench.reporting.leaderboard import Leaderboard
from ddbench.reporting.leaderboard.differences import Difference, compare, holm
from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.rows import Entry
from ddbench.reporting.leaderboard.scores import Score
from ddbench.text.lines import brief

BETTER, WORSE, SAME, IDENTICAL = "better", "worse", "not told apart", "identical"
UNKNOWN, LOST, NEW_SCORE = "noise unknown", "no score any more", "has a score now"
ONLY_BEFORE, ONLY_AFTER, NO_SCORE = "only in A", "only in B", "no score"
VERDICTS = (WORSE, LOST, BETTER, NEW_SCORE, SAME, IDENTICAL, UNKNOWN, NO_SCORE, ONLY_BEFORE,
            ONLY_AFTER)  # fmt: skip
One = TypeVar("One")


@dataclass(frozen=True)
class Change:
    """One row of one ranking in two runs, A and B.

    Attributes:
        board: The ranking, of B where both have it.
        entry: The row, likewise.
        own: Whether the scores are by the sets' own recipes, not by the common protocol.
        before, after: Its scores in A and B; None where it is not there.
        verdict: One of `VERDICTS`: more than noise by Holm's correction over all rows of both runs.
        difference: B less A, paired by network; None where one of both has no score.
        p: Of that difference's test; NaN where there is none.
        times: Wall seconds of condensing in B over those in A, on the same class of hardware; NaN
            elsewhere.
        others: What else differs, in words: options, code, recipe, data.
        reason: Why B has no score, "" where it has.
    """

    board: Board
    entry: Entry
    own: bool
    before: Score | None
    after: Score | None
    verdict: str
    difference: Difference | None = None
    p: float = math.nan
    times: float = math.nan
    others: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_worse(self) -> bool:
        """Whether B is worse than A, by more than noise or because it lost its score."""
        return self.verdict in (WORSE, LOST)

    def record(self) -> dict[str, Any]:
        """Return plain values; accuracies in [0, 1], None for what is not known."""
        found = self.difference
        return {
            "dataset": self.board.dataset_name,
            "ipc": self.board.ipc,
            "architecture": self.board.architecture,
            "protocol": self.board.protocol_name,
            "tested_on": self.board.data.tested_on,
            "row": self.entry.label,
            "method": self.entry.method,
            "init": self.entry.init,
            "matched": self.entry.architecture,
            "own_recipe": self.own,
            "verdict": self.verdict,
            "accuracy_a": _mean(self.before),
            "accuracy_b": _mean(self.after),
            "difference": found.mean if found else None,
            "difference_interval": list(found.interval) if found and found.known else None,
            "p": None if math.isnan(self.p) else self.p,
            "condense_s_ratio": None if math.isnan(self.times) else self.times,
            "others": list(self.others),
            "reason": self.reason or None,
        }


def changes(before: Leaderboard, after: Leaderboard) -> list[Change]:
    """Return what became of every row of both runs, in the order of B's tables, then A's.

    Rankings are the same by dataset, ipc, network, protocol and split, rows by name, init and the
    network that was matched; where several share these, by their options too.
    """
    found = []
    for one, other in _matched(before.boards, after.boards, _exact_board, _board):
        board = other or one
        assert board is not None  # noqa: S101
        differing = _board_differences(one, other) if one and other else ()
        rows = _matched(
            one.places if one else (), other.places if other else (), _exact_row, _row
        )  # fmt: skip
        for row, new in rows:
            found += _changes_of(board, row, new, differing)
    failed: dict[Hashable, Entry] = {
        (_place(entry), _key(entry)): entry for entry in after.entries if not entry.ids
    }
    return _judged([_lost(one, failed) for one in found])


def _lost(one: Change, failed: Mapping[Hashable, Entry]) -> Change:
    """Return the change of a row that is in A only; where B failed to condense it, with why."""
    entry = failed.get((_place(one.entry), _key(one.entry)))
    if one.verdict != ONLY_BEFORE or entry is None or not (one.before and one.before.known):
        return one
    return replace(one, verdict=LOST, reason=entry.failed[0][2])


# -- what belongs together ---------------------------------------------------------------------


def _matched(
    before: Sequence[One], after: Sequence[One], *keys: Callable[[One], Hashable]
) -> list[tuple[One | None, One | None]]:
    """Return pairs by the first key, of what is left by the next; then what has no partner."""
    partner: dict[int, One] = {}
    left, right = list(before), list(after)
    for key in keys:
        ours, theirs = _alone(left, key), _alone(right, key)
        for name in ours.keys() & theirs.keys():
            partner[id(theirs[name])] = ours[name]
        taken = {id(one) for one in partner.values()}
        left = [one for one in left if id(one) not in taken]
        right = [one for one in right if id(one) not in partner]
    return [*((partner.get(id(one)), one) for one in after), *((one, None) for one in left)]


def _alone(things: Iterable[One], key: Callable[[One], Hashable]) -> dict[Hashable, One]:
    """Return things by their key, without those that share it."""
    groups: dict[Hashable, list[One]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return {name: group[0] for name, group in groups.items() if len(group) == 1}


def _board(board: Board) -> Hashable:
    names = board.dataset, board.ipc, board.architecture, board.protocol
    return (*names, board.data.tested_on, board.setting)


def _exact_board(board: Board) -> Hashable:
    return _board(board), board.fingerprint, _text(board.recipe)


def _row(place: RankedRow) -> Hashable:
    return _key(place.entry)


def _key(entry: Entry) -> Hashable:
    return entry.row, entry.init, entry.architecture, entry.is_control


def _place(entry: Entry) -> Hashable:
    return entry.dataset, entry.ipc


def _exact_row(place: RankedRow) -> Hashable:
    entry = place.entry
    options = {name: value for name, value in entry.config.items() if name != "seed"}
    return _row(place), _text(options), entry.budget_s, entry.taken


def _text(values: Any) -> str:  # noqa: ANN401
    return json.dumps(values, sort_keys=True, default=str)


# -- what differs ------------------------------------------------------------------------------


def _board_differences(one: Board, other: Board) -> tuple[str, ...]:
    words = [f"recipe {text}" for text in _differing(one.recipe, other.recipe)]
    return (*words, *["other data"] * (one.fingerprint != other.fingerprint))


def _row_differences(one: RankedRow, other: RankedRow) -> tuple[str, ...]:
    words = _differing(one.entry.config, other.entry.config)
    if one.entry.taken != other.entry.taken:
        words.append(f"steps {one.entry.taken} -> {other.entry.taken}")
    if one.entry.seeds != other.entry.seeds:
        words.append(f"seeds {len(one.entry.seeds)} -> {len(other.entry.seeds)}")
    return tuple(words)


def _differing(before: Any, after: Any) -> list[str]:  # noqa: ANN401  (mappings of plain values)
    names = dict.fromkeys([*before, *after])
    return [
        f"{name} {brief(before.get(name))} -> {brief(after.get(name))}"
        for name in names
        if name != "seed" and before.get(name) != after.get(name)
    ]


# -- how much it is ----------------------------------------------------------------------------


def _changes_of(
    board: Board, before: RankedRow | None, after: RankedRow | None, others: tuple[str, ...]
) -> list[Change]:
    """Return the change of one row, and that by its own recipe where one run has it."""
    row = after or before
    assert row is not None  # noqa: S101
    if before and after and after.score.known:
        others = (*others, *_row_differences(before, after))
    whole = Change(board, row.entry, False, None, None, "", others=others)
    if before is None or after is None:
        score, verdict = row.score, ONLY_AFTER if before is None else ONLY_BEFORE
        there = (None, score) if before is None else (score, None)
        return [replace(whole, before=there[0], after=there[1], verdict=verdict)]
    whole = replace(whole, times=_times(before, after))
    found = [_change(whole, before.score, after.score, after.trouble)]
    if before.own.known and (after.own.known or after.score.known):
        found.append(_change(replace(whole, own=True), before.own, after.own, after.trouble))
    return found


def _change(about: Change, before: Score, after: Score, trouble: Sequence[str]) -> Change:
    """Return the change with its difference and its test, its verdict without noise."""
    about = replace(about, before=before, after=after)
    if not before.known or not after.known:
        verdict = LOST if before.known else NEW_SCORE if after.known else NO_SCORE
        return replace(about, verdict=verdict, reason="" if after.known else "; ".join(trouble))
    pairs = compare([after, before], about.board.data.n_test)
    found = replace(about, difference=pairs.difference(0, 1), verdict=SAME)
    if before.sets == after.sets:
        return replace(found, verdict=IDENTICAL)
    p = float(pairs.p[0, 1])
    return replace(found, p=p, verdict=UNKNOWN if math.isnan(p) else SAME)


def _judged(found: Sequence[Change]) -> list[Change]:
    """Return the changes with their verdicts: 95% sure of all together, by Holm's correction."""
    told = holm(np.array([one.p for one in found], dtype=float))
    judged = []
    for one, is_told in zip(found, told.tolist(), strict=True):
        if is_told and one.difference:
            one = replace(one, verdict=BETTER if one.difference.mean > 0 else WORSE)
        judged.append(one)
    return judged


def _times(before: RankedRow, after: RankedRow) -> float:
    shared = [name for name in before.costs if name in after.costs]
    if len(shared) != 1 or not before.costs[shared[0]].seconds > 0:
        return math.nan
    return after.costs[shared[0]].seconds / before.costs[shared[0]].seconds


def _mean(score: Score | None) -> float | None:
    return score.mean if score and score.known else None
