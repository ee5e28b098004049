"""Fingerprints of code: of all its Python files, whatever they are called."""

import os
import types

from ddbench.discovery import fingerprints
from ddbench.discovery.fingerprints import code_fingerprint


def test_a_file_name_that_is_no_utf_8_is_part_of_the_fingerprint(tmp_path):
    (tmp_path / "plugin.py").write_text("x = 1\n")
    before = code_fingerprint(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("y = 2\n")
    assert code_fingerprint(tmp_path) != before


def test_files_of_a_local_install_have_a_hash_and_those_of_a_release_none(tmp_path, monkeypatch):
    installed = types.SimpleNamespace(version="1.0")
    monkeypatch.setattr(fingerprints.metadata, "distribution", lambda name: installed)
    files = [tmp_path / name for name in ("a.py", "b.py")]
    found = []
    for edit in ("", "# edited"):
        for file in files:
            file.write_text(f"pass {edit}")
        fingerprints.edited_code.cache_clear()
        for local in ("sha256:local", "1.0"):
            monkeypatch.setattr(fingerprints, "package_fingerprint", lambda *names, fp=local: fp)
            found.append(fingerprints.edited_code("mine", local, *files))
    fingerprints.edited_code.cache_clear()
    assert found[1] is found[3] is None
    assert found[0].startswith("sha256:") and found[0] != found[2]


def test_files_of_no_install_have_a_hash(tmp_path):
    (tmp_path / "a.py").write_text("pass")
    named = fingerprints.edited_code("no-such-distribution", "none", tmp_path / "a.py")
    assert named.startswith("sha256:")
