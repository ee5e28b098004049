"""The documents: every hook is in them as it is, their code runs, their commands exist."""

import inspect
import json
import re
import shlex
import sys
import tomllib
import types
from pathlib import Path

import click
import pytest
import torch
from ddbench import MethodInfo, SyntheticSet, Task, architectures
from ddbench.cli import main
from ddbench.cli.scaffold import text_of
from ddbench.contract.hookspecs import HOOK_API, ExtensionHooks, MethodHooks
from ddbench.datasets import load
from ddbench.discovery.extensions import Extensions
from ddbench.planning.registry import Preset, Protocol, Where, parse, read
from ddbench.testing import checks, toy_task

DOCS = Path(__file__).parents[1] / "docs"
OURS = [
    "writing-a-method", "plugin-api", "extending", "protocols-and-metrics", "registry", "observers",
    "sets",
]  # fmt: skip
TEXTS = {name: (DOCS / f"{name}.md").read_text() for name in OURS}


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXTS[name], re.DOTALL | re.MULTILINE)


def signatures(hooks):
    for name, function in vars(hooks).items():
        if not name.startswith("_"):
            arguments = [p for p in inspect.signature(function).parameters if p != "self"]
            yield f"`{name}({', '.join(arguments)})`"


@pytest.mark.parametrize("signature", [*signatures(MethodHooks)])
def test_every_method_hook_stands_in_the_docs_with_its_arguments(signature):
    assert signature in TEXTS["plugin-api"]


@pytest.mark.parametrize("signature", [*signatures(ExtensionHooks)])
def test_every_extension_hook_stands_in_the_docs_with_its_arguments(signature):
    assert signature in TEXTS["extending"] + TEXTS["observers"]


def test_the_version_of_the_hooks_is_the_documented_one():
    assert f"`ddbench.contract.hookspecs.HOOK_API` is {HOOK_API}." in TEXTS["plugin-api"]


@pytest.mark.parametrize(
    ("record", "document"),
    [(MethodInfo, "plugin-api"), (Preset, "registry"), (Protocol, "registry")],
)
def test_every_field_is_documented(record, document):
    for name in getattr(record, "model_fields", None) or inspect.signature(record).parameters:
        assert f"`{name}`" in TEXTS[document], name


def test_all_that_a_task_offers_is_documented():
    own = {name for name in vars(Task) if not name.startswith("_")}
    harness = {
        "generator_states",
        "restore_generators",
        "metered_by",
        "without_a_trace",
    }  # the runner's
    for name in own - harness:
        assert re.search(rf"`{name}\b", TEXTS["plugin-api"]), name


def test_all_that_a_set_offers_is_documented():
    about = TEXTS["plugin-api"].split("## The synthetic set")[1].split("\n## ")[0]
    for name in vars(SyntheticSet):
        if not name.startswith("_"):
            assert name in about, name


def test_every_check_is_documented_and_points_to_a_heading():
    headings = {
        heading.lower().replace(" ", "-").replace("`", "")
        for heading in re.findall(r"^## (.+)$", TEXTS["plugin-api"], re.MULTILINE)
    }
    for check in checks.CHECKS:
        file, anchor = check.docs.split("#")
        assert file == "docs/plugin-api.md" and anchor in headings, check
        assert check.name in TEXTS["plugin-api"], check.name


def test_the_method_shown_first_is_the_one_that_the_scaffold_writes():
    assert blocks("writing-a-method", "python")[0] == text_of("plugin.py.txt")


@pytest.mark.parametrize("name", OURS)
def test_the_python_of_a_document_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    code = blocks(name, "python")
    if not code:
        pytest.skip("no Python in it")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"{name.replace('-', '_')}_doc.py"
    module = types.ModuleType(file.stem)  # dataclasses look their module up by name
    monkeypatch.setitem(sys.modules, file.stem, module)
    namespace = vars(module)
    for block in code:
        file.write_text(block)
        exec(compile(block, str(file), "exec"), namespace)
    for key, value in list(namespace.items()):
        if key.startswith("test_"):
            value()


def test_the_parts_shown_in_extending_can_be_registered(tmp_path, monkeypatch):
    import types

    from ddbench.discovery.extensions import Extensions

    plugins = {}
    for block in blocks("extending", "python"):
        namespace = {"__name__": "parts"}  # each stands alone
        exec(block, namespace)
        hooks = {k: v for k, v in namespace.items() if k.startswith("register_")}
        plugins |= hooks
    extensions = Extensions({"parts": types.SimpleNamespace(**plugins)})
    assert {"grey"} <= set(extensions.inits) and {"perceptron"} <= set(extensions.architectures)
    assert len(extensions.inits["grey"].build(toy_task(ipc=2)).images) == 6
    network = architectures.build(
        "perceptron-w16", (1, 8, 8), 2, catalogue=extensions.architectures
    )
    assert network.embed(torch.zeros(2, 1, 8, 8)).shape == (2, 16)
    dataset = load("stripes", cache=tmp_path, sources=extensions.datasets)
    assert dataset.shape == (1, 8, 8) and dataset.num_classes == 2
    run = types.SimpleNamespace(title="mine", rows=[{"rank": 1, "row": "dm", "accuracy": 0.825}])
    assert extensions.reporters["text"].write(run) == "mine\n1 dm 82.5%\n"
    assert not extensions.failures


def test_the_tracker_shown_in_observers_sees_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(blocks("observers", "python")[0], namespace)
    hooks = {k: v for k, v in namespace.items() if k.endswith(("_started", "_finished"))}
    extensions = Extensions({"tracker": types.SimpleNamespace(**hooks)})
    extensions.notify("job_started", job={"id": "a"})
    extensions.notify("step_finished", job={"id": "a"}, step=10, metrics={"loss": 1.0})
    extensions.notify("job_finished", job={"id": "a"}, result={"status": "done"})
    extensions.notify("run_finished", folder="runs/a")
    records = [json.loads(line) for line in Path("tracked.jsonl").read_text().splitlines()]
    assert [record["event"] for record in records] == [
        "started",
        "step",
        "finished",
        "run finished",
    ]
    assert records[1]["loss"] == 1.0 and not extensions.failures


def test_the_registry_shown_is_one():
    text = "\n".join(blocks("registry", "toml"))
    registry = parse(text, Path("registry.toml"))
    assert registry.method_of("gm@slow") == "gm" and "mine" in registry.presets
    assert registry.datasets["mnist-100"].options == {"train_per_class": 100}


def test_the_order_of_precedence_is_the_documented_one():
    registry = parse("\n".join(blocks("registry", "toml")), Path("registry.toml"))
    layers = registry.layers("gm@slow", Where("cifar10", "convnet", 10))
    assert [dict(layer.options) for layer in layers] == [
        {"batch_real": 256}, {"inner_epochs": 50}, {"lr_images": 0.01},
    ]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_toml_is_toml(name):
    for block in blocks(name, "toml"):
        tomllib.loads(block)


def test_the_protocols_are_the_documented_ones():
    rows = [line for line in TEXTS["protocols-and-metrics"].splitlines() if line[:1] == "|"]
    for name, protocol in read().protocols.items():
        row = next((line for line in rows if f"`{name}`" in line.split("|")[1]), "absent")
        numbers = [protocol.epochs, protocol.networks]
        numbers += [protocol.drop.after_epochs] if protocol.drop else []
        for number in numbers:
            assert re.search(rf"\b{number}\b", row), (name, number, row)


def commands():
    for name in OURS:
        for block in blocks(name, "sh"):
            for line in block.splitlines():
                if line.startswith("ddbench "):
                    yield pytest.param(line, id=line)


@pytest.mark.parametrize("line", [*commands()])
def test_every_command_shown_exists_with_its_options(line):
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(main)
    command = main.get_command(context, words[0])
    assert command is not None, words[0]
    command.make_context(words[0], words[1:])  # parses, and runs nothing


# Pages for users, where commands and options stand in blocks of any kind and within sentences.
PAGES = {page.stem: page.read_text() for page in (DOCS.parent / "README.md", *DOCS.glob("*.md"))}
OF_OTHERS = {"--signal", "--kills", "--seed", "--gone"}  # Slurm's, and benchmarks/kills.py's


def mentioned(text):
    """Yield the commands of ours on a page: lines of blocks, and code within sentences."""
    fenced = r"^```\w*\n(.*?)^```"
    for block in re.findall(fenced, text, re.DOTALL | re.MULTILINE):
        yield from re.findall(r"^\s*(?:uv run )?(ddbench .*?)(?: &)?$", block, re.MULTILINE)
    prose = re.sub(fenced, "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"^    .*?(ddbench [a-z].*)$", prose, re.MULTILINE)
    yield from (" ".join(code.split()) for code in re.findall(r"`(ddbench [a-z-][^`]*)`", prose))


def resolved(words):
    """Return the command that words begin with, a group's own among them."""
    command, context = main, click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, command, words = command.resolve_command(context, words)
    return command


def options_of(command):
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    own = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    return own.union({"--help", "--version"}, *map(options_of, inner))


@pytest.mark.parametrize(
    "line", sorted({line for text in PAGES.values() for line in mentioned(text)})
)
def test_every_command_mentioned_exists_with_its_options(line):
    words = shlex.split(line, comments=True)[1:]
    options = options_of(main) if words[0].startswith("-") else options_of(resolved(words))
    if words[0] == "submit":  # which hands on what it does not know
        options |= options_of(resolved(["run"]))
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("name", ["README", "datasets", "reliability"])
def test_every_option_mentioned_exists(name):
    options = options_of(main) | OF_OTHERS
    found = {code.split()[0] for code in re.findall(r"`(--[a-z][^`]*)`", PAGES[name])}
    assert found <= options


def test_the_pages_are_read_as_they_are_written():
    readme = [*mentioned(PAGES["README"])]
    assert "ddbench run --all" in readme and "ddbench leaderboard runs/mine" in readme
    reliability = [*mentioned(PAGES["reliability"])]
    assert "ddbench status runs/paper" in reliability
    assert "ddbench retry RUN --failed" in reliability
    with pytest.raises(click.UsageError, match="No such command"):
        resolved(["datasets", "fetsch"])


def test_commands_work_in_the_environment_that_uv_makes():
    readme = PAGES["README"]
    assert readme.index("source .venv/bin/activate") < re.search("^ddbench ", readme, re.M).start()
    for text in (*PAGES.values(), text_of("README.md.txt")):
        assert not re.search("^pip install", text, re.M)  # there is no pip in it


@pytest.mark.parametrize("name", OURS)
def test_links_between_documents_hold(name):
    for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", TEXTS[name]):
        assert (DOCS / target).exists(), target
