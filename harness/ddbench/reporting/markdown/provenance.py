"""The end of a report: what has no result, how it was measured, on what, and by which command."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ddbench.reporting.leaderboard import Leaderboard, Reference, grouped
from ddbench.reporting.leaderboard.missing_results import unfinished
from ddbench.reporting.leaderboard.summary import title
from ddbench.reporting.markdown.document import Document, code, escaped
from ddbench.store.records import FAILED, CondensationRecord, Result
from ddbench.store.run_folder import RunFolder
from ddbench.text import number_format

DOCS = "https://github.com/ddbench/ddbench/blob/main/docs/protocols-and-metrics.md"


def overview(document: Document, leaderboard: Leaderboard) -> None:
    """Write how much was done in how long, and where to find it where there are several parts."""
    records = _records(leaderboard)
    sets = sum(isinstance(record, CondensationRecord) for record in records)
    text = (
        f"{number_format.several(sets, 'condensation')}, "
        f"{number_format.several(len(records) - sets, 'evaluation')}"
    )
    seconds = [
        (datetime.fromisoformat(one.ended) - datetime.fromisoformat(one.started)).total_seconds()
        for one in leaderboard.records.manifests
        if one.ended
    ]
    if seconds:
        text += f", {number_format.duration(sum(seconds))} of running"
    if left := unfinished(leaderboard.records):
        text += f"; {escaped(left)}"
    document.contents(text, [title(boards) for boards in grouped(leaderboard.boards)])


def export_command(folder: RunFolder, target: Path, options: Sequence[str] = ()) -> str:
    """Return the command that writes a report of a run folder to `target`."""
    names = [shown_path(folder.root), "--to", shown_path(target)]
    return shlex.join(["ddbench", "report", *names, *options])


def trouble_section(document: Document, leaderboard: Leaderboard) -> None:
    """Write the failed and skipped jobs, what does not count, and files that cannot be read."""
    rows = [
        {
            "status": trouble.status,
            "job": escaped(trouble.what),
            "seeds": ", ".join(map(str, trouble.seeds)) or number_format.NOTHING,
            "reason": escaped(trouble.reason),
        }
        for trouble in leaderboard.troubles
    ]
    document.heading(2, "Failed and skipped")
    document.table(rows)
    run = RunFolder(Path(shown_path(leaderboard.folder.root)))
    failed = [one for one in leaderboard.troubles if one.status == FAILED and one.id]
    document.bullets(f"{escaped(one.what)}: {code(run.show_command(one.id))}" for one in failed)
    document.add("" if rows else "Nothing failed and nothing was skipped.")
    lines = []
    if leaderboard.superseded:
        text = number_format.several(leaderboard.superseded, "condensation")
        lines.append(f"{text} left out: done again since by other code.")
    if leaderboard.stale_evaluations:
        text = number_format.several(leaderboard.stale_evaluations, "evaluation")
        lines.append(f"{text} left out: the set has changed since, or is not there.")
    document.bullets(lines)
    unreadable = leaderboard.records.unreadable
    if unreadable:
        document.heading(3, "Files that could not be read")
        root = leaderboard.folder.root
        document.bullets(f"{code(_inside(path, root))}: {escaped(why)}" for path, why in unreadable)


def _inside(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def reference_section(document: Document, leaderboard: Leaderboard) -> None:
    """Write what the whole training sets give."""
    unequal = any(abs(one.score.balanced - one.score.mean) > 1e-9 for one in leaderboard.references)
    rows = [_reference_row(one, unequal) for one in leaderboard.references]
    if rows:
        document.table(rows, set(rows[0]) - {"dataset", "architecture", "protocol"})
        document.add(
            "<sub>What synthetic sets are held against. Seconds and FLOPs of one network; FLOPs: "
            "2 for each multiply-add (FlopCounterMode). Multiply-adds of one forward pass: "
            "fvcore's count, 1 for each.</sub>"
        )


def _reference_row(one: Reference, unequal: bool) -> dict[str, str]:
    training = list(one.training.values())
    seconds = " / ".join(number_format.seconds(t.train_s) for t in training)
    flops = (
        number_format.count(training[0].flops, training[0].lower_bound)
        if training
        else number_format.NOTHING
    )
    macs = (
        number_format.number(int(one.forward_macs))
        if math.isfinite(one.forward_macs)
        else number_format.NOTHING
    )
    return {
        "dataset": escaped(one.dataset),
        "images": number_format.number(int(one.images))
        if math.isfinite(one.images)
        else number_format.NOTHING,
        "architecture": escaped(one.architecture),
        "protocol": escaped(one.protocol),
        "accuracy %": number_format.points(one.score.mean, one.score.spread),
        **({"balanced %": number_format.points(one.score.balanced)} if unequal else {}),
        "networks": str(one.score.networks),
        "train s": seconds,
        "train FLOPs": flops,
        "multiply-adds an image": macs,
    }


def validation_lines(leaderboard: Leaderboard) -> list[str]:
    """Return what validation splits are and what they are for, if there are any."""
    splits = dict.fromkeys(b.data.validation for b in leaderboard.boards if b.data.validation)
    return [
        f"**Validation images**: {escaped(split)}. Sets are made from the rest of the training "
        "images, mean and std are measured on it. What is chosen or compared there may be chosen "
        "freely; the test set is for what has been chosen, once."
        for split in splits
    ]


def measuring_section(document: Document, leaderboard: Leaderboard) -> None:
    """Write how settings were chosen and networks trained; the rest is on a page of the docs."""
    document.bullets(
        [
            f"What each number is, and how it is measured: [Protocols and metrics]({DOCS}).",
            "**Quick settings** of the methods that come with ddbench: their rates, and the epochs "
            "of the selections' feature network, were chosen on 20% of mnist-mini's training "
            "images, held out, at one image per class (`benchmarks/choose_quick.py`). How other "
            "settings were chosen is for a method's author to say.",
            *validation_lines(leaderboard),
        ]
    )
    rows = _protocol_rows(leaderboard)
    if rows:
        document.add("Networks were trained by these protocols:")
        document.table(rows)


def _protocol_rows(leaderboard: Leaderboard) -> list[dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for board in leaderboard.boards:
        recipe = board.recipe
        row = {"protocol": escaped(board.protocol_name), "dataset": escaped(board.dataset)}
        row |= {name: escaped(_recipe_value(recipe.get(name))) for name in _RECIPE}
        rows.setdefault(str(row), row)
    return list(rows.values())


_RECIPE = ("epochs", "optimizer", "lr", "momentum", "weight_decay", "batch", "drop", "augment")


def _recipe_value(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {number_format.number(v)}" for k, v in value.items())
    return number_format.number(value) if value is not None else "none"


# -- where and how -----------------------------------------------------------------------------


def environment_section(
    document: Document, leaderboard: Leaderboard, export_command: str = ""
) -> None:
    """Write hardware, versions, commit, and the commands that make this again."""
    document.table(_hardware_rows(leaderboard))
    document.bullets(_version_lines(leaderboard))
    commands = [*_commands(leaderboard), *filter(None, [export_command])]
    if commands:
        document.add("These commands made it, and make it again:")
        document.fenced("sh", "\n".join(commands))


def _records(leaderboard: Leaderboard) -> list[Result]:
    """Return the records that count."""
    results = leaderboard.results
    sets = [one.record for one in results.condensations.values() if not one.superseded]
    return [*sets, *(one.record for one in results.evaluations if one.current)]


def _hardware_rows(leaderboard: Leaderboard) -> list[dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for record in _records(leaderboard):
        machine, name = record.hardware, record.hardware_class
        if not machine or not name or name in rows:
            continue
        rows[name] = {
            "class of hardware": escaped(name),
            "processor": escaped(str(machine.get("cpu") or machine.get("device") or "?")),
            "cores": number_format.number(machine.get("cores")),
            "memory": number_format.size(_number(machine.get("memory"))),
            "system": escaped(str(machine.get("system") or "?")),
        }
    return list(rows.values())


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _version_lines(leaderboard: Leaderboard) -> list[str]:
    lines = []
    found: dict[str, dict[str, None]] = {}
    commits: dict[str, None] = {}
    for record in _records(leaderboard):
        for package, version in record.versions.items():
            found.setdefault(package, {})[version] = None
        if record.commit:
            commits[record.commit] = None
    texts = [f"{package} {' and '.join(versions)}" for package, versions in found.items()]
    if texts:
        lines.append("versions: " + escaped(", ".join(texts)))
    if commits:
        changed = {one.commit for one in leaderboard.records.manifests if one.dirty}
        names = [code(c) + (" with uncommitted changes" if c in changed else "") for c in commits]
        lines.append(f"commit of ddbench: {number_format.listed(names)}")
    started = [one.started for one in _records(leaderboard) if one.started]
    if started:
        lines.append(f"from {_minute(min(started))} to {_minute(_last(leaderboard))} UTC")
    return lines


def _last(leaderboard: Leaderboard) -> str:
    return max(one.ended or one.started for one in _records(leaderboard))


def _minute(stamp: str) -> str:
    return stamp[:16].replace("T", " ")


def _commands(leaderboard: Leaderboard) -> list[str]:
    """Return what was typed, each command once, in order."""
    found: dict[str, None] = {}
    for manifest in leaderboard.records.manifests:
        if manifest.command:
            found[shlex.join(manifest.command)] = None
    return list(found)


def shown_path(path: Path) -> str:
    """Return a path as others can use it: relative to where we are, or only its last parts."""
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute.name)


# -- methods -----------------------------------------------------------------------------------


def method_section(document: Document, leaderboard: Leaderboard) -> None:
    """Write where each method comes from: package, paper, and how to cite it."""
    found: dict[str, dict[str, str]] = {}
    cited: dict[str, None] = {}
    for one in leaderboard.results.condensations.values():
        if one.superseded:
            continue
        record = one.record
        found.setdefault(
            record.method,
            {
                "method": escaped(record.method),
                "package": escaped(record.source),
                "step": escaped(record.step_unit or "step"),
                "paper": escaped(record.paper) or number_format.NOTHING,
            },
        )
        if record.bibtex.strip():
            cited[record.bibtex.strip()] = None
    if not found:
        return
    document.table(list(found.values()))
    if cited:
        inner = document.inner()
        inner.fenced("bibtex", "\n\n".join(cited))
        document.folded("BibTeX of the papers", inner)
