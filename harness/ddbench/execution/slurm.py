"""A run as a Slurm job array: the script of it, and handing it to `sbatch`.

Every task of the array is the same `ddbench run` on one shared run folder; claims keep the tasks
apart. A task ends a little before its time limit, and is queued again while work is left.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ddbench.store.atomic_files import write_whole
from ddbench.store.run_folder import RunError

SCRIPT = "slurm/array.sh"
LEAST_S, MOST_S, SHARE = 60.0, 600.0, 0.05  # before the limit, to save and to end
RESTARTS = 200  # of one task; a job that is longer than the limit would go on for ever


@dataclass(frozen=True)
class Array:
    """What is asked of Slurm.

    Attributes:
        out: The run folder, absolute.
        run: The arguments of `ddbench run`, without --out.
        tasks: Number of tasks in the array.
        time_s: Time limit of each.
        cpus: Cores of each.
        gpus: GPUs of each, 0 for none.
        partition, account: As Slurm names them, "" for its default.
        more: Further arguments of sbatch, as typed.
    """

    out: Path
    run: tuple[str, ...]
    tasks: int
    time_s: float
    cpus: int = 1
    gpus: int = 0
    partition: str = ""
    account: str = ""
    more: tuple[str, ...] = ()

    @property
    def stop_after_s(self) -> float:
        """Seconds after which a task stops by itself, checkpoints written."""
        return self.time_s - min(MOST_S, max(LEAST_S, SHARE * self.time_s))


def script(array: Array) -> str:
    """Return the script of a job array."""
    command = [
        sys.executable, "-P", "-m", "ddbench", "run", *array.run,
        "--out", str(array.out), "--stop-after", f"{array.stop_after_s:.0f}s",
    ]  # fmt: skip
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {line}" for line in _directives(array)),
            "",
            "# Slurm sends USR1 a minute before the time is up, and TERM when it takes the node",
            "# away; ddbench then writes checkpoints and ends with 4: there is more to do.",
            "trap 'kill -USR1 \"$run\" 2>/dev/null' USR1 TERM",
            f"{shlex.join(command)} &",
            "run=$!",
            'wait "$run"; code=$?',
            'while [ "$code" -gt 128 ] && kill -0 "$run" 2>/dev/null; do  # a signal came',
            '  wait "$run"; code=$?',
            "done",
            f'if [ "$code" -eq 4 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {RESTARTS} ]; then',
            '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "fi",
            'exit "$code"',
            "",
        ]
    )


def _directives(array: Array) -> Iterator[str]:
    minutes, seconds = divmod(round(array.time_s), 60)
    hours, minutes = divmod(minutes, 60)
    yield f"--job-name=ddbench-{array.out.name}"
    yield f"--array=0-{array.tasks - 1}"
    yield f"--time={hours}:{minutes:02d}:{seconds:02d}"
    yield "--signal=B:USR1@60"
    yield "--requeue"
    yield "--open-mode=append"
    yield f"--output={array.out / 'slurm'}/%A_%a.txt"
    yield f"--chdir={Path.cwd()}"
    yield f"--cpus-per-task={array.cpus}"
    if array.gpus:
        yield f"--gres=gpu:{array.gpus}"
    if array.partition:
        yield f"--partition={array.partition}"
    if array.account:
        yield f"--account={array.account}"
    yield from array.more


def submit(array: Array) -> str:
    """Write the script into the run folder and submit it; return the id that Slurm gives.

    Raises:
        RunError: There is no `sbatch` here, or it refuses.
    """
    path = array.out / SCRIPT
    write_whole(path, script(array).encode())
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False,
            env=_environment(),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise RunError(
            f"there is no sbatch on this machine; {path} is written: submit it where there is one"
        ) from error
    if done.returncode:
        raise RunError(f"sbatch refuses {path}: {' '.join(done.stderr.split())}")
    return done.stdout.strip().partition(";")[0]


def _environment() -> dict[str, str]:
    """Return the environment without what a surrounding Slurm job would hand on."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
