"""The log in memory: bounds of every lookup, appends without gaps, truncation, and the search of the conflict hint.

Ruaft's log_array tests one array; the same bounds are asked here of `Log`. Its shift and reset belong to compaction.
"""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_actors.core.entries import Command
from raft_actors.core.log import Log
from raft_actors.core.types import GENESIS_ID, EntryId, LogIndex
from tests.core.builders import entry, log_of
from tests.core.strategies import two_logs

BASE = EntryId(2, 10)
rising_terms = st.lists(st.integers(1, 6), max_size=30).map(sorted)


def log_after_base(*terms: int) -> Log:
    return Log(log_of(*terms, after=BASE.index), base=BASE)


class TestBounds:
    """An index before the base, at the base, inside, at the end, after the end."""

    @pytest.mark.parametrize(("index", "term"), [(9, None), (10, 2), (11, 2), (13, 4), (14, None), (-1, None)])
    def test_term_at(self, index: int, term: int | None) -> None:
        assert log_after_base(2, 3, 4).term_at(index) == term

    @pytest.mark.parametrize("index", [9, 10, 14])
    def test_there_is_no_entry_outside(self, index: int) -> None:
        with pytest.raises(AssertionError, match=f"no entry {index}"):
            log_after_base(2, 3, 4).entry_at(index)

    @pytest.mark.parametrize("index", [9, 14])
    def test_there_is_no_entry_id_outside_the_base_and_the_end(self, index: int) -> None:
        with pytest.raises(AssertionError, match=f"no entry {index}"):
            log_after_base(2, 3, 4).entry_id_at(index)

    def test_the_base_has_an_id_and_no_entry(self) -> None:
        assert log_after_base(2).entry_id_at(10) == BASE

    def test_an_empty_log_ends_at_its_base(self) -> None:
        assert (Log().last, Log(base=BASE).last, len(Log()), Log().last_stamp_ms) == (GENESIS_ID, BASE, 0, 0)

    def test_first_and_last_entry(self) -> None:
        log = log_after_base(2, 3)
        assert (log.entry_at(11).term, log.last, len(log)) == (2, EntryId(3, 12), 2)


class TestRead:
    """Entries for one message: cut off at the limits, never empty because of them."""

    def test_everything_within_the_limits(self) -> None:
        assert log_after_base(2, 3, 4).read(11, 13, bytes_max=10**6, entries_max=9) == log_of(2, 3, 4, after=10)

    def test_from_the_middle_to_before_the_end(self) -> None:
        assert [e.index for e in log_after_base(2, 3, 4, 4).read(12, 13, bytes_max=10**6, entries_max=9)] == [12, 13]

    def test_the_entry_limit_cuts(self) -> None:
        assert len(log_after_base(2, 3, 4).read(11, 13, bytes_max=10**6, entries_max=2)) == 2

    def test_the_byte_limit_cuts(self) -> None:
        log = log_after_base(2, 3, 4)
        two = log.entry_at(11).size_bytes + log.entry_at(12).size_bytes
        assert len(log.read(11, 13, bytes_max=two, entries_max=9)) == 2
        assert len(log.read(11, 13, bytes_max=two - 1, entries_max=9)) == 1

    def test_an_entry_above_the_byte_limit_travels_alone(self) -> None:
        assert len(log_after_base(2, 3, 4).read(11, 13, bytes_max=1, entries_max=9)) == 1

    def test_after_the_end_there_is_nothing(self) -> None:
        assert log_after_base(2).read(12, 12, bytes_max=10**6, entries_max=9) == ()

    @pytest.mark.parametrize("index", [9, 10])
    def test_at_or_before_the_base_is_refused(self, index: int) -> None:
        with pytest.raises(AssertionError, match="at or before the base"):
            log_after_base(2).read(index, 11, bytes_max=1, entries_max=1)


class TestAppend:
    """Entries go behind the end, without a gap, with terms and times that never fall."""

    def test_appending_moves_the_end(self) -> None:
        log = log_after_base(2)
        log.append([entry(3, 12, stamp_ms=5), entry(3, 13, stamp_ms=6)])
        assert (log.last, log.last_stamp_ms) == (EntryId(3, 13), 6)

    @pytest.mark.parametrize("index", [11, 13])
    def test_a_gap_or_an_overlap_is_refused(self, index: int) -> None:
        with pytest.raises(AssertionError, match="gap"):
            log_after_base(2).append([entry(2, index)])

    def test_a_falling_term_is_refused(self) -> None:
        with pytest.raises(AssertionError, match="terms never fall"):
            log_after_base(3).append([entry(2, 12)])

    def test_a_term_below_the_base_is_refused(self) -> None:
        with pytest.raises(AssertionError, match="terms never fall"):
            log_after_base().append([entry(1, 11)])

    def test_falling_time_is_refused(self) -> None:
        with pytest.raises(AssertionError, match="log time went back"):
            Log([entry(1, 1, stamp_ms=9), entry(1, 2, stamp_ms=8)])

    def test_nothing_cannot_be_appended(self) -> None:
        with pytest.raises(AssertionError, match="append of nothing"):
            Log().append([])


class TestTruncate:
    """From the first entry, from inside, from the last one; outside it is refused."""

    @pytest.mark.parametrize(("index", "last"), [(11, BASE), (12, EntryId(2, 11)), (13, EntryId(3, 12))])
    def test_truncation_forgets_the_suffix(self, index: int, last: EntryId) -> None:
        log = log_after_base(2, 3, 4)
        log.truncate_from(index)
        assert log.last == last

    @pytest.mark.parametrize("index", [9, 10, 14])
    def test_outside_is_refused(self, index: int) -> None:
        with pytest.raises(AssertionError, match="truncation"):
            log_after_base(2, 3, 4).truncate_from(index)

    def test_another_suffix_can_follow(self) -> None:
        log = log_after_base(2, 3, 4)
        log.truncate_from(12)
        log.append(log_of(5, 5, after=11))
        assert [log.term_at(index) for index in (11, 12, 13)] == [2, 5, 5]
        assert log.last_at_or_before(13, 4) == EntryId(2, 11)

    def test_bytes_are_counted_both_ways(self) -> None:
        log = log_after_base(2)
        before = log.size_bytes
        log.append(log_of(3, 4, after=11))
        assert log.size_bytes == before + sum(e.size_bytes for e in log_of(3, 4, after=11))
        log.truncate_from(12)
        assert log.size_bytes == before


class TestConflict:
    """Raft §5.3: the log is truncated at the first entry that differs, and only there."""

    @pytest.mark.parametrize(
        ("terms", "held"), [((1, 1, 2), 3), ((1, 1, 2, 2), 3), ((1, 1, 3), 2), ((2, 2), 0), ((), 0), ((1,), 1)]
    )
    def test_first_conflict(self, terms: tuple[int, ...], held: int) -> None:
        assert Log(log_of(1, 1, 2)).first_conflict(log_of(*terms)) == held

    @pytest.mark.slow
    @given(logs=two_logs(), first=st.integers(1, 40), count=st.integers(0, 12))
    def test_what_is_held_already_is_what_comparing_one_by_one_says(
        self, logs: tuple[list[int], list[int]], first: int, count: int
    ) -> None:
        """The dumb twin, on two logs that one group can have: entries first.. of the leader's, as one message."""
        held, leaders = logs
        sent = list(enumerate(leaders, 1))[first - 1 : first - 1 + count]
        slow = 0
        for index, term in sent:
            if index > len(held) or held[index - 1] != term:
                break
            slow += 1
        entries = [each for each in log_of(*leaders) if first <= each.index < first + count]
        assert Log(log_of(*held)).first_conflict(entries) == slow

    @pytest.mark.slow
    @given(terms=rising_terms, index=st.integers(0, 40), term=st.integers(0, 7))
    def test_the_hint_is_the_newest_entry_that_can_still_match(self, terms: list[int], index: int, term: int) -> None:
        log = Log(log_of(*terms))
        slow = max(
            (e.id for e in log_of(*terms) if e.index <= index and e.term <= term),
            key=lambda entry_id: entry_id.index,
            default=GENESIS_ID,
        )
        assert log.last_at_or_before(index, term) == slow

    @pytest.mark.slow
    @given(
        steps=st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 2), min_size=1, max_size=5)), max_size=8)
    )
    def test_any_mixture_of_appends_and_truncations_equals_a_plain_list(
        self, steps: list[tuple[int, list[int]]]
    ) -> None:
        log, plain = Log(), list[int]()
        for cut, rises in steps:
            if cut < len(plain):
                log.truncate_from(cut + 1)
                del plain[cut:]
            for rise in rises:
                plain.append((plain[-1] if plain else 1) + rise)
                log.append([entry(plain[-1], len(plain))])
        assert [log.term_at(index) for index in range(len(plain) + 2)] == [0, *plain, None]
        for index in range(len(plain) + 1):
            for term in range(max(plain, default=0) + 1):
                below = [position for position in range(1, index + 1) if plain[position - 1] <= term]
                assert log.last_at_or_before(index, term).index == max(below, default=0)


class TestLettingGo:
    """What is forgotten is freed in portions: half a million objects at once would hold up every thread."""

    def test_forgetting_holds_on_to_the_entries_and_letting_go_frees_so_many(self) -> None:
        ours = [entry(1, index) for index in range(1, 11)]
        alone = sys.getrefcount(ours[0])
        log = Log(ours)
        log.compact(LogIndex(4))
        log.truncate_from(LogIndex(9))
        log.reset(entry(2, 20).id, 0)
        assert sum(sys.getrefcount(ours[at]) > alone for at in range(10)) == 10
        for left in (7, 4, 1, 0, 0):
            log.let_go(3)
            assert sum(sys.getrefcount(ours[at]) > alone for at in range(10)) == left

    def test_sizes_are_those_of_what_is_held(self) -> None:
        log = Log([entry(1, index, Command(data=b"x" * index)) for index in range(1, 11)])
        sizes = {index: log.entry_at(LogIndex(index)).size_bytes for index in range(1, 11)}
        log.compact(LogIndex(3))
        log.truncate_from(LogIndex(8))
        assert log.size_bytes == sum(sizes[index] for index in range(4, 8))
        assert [log.size_of_last(count) for count in (0, 1, 2, 4, 9)] == [
            0,
            sizes[7],
            sizes[6] + sizes[7],
            log.size_bytes,
            log.size_bytes,
        ]
        log.append((entry(1, 8, Command(data=b"y")),))
        assert log.size_of_last(1) == log.entry_at(LogIndex(8)).size_bytes
