"""Text files: any Unicode encoding that says so, any line ending, whatever the machine speaks."""

import codecs

import pytest
from ddbench.planning.registry import RegistryError, default_path, read
from ddbench.text.encodings import NotText, read_text


@pytest.mark.parametrize(
    "encoded",
    [
        "ä = 1\n".encode(),
        "ä = 1\n".encode("utf-8-sig"),
        "ä = 1\r\n".encode("utf-8-sig"),
        "ä = 1\r".encode(),
        "ä = 1\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "ä = 1\r\n".encode("utf-16-be"),
        "ä = 1\n".encode("utf-32"),
    ],
)
def test_a_text_is_the_same_however_an_editor_saved_it(encoded, tmp_path):
    (tmp_path / "text").write_bytes(encoded)
    assert read_text(tmp_path / "text") == "ä = 1\n"


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (b"a\nb\xe4c\n", r"not UTF-8 text \(byte 0xe4 in line 2\); save it as UTF-8"),
        (b"\xff\xfea", "not UTF-16 text"),
    ],
)
def test_another_encoding_is_named_with_its_place_and_the_remedy(encoded, words, tmp_path):
    (tmp_path / "text").write_bytes(encoded)
    with pytest.raises(NotText, match=words):
        read_text(tmp_path / "text")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_registry_with_a_byte_order_mark_is_read_as_it_is(encoding, tmp_path):
    text = default_path().read_text(encoding="utf-8")
    (tmp_path / "r.toml").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read(tmp_path / "r.toml").dump() == read().dump()


def test_a_registry_in_another_encoding_is_refused_with_line_and_remedy(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(RegistryError, match="byte 0xe9 in line 1.*save it as UTF-8"):
        read(tmp_path / "r.toml")
