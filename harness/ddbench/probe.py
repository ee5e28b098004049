"""Ask methods and architectures what the planner needs to know, in a child process.

Plugins import torch; the planner does not. One child answers all questions of a plan, and its
answers are kept under a key made of the questions and the fingerprints of the code asked.
"""

from __future__ import annotations

import atexit
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ddbench.files import write_json
from ddbench.fingerprints import code_fingerprint
from ddbench.hookspecs import Facts
from ddbench.methods import Found, Method, MethodError, load
from ddbench.options import ConfigError, make_config

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


def describe(method: Method) -> dict[str, Any]:
    """Return a method's MethodInfo as plain values."""
    info = method.info
    return {
        "options": _plain(dataclasses.asdict(info.config())),
        "inits": list(info.inits),
        "default_init": info.default_init,
        "step": info.step,
        "quick": dict(info.quick),
        "labels": info.labels,
        "balanced": info.balanced,
        "controls": [dict(control) for control in info.controls],
        "paper": info.paper,
        "bibtex": info.bibtex,
    }


def _plain(value: Any) -> Any:  # noqa: ANN401
    return json.loads(json.dumps(value, default=str))


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
    ``architectures`` ([name, shape, classes] each), ``inits`` (any value) and ``price`` (jobs with
    the facts of their dataset; a condensation's has a ``method`` too).
    """
    result: dict[str, Any] = {"describe": {}, "configure": [], "architectures": [], "inits": []}
    result["price"] = [_price(question, methods) for question in request.get("price", ())]
    for name in request.get("describe", ()):
        method = methods[name]
        about = {"error": method} if isinstance(method, str) else describe(method)
        result["describe"][name] = about
    for question in request.get("configure", ()):
        result["configure"].append(_contained(configure, methods[question["method"]], question))
    if request.get("architectures") or request.get("inits"):
        from ddbench.extensions import Extensions

        extensions = Extensions.installed()
        result["inits"] = sorted(extensions.inits)
        for name, (channels, height, width), classes in request.get("architectures", ()):
            shape = (channels, height, width)
            result["architectures"].append(_fits(name, shape, classes, extensions.architectures))
    return result


def _price(question: Mapping[str, Any], methods: Mapping[str, Method | str]) -> dict[str, Any]:
    from ddbench import pricing
    from ddbench.extensions import Extensions

    job, facts, extensions = question["job"], question["facts"], Extensions.installed()
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
    except Exception as error:  # `steps`, `cycle` and `needs` are the plugin's code
        return {"error": f"{method.found.source}: {type(error).__name__}: {error}"}


def _fits(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    catalogue: Any,  # noqa: ANN401
) -> dict[str, Any]:  # noqa: ANN401
    import torch

    from ddbench import architectures

    try:
        canonical = architectures.canonical(name, catalogue=catalogue)
        with torch.device("meta"):
            architectures.build(name, shape, classes, catalogue=catalogue)
    except ValueError as error:
        return {"error": str(error)}
    return {"canonical": canonical}


def in_process(methods: Mapping[str, Method]) -> Answer:
    """Return an asker for methods that are loaded here: tests, and methods bound in a notebook."""
    return lambda request: answer(request, methods)


class Child:
    """A process that imports the methods it is asked about; started at the first question.

    Answers are kept on disk, so that a plan whose code and questions have not changed starts no
    process at all.
    """

    def __init__(self, found: Mapping[str, Found], cache: Path) -> None:
        """Answer about the methods in `found`; keep answers below `cache`."""
        self.found, self.kept = found, cache / "probes"
        self.core = code_fingerprint(Path(__file__).parent)
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request, from what is kept if it is there.

        Raises:
            MethodError: The process ended: a method that kills whoever imports it.
        """
        names = {*request.get("describe", ())}
        for question in (*request.get("configure", ()), *request.get("price", ())):
            names |= {question["method"]} if "method" in question else set()
        asked = {name: dataclasses.asdict(self.found[name]) for name in sorted(names)}
        text = json.dumps({"request": request, "methods": asked}, sort_keys=True)
        key = hashlib.sha256(f"{self.core}\0{sys.prefix}\0{text}".encode()).hexdigest()[:24]
        kept = self.kept / f"{key}.json"
        try:
            return json.loads(kept.read_bytes())
        except (OSError, ValueError):
            answers = self._ask(text)
        if "error" not in json.dumps(answers):  # a broken install may be mended without a trace
            write_json(kept, answers)
        return answers

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, text: str) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ddbench.probe"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            atexit.register(self.close)
        process = self._process
        assert process.stdin is not None and process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(text + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MethodError(
                "a method ended the process that imported it "
                f"({', '.join(json.loads(text)['methods'])}; code {process.wait()}); "
                "import each by hand to see which, and uninstall it"
            )
        return json.loads(line)


def main() -> None:
    """Answer requests, one a line of standard input; what plugins print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    loaded: dict[str, Method | str] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        for name, record in asked["methods"].items():
            if name not in loaded:
                try:
                    loaded[name] = load(Found(**record))
                except MethodError as error:
                    loaded[name] = str(error)
        answers.write(json.dumps(answer(asked["request"], loaded)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
