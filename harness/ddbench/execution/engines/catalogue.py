"""Which engines there are: those of ddbench come through the hook that everybody's come through."""

from __future__ import annotations

from collections.abc import Mapping

from ddbench.contract.engines import Engine
from ddbench.contract.hookspecs import hookimpl
from ddbench.discovery.extensions import Extensions
from ddbench.execution.engines.local import run_local
from ddbench.execution.engines.work import Work
from ddbench.store.run_folder import RunError
from ddbench.text.suggestions import did_you_mean

INLINE, LOCAL, RAY = "inline", "local", "ray"
RAY_OPTIONS = {
    "address": "the cluster to join; --ray-address is the same. Without it one is started here",
    "jobs": "how many jobs are handed to the cluster at once, instead of what it has room for",
}


class BuiltIn:
    """The engines of ddbench."""

    @hookimpl(trylast=True)  # asked before all others: their names are taken
    def register_engines(self) -> Mapping[str, Engine]:
        """Return them by name."""
        return {
            INLINE: Engine(INLINE, _inline, "one job after the other in this process"),
            RAY: Engine(
                RAY, _ray, "the machines of a Ray cluster (extra ddbench[ray])", RAY_OPTIONS
            ),
            LOCAL: Engine(LOCAL, run_local, "a process for each job on this machine; the default"),
        }


def engines(extensions: Extensions) -> Mapping[str, Engine]:
    """Return all engines by name."""
    extensions.bring("ddbench engines", BuiltIn())
    return extensions.engines


def engine_named(name: str, extensions: Extensions, options: Mapping[str, str]) -> Engine:
    """Return the engine of a name, if it takes these options.

    Raises:
        RunError: There is none of this name, or it has no such option.
    """
    known = engines(extensions)
    if name not in known:
        hint = did_you_mean(name, known) or f"available: {', '.join(sorted(known))}"
        raise RunError(f"--engine {name}: there is no such engine; {hint}")
    engine = known[name]
    for option in options:
        if option not in engine.options:
            has = ", ".join(engine.options) or "none"
            raise RunError(f"--engine {name}: has no option {option!r}; it has: {has}")
    return engine


def _inline(work: Work) -> None:
    from ddbench.execution.engines.inline import run_inline  # which imports torch

    run_inline(work)


def _ray(work: Work) -> None:
    from ddbench.execution.engines.on_ray import run_ray

    run_ray(work)
