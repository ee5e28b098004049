"""Ask methods and architectures what the planner needs to know, in a child process.

Plugins import torch; the planner does not. One child answers all questions of a plan, and its
answers are kept under a key made of the questions and the fingerprints of the code asked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddbench.files import write_json
from ddbench.fingerprints import code_fingerprint
from ddbench.hookspecs import Facts, MethodInfo
from ddbench.methods import Found, Method, MethodError, load, option_names

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
TIMEOUT = 300.0  # seconds a plugin may take to import


def describe(method: Method) -> dict[str, Any]:
    """Return a method's MethodInfo as plain values."""
    info = method.info
    return {
        "options": {f.name: _plain(f.default_factory() if callable(f.default_factory) else f.default)
                    for f in dataclasses.fields(info.config)},
        "inits": list(info.inits),
        "default_init": info.default_init,
        "step": info.step,
        "quick": dict(info.quick),
        "labels": info.labels,
        "balanced": info.balanced,
        "controls": [dict(control) for control in info.controls],
        "paper": info.paper,
        "bibtex": info.bibtex,
    }  # fmt: skip


def _plain(value: Any) -> Any:  # noqa: ANN401
    return json.loads(json.dumps(value, default=str))


def make_config(info: MethodInfo, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the frozen Config of validated `options`.

    Raises:
        ConfigError: Unknown options and wrong values, all at once.
    """
    from pydantic import TypeAdapter, ValidationError

    from ddbench.registry import unknown

    names = option_names(info)
    problems = [
        (name, unknown("option", name, names)) for name in options if name not in names
    ]
    known = {name: value for name, value in options.items() if name in names}
    try:
        config = TypeAdapter(info.config).validate_python(known)
    except ValidationError as error:
        for one in error.errors():
            name = str(one["loc"][0]) if one["loc"] else ""
            problems.append((name, f"{one['msg'].lower()} (is {one['input']!r})"))
    except (TypeError, ValueError) as error:
        problems.append(("", str(error)))
    if problems:
        raise ConfigError(problems)
    return config


class ConfigError(ValueError):
    """Options that a method refuses: (option or "", what is wrong) of each."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        """Keep the mistakes."""
        super().__init__("; ".join(f"{name}: {text}" if name else text for name, text in problems))
        self.problems = problems


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
        published_steps = int(info.steps(published, ipc))
    steps = question["steps"]
    if published_steps == 0:  # selection methods take none, whatever is asked of the others
        steps = 0
    elif steps is None:
        own = question["published_steps"]  # of the registry; else the rule at these options
        steps = int(info.steps(config, ipc)) if own is None else own
    facts = dict(question["facts"]) | {"steps": steps}
    for key in ("shape", "class_counts"):
        facts[key] = tuple(facts[key])
    return {
        "problems": [],
        "config": _plain(dataclasses.asdict(config)),
        "published": _plain(dataclasses.asdict(published)),
        "steps": steps,
        "published_steps": published_steps,
        "cycle": int(info.cycle(config, ipc)),
        "needs": info.needs(config, Facts(**facts)),
    }


def answer(request: Mapping[str, Any], methods: Mapping[str, Method | str]) -> dict[str, Any]:
    """Answer a request about `methods` (a str is why one does not load).

    The request may hold ``describe`` (names), ``configure`` (questions with a ``method``),
    ``architectures`` ([name, shape, classes] each) and ``inits`` (any value).
    """
    result: dict[str, Any] = {"describe": {}, "configure": [], "architectures": [], "inits": []}
    for name in request.get("describe", ()):
        method = methods[name]
        broken = isinstance(method, str)
        result["describe"][name] = {"error": method} if broken else describe(method)
    for question in request.get("configure", ()):
        result["configure"].append(_contained(configure, methods[question["method"]], question))
    if request.get("architectures") or request.get("inits"):
        from ddbench.extensions import Extensions

        extensions = Extensions.installed()
        result["inits"] = sorted(extensions.inits)
        for name, shape, classes in request.get("architectures", ()):
            result["architectures"].append(_fits(name, shape, classes, extensions.architectures))
    return result


def _contained(ask: Callable[..., dict[str, Any]], method: Method | str, question: Any) -> Any:  # noqa: ANN401
    if isinstance(method, str):
        return {"error": method}
    try:
        return ask(method, question)
    except Exception as error:  # `steps`, `cycle` and `needs` are the plugin's code
        return {"error": f"{method.found.source}: {type(error).__name__}: {error}"}


def _fits(name: str, shape: Sequence[int], classes: int, catalogue: Any) -> dict[str, Any]:  # noqa: ANN401
    import torch

    from ddbench import architectures

    try:
        canonical = architectures.canonical(name, catalogue=catalogue)
        with torch.device("meta"):
            architectures.build(name, tuple(shape), classes, catalogue=catalogue)
    except ValueError as error:
        return {"error": str(error)}
    return {"canonical": canonical}


def in_process(methods: Mapping[str, Method]) -> Answer:
    """Return an asker for methods that are loaded here: tests, and methods bound in a notebook."""
    return lambda request: answer(request, methods)


def in_child(found: Mapping[str, Found], cache: Path) -> Answer:
    """Return an asker that loads the methods it is asked about in one child process."""

    def ask(request: Mapping[str, Any]) -> dict[str, Any]:
        names = {*request.get("describe", ())}
        names |= {question["method"] for question in request.get("configure", ())}
        asked = {name: dataclasses.asdict(found[name]) for name in sorted(names)}
        text = json.dumps({"request": request, "methods": asked}, sort_keys=True)
        core = code_fingerprint(Path(__file__).parent)
        key = hashlib.sha256(f"{core}\0{sys.prefix}\0{text}".encode()).hexdigest()[:24]
        kept = cache / "probes" / f"{key}.json"
        try:
            return json.loads(kept.read_bytes())
        except (OSError, ValueError):
            answers = _run_child(text)
        if not any("error" in a for a in answers["describe"].values()):
            write_json(kept, answers)
        return answers

    return ask


def _run_child(text: str) -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-m", "ddbench.probe"],
        input=text,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    marker = "\0answer\0"
    if child.returncode or marker not in child.stdout:
        tail = (child.stderr or child.stdout).strip().splitlines()[-8:]
        raise MethodError(
            "the methods cannot be asked about themselves: the process that imports them ended "
            f"with code {child.returncode}:\n" + "\n".join(tail)
        )
    return json.loads(child.stdout.split(marker)[1])


def main() -> None:
    """Answer the request on standard input; what plugins print is kept apart by a marker."""
    asked = json.load(sys.stdin)
    methods: dict[str, Method | str] = {}
    for name, record in asked["methods"].items():
        try:
            methods[name] = load(Found(**record))
        except MethodError as error:
            methods[name] = str(error)
    print("\0answer\0" + json.dumps(answer(asked["request"], methods)) + "\0answer\0")


if __name__ == "__main__":
    main()
