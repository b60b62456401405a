"""A state cut into slices gives the whole state back, whatever its pieces, and whichever slice is asked for again."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_actors.application import slices
from raft_actors.application.packing import Malformed
from raft_actors.application.slices import (
    INLINE_BYTES_MAX,
    SLICE,
    STEP_BYTES,
    STEP_PIECES,
    Slice,
    StateSlicer,
    checked,
    describe,
)
from raft_actors.codec import CHUNK_BYTES_MAX
from raft_actors.core.types import EntryId, LogIndex, Term

LAST = EntryId(Term(2), LogIndex(7))


def slicer_of(*pieces: bytes) -> StateSlicer:
    return StateSlicer(LAST, iter(pieces))


def whole(slice_: Slice, data: bytes) -> bytes:
    """The bytes as whoever receives them reads them."""
    travelled = SLICE.decode(SLICE.encode(slice_))
    return b"".join(checked(travelled, memoryview(data)))


def rest_of(slicer: StateSlicer, bytes_max: int) -> Iterator[tuple[Slice, bytes]]:
    """Every slice from here on."""
    ends = False
    while not ends:
        slice_, data = slicer.read(bytes_max)
        yield slice_, data
        ends = slice_.ends


PIECES = st.lists(st.binary(max_size=40), max_size=12)
SIZES = st.integers(min_value=1, max_value=60)


class TestAWholeState:
    @given(pieces=PIECES, bytes_max=SIZES)
    def test_any_pieces_in_slices_of_any_size_give_it_back(self, pieces: list[bytes], bytes_max: int) -> None:
        given_slices = list(rest_of(slicer_of(*pieces), bytes_max))
        assert b"".join(whole(*each) for each in given_slices) == b"".join(pieces)
        offset = 0
        for slice_, data in given_slices:
            assert (slice_.last, slice_.offset, slice_.size) == (LAST, offset, len(data))
            assert len(data) <= bytes_max
            offset = slice_.behind
        assert [slice_.ends for slice_, _ in given_slices] == [False] * (len(given_slices) - 1) + [True]

    @given(pieces=PIECES, bytes_max=SIZES, seed=st.integers(0, 99))
    def test_and_so_they_do_when_slices_are_lost_and_asked_for_in_smaller_parts(
        self, pieces: list[bytes], bytes_max: int, seed: int
    ) -> None:
        """Whoever receives one asks at the offset that he is at, which may lie within the slice given last."""
        slicer, received, ends, dice = slicer_of(*pieces), b"", False, random.Random(seed)
        while not ends:
            found = slicer.again(len(received), dice.randrange(1, 60)) or slicer.read(bytes_max)
            assert found[0].offset == len(received)
            if dice.random() < 0.5:  # else it is lost
                received += whole(*found)
                ends = found[0].ends
        assert received == b"".join(pieces)

    def test_an_empty_state_is_one_empty_slice(self) -> None:
        slice_, data = slicer_of().read(10)
        assert (data, slice_.offset, slice_.size, slice_.checksums, slice_.ends) == (b"", 0, 0, (), True)

    def test_a_large_slice_has_a_checksum_for_each_4_mib(self) -> None:
        data = random.Random(1).randbytes(2 * CHUNK_BYTES_MAX + 5)
        slice_ = describe(LAST, 0, data, ends=True)
        assert [len(piece) for piece in checked(slice_, memoryview(data))] == [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 5]


class TestOnceMore:
    @pytest.mark.parametrize("offset", range(10, 20))
    @pytest.mark.parametrize("bytes_max", [1, 3, 10, 99])
    def test_any_part_of_the_slice_given_last(self, offset: int, bytes_max: int) -> None:
        slicer = slicer_of(bytes(range(30)))
        slicer.read(10), slicer.read(10)
        found = slicer.again(offset, bytes_max)
        assert found is not None
        assert whole(*found) == bytes(range(offset, min(offset + bytes_max, 20)))
        assert (found[0].offset, found[0].last, found[0].ends) == (offset, LAST, False)
        assert slicer.offset == 20, "the next one is where it was"

    @pytest.mark.parametrize("offset", [0, 9, 20, 21])
    def test_what_lies_outside_of_it_is_not_there(self, offset: int) -> None:
        slicer = slicer_of(bytes(range(30)))
        assert slicer.again(0, 10) is None, "nothing was given yet"
        slicer.read(10), slicer.read(10)
        assert slicer.again(offset, 10) is None

    def test_only_the_part_that_reaches_the_end_ends(self) -> None:
        slicer = slicer_of(bytes(10))
        assert slicer.read(99)[0].ends
        parts = [slicer.again(offset, 4) for offset in (0, 4, 8)]
        assert [part[0].ends for part in parts if part is not None] == [False, False, True]

    def test_the_empty_one_at_the_end_too(self) -> None:
        """A state whose last piece fills a slice: that it ended is found out with the next one."""
        slicer = slicer_of(bytes(10), b"")
        assert not slicer.read(10)[0].ends
        last = slicer.read(10)
        assert (last[0].offset, last[0].size, last[0].ends) == (10, 0, True)
        assert slicer.again(10, 5) == last

    def test_a_slice_that_was_lost_in_the_object_store_comes_inline_and_the_state_goes_on_behind_it(self) -> None:
        state = random.Random(3).randbytes(5 * INLINE_BYTES_MAX)
        slicer, received = slicer_of(state), b""
        slicer.read(2 * INLINE_BYTES_MAX + 100)
        while (found := slicer.again(len(received), INLINE_BYTES_MAX)) is not None:
            assert len(found[1]) <= INLINE_BYTES_MAX
            received += whole(*found)
        assert len(received) == slicer.offset
        received += b"".join(whole(*each) for each in rest_of(slicer, INLINE_BYTES_MAX))
        assert received == state


class TestShortSteps:
    """The application's loop serves others between two of them (C14)."""

    def test_many_small_pieces_are_taken_some_at_a_time(self) -> None:
        taken = itertools.count()
        slicer = StateSlicer(LAST, (b"%d" % next(taken) for _ in range(2 * STEP_PIECES + 1)))
        assert not slicer.gather(10**9)
        assert next(taken) == STEP_PIECES

    def test_large_ones_until_there_is_enough_for_a_step(self) -> None:
        half = bytes(STEP_BYTES // 2)
        slicer = slicer_of(half, half, half, half, half)
        assert [slicer.gather(10**9) for _ in range(3)] == [False, False, True]

    def test_a_slice_is_not_gathered_beyond_its_size(self) -> None:
        pieces = iter([b"x"] * 100)
        slicer = StateSlicer(LAST, pieces)
        assert slicer.gather(10)
        assert len(list(pieces)) == 90

    def test_what_the_machine_raises_is_raised(self) -> None:
        def failing() -> Iterator[bytes]:
            yield b"x"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            StateSlicer(LAST, failing()).read(10)


class TestWhatArrivesDamaged:
    """C15: a flipped bit is found where it is received, and goes no further."""

    DATA = bytes(range(100))

    @pytest.fixture(autouse=True)
    def _small_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slices, "CHUNK_BYTES_MAX", 40)

    @pytest.mark.parametrize("bit", [0, 39 * 8 + 7, 40 * 8, 99 * 8 + 3])
    def test_a_flipped_bit(self, bit: int) -> None:
        data = bytearray(self.DATA)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Malformed, match="whose checksum does not fit"):
            whole(describe(LAST, 5, self.DATA, ends=True), bytes(data))

    def test_what_comes_before_it_is_given(self) -> None:
        pieces = checked(describe(LAST, 0, self.DATA, ends=True), memoryview(self.DATA[:-1] + b"!"))
        assert [bytes(next(pieces)), bytes(next(pieces))] == [self.DATA[:40], self.DATA[40:80]]
        with pytest.raises(Malformed):
            next(pieces)

    @pytest.mark.parametrize("data", [DATA[:-1], DATA + b"!", b""])
    def test_another_size(self, data: bytes) -> None:
        with pytest.raises(Malformed, match="bytes of a slice of 100"):
            whole(describe(LAST, 0, self.DATA, ends=True), data)

    @pytest.mark.parametrize("count", [0, 2, 4])
    def test_another_number_of_checksums(self, count: int) -> None:
        slice_ = describe(LAST, 0, self.DATA, ends=True)
        slice_ = replace(slice_, checksums=(*slice_.checksums, 0)[:count])
        with pytest.raises(Malformed, match=f"with {count} checksums"):
            whole(slice_, self.DATA)
