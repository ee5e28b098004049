"""Standard streams: closed, without a reader, of another encoding; and data apart from talk."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [str(Path(sys.executable).parent / "ddbench")]
OWN = """
from ddbench.datasets import Presence, Source
from ddbench import hookimpl

class Own(Source):
    name, summary, num_classes, shape = "own", "für ± 图", 2, (1, 8, 8)
    def locate(self, roots):
        print("the hook prints")
        return Presence(True, None)
    def load(self, roots, options):
        raise NotImplementedError

@hookimpl
def register_datasets():
    import atexit, os
    atexit.register(print, "the exit handler prints")
    os.write(1, b"below Python, too\\n")
    print("registered")
    return {"own": Own()}
"""


def shell(script, folder, **environment):
    """Run a script of the shell in which $DD is the program; return what became of it."""
    words = ["bash", "-o", "pipefail", "-c", script]
    environment = {**os.environ, "DD": PROGRAM[0], **environment}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
    )


def python(code, folder, **environment):
    """Run Python code in a process of its own, with these sources of ddbench."""
    words = [sys.executable, "-c", code]
    environment = {**os.environ, **environment}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True)


@pytest.mark.parametrize(
    "closed",
    [
        " ".join(f"{number}>&-" for number in numbers)
        for n in (1, 2, 3)
        for numbers in itertools.combinations((0, 1, 2), n)
    ],
)
def test_what_is_printed_reaches_no_file_that_is_opened_while_a_stream_is_closed(closed, tmp_path):
    code = """if True:
        import os, subprocess, sys
        from ddbench.text.streams import prepare_program
        prepare_program()
        with open("precious", "w") as file:
            print("to stdout", flush=True), print("to stderr", file=sys.stderr)
            os.write(1, b"below"), os.write(2, b"below"), sys.stdin.read(1)
            subprocess.run(["sh", "-c", "echo child; echo child >&2; read x"])
            file.write("whole")
        """
    (tmp_path / "code.py").write_text(code)
    done = shell(f'exec "{sys.executable}" code.py {closed} </dev/null', tmp_path)
    assert (done.returncode, (tmp_path / "precious").read_text()) == (0, "whole"), done.stderr


@pytest.mark.parametrize("command", ["presets", "presets --json 2>&1"])
def test_a_reader_that_leaves_does_not_change_the_exit_code(command, tmp_path):
    assert shell(f'"$DD" {command} | true; exit ${{PIPESTATUS[0]}}', tmp_path).returncode == 0


def test_a_full_disk_behind_standard_output_is_said_once(tmp_path):
    done = shell('"$DD" presets >/dev/full', tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "ddbench: standard output: No space left on device; "
        "make room there and run the same command again"
    ]


def test_with_json_standard_output_is_json_whatever_others_print(tmp_path):
    code = f"""if True:
        from ddbench.discovery import extensions
        from ddbench.cli import main
        exec({OWN!r})
        class Installed:
            def __init__(self, *names, **places):
                self.datasets = register_datasets()
        extensions.Extensions.installed = Installed
        main(["datasets", "--json"])"""
    done = python(code, tmp_path)
    rows = json.loads(done.stdout)
    assert done.returncode == 0 and any(row["name"] == "own" for row in rows)
    for words in (b"registered", b"below Python", b"hook prints", b"exit handler"):
        assert words in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("form", ["--json", ""])
def test_every_encoding_takes_all_characters(encoding, form, tmp_path):
    text = "für ± 图 \U0001f642 \udc80"
    code = f"""if True:
        from ddbench.text import streams
        from ddbench.reporting.terminal import print_rows
        streams.prepare_program()
        print_rows([{{"text": {text!r}}}], as_json={bool(form)})"""
    done = python(code, tmp_path, PYTHONIOENCODING=encoding)
    shown = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    if form:
        assert json.loads(shown) == [{"text": text}]
    else:
        assert ("für" if encoding != "ascii" else r"f\xfcr") in shown


def test_force_color_makes_no_terminal_of_a_file(tmp_path):
    done = shell('"$DD" presets', tmp_path, FORCE_COLOR="1", COLUMNS="40")
    assert "not shown" not in done.stdout and done.returncode == 0
    code = """if True:
        from ddbench.reporting.terminal import Progress
        assert Progress().bars is None"""
    assert python(code, tmp_path, FORCE_COLOR="1").returncode == 0


def test_a_working_folder_that_has_been_removed_is_named(tmp_path):
    done = shell('mkdir gone && cd gone && rmdir ../gone && "$DD" presets', tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "working folder is not there" in done.stderr and "Traceback" not in done.stderr


NOBODY = """
import pwd
def nobody(*name): raise KeyError("uid not found")
pwd.getpwuid = pwd.getpwnam = nobody
"""


def test_a_user_without_name_or_home_is_asked_for_a_cache(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NOBODY)
    away = "env -u HOME -u XDG_CACHE_HOME -u USER -u LOGNAME PYTHONPATH=."
    done = shell(f'{away} "$DD" methods', tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "--cache" in done.stderr and "XDG_CACHE_HOME" in done.stderr
    assert shell(f'{away} "$DD" presets', tmp_path).returncode == 0


def test_no_process_imports_what_lies_in_the_working_folder(tmp_path):
    mine = "open('ran', 'w').close(); raise SystemExit('mine')"
    for name in ("random", "types", "socket", "torch", "json", "numpy", "ddbench", "signal"):
        (tmp_path / f"{name}.py").write_text(mine)
    code = f"""if True:
        import sys
        sys.path = [p for p in sys.path if p]
        from ddbench.discovery.asking import Child
        from pathlib import Path
        child = Child({{}}, Path({str(tmp_path)!r}))
        print(child({{"architectures": [["mlp", [1, 8, 8], 2]]}}))"""
    words = [sys.executable, "-P", "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "mlp" in done.stdout, done.stderr
    assert not (tmp_path / "ran").exists()


def test_what_click_prints_to_an_ascii_stream_is_ascii():
    code = (
        "from ddbench.text import streams; streams.prepare_program(); import click\n"
        "click.echo('\u2265 3'); click.echo('\u2265 3', err=True)"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    assert ran.stdout == ran.stderr == b"\\u2265 3\n"
