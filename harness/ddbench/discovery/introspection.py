"""Answer the planner's questions about methods and architectures, in a separate process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from numbers import Real
from pathlib import Path
from typing import Any

from ddbench.contract.config import ConfigError, make_config
from ddbench.contract.hookspecs import Facts, MethodInfo
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.fingerprints import ChangedError
from ddbench.discovery.methods import Method, MethodEntry, MethodError, load, plain_options
from ddbench.processes.child_process import be_a_program, leave_signals_to_parent
from ddbench.text import lines, streams
from ddbench.text.lines import brief

MOST_STEPS, LONGEST_CYCLE = 10**9, 10**6  # a meter keeps an account of each step of a cycle
SHOWN_IPC = (1, 10, 50)  # whose steps stand in a method's description


def describe(method: Method) -> dict[str, Any]:
    """Return a method's MethodInfo as plain values; of its rules the steps at some ipc."""
    info = method.info
    return {
        "options": plain_options(info.config()),
        "steps": _steps(method.info),
        "inits": list(info.inits),
        "formations": list(info.formations),
        "default_init": info.default_init,
        "step": info.step,
        "quick": dict(info.quick),
        "labels": info.labels,
        "own_recipe": info.own_recipe or info.labels == "soft",
        "published_at": {key: list(values) for key, values in info.published_at.items()},
        "published": bool(info.paper) if info.published is None else bool(info.published),
        "setting": info.setting,
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
    steps, published_steps = _steps_at(info, (config, published), question)
    own_init = _own_init(info, config)
    known = {**question["facts"], "steps": steps}
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


def _steps_at(
    info: MethodInfo, configs: tuple[Any, Any], question: Mapping[str, Any]
) -> tuple[int, int]:
    """Return the steps to take, and those that are published, of (chosen, published) options."""
    (chosen, published), ipc = configs, question["facts"]["ipc"]
    of_tables = question["published_steps"]  # of the registry; else the method's rule
    if of_tables is None:
        of_tables = _whole(info.steps(published, ipc), "MethodInfo.steps", 0, MOST_STEPS)
    if of_tables == 0:  # selection methods take none, whatever is asked of the others
        return 0, 0
    if question["steps"] is not None:
        what = "what sets the steps of this row"
        return _whole(question["steps"], what, 0, MOST_STEPS), of_tables
    own = question["published_steps"]
    given = info.steps(chosen, ipc) if own is None else own
    return _whole(given, "MethodInfo.steps", 0, MOST_STEPS), of_tables


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
    """Answer a request about `methods` (a string says why one could not be loaded).

    `extensions` is None: use the installed ones and those in `files`.

    The request may hold ``describe`` (names), ``configure`` (questions with a ``method``),
    ``architectures`` ([name, shape, classes] each), ``inits`` (any value), ``price`` (jobs with
    the facts of their dataset; a condensation's has a ``method`` too) and ``artifacts``
    (condensations likewise).
    """
    result: dict[str, Any] = {
        "describe": {}, "configure": [], "architectures": [], "inits": {}, "formations": {}
    }  # fmt: skip
    for name in request.get("describe", ()):
        result["describe"][name] = _contained(lambda method, _: describe(method), methods[name], {})
    for question in request.get("configure", ()):
        result["configure"].append(_contained(configure, methods[question["method"]], question))
    if not any(request.get(key) for key in ("architectures", "inits", "price", "artifacts")):
        return result
    extensions = extensions or Extensions.installed(files=map(Path, files))
    result["inits"] = {name: extensions.code_of_init(name) for name in sorted(extensions.inits)}
    result["formations"] = {
        name: extensions.code_of_formation(name) for name in sorted(extensions.formations)
    }
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
    from ddbench import architectures

    catalogue = extensions.architectures
    try:
        canonical = architectures.canonical(name, catalogue=catalogue)
    except ValueError as error:
        return {"unknown": str(error)}
    try:
        architectures.outline(name, shape, classes, catalogue)
    except Exception as error:  # a family may be someone else's code
        return {"canonical": canonical, "error": lines.shortened(lines.reason_of(error))}
    return {"canonical": canonical, "code": extensions.code_of_architecture(name)}


def serve(pipe: Connection) -> None:
    """Answer the requests that come through `pipe`; what plugins print goes to standard error."""
    leave_signals_to_parent()
    with suppress(OSError):
        os.setsid()  # a group of its own, which can be killed as a whole
    be_a_program()
    streams.prepare_program()
    os.dup2(2, 1)
    loaded: dict[str, Method | str] = {}
    with suppress(EOFError, OSError):  # the process that asked has ended
        while True:
            answers = respond(json.loads(pipe.recv_bytes()), loaded)
            pipe.send_bytes(json.dumps(answers).encode())
    os._exit(0)  # a plugin's threads and exit handlers are no reason to linger


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
