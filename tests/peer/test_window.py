"""Slots of calls to other peers: freed by the call's end or a new incarnation, never by a deadline."""

from __future__ import annotations

import pytest

from raft_actors.core.types import MemberId, RpcId
from raft_actors.peer.window import PROBE_INTERVAL_MS, CallKind, CallWindow

OPEN_MAX, PENDING_MAX, DEADLINE_MS = 3, 8, 1000
TWO, THREE = MemberId(2), MemberId(3)


def window_with(count: int, kind: CallKind = CallKind.BEAT, *, now_ms: int = 0) -> CallWindow:
    window = CallWindow(open_max=OPEN_MAX, pending_max=PENDING_MAX, deadline_ms=DEADLINE_MS)
    for number in range(1, count + 1):
        assert window.admit(RpcId(number), TWO, kind, now_ms)
    return window


def admit(window: CallWindow, number: int, now_ms: int, *, to: MemberId = TWO, kind: CallKind = CallKind.BEAT) -> bool:
    return window.admit(RpcId(number), to, kind, now_ms)


class TestSlots:
    def test_a_target_has_so_many_for_each_kind(self) -> None:
        window = window_with(OPEN_MAX)
        assert not admit(window, 10, 0)
        assert admit(window, 11, 0, kind=CallKind.APPEND)
        assert admit(window, 12, 0, to=THREE)

    def test_the_end_of_a_call_frees_one(self) -> None:
        window = window_with(OPEN_MAX)
        assert window.ended(RpcId(2))
        assert admit(window, 10, 0)
        assert not admit(window, 11, 0)

    def test_a_call_ends_once(self) -> None:
        window = window_with(1)
        assert window.ended(RpcId(1))
        assert not window.ended(RpcId(1))

    def test_a_new_incarnation_of_the_target_frees_all_of_its_own(self) -> None:
        window = window_with(OPEN_MAX)
        admit(window, 10, 0, to=THREE)
        assert window.target_restarted(TWO) == [RpcId(1), RpcId(2), RpcId(3)]
        assert (window.open_to(TWO), window.open_to(THREE)) == (0, 1)

    def test_a_passed_deadline_frees_none(self) -> None:
        window = window_with(OPEN_MAX)
        window.take_overdue(DEADLINE_MS)
        assert window.open_to(TWO) == OPEN_MAX
        assert len(window) == OPEN_MAX


class TestOverdue:
    def test_a_call_is_overdue_once_at_its_deadline(self) -> None:
        window = window_with(1)
        assert window.take_overdue(DEADLINE_MS - 1) == []
        assert window.take_overdue(DEADLINE_MS) == [(RpcId(1), TWO)]
        assert window.take_overdue(DEADLINE_MS + 1) == []


class TestProbes:
    def test_when_all_are_overdue_one_more_goes_out_each_second(self) -> None:
        window = window_with(OPEN_MAX)
        window.take_overdue(DEADLINE_MS)
        assert admit(window, 10, DEADLINE_MS)
        assert not admit(window, 11, DEADLINE_MS)
        window.take_overdue(2 * DEADLINE_MS)
        assert not admit(window, 12, DEADLINE_MS + PROBE_INTERVAL_MS - 1)
        assert admit(window, 13, DEADLINE_MS + PROBE_INTERVAL_MS)

    def test_none_goes_out_while_one_may_still_be_answered_in_time(self) -> None:
        window = window_with(OPEN_MAX - 1)
        admit(window, 10, 1)
        window.take_overdue(DEADLINE_MS)
        assert not admit(window, 11, DEADLINE_MS)

    @pytest.mark.parametrize("hours", [1, 10])
    def test_a_target_that_is_stopped_for_hours_collects_a_bounded_number(self, hours: int) -> None:
        window = window_with(OPEN_MAX)
        for second in range(1, hours * 3600, 60):
            now_ms = second * 1000 + DEADLINE_MS
            window.take_overdue(now_ms)
            admit(window, 100 + second, now_ms)
        assert len(window) == PENDING_MAX
