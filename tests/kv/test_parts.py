"""Appending copies what was appended, not what was there. Bytes are counted, no clock is asked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kv.parts import Stored

BASE = b"\x02" + b"." * 1_000_000


def copied_bytes(before: Stored, after: Stored) -> int:
    """Bytes of all parts that the append made anew."""
    kept = {id(part) for part in before.parts}
    return sum(len(part) for part in after.parts if id(part) not in kept)


def append_all(value: Stored, pieces: list[bytes]) -> tuple[Stored, list[int]]:
    costs = []
    for version, piece in enumerate(pieces, value.version + 1):
        longer = value.append(piece, version)
        costs.append(copied_bytes(value, longer))
        value = longer
    return value, costs


class TestTheCostOfAnAppendDoesNotGrowWithTheValue:
    def test_one_append_to_a_megabyte_copies_its_own_bytes_alone(self) -> None:
        _, costs = append_all(Stored.of(BASE, 1), [b"0123456789"])
        assert costs == [10]

    def test_many_appends_cost_on_a_megabyte_what_they_cost_on_nothing(self) -> None:
        pieces = [b"0123456789"] * 1000
        _, costs_empty = append_all(Stored.of(b"\x02", 1), pieces)
        _, costs_large = append_all(Stored.of(BASE, 1), pieces)
        # All but the first few, which the empty value's only byte is joined with.
        assert sum(costs_large) <= sum(costs_empty)
        assert sum(costs_large) <= 10 * 1000 * math.log2(1000)

    def test_the_parts_of_a_value_stay_few(self) -> None:
        value, _ = append_all(Stored.of(b"\x02", 1), [b"x"] * 4096)
        assert len(value.parts) <= math.log2(4096) + 1


class TestAnAppendIsAConcatenation:
    @given(st.binary(max_size=40), st.lists(st.binary(max_size=40), max_size=30))
    def test_the_joined_value_is_its_pieces_in_order(self, first: bytes, pieces: list[bytes]) -> None:
        value, _ = append_all(Stored.of(b"\x02" + first, 1), pieces)
        whole = b"\x02" + first + b"".join(pieces)
        assert value.join() == Stored(1 + len(pieces), len(whole) - 1, (whole,))
        assert (value.size_bytes, value.kind_byte) == (len(whole) - 1, 2)
        for longer, shorter in zip(value.parts, value.parts[1:], strict=False):
            assert len(longer) >= 2 * len(shorter)

    def test_the_value_before_is_unchanged(self) -> None:
        before = Stored.of(b"\x02abc", 1)
        before.append(b"def", 2)
        assert before.join().parts == (b"\x02abc",)

    @pytest.mark.parametrize("parts", [(b"\x02abc",), (b"\x02abcdef", b"gh")])
    def test_appending_nothing_adds_no_part_and_is_a_write(self, parts: tuple[bytes, ...]) -> None:
        value = Stored(1, sum(map(len, parts)) - 1, parts)
        assert value.append(b"", 2) == Stored(2, value.size_bytes, parts)
