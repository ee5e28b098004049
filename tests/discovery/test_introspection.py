"""The process that answers about plugins: whatever one does when imported is its own loss."""

import json
import math

import numpy as np
import pytest
from ddbench import MethodInfo, hookimpl
from ddbench.discovery import asking
from ddbench.discovery.asking import Child, Configured, Described
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.introspection import answer
from ddbench.discovery.methods import MethodEntry, MethodError, bind, discover, load

SOUND = """
from ddbench import MethodInfo, hookimpl

@hookimpl
def describe():
    return MethodInfo()

@hookimpl
def init(synthetic):
    return synthetic

@hookimpl
def condense_step(state):
    return {}

@hookimpl
def export(state):
    return state
"""
BAD = {
    "leaves": ("import sys\nsys.exit('bye')\n" + SOUND, "SystemExit: bye"),
    "describes-badly": (SOUND.replace("return MethodInfo()", "raise ValueError('no')"), "no"),
    "quick-is-five": (
        SOUND.replace("MethodInfo()", "MethodInfo(quick=5)"),
        "quick is 5",
    ),
    "ends-it-all": ("import os\nos._exit(7)\n", "ended the process (exit code 7)"),
    "ends-the-fork-server": (
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(5)\n",
        "ended the process (exit code",
    ),
    "closes-all-files": (
        "import os, time\nos.closerange(3, 1024)\ntime.sleep(600)\n",
        "closed all files of the process",
    ),
    "hangs": ("import time\ntime.sleep(600)\n", "did not answer for"),
}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """What a child says of one sound method beside every bad one."""
    folder = tmp_path_factory.mktemp("plugins")
    texts = {"sound": SOUND} | {name: text for name, (text, _) in BAD.items()}
    files = []
    for name, text in texts.items():
        files.append(folder / f"{name.replace('-', '_')}.py")
        files[-1].write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "PATIENCE_S", 20.0)
        child = Child(discover(files), folder / "cache")
        answers = child({"describe": list(texts)})["describe"]
        child.close()
    return answers


def test_the_others_are_answered_about(described):
    assert described["sound"]["step"] == "step" and "error" not in described["sound"]


@pytest.mark.parametrize("name", BAD)
def test_the_guilty_one_is_named_with_what_it_did(described, name):
    assert BAD[name][1] in described[name]["error"]


QUESTION = {
    "method": "asked", "options": {}, "published": {}, "steps": None, "published_steps": None,
    "facts": {
        "dataset": "toy", "num_classes": 2, "shape": [1, 8, 8], "class_counts": [40, 40],
        "architecture": "mlp", "init": "real", "ipc": 1,
    },
}  # fmt: skip


class Canceled(BaseException):
    pass


def cancel(config, ipc):
    raise Canceled("\x1b[31mred")


def configured(question=QUESTION, **fields):
    """Return what is answered to a question about a method."""

    class Asked:
        @hookimpl
        def describe(self):
            return MethodInfo(**fields)

        @hookimpl
        def init(self):
            return []

        @hookimpl
        def condense_step(self):
            return {}

        @hookimpl
        def export(self):
            return None

    [said] = answer({"configure": [question]}, {"asked": bind(Asked())}, Extensions())["configure"]
    return said


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"steps": lambda config, ipc: -5}, "steps gives -5; expected a whole number from 0 to 1"),
        ({"steps": lambda config, ipc: 2.5}, "steps gives 2.5; expected a whole number"),
        ({"steps": lambda config, ipc: math.inf}, "steps gives inf; expected a whole number"),
        ({"steps": lambda config, ipc: math.nan}, "steps gives nan; expected a whole number"),
        ({"steps": lambda config, ipc: 10**10}, "from 0 to 1,000,000,000"),
        ({"steps": lambda config, ipc: "many"}, "steps gives 'many'; expected a whole number"),
        (
            {"cycle": lambda config, ipc: 0},
            "cycle gives 0; expected a whole number from 1 to 1",
        ),
        ({"cycle": lambda config, ipc: 10**7}, "cycle gives 10000000; expected a whole number"),
        ({"needs": lambda config, facts: 3}, "needs gives 3; expected a reason in words, or None"),
        ({"needs": lambda config, facts: False}, "needs gives False; expected a reason in words"),
        ({"steps": cancel}, "Canceled: red"),
        ({"quick": {"steps": 3}, "steps": lambda config: 1}, "TypeError"),
    ],
)
def test_an_answer_that_cannot_be_is_an_error_of_that_method(fields, error):
    assert error in configured(**fields)["error"]


@pytest.mark.parametrize("steps", [-3, "many", 2.5, 10**10])
def test_steps_that_cannot_be_are_an_error_wherever_they_come_from(steps):
    words = f"what sets the steps of this row gives {steps!r}; expected a whole number from 0 to 1"
    assert words in configured({**QUESTION, "steps": steps})["error"]
    assert configured({**QUESTION, "steps": 7})["steps"] == 7


def test_numbers_of_other_libraries_and_long_reasons_are_taken():
    said = configured(
        steps=lambda config, ipc: np.float64(50),
        cycle=lambda config, ipc: np.int64(2),
        needs=lambda config, facts: "\n\x1b[1mneeds more\nthan this",
    )
    assert (said["steps"], said["cycle"], said["needs"]) == (50, 2, "needs more")
    assert [type(said[key]) for key in ("steps", "cycle")] == [int, int]
    assert configured(needs=lambda config, facts: " ")["needs"]


def test_extensions_of_this_process_are_known_to_what_is_asked(tmp_path):
    class Inits:
        @hookimpl
        def register_inits(self):
            return {"mine": object()}

    answers = answer({"inits": True}, {}, Extensions({"me": Inits()}))
    assert answers["inits"]["mine"] == "me, in this process" and answers["inits"]["real"] == ""


DESCRIPTION = {
    "options": {}, "steps": {"1": 5}, "inits": [], "formations": [], "default_init": "real",
    "step": "step", "quick": {}, "labels": "hard", "own_recipe": False, "published_at": {},
    "published": True,
    "setting": "", "balanced": True, "controls": [], "paper": "", "bibtex": "",
}  # fmt: skip
EMPTY = {"describe": {}, "inits": {}, "formations": {}, "configure": [], "architectures": []}
WHOLE = {"describe": {"random": DESCRIPTION}, "inits": {}, "formations": {}}
WHOLE |= {"configure": [], "architectures": []}


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "[1]", '{"describe": {"random": 5}}', "{", "{}", "\udc80",
     json.dumps(EMPTY | {"describe": {"random": 5}}),
     json.dumps(EMPTY),
     json.dumps(EMPTY | {"describe": {"random": {}}}),
     json.dumps(WHOLE | {"describe": {"random": {"step": "step"}}}),
     json.dumps(WHOLE | {"inits": {"real": 5}})],
)  # fmt: skip
def test_kept_answers_that_are_none_are_asked_for_again(tmp_path, monkeypatch, content):
    found = MethodEntry("random", "random", "random", "1", "code")
    child = Child({"random": found}, tmp_path)
    whole = WHOLE
    monkeypatch.setattr(child, "_answers", lambda request, asked: whole)
    assert child({"describe": ["random"]}) == whole
    [kept] = tmp_path.rglob("*.json")
    kept.write_bytes(content.encode(errors="surrogateescape"))
    assert child({"describe": ["random"]}) == whole == json.loads(kept.read_text())
    monkeypatch.setattr(child, "_answers", None)
    assert child({"describe": ["random"]}) == whole


@pytest.mark.parametrize(
    ("about", "kept"),
    [
        ({"options": {"error_weight": 1.0}}, True),
        ({"bibtex": '@misc{a, title={An error of "error"}}'}, True),
        ({"error": "it does not import"}, False),
    ],
)
def test_what_is_kept_are_answers_without_an_error(tmp_path, monkeypatch, about, kept):
    child = Child({"random": MethodEntry("random", "random", "random", "1", "code")}, tmp_path)
    whole = EMPTY | {"describe": {"random": about}}
    monkeypatch.setattr(child, "_answers", lambda request, asked: whole)
    assert child({"describe": ["random"]}) == whole
    assert bool([*tmp_path.rglob("*.json")]) == kept


@pytest.mark.parametrize("key", ["configure", "architectures"])
def test_answers_with_an_error_in_a_list_are_not_kept(tmp_path, monkeypatch, key):
    child = Child({"random": MethodEntry("random", "random", "random", "1", "code")}, tmp_path)
    whole = {"describe": {}, "configure": [], "architectures": [], "inits": {}, "formations": {}}
    whole[key] = [{"error": "no"}]
    monkeypatch.setattr(child, "_answers", lambda request, asked: whole)
    child({key: []})
    assert not [*tmp_path.rglob("*.json")]


@pytest.mark.parametrize(
    ("request_", "damaged"),
    [
        ({"configure": [{"method": "random"}]}, {"configure": [{}]}),
        ({"configure": [{"method": "random"}]}, {"configure": [{"problems": []}]}),
        ({"architectures": [["mlp", [1, 8, 8], 2]]}, {"architectures": [{}]}),
        ({"inits": True}, {"inits": {}}),
        ({"inits": True}, {"inits": {"real": None}}),
    ],
)
def test_kept_answers_with_something_missing_are_none(request_, damaged):
    sound = {
        "describe": {},
        "inits": {"real": ""},
        "formations": {},
        "configure": [configured()] * len(request_.get("configure", ())),
        "architectures": [{"canonical": "mlp"}] * len(request_.get("architectures", ())),
    }
    assert asking._answers_to(request_, json.dumps(sound).encode())
    assert not asking._answers_to(request_, json.dumps(sound | damaged).encode())


def test_the_keys_of_answers_are_those_that_are_demanded(described):
    assert [*described["sound"]] == [*Described.model_fields] == [*DESCRIPTION]
    assert [*configured()] == [*Configured.model_fields]
    refused = configured({**QUESTION, "options": {"x": 1}})
    answers = EMPTY | {"configure": [refused]}
    assert asking._answers_to({"configure": [QUESTION]}, json.dumps(answers).encode())


def test_an_extension_that_ends_the_process_is_named(tmp_path):
    path = tmp_path / "fatal.py"
    text = "import os\nfrom ddbench import hookimpl\nos._exit(7)\n"
    path.write_text(text + "@hookimpl\ndef register_inits():\n    return {}\n")
    child = Child({}, tmp_path / "cache", [path])
    words = f"one of the extensions .*{path} ended the process .exit code 7. when asked for"
    with pytest.raises(MethodError, match=words):
        child({"inits": True})
    child.close()


def test_without_extensions_none_is_blamed(tmp_path, monkeypatch):
    child = Child({}, tmp_path)
    child.extensions = {}

    def lost(request, asked):
        raise asking._Lost("ended the process (exit code 9)")

    monkeypatch.setattr(child, "_ask", lost)
    with pytest.raises(MethodError, match="describes architectures and inits ended the process"):
        child({"inits": True})


def test_answers_that_cannot_be_kept_are_given_all_the_same(tmp_path, monkeypatch):
    def full(path, record):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(asking, "write_json", full)
    child = Child({}, tmp_path)
    monkeypatch.setattr(child, "_answers", lambda request, asked: {"describe": {}})
    assert child({"describe": []}) == {"describe": {}}


def test_a_file_named_like_a_module_harms_none(tmp_path):
    path = tmp_path / "json.py"
    path.write_text(SOUND)
    load(discover([path])["json"])
    import json

    assert json.loads("1") == 1
