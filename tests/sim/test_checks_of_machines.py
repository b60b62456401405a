"""Every rule about machines and clients can be broken, and what is demanded in the end, as in test_checks.py.

Here:   machines and clients that say what cannot be; an application's queues that are too long; groups that are no
        group at rest.
Never:  logs, commits and disks (test_checks.py), calls (test_checks_of_calls.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from analysis.history import Found, Op, Outcome, Result, Written
from kv.errors import VersionMismatch
from kv.results import encode_refusal, encode_version
from raft_actors.application.host import ApplicationHost
from raft_actors.application.limits import HostLimits, Ticket
from raft_actors.application.settings import SessionLimits
from raft_actors.core.types import LogIndex, MemberId, Term
from tests.application.builders import apply, attached_host, attempt, entry, frame, submit
from tests.rig.rig import Group
from tests.sim.checks import Checks, bounds, clients, machines
from tests.sim.test_checks import breaks, group_at_rest, look, member, rest, second_entry
from tests.sim.timeline import Timeline
from tests.sim.world import World, WorldFailed


def host_of(group: Group, number: int) -> ApplicationHost:
    host = member(group, number).host
    assert host is not None
    return host


# -- machines and clients ---------------------------------------------------------------------------------------------


class TestMachines:
    def test_an_application_falls_back(self) -> None:
        group = group_at_rest()
        host_of(group, 2)._applied_index = LogIndex(0)
        with breaks("monotonic applied"):
            look(group, 2)

    def test_an_application_applies_what_is_not_committed(self) -> None:
        group = group_at_rest()
        second_entry(group)
        host_of(group, 1)._applied_index = LogIndex(2)
        with breaks("applied is committed"):
            look(group, 1)

    def test_a_machine_computes_something_else(self) -> None:
        group = group_at_rest()
        application = member(group, 2).application
        assert application is not None
        application.journal.commands.append(b"never in the log")
        second_entry(group)
        group.deliver_all()
        with breaks("state machine safety"):
            group.beat(1)
            group.deliver_all()

    @pytest.mark.parametrize(("command", "result"), [(b"put", b"other"), (b"other", b"1")])
    def test_a_machine_runs_something_else(self, command: bytes, result: bytes) -> None:
        checked = Checks()
        checked.ran(MemberId(1), "machine 1", 1, b"put", b"1")
        checked.ran(MemberId(2), "machine 2", 1, b"put", b"1")
        with breaks("state machine safety"):
            checked.ran(MemberId(3), "machine 3", 1, command, result)

    @pytest.mark.parametrize("index", [1, 2])
    def test_a_command_runs_twice(self, index: int) -> None:
        checked = Checks()
        asks(checked, 1, b"put")
        checked.ran(MemberId(1), "machine", 1, b"put", b"1")
        checked.ran(MemberId(1), "the next machine", 1, b"put", b"1")
        with breaks("exactly once"):
            checked.ran(MemberId(1), "the next machine", index, b"put", b"2")

    def test_a_client_hears_another_result(self) -> None:
        checked = Checks()
        asks(checked, 1, b"put")
        checked.ran(MemberId(1), "machine", 1, b"put", b"1")
        with breaks("exactly once"):
            checked.clients.ended(1, at=1, outcome=Outcome.OK, raw=b"2")

    def test_a_write_is_acknowledged_that_no_machine_ran(self) -> None:
        checked = Checks()
        asks(checked, 1, b"put")
        with breaks("acknowledged writes stay"):
            checked.clients.ended(1, at=1, outcome=Outcome.OK, raw=b"1")

    def test_a_write_happened_of_which_a_client_hears_that_it_did_not(self) -> None:
        checked = Checks()
        asks(checked, 1, b"put")
        checked.ran(MemberId(1), "machine", 1, b"put", b"1")
        with breaks("not done is definite"):
            checked.clients.ended(1, at=1, outcome=Outcome.NOT_DONE)

    def test_a_write_happens_after_a_client_heard_that_it_never_will(self) -> None:
        checked = Checks()
        asks(checked, 1, b"put")
        checked.clients.ended(1, at=1, outcome=Outcome.NOT_DONE)
        with breaks("not done is definite"):
            checked.ran(MemberId(1), "machine", 1, b"put", b"1")


def asks(
    checked: Checks,
    number: int,
    command: bytes | None = None,
    op: Op = Op.PUT,
    value: str = "a",
    if_version: int | None = None,
) -> None:
    checked.clients.invoked(
        number, client="c", op=op, key="k", at=2 * number, value=value, if_version=if_version, command=command
    )


def hears(checked: Checks, number: int, result: Result | None) -> None:
    outcome = Outcome.UNKNOWN if result is None else Outcome.OK
    checked.clients.ended(number, at=2 * number + 1, outcome=outcome, result=result)


class TestClients:
    @pytest.mark.parametrize(("found", "is_legal"), [(2, True), (1, False)])
    def test_a_stale_read(self, found: int, is_legal: bool) -> None:
        checked = Checks()
        for number in (1, 2):
            asks(checked, number)
            hears(checked, number, Written(version=number))
        asks(checked, 3, op=Op.GET)
        hears(checked, 3, Found(value="a", version=found))
        judged(checked, is_legal)

    @pytest.mark.parametrize(("ran", "found", "is_legal"), [(4, 4, True), (4, 5, False), (None, 4, False)])
    def test_a_write_that_nobody_heard_of_is_read_with_the_version_that_it_got(
        self, ran: int | None, found: int, is_legal: bool
    ) -> None:
        checked = Checks()
        asks(checked, 1, b"put")
        if ran is not None:
            checked.ran(MemberId(1), "machine", 1, b"put", encode_version(ran))
        hears(checked, 1, None)
        asks(checked, 2, op=Op.GET)
        hears(checked, 2, Found(value="a", version=found))
        judged(checked, is_legal)

    @pytest.mark.parametrize(("found", "is_legal"), [("a", True), ("b", False)])
    def test_a_conditional_put_that_nobody_heard_of_was_refused(self, found: str, is_legal: bool) -> None:
        checked = Checks()
        asks(checked, 1)
        hears(checked, 1, Written(version=1))
        asks(checked, 2, b"put", value="b", if_version=7)
        refusal = VersionMismatch.of(current=1, expected=7)
        checked.ran(MemberId(1), "machine", 1, b"put", encode_refusal(refusal))
        hears(checked, 2, None)
        asks(checked, 3, op=Op.GET)
        hears(checked, 3, Found(value=found, version=1))
        judged(checked, is_legal)

    def test_a_search_that_is_given_up_is_no_verdict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        checked = Checks()
        asks(checked, 1)
        hears(checked, 1, Written(version=1))
        monkeypatch.setattr(clients, "STEPS_MAX", 0)
        with breaks("linearizability is decided"):
            checked.verdict()

    def test_an_answer_is_forged_in_a_world(self) -> None:
        world = World(3)
        world.run(100)
        history = world.checks.clients.history
        place, read = next(
            (place, call)
            for place, call in enumerate(history)
            if isinstance(call.result, Found) and call.result.version
        )
        history[place] = replace(read, result=Found(value="nobody wrote this", version=1))
        with breaks("linearizability"):
            world.checks.verdict()


def judged(checked: Checks, is_legal: bool) -> None:
    if is_legal:
        assert len(checked.verdict()) == 1
    else:
        with breaks("linearizability"):
            checked.verdict()


# -- queues -----------------------------------------------------------------------------------------------------------

HOST_QUEUES: Final[dict[str, Callable[[ApplicationHost], object]]] = {
    "waiting callers, 1 wait": lambda host: setattr(host._proposals, "_ticket_count", 2),
    "waiting attempts": lambda host: wait_for(host, tickets=3),
    "bytes of waiting": lambda host: setattr(first_waiting(host), "frame", frame(2, bytes(100))),
    "open proposals": lambda host: host._proposals._calls_open.update(range(3)),
    "remembered attempts": lambda host: host._proposals._ended.update(dict.fromkeys(range(3))),  # type: ignore[arg-type]
    "entries kept": lambda host: keep_for_late(host, range(1, 5), 0),
    "bytes of outcomes, not": lambda host: keep_for_late(host, range(1), 1),
    "bytes kept": lambda host: setattr(host._proposals, "_recent_bytes", keep_for_late(host, range(1, 2), 2000)),
    "checkpoints": lambda host: host._chain._checkpoints.update(dict.fromkeys(range(3), b"")),  # type: ignore[arg-type]
    "waiting reads": lambda host: host._reads._heap.extend([None] * 3),  # type: ignore[list-item]
    "sessions": lambda host: host._sessions._sessions.update(dict.fromkeys(range(3), first_session(host))),  # type: ignore[arg-type]
    "results of a session": lambda host: first_session(host).results.update(dict.fromkeys(range(3), b"")),
}


def keep_for_late(host: ApplicationHost, indexes: range, size_bytes: int) -> int:
    """Of entries applied last; the bytes that are kept then."""
    host._proposals._recent.update({LogIndex(index): (Term(1), (), size_bytes) for index in indexes})
    return sum(size for _, _, size in host._proposals._recent.values())


def first_waiting(host: ApplicationHost) -> Any:
    return next(iter(host._proposals._waiting.values()))


def first_session(host: ApplicationHost) -> Any:
    return next(iter(host._sessions._sessions.values()))


def wait_for(host: ApplicationHost, tickets: int) -> None:
    first_waiting(host).tickets.update({Ticket(number): 0 for number in range(tickets)})
    host._proposals._ticket_count = tickets


class TestQueues:
    @pytest.mark.parametrize("what", HOST_QUEUES)
    def test_a_queue_of_an_application_is_too_long(self, what: str) -> None:
        limits = HostLimits(
            proposals_in_flight_max=2,
            attempts_waiting_max=2,
            attempts_waiting_bytes_max=100,
            attempts_remembered_max=2,
            reads_waiting_max=2,
            recent_entries_max=2,
            recent_bytes_max=1000,
            checkpoints_max=2,
        )
        host = attached_host(limits=limits, sessions=SessionLimits(sessions_max=2, results_max=2))
        apply(host, 1, entry(attempt(1, by="d").frame))
        submit(host, 1, attempt(2))
        bounds.check_host(host, "application 1")
        HOST_QUEUES[what](host)
        with breaks("bounded queues", what):
            bounds.check_host(host, "application 1")

    def test_a_running_application_is_looked_at_now_and_then(self) -> None:
        group = group_at_rest()
        host_of(group, 1)._proposals._ticket_count = 1
        with breaks("bounded queues"):
            for _ in range(machines.LOOK_EVERY):
                group.propose(1, b"x")
                group.deliver_all()


# -- the end ----------------------------------------------------------------------------------------------------------


class TestRest:
    def test_a_member_is_down(self) -> None:
        group = group_at_rest()
        group.crash(2)
        with breaks("rest"):
            rest(group)
        rest(group, 1, 3)

    def test_nobody_leads(self) -> None:
        with breaks("one leader"):
            rest(Group())

    def test_the_leader_is_of_an_older_term(self) -> None:
        group = group_at_rest()
        group.isolate(3)
        group.crash(3)
        group.put_on_disk(3, term=2)
        group.restart(3)
        with breaks("one leader"):
            rest(group)

    def test_logs_end_at_different_entries(self) -> None:
        group = group_at_rest()
        second_entry(group)
        with breaks("equal logs"):
            rest(group)

    def test_a_member_does_not_know_what_is_committed(self) -> None:
        group = group_at_rest()
        second_entry(group)
        group.deliver_all()
        with breaks("all is committed"):
            rest(group)

    @pytest.mark.parametrize(
        "tamper",
        [
            lambda application: setattr(application.host, "_applied_index", 0),
            lambda application: setattr(application.host._chain, "_value", bytes(16)),
            lambda application: application.journal.commands.append(b"never in the log"),
        ],
        ids=["applied", "a chain", "a snapshot"],
    )
    def test_machines_differ(self, tamper: Callable[[Any], object]) -> None:
        group = group_at_rest()
        tamper(member(group, 2).application)
        with breaks("equal machines"):
            rest(group)

    def test_an_application_is_down(self) -> None:
        group = group_at_rest()
        group.crash_application(2)
        with breaks("equal machines"):
            rest(group)

    def test_nothing_happens_any_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Timeline, "play", lambda *_: False)
        with pytest.raises(WorldFailed) as failed:
            World(1).run(1)
        assert failed.value.rule == "the world goes on"
