"""Frames on the socket between a peer and its application: found in any stream, and nothing else is."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_actors.application.packing import Malformed
from raft_actors.application.pipe import (
    PAYLOAD_BYTES_MAX,
    FrameReader,
    Kind,
    PipeFrame,
    door_address,
    encode_frame,
)
from raft_actors.core.types import MemberId

HEAD_BYTES = 13
U64_MAX = 2**64 - 1

frames = st.builds(
    PipeFrame,
    kind=st.sampled_from(Kind),
    number=st.integers(0, U64_MAX),
    payload=st.binary(max_size=40),
)


def encoded(frame: PipeFrame) -> bytes:
    return encode_frame(frame.kind, frame.number, frame.payload)


def head(length: int, kind: int) -> bytes:
    return length.to_bytes(4, "little") + bytes([kind]) + bytes(8)


class TestFormat:
    """Both sides may be of different versions for the moment of an upgrade: the bytes are fixed."""

    def test_golden_bytes(self) -> None:
        assert encode_frame(Kind.APPLY, 7, b"xy").hex() == "02000000" + "03" + "0700000000000000" + "7879"
        assert encode_frame(Kind.READ_ANSWER, U64_MAX, b"").hex() == "00000000" + "08" + "ff" * 8

    def test_numbers_of_kinds_never_change(self) -> None:
        assert {kind.name: kind.value for kind in Kind} == {
            "ATTACH": 1,
            "ATTACH_ANSWER": 2,
            "APPLY": 3,
            "APPLY_ANSWER": 4,
            "PROPOSE": 5,
            "PROPOSE_ANSWER": 6,
            "READ": 7,
            "READ_ANSWER": 8,
            "TERM_LOST": 9,
            "ASK_SLICE": 10,
            "SLICE": 11,
            "SLICE_REFUSED": 12,
        }

    def test_a_payload_that_nobody_would_read_is_not_made(self) -> None:
        with pytest.raises(AssertionError, match="at most 67108864"):
            encode_frame(Kind.APPLY, 1, bytes(PAYLOAD_BYTES_MAX + 1))


class TestReader:
    @settings(max_examples=40)
    @given(sent=st.lists(frames, max_size=4), data=st.data())
    def test_frames_are_found_wherever_the_stream_is_split(self, sent: list[PipeFrame], data: st.DataObject) -> None:
        stream = b"".join(map(encoded, sent))
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
        reader, found = FrameReader(), []
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            found += reader.feed(stream[begin:end])
        assert found == sent

    def test_a_frame_is_given_as_soon_as_its_last_byte_is_there(self) -> None:
        reader = FrameReader()
        first, second = encode_frame(Kind.READ, 1, b""), encode_frame(Kind.PROPOSE, 2, b"data")
        assert [frame.number for frame in reader.feed(first + second[:-1])] == [1]
        assert list(reader.feed(second[-1:])) == [PipeFrame(kind=Kind.PROPOSE, number=2, payload=b"data")]

    @given(st.binary(max_size=200))
    def test_whatever_the_bytes_are_they_are_frames_or_malformed(self, noise: bytes) -> None:
        found = []
        try:
            for frame in FrameReader().feed(noise):
                found.append(frame)
        except Malformed:
            pass
        assert noise.startswith(b"".join(map(encoded, found)))

    @pytest.mark.parametrize("kind", [0, 13, 255])
    def test_an_unknown_kind_is_refused_before_its_payload_comes(self, kind: int) -> None:
        with pytest.raises(Malformed, match=f"kind {kind}, length 5"):
            list(FrameReader().feed(head(5, kind)))

    def test_a_longer_payload_than_ever_sent_is_refused_before_it_comes(self) -> None:
        assert list(FrameReader().feed(head(PAYLOAD_BYTES_MAX, Kind.APPLY))) == []
        with pytest.raises(Malformed, match="length 67108865"):
            list(FrameReader().feed(head(PAYLOAD_BYTES_MAX + 1, Kind.APPLY)))

    def test_what_came_before_the_malformed_bytes_is_still_given(self) -> None:
        stream = FrameReader().feed(encode_frame(Kind.READ, 1, b"") + head(0, 99))
        assert next(stream).number == 1
        with pytest.raises(Malformed):
            next(stream)

    def test_it_keeps_nothing_but_the_frame_that_is_not_complete(self) -> None:
        payload_bytes = 64 * 1024
        frame = encode_frame(Kind.APPLY, 1, bytes(payload_bytes))
        reader, count = FrameReader(), 0
        stream = frame * 2
        tracemalloc.start()
        try:
            for _ in range(100):
                count += sum(1 for _ in reader.feed(stream[: len(frame) + HEAD_BYTES]))
                count += sum(1 for _ in reader.feed(stream[len(frame) + HEAD_BYTES :]))
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert count == 200
        assert peak_bytes < 8 * payload_bytes


class TestAddress:
    def test_both_sides_compute_the_same_name(self) -> None:
        address = door_address("session_2026", "prod", MemberId(0))
        assert address == "\0raft-actors-" + "83564d33d17f88e273c339a174ab9abe"

    def test_it_names_the_session_the_group_and_the_member(self) -> None:
        addresses = {
            door_address(session, group, MemberId(member))
            for session in ("s1", "s2")
            for group in ("g1", "g2")
            for member in (0, 1)
        }
        assert len(addresses) == 8

    def test_it_is_an_abstract_name_that_fits_whatever_the_group_is_called(self) -> None:
        address = door_address("session_" + "9" * 100, "g" * 64, MemberId(2**31))
        assert address.startswith("\0")
        assert len(address) <= 108  # sun_path
