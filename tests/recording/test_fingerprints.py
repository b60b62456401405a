"""Fingerprints of values: of joined ones, as text, and which ones are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_actors.recording.fingerprints import Fingerprint


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_fingerprint_of_an_append_follows_from_those_of_its_parts(a: bytes, b: bytes) -> None:
    assert Fingerprint.of("bytes", a) + Fingerprint.of("bytes", b) == Fingerprint.of("bytes", a + b)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_other_bytes_have_another_one(a: bytes, b: bytes) -> None:
    assert (Fingerprint.of("str", a) == Fingerprint.of("str", b)) is (a == b)


@pytest.mark.parametrize("size", [15, 16, 17, 127, 128, 1000])
def test_blocks_that_changed_places_are_seen(size: int) -> None:
    blocks = [b"a" * size, b"b" * size, b"c" * size]
    assert Fingerprint.of("str", b"".join(blocks)) != Fingerprint.of("str", b"".join(reversed(blocks)))


def test_leading_zeros_and_kinds_count() -> None:
    prints = [
        Fingerprint.of(kind, body) for kind in ("str", "bytes", "list") for body in (b"", b"\0", b"\0\0", b"\0a", b"a")
    ]
    assert len(set(prints)) == len(prints)


@given(st.binary(max_size=50))
def test_text_and_back(body: bytes) -> None:
    print_of = Fingerprint.of("list", body)
    assert Fingerprint.parse(str(print_of)) == print_of


@pytest.mark.parametrize("text", ["", "str", "str:3", "str:3:12", "str:x:" + "0" * 32, "s p:3:" + "0" * 32])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"values to unpack|no fingerprint"):
        Fingerprint.parse(text)


def test_kinds_that_differ_are_never_joined() -> None:
    with pytest.raises(AssertionError, match="cannot be appended"):
        Fingerprint.of("str", b"a") + Fingerprint.of("bytes", b"b")
