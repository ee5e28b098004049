"""Ask methods and architectures what the planner needs to know, in a child process.

Plugins import torch; the planner does not. One child answers all questions of a plan, and its
answers are kept under a key made of the questions and the fingerprints of the code asked.
"""

from __future__ import annotations

import atexit
import dataclasses
import itertools
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

from ddbench.contract.config import ConfigError, make_config
from ddbench.contract.hookspecs import Facts, MethodInfo
from ddbench.discovery.child_process import leave_signals_to_parent
from ddbench.discovery.extensions import Extensions, installed_code
from ddbench.discovery.fingerprints import ChangedError, code_fingerprint
from ddbench.discovery.methods import Method, MethodEntry, MethodError, load, plain_options
from ddbench.store.atomic_files import write_json
from ddbench.store.hashing import hash_of_text
from ddbench.text import lines, streams
from ddbench.text.lines import brief

LOG = logging.getLogger(__name__)
MOST_STEPS, LONGEST_CYCLE = 10**9, 10**6  # a meter keeps an account of each step of a cycle
PATIENCE_S = 120.0  # for importing torch and every plugin on a slow disk
SHOWN_IPC = (1, 10, 50)  # whose steps stand in a method's description

# What the answers of `describe` and `configure` hold, where nothing is wrong.
DESCRIBED = (
    "options", "steps", "inits", "default_init", "step", "quick", "labels", "own_recipe",
    "published_at", "published", "balanced", "controls", "paper", "bibtex",
)  # fmt: skip
CONFIGURED = (
    "problems", "config", "published", "alike", "canonical", "steps", "published_steps", "cycle",
    "needs", "own_init",
)  # fmt: skip

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


def describe(method: Method) -> dict[str, Any]:
    """Return a method's MethodInfo as plain values; of its rules the steps at some ipc."""
    info = method.info
    return {
        "options": plain_options(info.config()),
        "steps": _steps(method.info),
        "inits": list(info.inits),
        "default_init": info.default_init,
        "step": info.step,
        "quick": dict(info.quick),
        "labels": info.labels,
        "own_recipe": info.own_recipe or info.labels == "soft",
        "published_at": {key: list(values) for key, values in info.published_at.items()},
        "published": bool(info.paper) if info.published is None else bool(info.published),
        "balanced": info.balanced,
        "controls": [dict(control) for control in info.controls],
        "paper": info.paper,
        "bibtex": info.bibtex,
    }


def _whole(value: Any, giver: str, least: int, most: int) -> int:  # noqa: ANN401
    number = isinstance(value, Real)  # numpy's too
    if number and least <= value <= most and value == int(value):
        return int(value)
    raise MethodError(
        f"{giver} gives {brief(value)}; expected a whole number from {least} to {most:,}"
    )


def _reason(needs: Any) -> str | None:  # noqa: ANN401
    if not isinstance(needs, str | None):
        raise MethodError(
            f"MethodInfo.needs gives {brief(needs)}; expected a reason in words, or None"
        )
    return needs and lines.shortened(lines.one_line(needs) or lines.NO_REASON)


def _own_init(info: MethodInfo, config: Any) -> str | None:  # noqa: ANN401
    own = info.own_init(config)
    if own is None or (isinstance(own, str) and own in (info.inits or (own,))):
        return own
    expected = f"one of {', '.join(info.inits)}" if info.inits else "the name of an init"
    raise MethodError(f"MethodInfo.own_init gives {brief(own)}; expected {expected}, or None")


def _steps(info: MethodInfo) -> dict[str, int]:
    """Return the published steps by ipc, {} where the rule fails; planning says why."""
    try:
        steps = {str(ipc): info.steps(info.config(), ipc) for ipc in SHOWN_IPC}
        return {
            ipc: _whole(count, "MethodInfo.steps", 0, MOST_STEPS) for ipc, count in steps.items()
        }
    except Exception:  # the plugin's code
        return {}


def configure(method: Method, question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one question: options and facts -> config, steps, and why it is impossible.

    The question holds ``options``, ``published`` (the options without what reduces them),
    ``steps`` and ``published_steps`` (or None) and ``facts`` (of hookspecs.Facts, less steps).
    """
    info = method.info
    try:
        config = make_config(info, question["options"])
        published = make_config(info, question["published"])
    except ConfigError as error:
        return {"problems": error.problems}
    ipc = question["facts"]["ipc"]
    published_steps = question["published_steps"]
    if published_steps is None:
        published_steps = _whole(info.steps(published, ipc), "MethodInfo.steps", 0, MOST_STEPS)
    steps = question["steps"]
    if published_steps == 0:  # selection methods take none, whatever is asked of the others
        steps = 0
    elif steps is not None:
        steps = _whole(steps, "what sets the steps of this row", 0, MOST_STEPS)
    else:
        own = question["published_steps"]  # of the registry; else the rule at these options
        given = info.steps(config, ipc) if own is None else own
        steps = _whole(given, "MethodInfo.steps", 0, MOST_STEPS)
    own_init = _own_init(info, config)
    known = dict(question["facts"]) | {"steps": steps}
    known["init"] = own_init or known["init"]
    for key in ("shape", "class_counts"):
        known[key] = tuple(known[key])
    facts = Facts(**known)
    ours, theirs = (_canonical(info, one, facts) for one in (config, published))
    return {
        "problems": [],
        "config": plain_options(config),
        "published": plain_options(published),
        "alike": [name for name, value in ours.items() if value == theirs[name]],
        "canonical": ours,
        "steps": steps,
        "published_steps": published_steps,
        "cycle": _whole(info.cycle(config, ipc), "MethodInfo.cycle", 1, LONGEST_CYCLE),
        "needs": _reason(info.needs(config, facts)),
        "own_init": own_init,
    }


def _canonical(info: MethodInfo, config: Any, facts: Facts) -> dict[str, Any]:  # noqa: ANN401
    """Return the options with those that leave the result as it is at one value, by the method."""
    made = info.canonical(config, facts)
    if not isinstance(made, info.config):
        raise MethodError(
            f"MethodInfo.canonical gives {brief(made)}; expected a {info.config.__name__}"
        )
    return plain_options(made)


def answer(
    request: Mapping[str, Any],
    methods: Mapping[str, Method | str],
    extensions: Extensions | None = None,
    files: Iterable[str] = (),
) -> dict[str, Any]:
    """Answer a request about `methods` (a str is why one does not load).

    `extensions` None are those installed, and those of `files`.

    The request may hold ``describe`` (names), ``configure`` (questions with a ``method``),
    ``architectures`` ([name, shape, classes] each), ``inits`` (any value), ``price`` (jobs with
    the facts of their dataset; a condensation's has a ``method`` too) and ``artifacts``
    (condensations likewise).
    """
    result: dict[str, Any] = {"describe": {}, "configure": [], "architectures": [], "inits": {}}
    for name in request.get("describe", ()):
        result["describe"][name] = _contained(lambda method, _: describe(method), methods[name], {})
    for question in request.get("configure", ()):
        result["configure"].append(_contained(configure, methods[question["method"]], question))
    if not any(request.get(key) for key in ("architectures", "inits", "price", "artifacts")):
        return result
    extensions = extensions or Extensions.installed(files=map(Path, files))
    result["inits"] = {name: extensions.code_of_init(name) for name in sorted(extensions.inits)}
    for name, (channels, height, width), classes in request.get("architectures", ()):
        shape = (channels, height, width)
        result["architectures"].append(_fits(name, shape, classes, extensions))
    result["price"] = [_price(one, methods, extensions) for one in request.get("price", ())]
    result["artifacts"] = [
        _artifacts(one, methods, extensions) for one in request.get("artifacts", ())
    ]
    return result


def _artifacts(
    question: Mapping[str, Any], methods: Mapping[str, Method | str], extensions: Extensions
) -> dict[str, Any]:
    from ddbench.discovery import pricing

    method = methods[question["method"]]
    if isinstance(method, str):
        return {"artifacts": {}, "unknown": method}
    return pricing.artifacts_asked_for(question["job"], question["facts"], method, extensions)


def _price(
    question: Mapping[str, Any], methods: Mapping[str, Method | str], extensions: Extensions
) -> dict[str, Any]:
    from ddbench.discovery import pricing

    job, facts = question["job"], question["facts"]
    if "method" not in question:
        return pricing.evaluation(job, facts, question["images"], extensions)
    method = methods[question["method"]]
    if isinstance(method, str):
        return {"unpriced": method}
    return pricing.condensation(job, facts, method, extensions)


def _contained(ask: Callable[..., dict[str, Any]], method: Method | str, question: Any) -> Any:  # noqa: ANN401
    if isinstance(method, str):
        return {"error": method}
    try:
        return ask(method, question)
    except MethodError as error:
        return {"error": f"{method.found.source}: {error}"}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # `steps`, `cycle`, `needs` are the plugin's code
        return {"error": lines.shortened(f"{method.found.source}: {lines.named(error)}")}


def _fits(
    name: str, shape: tuple[int, int, int], classes: int, extensions: Extensions
) -> dict[str, Any]:
    """Return the canonical name and whose code it is; or what is wrong.

    ``unknown``: there is no such network. ``error``: it does not fit these images.
    """
    import torch

    from ddbench import architectures

    catalogue = extensions.architectures
    try:
        canonical = architectures.canonical(name, catalogue=catalogue)
    except ValueError as error:
        return {"unknown": str(error)}
    try:
        with torch.device("meta"):
            architectures.build(name, shape, classes, catalogue=catalogue)
    except Exception as error:  # a family may be someone else's code
        return {"canonical": canonical, "error": lines.shortened(lines.reason_of(error))}
    return {"canonical": canonical, "code": extensions.code_of_architecture(name)}


def in_process(methods: Mapping[str, Method], extensions: Extensions) -> Answer:
    """Return an asker for methods that are loaded here: tests, and methods bound in a notebook."""
    return lambda request: answer(request, methods, extensions)


class Child:
    """A process that imports the methods it is asked about; started at the first question.

    Answers are kept on disk, so that a plan whose code and questions have not changed starts no
    process at all.
    """

    def __init__(
        self, found: Mapping[str, MethodEntry], cache: Path, files: Iterable[Path] = ()
    ) -> None:
        """Answer about the methods in `found`, with the extensions of `files`.

        Answers are kept below `cache`.
        """
        self.found, self.kept = found, cache / "probes"
        self.files = [str(file.resolve()) for file in files]
        self.core = code_fingerprint(Path(__file__).parents[1])
        self.extensions = installed_code(map(Path, self.files))
        self.deadly: dict[str, str] = {}  # methods that end or hang who imports them, and how
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request, from what is kept if it is there.

        Raises:
            MethodError: The process ended: a method that kills whoever imports it.
        """
        names = {*request.get("describe", ())}
        for question in _about_methods(request):
            names |= {question["method"]} if "method" in question else set()
        asked = {name: dataclasses.asdict(self.found[name]) for name in sorted(names)}
        question = {"request": request, "methods": asked, "extensions": self.extensions}
        text = json.dumps(question, sort_keys=True)
        key = hash_of_text(f"{self.core}\0{sys.prefix}\0{text}", 24)
        kept = self.kept / f"{key}.json"
        with suppress(OSError, ValueError, RecursionError):
            answers = json.loads(kept.read_bytes())
            if _answers_to(request, answers):
                LOG.debug("about %s: answers kept in %s", ", ".join(asked) or "no method", kept)
                return answers
        started = time.monotonic()
        answers = self._answers(request, asked)
        LOG.debug("about %s: a process of its own answered in %.1f s",
                  ", ".join(asked) or "no method", time.monotonic() - started)  # fmt: skip
        # a broken install may be mended without a trace
        if not any("error" in part for part in _parts(answers)):
            with suppress(OSError):  # where they cannot be kept they are asked for again
                write_json(kept, answers)
        return answers

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            with suppress(OSError):  # with the programs that a plugin starts when it is imported
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def _answers(self, request: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the process; if a method ends or hangs it, find out which and ask without it."""
        try:
            return self._ask(request, asked)
        except _Lost:
            for name, found in asked.items():
                if name not in self.deadly:
                    try:
                        self._ask({"describe": [name]}, {name: found})
                    except _Lost as lost:
                        source = self.found[name].source
                        self.deadly[name] = f"method {name!r} from {source} {lost} when imported"
        try:
            return self._ask(request, asked)
        except _Lost as lost:
            raise MethodError(self._suspects(asked, lost)) from lost

    def _suspects(self, asked: Iterable[str], lost: _Lost) -> str:
        if methods := ", ".join(asked):
            return (
                f"one of the methods {methods} {lost} when asked about its settings; "
                "run them one by one to see which"
            )
        if extensions := ", ".join(self.extensions):
            return (
                f"one of the extensions {extensions} {lost} when asked for architectures and "
                "inits; leave them out one by one to see which"
            )
        return f"what answers about architectures and inits {lost}; is torch installed whole?"

    def _ask(self, request: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(  # -P: it imports nothing of the working folder
                [sys.executable, "-P", "-m", "ddbench.discovery.introspection"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip
            atexit.register(self.close)
        process = self._process
        assert process.stdin is not None and process.stdout is not None  # noqa: S101
        line = ""
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(self._message(request, asked)) + "\n")
            process.stdin.flush()
            patience = None if request.get("price") else PATIENCE_S
            if not select.select([process.stdout], [], [], patience)[0]:
                self.close()
                raise _Lost(f"did not answer for {patience:g} s")
            line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.close()
            raise _Lost(f"ended the process (exit code {code})")
        return dict(json.loads(line))


    def _message(self, request: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        methods = {name: self.deadly.get(name, found) for name, found in asked.items()}
        return {"request": request, "methods": methods, "files": self.files}


def _about_methods(request: Mapping[str, Any]) -> list[Any]:
    """Return the questions of a request that name a method."""
    return [one for key in ("configure", "price", "artifacts") for one in request.get(key, ())]


def _parts(answers: Mapping[str, Any]) -> list[Any]:
    """Return the answers about one thing each; where something is wrong they have an ``error``."""
    lists = (answers.get(key, []) for key in ("configure", "architectures", "price", "artifacts"))
    return [*answers["describe"].values(), *itertools.chain.from_iterable(lists)]


def _answers_to(request: Mapping[str, Any], answers: Any) -> bool:  # noqa: ANN401
    """Say whether what a file holds has the form of answers to a request."""
    kinds = {"describe": dict, "inits": dict, "configure": list, "architectures": list}
    if not isinstance(answers, dict):
        return False
    if not all(isinstance(answers.get(key), kind) for key, kind in kinds.items()):
        return False
    for key in ("configure", "architectures", "price", "artifacts"):
        given = answers.get(key, [])
        if not isinstance(given, list) or len(given) != len(request.get(key, ())):
            return False
    inits = answers["inits"]
    if (
        request.get("inits")
        and not inits
        or not all(isinstance(one, str) for one in inits.values())
    ):
        return False
    named = {*request.get("describe", ())} <= {*answers["describe"]}
    return (
        named
        and all(isinstance(part, dict) for part in _parts(answers))
        and all(_holds(one, DESCRIBED) for one in answers["describe"].values())
        and all(_holds(one, CONFIGURED) for one in answers["configure"] if not one.get("problems"))
        and all("unknown" in one or "canonical" in one for one in answers["architectures"])
    )


def _holds(part: Mapping[str, Any], keys: Iterable[str]) -> bool:
    return "error" in part or all(key in part for key in keys)


class _Lost(Exception):
    """The process did not answer; the text goes on from "method X"."""


def main() -> None:
    """Answer requests, one a line of standard input; what plugins print goes to stderr."""
    leave_signals_to_parent()
    streams.prepare_program()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    loaded: dict[str, Method | str] = {}
    for line in sys.stdin:
        answers.write(json.dumps(respond(json.loads(line), loaded)) + "\n")
        answers.flush()


def respond(asked: Mapping[str, Any], loaded: dict[str, Method | str]) -> dict[str, Any]:
    """Return the answers to what a Child has written; what it loads is added to `loaded`."""
    for name, record in asked["methods"].items():
        if isinstance(record, str):
            loaded[name] = record
        elif name not in loaded:
            try:
                loaded[name] = load(MethodEntry(**record))
            except (MethodError, ChangedError) as error:
                loaded[name] = str(error)
    return answer(asked["request"], loaded, files=asked["files"])


if __name__ == "__main__":
    main()
