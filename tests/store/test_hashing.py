"""Hashes: of text, plain values and files."""

import hashlib

import pytest
from ddbench.store.hashing import hash_of_file, hash_of_text, hash_of_values, seed_of
from hypothesis import given
from hypothesis import strategies as st

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=5))
def test_a_hash_of_values_does_not_depend_on_the_order_of_keys(record):
    backwards = dict(reversed(record.items()))
    assert hash_of_values(record) == hash_of_values(backwards)
    assert hash_of_values(record) != hash_of_values({**record, "one more": 1})


def test_hashes_are_those_of_sha256_cut_to_a_length(tmp_path):
    whole = hashlib.sha256("é".encode()).hexdigest()
    assert hash_of_text("é") == whole and hash_of_text("é", 16) == whole[:16]
    (tmp_path / "file").write_bytes("é".encode())
    assert hash_of_file(tmp_path / "file") == whole
    assert hash_of_file(tmp_path / "file", "md5") == hashlib.md5("é".encode()).hexdigest()
    with pytest.raises(FileNotFoundError):
        hash_of_file(tmp_path / "none")


def test_seeds_are_the_first_63_bits_of_the_hash_of_the_names():
    whole = hashlib.sha256(b"a/1").digest()
    assert seed_of("a", 1) == int.from_bytes(whole[:8], "big") >> 1 < 2**63
