"""A markdown document under construction, with the pictures it refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ddbench.leaderboard import Leaderboard, Place, words


@dataclass
class Document:
    """Blocks of markdown and files by name."""

    title: str
    pictures: Path
    blocks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, block: str) -> None:
        """Append a block; an empty one is left out."""
        if block:
            self.blocks.append(block)

    def table(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Append a table."""
        if not rows:
            return
        names = list(rows[0])
        lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(row[name] for name in names) + " |" for row in rows]
        self.add("\n".join(lines))

    def text(self) -> str:
        """Return the whole."""
        return "\n\n".join(self.blocks) + "\n"


def write_document(leaderboard: Leaderboard, document: Document) -> None:
    """Write the rankings."""
    document.add(f"# Leaderboard of {document.title}")
    for board in leaderboard.boards:
        document.add(f"## {board.dataset}, ipc {board.ipc}, {board.architecture}, {board.protocol}")
        document.table([_row(place) for place in board.places])


def _row(place: Place) -> dict[str, str]:
    return {
        "#": str(place.rank or ""),
        "method": place.entry.label,
        "init": place.entry.init,
        "accuracy %": words.points(place.score.mean, place.score.spread),
    }
