"""Schedules 2, 3 and 11 of the contracts: what is applied once, through the whole group, whatever is sent again."""

from __future__ import annotations

from raft_actors.application.frames import Fenced, Frame, SessionExpired
from raft_actors.application.requests import Attempt, Done
from raft_actors.application.settings import SessionLimits
from tests.application.builders import client
from tests.rig.rig import Group


def attempt(sequence: int, *, by: str = "c", number: int = 1, opens: int | None = 0, acked_below: int = 0) -> Attempt:
    command = f"{by}{sequence}".encode()
    return Attempt(
        number=number,
        frame=Frame(client_id=client(by), sequence=sequence, acked_below=acked_below, opens=opens, command=command),
    )


class Test2LateOpening:
    def test_a_late_copy_of_the_opening_command_opens_no_dropped_session(self) -> None:
        group = Group(3, sessions=SessionLimits(sessions_max=1))
        group.elect(1)
        (first,) = group.submit(1, attempt(1))
        group.deliver_all()
        assert group.answer(1, first) == Done(result=b"1", index=1, term=1)
        group.submit(1, attempt(1, by="d"))
        group.deliver_all()
        (late,) = group.submit(1, attempt(1, number=2))
        group.deliver_all()
        assert group.answer(1, late) == SessionExpired(applied_index=3)
        assert group.applied(1) == [b"c1", b"d1"]

    def test_a_retry_at_another_server_is_applied_once(self) -> None:
        group = Group(3)
        group.elect(1)
        group.submit(1, attempt(1))
        group.deliver_all()
        group.crash(1)
        group.elect(2)
        (retried,) = group.submit(2, attempt(1, number=2))
        group.deliver_all()
        assert group.answer(2, retried) == Done(result=b"1", index=3, term=2)
        assert group.applied(2) == [b"c1"]


class Test3AckedBelow:
    def test_a_held_copy_of_an_acknowledged_command_is_not_applied(self) -> None:
        group = Group(3)
        group.elect(1)
        group.submit(1, attempt(1))
        group.submit(1, attempt(2, acked_below=2))
        (held,) = group.submit(1, attempt(1, number=2))
        group.deliver_all()
        assert group.answer(1, held) == Fenced()
        assert group.applied(1) == [b"c1", b"c2"]

    def test_a_command_given_up_as_unknown_is_fenced_by_what_follows(self) -> None:
        """The old leader's copy is overwritten, the client gives up, goes on, and then the late copy arrives."""
        group = Group(3)
        group.elect(1)
        group.submit(1, attempt(1))
        group.deliver_all()
        group.isolate(1)
        group.submit(1, attempt(2))
        group.elect(2)
        group.submit(2, attempt(3, acked_below=3, number=1))
        group.deliver_all()
        (late,) = group.submit(2, attempt(2, number=2))
        group.deliver_all()
        assert group.answer(2, late) == Fenced()
        assert group.applied(2) == [b"c1", b"c3"]


class Test11WhichSessionsAreDropped:
    def test_members_drop_the_same_ones_lowest_use_and_client_first(self) -> None:
        group = Group(3, sessions=SessionLimits(sessions_max=2))
        group.elect(1)
        group.submit(1, attempt(1, by="b"), attempt(1, by="a"))
        group.submit(1, attempt(1, by="c"))
        group.submit(1, attempt(2, by="a", opens=None), attempt(2, by="b", opens=None))
        group.run_until(lambda: all(len(group.applied(number)) == 4 for number in group.members))
        assert group.applied(3) == [b"b1", b"a1", b"c1", b"b2"]

    def test_a_day_on_the_leaders_clock_while_nobody_led_expires_nobody(self) -> None:
        group = Group(3)
        group.elect(1)
        group.submit(1, attempt(1))
        group.deliver_all()
        for number in (1, 2, 3):
            group.crash(number)
        group.clock.time_ms += 24 * 3600 * 1000
        for number in (1, 2, 3):
            group.restart(number)
        group.elect(2)
        (ticket,) = group.submit(2, attempt(2, opens=None))
        group.deliver_all()
        assert group.answer(2, ticket) == Done(result=b"2", index=3, term=2)

    def test_an_idle_hour_under_one_leader_expires_a_session(self) -> None:
        group = Group(1, sessions=SessionLimits(idle_ms_max=1000))
        group.elect(1)
        group.submit(1, attempt(1))
        group.clock.time_ms += 1000
        (ticket,) = group.submit(1, attempt(2, opens=None))
        assert group.answer(1, ticket) == SessionExpired(applied_index=2)
