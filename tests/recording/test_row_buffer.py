"""The buffer is bounded: what does not fit is dropped and counted, and nobody waits."""

from __future__ import annotations

import pytest

from raft_actors.recording.row_buffer import ROW_BYTES, RowBuffer
from raft_actors.recording.rows import encode_rows


def test_rows_come_out_in_the_order_they_went_in() -> None:
    buffer = RowBuffer(10 * ROW_BYTES)
    buffer.offer_row("ops", {"op_id": "1"})
    buffer.offer_batch("events", b"...", 3)
    buffer.offer_row("ops", {"op_id": "2"})
    assert [(item.frame, item.content) for item in buffer.take()] == [
        ("ops", {"op_id": "1"}),
        ("events", b"..."),
        ("ops", {"op_id": "2"}),
    ]
    assert buffer.take() == []


def test_a_full_buffer_drops_and_counts_and_has_room_again_once_taken() -> None:
    buffer = RowBuffer(3 * ROW_BYTES)
    for number in range(10):
        buffer.offer_row("ops", {"t_invoke": number})
    assert [item.content for item in buffer.take()] == [{"t_invoke": 0}, {"t_invoke": 1}, {"t_invoke": 2}]
    assert buffer.dropped() == {"ops": 7}
    buffer.offer_row("ops", {"t_invoke": 10})
    assert len(buffer.take()) == 1
    assert buffer.dropped() == {"ops": 7}


def test_a_batch_is_dropped_as_a_whole_and_counts_its_rows() -> None:
    buffer = RowBuffer(ROW_BYTES)
    data = encode_rows([{"op_id": "x" * 100}] * 30)
    buffer.offer_batch("ops", data, 30)
    assert buffer.take() == []
    assert buffer.dropped() == {"ops": 30}


def test_long_texts_count_for_their_length() -> None:
    buffer = RowBuffer(4 * ROW_BYTES)
    buffer.offer_row("ops", {"key": "k" * 4 * ROW_BYTES})
    assert buffer.dropped() == {"ops": 1}


def test_a_shut_buffer_gives_what_it_has_and_takes_nothing() -> None:
    buffer = RowBuffer(10 * ROW_BYTES)
    buffer.offer_row("ops", {"op_id": "1"})
    buffer.shut()
    buffer.offer_row("ops", {"op_id": "2"})
    assert [item.content for item in buffer.take()] == [{"op_id": "1"}]
    assert buffer.dropped() == {"ops": 1}


def test_a_buffer_without_room_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="holds nothing"):
        RowBuffer(0)
