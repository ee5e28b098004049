"""The pictures of the sets: what each was at the start, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ddbench.contract import image_grid
from ddbench.reporting.leaderboard import Board, Leaderboard, RankedRow, table_format
from ddbench.reporting.markdown.document import Document, escaped, image
from ddbench.store.run_folder import INITIAL, SET, torn_files

FORMAT = 2  # of `synthetic_set`, which imports torch
CLASSES, EACH = 10, 10  # shown at most: classes, and images of each
WIDTH = {1: 600}  # pixels of a picture in the document, by ipc
NARROW = 340


@dataclass(frozen=True)
class StoredSet:
    """The parts of a synthetic set's file that make its picture."""

    images: np.ndarray  # (N, ch, H, W) float32
    labels: np.ndarray  # (N,) class of each
    provenance: Mapping[str, Any]


def read_set(path: Path) -> StoredSet:
    """Read a set without torch. Runs no code from the file.

    Raises:
        ValueError: The file is torn, or no synthetic set.
        OSError: It cannot be read.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("ddbench", "{}"))
            number = about.get("format", 1) if isinstance(about, dict) else None
            if isinstance(number, int) and number > FORMAT:
                raise ValueError(f"of a later ddbench (format {number}): upgrade ddbench")
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
    except (SafetensorError, TypeError, AttributeError, RecursionError) as error:
        # Metadata nested without end; a number format that numpy has no name for.
        raise ValueError(f"no synthetic set ({error})") from error
    formation = about.get("formation") if isinstance(about, dict) else None
    if not images.size and isinstance(formation, dict) and "decode" in formation:
        raise ValueError("its images are decoded from other tensors")
    if images.ndim != 4 or not images.size or images.dtype.kind not in "fiu":
        raise ValueError(f"no synthetic set (images are {images.dtype} of shape {images.shape})")
    if labels.ndim not in (1, 2) or not labels.size or len(labels) != len(images):
        raise ValueError(f"no synthetic set (labels of shape {labels.shape})")
    provenance = about.get("provenance", {}) if isinstance(about, dict) else None
    if not isinstance(provenance, dict):
        raise ValueError("no synthetic set (its provenance is no object)")
    return StoredSet(images, labels.argmax(1) if labels.ndim == 2 else labels, provenance)


def gallery_section(
    document: Document,
    leaderboard: Leaderboard,
    boards: Sequence[Board],
    places: Sequence[RankedRow] | None = None,
) -> None:
    """Write the initial and the final images of rows, of their first seeds; of all by default."""
    board = boards[0]
    places = board.places if places is None else places
    rows, notes = [], []
    for place in places:
        if not place.entry.ids:
            continue
        try:
            rows.append(_row(document, leaderboard, board, place))
        except (OSError, ValueError) as error:
            notes.append(f"{escaped(place.entry.label)}: not shown, {escaped(_reason(error))}.")
    notes += [note for place in places for note in _torn(leaderboard, place)]
    if not rows and not notes:
        return
    document.table(rows)
    document.add("<sub>" + _caption(leaderboard, board) + "</sub>" if rows else "")
    document.bullets(notes)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "its file is not there"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)


def _torn(leaderboard: Leaderboard, place: RankedRow) -> list[str]:
    """Return a note for each file of a row that is torn: which, and what to do."""
    folder = leaderboard.folder
    return [
        f"{escaped(str(path.relative_to(folder.root)))}: {escaped(reason)}; "
        f"`ddbench retry RUN {id}` and the next run mend it."
        for id in place.entry.ids
        for path, reason in torn_files(folder, id)
    ]


def _row(
    document: Document, leaderboard: Leaderboard, board: Board, place: RankedRow
) -> dict[str, str]:
    entry, width = place.entry, WIDTH.get(board.ipc, NARROW)
    folder = leaderboard.folder.condensation(entry.ids[0])
    final = read_set(folder / SET)
    stem = f"{board.dataset}-ipc{board.ipc}-{entry.label}-{entry.init}-{entry.architecture}"
    about = f"{entry.label}, {entry.init} init, seed {entry.seeds[0]}"

    def picture(shown: StoredSet, when: str) -> str:
        content = _png(leaderboard, (entry.ids[0], when), shown)
        address = document.picture(f"{stem}-{when}.png", content)
        return image(address, f"{about}: {when} images", width)

    after = picture(final, "final")
    initial = _initial(folder / INITIAL)
    same = initial is not None and np.array_equal(initial.images, final.images)
    before = "" if initial is None else "as the final ones" if same else picture(initial, "initial")
    head = {"method": f"{escaped(table_format.name(entry))}<br>{escaped(entry.init)} init"}
    if board.ipc == 1:
        both = after if same or not before else f"{before}<br>{after}"
        return head | {"images: at first above, at last below": both}
    return head | {"at first": before, "at last": after}


def _png(leaderboard: Leaderboard, of: tuple[str, str], shown: StoredSet) -> bytes:
    """Return the picture of a set, made once for all reports: of which set, and of which moment."""
    if of not in leaderboard.pictures:
        leaderboard.pictures[of] = image_grid.png(_picture(shown))
    return leaderboard.pictures[of]


def _initial(path: Path) -> StoredSet | None:
    """Return the set that the condensation started from, if it is there to see."""
    try:
        return read_set(path)
    except (OSError, ValueError):
        return None


def _picture(shown: StoredSet) -> Any:  # noqa: ANN401  (PIL.Image, not imported here)
    chosen = _chosen(shown.labels)
    counts = np.unique(shown.labels[chosen], return_counts=True)[1]
    even = len(set(counts.tolist())) == 1 and counts[0] > 1
    columns = int(counts[0]) if even else CLASSES
    return image_grid.picture(shown.images[chosen], shown.labels[chosen], shown.provenance, columns)


def _chosen(labels: np.ndarray) -> np.ndarray:
    """Return the indices of the first images of the first classes."""
    classes = np.unique(labels)[:CLASSES]
    return np.concatenate([np.flatnonzero(labels == c)[:EACH] for c in classes])


def _caption(leaderboard: Leaderboard, board: Board) -> str:
    parts = ["In class order, of each row's first seed; normalisation undone."]
    names = [name for name, _, _ in board.data.classes]
    if names:
        way = "left to right" if board.ipc == 1 else "top to bottom"
        more = ", ..." if len(names) > CLASSES else ""
        parts.append(f"From {way}: {escaped(', '.join(names[:CLASSES]))}{more}.")
    if board.ipc > EACH:
        parts.append(f"The first {EACH} images of each class.")
    if len({*_labels(leaderboard, board)}) > CLASSES:
        parts.append(f"The first {CLASSES} classes.")
    if any(_whitened(leaderboard, place) for place in board.places):
        parts.append(
            "Sets in ZCA-whitened space are shown as they are, their values spread over the range "
            "of greys."
        )
    return " ".join(parts)


def _labels(leaderboard: Leaderboard, board: Board) -> list[int]:
    for place in board.places:
        for id in place.entry.ids[:1]:
            shown = _initial(leaderboard.folder.set_file(id))
            if shown is not None:
                return [int(label) for label in shown.labels]
    return []


def _whitened(leaderboard: Leaderboard, place: RankedRow) -> bool:
    ids = place.entry.ids[:1]
    stored = [_initial(leaderboard.folder.set_file(id)) for id in ids]
    return any(one is not None and bool(one.provenance.get("zca")) for one in stored)
