"""The registry: what it says, where it says it, and every mistake at once."""

import tomllib
from pathlib import Path

import pytest
from ddbench.planning.option_values import parse_setting
from ddbench.planning.registry import RegistryError, Where, checks, lost_tables, parse, read
from ddbench.planning.registry.lines import line_numbers
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


@pytest.mark.parametrize(("wrong", "least"), [("ipc = [0]", 1), ("ipc = [1]\nseeds = [-1]", 0)])
def test_an_impossible_ipc_or_seed_is_refused(wrong, least):
    [problem] = problems(PROTOCOL + PRESET.replace("ipc = [1]", wrong))
    assert f"greater than or equal to {least}" in problem


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
        layers = registry.layers(row, Where(dataset, "convnet", ipc))
        return {k: v for layer in layers for k, v in layer.options.items()}

    assert merged("gm", "cifar10", 1) == {"batch_real": 1, "lr": 1}
    assert merged("gm", "mnist", 10) == {"batch_real": 3, "lr": 2}
    assert merged("gm@small", "mnist", 10) == {"batch_real": 3, "lr": 4}
    assert registry.method_of("gm@small") == "gm"
    assert registry.table_value("gm", "steps", Where("mnist", "convnet", 1)) == 10
    assert registry.table_value("gm@small", "steps", Where("mnist", "convnet", 10)) == 30


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


def test_narrower_tables_are_stronger_and_may_not_be_published():
    text = """
[methods.dm]
lr = 1
[methods.dm.arch.mlp]
lr = 2
[methods.dm.dataset.cifar10.ipc.100]
lr = 3
[methods."dm@cpu"]
method = "dm"
published = false
init = "noise"
steps = 5
"""
    registry = parse(text, Path("registry.toml"))

    def lr(row, *where, **more):
        found = registry.layers(row, Where(*where), **more)
        return [layer.options["lr"] for layer in found]

    assert lr("dm", "mnist", "mlp", 100) == [1, 2]
    assert lr("dm", "cifar10", "convnet", 100) == [1, 3]
    assert lr("dm", "cifar10", "convnet", 10) == [1]
    at = Where("mnist", "convnet", 1)
    assert registry.table_value("dm@cpu", "init", at) == "noise"
    assert registry.table_value("dm@cpu", "steps", at) == 5
    assert registry.table_value("dm@cpu", "steps", at, published=True) is None


def test_all_that_is_wrong_in_any_table_comes_at_once_in_the_order_of_lines():
    found = problems("""[protocols.short]
epochs = "3"
networks = true
[protocols.long]
epochs = 3
networks = 1
augment = "dcc"
[presets.mine]
datasets = []
architectures = ["mlp"]
evaluate_on = ["mlp"]
ipc = ["1"]
protocol = "short"
rows = [
  "dm",
  { method = "gm", ipc = [0] },
  { method = "gm", stebs = 5 },
]
[presets.other]
datasets = ["toy"]
architectures = ["mlp"]
evaluate_on = ["mlp"]
ipc = [1]
protocol = "lang"
[methods.dm]
steps = -1
[methods.dm.ipc.ten]
lr = 1
""")
    assert [problem.split(":")[1] for problem in found] == [
        "2", "3", "7", "9", "12", "16", "17", "24", "26", "27",
    ]  # fmt: skip
    assert "did you mean 'steps'" in found[6] and "did you mean 'long'" in found[7]


@pytest.mark.parametrize("table", ["m", '"m@v"', '"m@v".dataset.toy', "m.dataset.toy.ipc.1"])
@pytest.mark.parametrize(
    ("value", "words"),
    [("3", "expected lists of values"), ("{ ipc = 3 }", "expected lists of values"),
     ("{ ipcs = [3] }", "unknown 'ipcs'; did you mean 'ipc'?")],
)  # fmt: skip
def test_where_settings_were_published_is_checked_in_every_table(table, value, words):
    [problem] = problems(f"[methods.{table}]\npublished_at = {value}\n")
    place = f"registry.toml:2: [methods.{table}] published_at: ".replace('"', "")
    assert problem.startswith(place) and words in problem


@pytest.mark.parametrize(
    ("text", "place", "value"),
    [
        ("[methods.other]\nlr = inf\n", "2: [methods.other] lr", "inf"),
        ("[methods.other]\nlr = nan\n", "2: [methods.other] lr", "nan"),
        ("[methods.m.ipc.1]\na = 1\nlr = [1, -inf]\n", "3: [methods.m.ipc.1.lr] 1", "-inf"),
        ('[datasets.d]\nsource = "toy"\noptions = { size = inf }\n',
         "3: [datasets.d.options] size", "inf"),
        (PROTOCOL + "optimizer = { lr = inf }\n", "5: [protocols.short.optimizer] lr", "inf"),
        (PROTOCOL + PRESET.replace('init = "noise"', "options = { lr = inf }"),
         "12: [presets.quick.rows.1.options] lr", "inf"),
        (f"[methods.m]\nlr = 1{'0' * 200}\n", "2: [methods.m] lr", "a number of 201 digits"),
    ],
)  # fmt: skip
def test_a_number_that_no_record_holds_is_refused_with_its_line(text, place, value):
    [problem] = problems(text)
    assert (
        problem.startswith(f"registry.toml:{place}: is {value}; ")
        and "leave the key out" in problem
    )


def test_a_number_that_is_wrong_in_two_ways_is_told_once():
    [problem] = problems("[methods.m]\nsteps = inf\n")
    assert problem.startswith("registry.toml:2: [methods.m] steps: is inf; expected a whole number")


def test_the_augmentations_are_those_there_are():
    from ddbench.augment import operations

    several = ("_".join(checks.OPERATIONS), "flip+color+crop_scale_rotate")
    for name in (*checks.AUGMENTATIONS, *several):
        assert name == "dsa" or operations(name) is not None
        assert not checks._wrong_augment(name)
    assert checks._wrong_augment("color+crop_color") == (
        "'color+crop_color' names an operation twice; drop one"
    )


# spec of the shipped configs: N, M_e, T-, T (0: off), T+, expand until, lr_img, lr_y, lr_lr, batch
DATM = {
    "cifar10-ipc1": (80, 2, 0, 0, 4, None, 100, 5, 1e-7, 10),
    "cifar10-ipc10": (80, 2, 0, 10, 20, 1000, 100, 2, 1e-5, 100),
    "cifar10-ipc50": (80, 2, 0, 20, 40, 2000, 1000, 2, 1e-5, 500),
    "cifar10-ipc500": (40, 2, 40, 0, 60, None, 50, 10, 1e-5, 1000),
    "cifar10-ipc1000": (100, 2, 40, 0, 60, None, 50, 10, 1e-5, 1000),
    "cifar100-ipc1": (40, 3, 0, 10, 20, 1000, 1000, 10, 1e-5, 1000),
    "cifar100-ipc10": (80, 2, 0, 30, 50, 2000, 1000, 10, 1e-5, 1000),
    "cifar100-ipc50": (80, 2, 20, 0, 70, None, 1000, 10, 1e-5, 1000),
    "cifar100-ipc100": (80, 2, 30, 0, 70, None, 50, 10, 1e-5, 1000),
    "tinyimagenet-ipc1": (40, 2, 0, 15, 20, 2000, 10000, 10, 1e-4, 1000),
    "tinyimagenet-ipc10": (40, 2, 10, 0, 50, None, 100, 10, 1e-4, 500),
    "tinyimagenet-ipc50": (20, 2, 40, 0, 70, None, 100, 10, 1e-4, 1000),
}
# N, M_e, T+, lr_img, lr_lr, alpha_0, batch (0: all)
MTT = {
    "cifar10-ipc1": (50, 2, 2, 100, 1e-7, 0.01, 0),
    "cifar10-ipc10": (30, 2, 20, 100, 1e-5, 0.001, 0),
    "cifar10-ipc50": (30, 2, 40, 1000, 1e-5, 0.001, 0),
    "cifar100-ipc1": (20, 3, 20, 1000, 1e-5, 0.01, 0),
    "cifar100-ipc10": (20, 2, 20, 1000, 1e-5, 0.01, 0),
    "cifar100-ipc50": (80, 2, 40, 1000, 1e-5, 0.01, 125),
    "tinyimagenet-ipc1": (10, 2, 10, 10000, 1e-4, 0.01, 0),
    "tinyimagenet-ipc10": (20, 2, 40, 10000, 1e-4, 0.01, 200),
    "tinyimagenet-ipc50": (20, 2, 40, 10000, 1e-4, 0.01, 300),
}


@pytest.mark.parametrize("name", DATM)
def test_the_published_settings_of_datm(name):
    table = read().methods[f"datm@{name}"]
    keys = ("student_steps", "match_epochs", "min_start_epoch", "first_max_start_epoch",
            "max_start_epoch", "expand_until", "lr_images", "lr_labels", "lr_lr",
            "batch_synthetic")  # fmt: skip
    expected = dict(zip(keys, DATM[name], strict=True))
    assert {key: table.get(key) for key in keys} == expected
    assert (table.get("threshold"), table.get("init")) == (
        1.1 if name == "cifar10-ipc1" else None, "real" if name == "cifar100-ipc50" else None,
    )  # fmt: skip


@pytest.mark.parametrize("name", MTT)
def test_the_published_settings_of_mtt(name):
    table = read().methods[f"mtt@{name}"]
    keys = ("student_steps", "match_epochs", "max_start_epoch", "lr_images", "lr_lr",
            "lr_student", "batch_synthetic")  # fmt: skip
    assert {key: table.get(key, 0) for key in keys} == dict(zip(keys, MTT[name], strict=True))


@pytest.mark.parametrize(
    ("row", "where", "lr"),
    [
        ("dm", Where("cifar10", "convnet", 100), 10.0),
        ("dm", Where("cifar10", "convnet", 50), None),
        ("dm", Where("cifar100", "convnet", 100), None),
        ("gm", Where("mnist", "mlp", 1), 0.01),
        ("dsa", Where("mnist", "mlp", 1), None),
    ],
)
def test_published_exceptions_hold_wherever_the_method_runs(row, where, lr):
    layers = read().layers(row, where, published=True)
    assert [layer.options["lr_images"] for layer in layers] == ([lr] if lr else [])


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


# -- a registry that extends the default one -----------------------------------------------------


def test_a_registry_may_extend_the_default_one():
    own = 'extends = "default"\n[methods.gm]\nbatch_real = 64\n'
    own += "[methods.gm.arch.mlp]\nmomentum = 0.1\n"
    registry = parse(own + PROTOCOL + PRESET, Path("mine.toml"))
    default = read()
    assert {*default.presets} == {*registry.presets} and {*default.methods} == {*registry.methods}
    assert registry.presets["quick"].protocol == ("short",)  # a preset of one's own replaces
    assert [*registry.own_presets()] == ["quick"]
    at = Where("mnist", "mlp", 1)
    options = {k: v for layer in registry.layers("gm", at) for k, v in layer.options.items()}
    assert options == {"batch_real": 64, "lr_images": 0.01, "momentum": 0.1}  # its tables join
    assert registry.place("methods", "gm", "batch_real") == "mine.toml:3: [methods.gm] batch_real"
    assert registry.place("methods", "gm", "arch", "mlp", "lr_images").startswith("registry.toml:")
    assert lost_tables(registry) == []


def test_what_is_not_published_on_top_of_the_default_leaves_that_published():
    own = 'extends = "default"\n[methods.gm]\npublished = false\nlr_images = 9.0\n'
    registry = parse(own, Path("mine.toml"))
    at = Where("mnist", "mlp", 1)
    assert [layer.options for layer in registry.layers("gm", at, published=True)] == [
        {"lr_images": 0.01}
    ]
    assert registry.layers("gm", at)[-1].options == {"lr_images": 9.0}


def test_a_registry_without_the_default_says_so_or_is_told():
    assert "datm@cifar10-ipc1" in lost_tables(parse(PROTOCOL + PRESET, Path("mine.toml")))
    assert lost_tables(parse('extends = "nothing"\n' + PROTOCOL, Path("mine.toml"))) == []
    [problem] = problems('extends = "defualt"\n' + PROTOCOL)
    assert problem.startswith("registry.toml:1: [extends]: is 'defualt'; expected 'default'")


def test_read_leniently_a_registry_is_what_it_is_without_its_mistakes():
    text = PROTOCOL + PRESET.replace('"dm"', '{ method = "dm", optons = {} }').replace("[1]", "[0]")
    text += "[methods.dm]\nlr_images = 3\npublished_at = { datasets = [1] }\n"
    text += "[methods.dm.ipc.x]\na = 1\n[protocols.other]\nnetworks = 0\n"
    registry = parse(text, Path("registry.toml"), lenient=True)
    assert list(registry.faults) == problems(text) and len(registry.faults) == 6
    assert [row.method for row in registry.presets["quick"].rows] == ["dm", "gm"]
    assert dict(registry.methods["dm"]) == {"lr_images": 3, "ipc": {}}
