"""Claims and what became of them, in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddbench.reporting.terminal.job_words import JobWords
from ddbench.reporting.terminal.tables import print_json, print_table, stdout
from ddbench.text import number_format

if TYPE_CHECKING:
    from ddbench.planning.jobs import Plan
    from ddbench.reporting.leaderboard.verification import Verdict
    from ddbench.store.run_folder import RunFolder


@dataclass(frozen=True)
class Verified:
    """Claims that were tested.

    Attributes:
        plan: Their evaluations.
        verdicts: One an evaluation, in the order of the plan.
        folder: The run folder of what was found again.
        left_out: Evaluations of the claiming run that were not done again.
    """

    plan: Plan
    verdicts: tuple[Verdict, ...]
    folder: RunFolder
    left_out: int = 0

    @property
    def holds(self) -> bool:
        """Whether all claims hold."""
        return all(verdict.holds for verdict in self.verdicts)


def print_verdicts(verified: Verified, *, as_json: bool) -> None:
    """Print one line a claim, and whether all of them hold."""
    rows = [_record(verified, n) for n in range(len(verified.verdicts))]
    if as_json:
        print_json({"holds": verified.holds, "left_out": verified.left_out, "claims": rows})
        return
    words = JobWords(verified.plan)
    table = [
        {"claim": words(job).removeprefix("evaluate "), **_row(verdict)}
        for job, verdict in zip(verified.plan.evaluations, verified.verdicts, strict=True)
    ]
    right = ("claimed %", "found %", "found − claimed")
    print_table(table, right=right, captions=_captions(verified, words.common))
    stdout().print(_sentence(verified))


def _record(verified: Verified, n: int) -> dict[str, Any]:
    job, verdict = verified.plan.evaluations[n], verified.verdicts[n]
    about = {"id": job.id, "condensation": job.condensation, "architecture": job.architecture,
             "protocol": job.protocol, "own_recipe": job.own_recipe}  # fmt: skip
    return {**about, **verdict.record()}


def _row(verdict: Verdict) -> dict[str, str]:
    if verdict.reason:
        return {"claimed %": "", "found %": "", "found − claimed": "",
                "verdict": f"not tested: {verdict.reason}"}  # fmt: skip
    return {
        "claimed %": number_format.points(verdict.claimed),
        "found %": number_format.points(verdict.found),
        "found − claimed": _difference(verdict),
        "verdict": "holds" if verdict.holds else "does not hold",
    }


def _difference(verdict: Verdict) -> str:
    if verdict.exact:
        return "the same"
    low, high = verdict.difference - verdict.half, verdict.difference + verdict.half
    ends = f"{number_format.difference(low)} to {number_format.difference(high)}"
    return f"{number_format.difference(verdict.difference)} ({ends})"


def _captions(verified: Verified, common: str) -> list[str]:
    said = [f"all of them: {common}"] if common and len(verified.verdicts) > 1 else []
    if any(not verdict.exact and not verdict.reason for verdict in verified.verdicts):
        said.append("found − claimed: points of accuracy, with their 95% interval")
    if any(verdict.networks == 1 and not verdict.exact for verdict in verified.verdicts):
        said.append("one network has no spread: the interval is that of counting test images")
    if verified.left_out:
        said.append(
            f"{number_format.several(verified.left_out, 'evaluation')} left out: of sets on the"
            " way, of the whole training set, failed ones, and those not asked for"
        )
    return said


def _sentence(verified: Verified) -> str:
    count, held = len(verified.verdicts), sum(verdict.holds for verdict in verified.verdicts)
    if held == count:
        return f"holds: {held} of {number_format.several(count, 'claim')}"
    return f"does not hold: {count - held} of {number_format.several(count, 'claim')}"
