"""The process that answers about plugins: whatever one does when imported is its own loss."""

import pytest
from ddbench import hookimpl, probe
from ddbench.extensions import Extensions
from ddbench.methods import discover, load
from ddbench.probe import Child, answer

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
    "quick-is-five": (SOUND.replace("MethodInfo()", "MethodInfo(quick=5)"), "TypeError"),
    "ends-it-all": ("import os\nos._exit(7)\n", "ended the process (exit code 7)"),
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
        patch.setattr(probe, "PATIENCE_S", 20.0)
        child = Child(discover(files), folder / "cache")
        answers = child({"describe": list(texts)})["describe"]
        child.close()
    return answers


def test_the_others_are_answered_about(described):
    assert described["sound"]["step"] == "step" and "error" not in described["sound"]


@pytest.mark.parametrize("name", BAD)
def test_the_guilty_one_is_named_with_what_it_did(described, name):
    assert BAD[name][1] in described[name]["error"]


def test_extensions_of_this_process_are_known_to_what_is_asked(tmp_path):
    class Inits:
        @hookimpl
        def register_inits(self):
            return {"mine": object()}

    answers = answer({"inits": True}, {}, Extensions({"me": Inits()}))
    assert answers["inits"]["mine"] == "me, in this process" and answers["inits"]["real"] == ""


def test_a_file_named_like_a_module_harms_none(tmp_path):
    path = tmp_path / "json.py"
    path.write_text(SOUND)
    load(discover([path])["json"])
    import json

    assert json.loads("1") == 1
