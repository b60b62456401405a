"""Rows travel as bytes and arrive as they were; bytes that are no rows are refused."""

from __future__ import annotations

import contextlib
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_actors.recording import RowsUnreadable, decode_rows, encode_rows
from raft_actors.recording.rows import count_rows

ROWS = [{"time": 1, "kind": "leader", "details": {"term": 2}}, {"time": -(2**63), "kind": "é"}, {}]


def test_a_batch_round_trips() -> None:
    assert decode_rows(encode_rows(ROWS)) == ROWS
    assert decode_rows(encode_rows([])) == []


@pytest.mark.parametrize("count", [0, 1, 15, 16, 70_000])
def test_a_batch_says_how_many_rows_it_holds(count: int) -> None:
    assert count_rows(encode_rows([{}] * count)) == count


def test_a_batch_cut_at_any_byte_is_unreadable() -> None:
    data = encode_rows(ROWS)
    for length in range(len(data)):
        with pytest.raises(RowsUnreadable, match="no batch of rows"):
            decode_rows(data[:length])


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_refused(data: bytes) -> None:
    for read in (decode_rows, count_rows):
        with contextlib.suppress(RowsUnreadable):
            read(data)


def test_the_refusal_survives_a_pickle() -> None:
    with pytest.raises(RowsUnreadable) as refused:
        decode_rows(b"")
    copy = pickle.loads(pickle.dumps(refused.value))
    assert type(copy) is RowsUnreadable
    assert str(copy) == str(refused.value)


def test_a_header_cannot_promise_more_rows_than_bytes() -> None:
    assert count_rows(b"\xdd\xff\xff\xff\xff") == 5
