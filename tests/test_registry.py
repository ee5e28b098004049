"""The registry: what it says, where it says it, and every mistake at once."""

import tomllib
from pathlib import Path

import pytest
from ddbench.registry import RegistryError, line_numbers, parse, parse_setting, read
from hypothesis import given
from hypothesis import strategies as st

PROTOCOL = """
[protocols.short]
epochs = 3
networks = 1
"""
PRESET = """
[presets.quick]
datasets = ["toy"]
architectures = ["convnet-w8"]
evaluate_on = ["convnet-w8"]
ipc = [1]
protocol = "short"
rows = ["dm", { method = "gm", init = "noise" }]
"""


def problems(text):
    with pytest.raises(RegistryError) as caught:
        parse(text, Path("registry.toml"))
    return caught.value.problems


def test_the_default_registry_reads():
    registry = read()
    assert registry.presets["quick"].protocol == ("quick",)
    assert registry.protocols["dc300"].epochs == 301
    assert registry.protocols["dc300"].drop.after_epochs == 152
    assert registry.protocols["dsa1000"].epochs == 1001
    assert registry.protocols["dsa1000"].drop.after_epochs == 502
    for name in ("dc300", "dsa1000"):
        optimizer = registry.protocols[name].optimizer
        assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.01, 0.9, 5e-4)
        assert registry.protocols[name].networks == 20 and registry.protocols[name].batch == 256


def test_rows_may_be_names_or_tables():
    rows = parse(PROTOCOL + PRESET, Path("registry.toml")).presets["quick"].rows
    assert [(row.method, row.init) for row in rows] == [("dm", None), ("gm", "noise")]


def test_all_unknown_keys_are_reported_at_once_with_their_lines():
    text = PROTOCOL.replace("epochs", "epoch") + PRESET.replace("seeds", "seed") + "batchs = 3\n"
    found = problems(text)
    assert len(found) == 3  # epoch is unknown, epochs is missing, batchs is unknown
    assert found[0].startswith("registry.toml:2: ")
    assert "[protocols.short] epoch: unknown key 'epoch'; did you mean 'epochs'?" in found[1]
    assert found[1].startswith("registry.toml:3: ")
    assert found[2].startswith("registry.toml:13: [presets.quick] batchs: unknown key 'batchs'")


def test_wrong_types_name_place_and_value():
    [problem] = problems(PROTOCOL.replace("networks = 1", 'networks = "many"'))
    assert problem.startswith("registry.toml:4: [protocols.short] networks:")
    assert "'many'" in problem


def test_an_impossible_ipc_is_refused():
    [problem] = problems(PROTOCOL + PRESET.replace("ipc = [1]", "ipc = [0]"))
    assert "ipc" in problem and "at least 1" in problem


def test_a_preset_with_an_unknown_protocol_suggests_one():
    [problem] = problems(PROTOCOL + PRESET.replace('"short"', '"shrot"'))
    assert "unknown 'shrot'; did you mean 'short'?" in problem


def test_text_that_is_not_toml_says_where():
    [problem] = problems("[presets\n")
    assert "is not TOML" in problem and "line 1" in problem


def test_an_absent_file_says_how_to_start(tmp_path):
    with pytest.raises(RegistryError, match="init-registry"):
        read(tmp_path / "nothing.toml")


def test_options_come_from_weak_to_strong():
    text = """
[methods.gm]
batch_real = 1
lr = 1
steps = 10
[methods.gm.dataset.mnist]
lr = 2
[methods.gm.ipc.10]
batch_real = 3
steps = 30
[methods."gm@small"]
method = "gm"
lr = 4
"""
    registry = parse(text, Path("registry.toml"))

    def merged(row, dataset, ipc):
        layers = registry.layers(row, dataset, ipc)
        return {k: v for layer in layers for k, v in layer.options.items()}

    assert merged("gm", "cifar10", 1) == {"batch_real": 1, "lr": 1}
    assert merged("gm", "mnist", 10) == {"batch_real": 3, "lr": 2}
    assert merged("gm@small", "mnist", 10) == {"batch_real": 3, "lr": 4}
    assert registry.method_of("gm@small") == "gm"
    assert registry.table_value("gm", "steps", "mnist", 1) == 10
    assert registry.table_value("gm@small", "steps", "mnist", 10) == 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gm.batch_real=128", ("gm", "batch_real", [128])),
        ("gm.lr=0.1,0.2", ("gm", "lr", [0.1, 0.2])),
        ("datm@cifar10-ipc10.grad_mode=unroll", ("datm@cifar10-ipc10", "grad_mode", ["unroll"])),
        ("gm.flag=true", ("gm", "flag", [True])),
        ('gm.text="a,b"', ("gm", "text", ["a,b"])),
    ],
)
def test_settings_on_the_command_line(text, expected):
    assert parse_setting(text) == expected


def test_a_setting_of_another_form_is_an_error():
    with pytest.raises(RegistryError, match="METHOD.OPTION=VALUE"):
        parse_setting("batch_real")


KEYS = st.text("abcdefgh_-0123456789", min_size=1, max_size=6)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, st.integers(), max_size=4), max_size=4))
def test_every_key_of_a_file_has_its_line(tables):
    lines = []
    expected = {}
    for table, keys in tables.items():
        lines.append(f"[methods.{table}]")
        expected["methods", table] = len(lines)
        for key, value in keys.items():
            lines.append(f"{key} = {value}")
            expected["methods", table, key] = len(lines)
    text = "\n".join(lines)
    tomllib.loads(text)
    found = line_numbers(text)
    assert {keys: found[keys] for keys in expected} == expected


@given(st.text(max_size=200))
def test_any_text_reads_or_is_refused(text):
    try:
        parse(text, Path("registry.toml"))
    except RegistryError as error:
        assert error.problems
