"""Methods: what a plugin gets wrong is said by name, and costs only itself."""

import copy
import math
import pickle
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points

import numpy as np
import pytest
from ddbench import MethodInfo, hookimpl
from ddbench.contract.hookspecs import METHODS_GROUP
from ddbench.discovery.methods import (
    MethodError,
    bind,
    discover,
    find,
    from_file,
    install,
    load,
    unknown,
)


class Whole:
    @hookimpl
    def init(self, task, synthetic, config):
        return synthetic

    @hookimpl
    def condense_step(self, state):
        return {"loss": 0.0}

    @hookimpl
    def export(self, state):
        return state


def test_a_whole_method_binds_with_an_info_of_defaults():
    method = bind(Whole())
    assert method.info.default_init == "real" and method.info.config() is not None
    assert method.hook.condense_step(state=None, task=None, step=0) == {"loss": 0.0}


def test_a_missing_hook_is_named():
    class NoExport:
        init, condense_step = Whole.init, Whole.condense_step

    with pytest.raises(MethodError, match="hook export is missing; add export"):
        bind(NoExport())


def test_an_undecorated_hook_is_told_from_a_missing_one():
    class Plain(Whole):
        def export(self, state):
            return state

    with pytest.raises(MethodError, match="export is missing; put @hookimpl above it"):
        bind(Plain())


def test_a_misspelt_hook_is_named():
    class Misspelt(Whole):
        @hookimpl
        def condens_step(self, state):
            return {}

    with pytest.raises(MethodError, match="condens_step"):
        bind(Misspelt())


def test_an_unknown_argument_is_named():
    class Argument(Whole):
        @hookimpl
        def export(self, state, model):
            return state

    with pytest.raises(MethodError, match="model"):
        bind(Argument())


def test_a_hook_wrapper_is_refused():
    class Wrapper(Whole):
        @hookimpl(wrapper=True)
        def export(self, state):
            return (yield)

    with pytest.raises(MethodError, match="wrapper"):
        bind(Wrapper())


@dataclass
class Thawed:
    lr: float = 1.0


@dataclass(frozen=True)
class NoDefault:
    lr: float


@pytest.mark.parametrize(
    ("config", "message"),
    [(Thawed, "not frozen"), (NoDefault, "without a valid default"), (dict, "frozen dataclass")],
)
def test_a_config_that_is_no_frozen_dataclass_with_defaults_is_refused(config, message):
    class Configured(Whole):
        @hookimpl
        def describe(self):
            return MethodInfo(config=config)

    with pytest.raises(MethodError, match=message):
        bind(Configured())


@dataclass(frozen=True)
class Rated:
    lr: float = 1.0


@dataclass(frozen=True)
class Unlimited:
    clip: float = math.inf


@dataclass(frozen=True)
class Undefined:
    rates: tuple[float, ...] = (1.0, math.nan)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"config": Unlimited}, "clip is inf; expected a finite number.*for 'no limit' use None"),
        ({"config": Undefined}, r"rates\[1\] is nan; expected a finite number"),
        ({"inits": "real"}, r"inits is 'real'; expected a tuple of names, as in \('real',\)"),
        ({"inits": (1,)}, r"inits is \(1,\); expected a tuple of names"),
        ({"steps": 1000}, "steps is 1000; expected a function, as in lambda config, ipc: 1000"),
        ({"needs": "no"}, "needs is 'no'; expected a function, as in lambda config, facts: None"),
        ({"step": None}, "step is None; expected a string"),
        ({"quick": 5}, "quick is 5; expected a dict"),
        ({"quick": {"rate": math.inf}}, "quick.rate is inf; expected a finite number"),
        ({"published_at": {"ipc": 10}}, "published_at has ipc: 10; expected a tuple of values"),
        ({"published_at": {"dataset": "cifar10"}}, "published_at has dataset: 'cifar10'; expected"),
        ({"controls": {"method": "random"}}, "expected a tuple of dicts"),
        ({"controls": ({"steps": {0}},)}, r"controls\[0\].steps is set; use finite numbers"),
        ({"balanced": np.bool_(True)}, "balanced is bool; use"),
        ({"quick": {"lrr": 1}}, "quick: unknown 'lrr'; did you mean 'lr'.*available: lr, steps"),
        ({"quick": {1: 1}}, "quick: unknown '1'; available: lr, steps"),
        ({"quick": {"steps": "many"}}, "quick.steps is 'many'; expected a whole number from 0"),
        ({"quick": {"steps": -3}}, "quick.steps is -3; expected a whole number from 0"),
        ({"quick": {"steps": True}}, "quick.steps is True; expected a whole number from 0"),
        ({"check": {"lrr": 1}}, "check: unknown 'lrr'; did you mean 'lr'"),
        ({"check": {"steps": 2.5}}, "check.steps is 2.5; expected a whole number from 0"),
        (
            {"published_at": {"architecture": ("mlp",)}},
            "published_at: unknown 'architecture'; available: arch, dataset, init, ipc, lr",
        ),
        ({"controls": ({"metod": "x"},)}, r"controls\[0\]: unknown 'metod'; did you mean 'method'"),
        ({"controls": ({}, {"method": ["x"]})}, r"controls\[1\].method: .* string \(is \['x'\]\)"),
        ({"controls": ({"steps": -1},)}, r"controls\[0\].steps: .*greater than or equal to 0"),
        ({"controls": ({"steps": "many"},)}, r"controls\[0\].steps: .*\(is 'many'\)"),
        ({"controls": ({"ipc": [0]},)}, r"controls\[0\].ipc.0: .*greater than or equal to 1"),
        ({"controls": ({"options": 5},)}, r"controls\[0\].options: .*\(is 5\)"),
        (
            {"controls": ({"options": {"lrr": 1}},)},
            r"controls\[0\].options: unknown 'lrr'; did you",
        ),
        ({"controls": ({"method": "described", "options": {"b": 1}},)}, "options: unknown 'b'"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named_with_what_was_expected(fields, message):
    class Described(Whole):
        @hookimpl
        def describe(self):
            return MethodInfo(**{"config": Rated, **fields})

    with pytest.raises(MethodError, match=message):
        bind(Described())


def test_what_a_description_may_hold_is_taken():
    class Described(Whole):
        @hookimpl
        def describe(self):
            return MethodInfo(
                config=Rated,
                quick={"steps": 0, "lr": 0.5},
                check={"steps": 3},
                published_at={"dataset": ("a",), "arch": (), "ipc": [1], "init": (), "lr": (1.0,)},
                controls=(
                    {"method": "other", "options": {"rate": 1}, "init": "noise"},
                    {"steps": 0, "options": {"lr": 2}, "seeds": (0,), "ipc": [1]},
                ),
            )

    assert bind(Described()).info.quick["steps"] == 0


def test_an_unknown_name_suggests_a_close_one_and_else_how_to_install():
    assert "did you mean 'datm'?" in unknown("datmm", ["datm", "gm"])
    assert "pip install ddbench-frepo" in unknown("frepo", ["datm", "gm"])
    with pytest.raises(MethodError, match="did you mean 'gm'"):
        find("gmm", {"gm": None})


@pytest.mark.parametrize(("pip", "command"), [(None, "uv pip install x"), ("a", "pip install x")])
def test_what_installs_is_what_the_environment_has(pip, command, monkeypatch):
    monkeypatch.setattr("ddbench.discovery.methods.importlib.util.find_spec", lambda name: pip)
    assert install("x") == command


def test_a_method_from_a_file_changes_its_fingerprint_with_its_text(tmp_path):
    file = tmp_path / "my_method.py"
    file.write_text("x = 1\n")
    before = from_file(file)
    file.write_text("x = 2\n")
    assert before.name == "my-method"
    assert before.code != from_file(file).code


def test_a_file_that_does_not_import_is_reported_by_name(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("import nothing_of_that_name\n")
    with pytest.raises(MethodError, match="'broken' from .*broken.py does not import: ModuleNotF"):
        load(from_file(file))


def test_a_file_named_as_a_module_takes_nobodys_place_and_its_objects_can_be_pickled(tmp_path):
    file = tmp_path / "copy.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom ddbench import MethodInfo, hookimpl\n"
        "@dataclass(frozen=True)\nclass Config:\n    rate: float = 0.5\n"
        "@hookimpl\ndef describe():\n    return MethodInfo(config=Config)\n"
        "@hookimpl\ndef init():\n    return []\n"
        "@hookimpl\ndef condense_step():\n    return {}\n"
        "@hookimpl\ndef export(state):\n    return None\n"
    )
    method = load(from_file(file))
    assert method.name == "copy" and sys.modules["copy"] is copy
    config = method.info.config(0.25)
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_file_that_does_not_import_leaves_no_module(tmp_path):
    file = tmp_path / "half-made.py"
    file.write_text("raise ValueError\n")
    with pytest.raises(MethodError):
        load(from_file(file))
    assert not [name for name in sys.modules if "half_made" in name]


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(MethodError, match="no such Python file"):
        discover([tmp_path / "absent.py"])


@pytest.mark.parametrize(
    ("first", "second"), [("a/mine.py", "b/mine.py"), ("a/my-plug.py", "b/my_plug.py")]
)
def test_two_files_of_one_method_name_are_an_error_that_names_both(first, second, tmp_path):
    files = [tmp_path / first, tmp_path / second]
    for file in files:
        file.parent.mkdir()
        file.write_text("")
    with pytest.raises(MethodError, match=f"{first} and .*{second}.*rename"):
        discover(files)
    assert discover([files[0], tmp_path / "b" / ".." / first])  # one file, named twice


def test_files_of_one_name_are_modules_of_their_own(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("")
    one, other = (from_file(tmp_path / folder / "mine.py") for folder in ("a", "b"))
    assert one.target != other.target


def test_discover_sees_every_installed_entry_point_and_imports_none(monkeypatch):
    installed = {point.name for point in entry_points(group=METHODS_GROUP)}
    before = set(sys.modules)
    found = discover()
    assert set(found) == installed
    modules = {entry.target.split(":")[0] for entry in found.values()}
    assert not modules & (set(sys.modules) - before)
