"""Fingerprints of code: of all its Python files, whatever they are called."""

import os

from ddbench.discovery.fingerprints import code_fingerprint


def test_a_file_name_that_is_no_utf_8_is_part_of_the_fingerprint(tmp_path):
    (tmp_path / "plugin.py").write_text("x = 1\n")
    before = code_fingerprint(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("y = 2\n")
    assert code_fingerprint(tmp_path) != before
