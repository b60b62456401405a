"""The application beside a peer: entries once and in order, reads new enough, a broken machine stops."""

from __future__ import annotations

import gc
import pickle
from weakref import ref

import pytest

from raft_actors.application.exchange import (
    Applied,
    CommittedEntry,
    EntryKind,
    Gap,
    NotLeader,
    Overloaded,
    Stopped,
    WrongEpoch,
)
from raft_actors.application.frames import RawFrame
from raft_actors.application.host import PEER_GONE, STOPPED, ApplicationHost, ApplicationStopped
from raft_actors.application.limits import HostLimits, Ticket
from raft_actors.application.reads import READ_DEADLINE
from raft_actors.application.requests import QueryDone, QueryFailed
from raft_actors.application.settings import SessionLimits
from raft_actors.core.types import LogIndex, Term
from tests.application.builders import (
    EPOCH,
    LATE_MS,
    OTHER_EPOCH,
    Journal,
    apply,
    apply_request,
    attached_host,
    attempt,
    done,
    entry,
    entry_of,
    frame,
    noop,
    propose,
    query_answers,
    started,
    submit,
)


class TestEpochs:
    def test_without_one_nothing_is_applied(self) -> None:
        host = ApplicationHost(Journal(), SessionLimits())
        assert host.apply(apply_request(1, noop())) == WrongEpoch()

    def test_entries_of_an_earlier_one_are_refused(self) -> None:
        host = attached_host()
        host.attach(OTHER_EPOCH)
        assert host.apply(apply_request(1, noop())) == WrongEpoch()
        assert isinstance(host.apply(apply_request(1, noop(), epoch=OTHER_EPOCH)), Applied)

    def test_the_state_goes_on_under_the_next_one(self) -> None:
        host = attached_host(journal := Journal())
        apply(host, 1, entry(b"a"))
        host.attach(OTHER_EPOCH)
        host.apply(apply_request(1, entry(b"a"), entry(b"b"), epoch=OTHER_EPOCH))
        assert journal.commands == [b"a", b"b"]

    def test_after_detaching_entries_are_refused(self) -> None:
        host = attached_host()
        host.detach()
        assert host.apply(apply_request(1, noop())) == WrongEpoch()


class TestOrder:
    def test_a_gap_is_refused_with_the_index_applied(self) -> None:
        host = attached_host()
        apply(host, 1, noop())
        assert host.apply(apply_request(3, noop())) == Gap(applied_index=LogIndex(1))

    def test_what_is_known_of_an_overlap_is_skipped(self) -> None:
        host = attached_host(journal := Journal())
        apply(host, 1, entry(b"a"), entry(b"b"))
        assert apply(host, 2, entry(b"b"), entry(b"c")).applied_index == 3
        assert journal.commands == [b"a", b"b", b"c"]

    def test_a_repetition_changes_nothing_and_gets_the_same_answer(self) -> None:
        host = attached_host(journal := Journal())
        first = apply(host, 1, entry(b"a"), entry(b"b"))
        assert apply(host, 1, entry(b"a"), entry(b"b")) == first
        assert apply(host, 1, entry(b"a")).applied_index == 2
        assert journal.commands == [b"a", b"b"]

    def test_an_empty_request_tells_where_the_state_is(self) -> None:
        host = attached_host()
        apply(host, 1, noop())
        assert apply(host, 2).applied_index == 1

    def test_two_calls_in_flight_that_arrive_reversed_end_well_when_the_refused_one_is_sent_again(self) -> None:
        host = attached_host(journal := Journal())
        assert host.apply(apply_request(2, entry(b"b"))) == Gap(applied_index=LogIndex(0))
        apply(host, 1, entry(b"a"))
        apply(host, 2, entry(b"b"))
        assert journal.commands == [b"a", b"b"]

    def test_noops_and_configurations_count_and_reach_no_machine(self) -> None:
        host = attached_host(journal := Journal())
        configuration = CommittedEntry(term=Term(1), stamp_ms=0, kind=EntryKind.CONFIGURATION, data=b"members")
        chains = {host.chain, apply(host, 1, noop()).chain, apply(host, 2, configuration).chain}
        assert (host.applied_index, journal.commands, len(chains)) == (2, [], 3)

    def test_time_passes_for_sessions_in_entries_without_commands(self) -> None:
        host = attached_host(journal := Journal(), sessions=SessionLimits(idle_ms_max=100))
        apply(host, 1, entry(frame(1, opens=0)), noop(stamp_ms=100), entry(frame(2), stamp_ms=100))
        assert journal.commands == [b"1"]


class TestAnEntryThatIsNoBatch:
    def test_is_the_same_refusal_on_every_member(self) -> None:
        foreign = CommittedEntry(term=Term(1), stamp_ms=0, kind=EntryKind.COMMAND, data=b"foreign")
        hosts = [attached_host(), attached_host()]
        chains = {apply(host, 1, foreign, entry(b"a")).chain for host in hosts}
        assert len(chains) == 1
        assert [host.applied_index for host in hosts] == [2, 2]
        assert chains != {apply(attached_host(), 1, noop(), entry(b"a")).chain}


class TestTheStateChain:
    HISTORY = (entry(b"a"), noop(), entry(frame(1, opens=0), frame(1), frame(0, acked_below=1)))

    def test_is_equal_for_equal_histories_however_they_are_cut_into_calls(self) -> None:
        at_once, one_by_one = attached_host(), attached_host()
        apply(at_once, 1, *self.HISTORY)
        for index, each in enumerate(self.HISTORY, start=1):
            apply(one_by_one, index, each)
        assert at_once.chain == one_by_one.chain
        assert len(at_once.chain) == 16

    @pytest.mark.parametrize(
        "other",
        [
            (entry(b"b"), *HISTORY[1:]),
            (entry(b"a", term=0), *HISTORY[1:]),
            (entry(b"a"), noop(stamp_ms=1), entry(frame(1, opens=0), frame(1), stamp_ms=1)),
            HISTORY[:2],
        ],
        ids=["command", "term", "stamp", "length"],
    )
    def test_differs_for_different_histories(self, other: tuple[CommittedEntry, ...]) -> None:
        host, differing = attached_host(), attached_host()
        assert apply(host, 1, *self.HISTORY).chain != apply(differing, 1, *other).chain

    def test_differs_when_a_machine_answers_differently_to_the_same_commands(self) -> None:
        class Mistaken(Journal):
            def apply(self, index: int, command: bytes) -> bytes:
                return super().apply(index, command) + (b"!" if command == b"b" else b"")

        right, wrong = attached_host(), attached_host(Mistaken())
        assert apply(right, 1, entry(b"a")).chain == apply(wrong, 1, entry(b"a")).chain
        assert apply(right, 2, entry(b"b")).chain != apply(wrong, 2, entry(b"b")).chain
        assert apply(right, 3, entry(b"c")).chain != apply(wrong, 3, entry(b"c")).chain

    def test_differs_when_sessions_differ(self) -> None:
        history = [entry(frame(1, opens=0, by="a")), entry(frame(1, opens=0, by="b")), entry(frame(2, by="a"))]
        roomy, narrow = attached_host(), attached_host(sessions=SessionLimits(sessions_max=1))
        assert apply(roomy, 1, *history).chain != apply(narrow, 1, *history).chain

    def test_is_reported_at_every_1024th_entry_and_again_for_a_repetition(self) -> None:
        host = attached_host(limits=HostLimits(checkpoints_max=2))
        first = apply(host, 1, *[noop()] * 1_023)
        assert first.checkpoints == ()
        second = apply(host, 1_024, *[noop()] * 1_100)
        assert [checkpoint.index for checkpoint in second.checkpoints] == [1_024, 2_048]
        assert apply(host, 1_024, noop()).checkpoints == second.checkpoints[:1]
        apply(host, 2_124, *[noop()] * 1_000)
        assert [checkpoint.index for checkpoint in host.checkpoints()] == [2_048, 3_072]
        assert host.checkpoints()[0] == second.checkpoints[1]


class TestAMachineThatRaises:
    class Fragile(Journal):
        def apply(self, index: int, command: bytes) -> bytes:
            if command == b"bad":
                raise ValueError("secret value")
            return super().apply(index, command)

    def test_stops_the_replica_naming_the_entry_and_no_value(self) -> None:
        host = attached_host(self.Fragile())
        with pytest.raises(ApplicationStopped, match="entry 2") as stopped:
            host.apply(apply_request(1, entry(b"a"), entry(b"bad"), entry(b"c")))
        assert stopped.value.index == 2
        assert "ValueError in apply" in stopped.value.why
        assert "secret" not in str(stopped.value)
        assert host.applied_index == 1
        assert host.stopped == Stopped(index=LogIndex(2), why=stopped.value.why)
        copy = pickle.loads(pickle.dumps(stopped.value))
        assert (str(copy), copy.index) == (str(stopped.value), 2)

    def test_is_never_asked_again(self) -> None:
        host = attached_host(self.Fragile())
        with pytest.raises(ApplicationStopped):
            host.apply(apply_request(1, entry(b"bad")))
        for refused in (
            lambda: host.apply(apply_request(1, entry(b"a"))),
            lambda: host.attach(OTHER_EPOCH),
            lambda: submit(host, 1, attempt()),
            lambda: host.read(Ticket(2), b"", LogIndex(0), LATE_MS),
        ):
            with pytest.raises(ApplicationStopped, match="entry 1"):
                refused()

    def test_leaves_no_caller_waiting(self) -> None:
        host = attached_host(self.Fragile())
        submit(host, 1, attempt(1, command=b"good"))
        good = propose(host)
        submit(host, 2, attempt(2, command=b"bad"))
        bad = propose(host)
        submit(host, 3, attempt(3))
        host.proposal_answered(good.proposal_id, started(1))
        host.proposal_answered(bad.proposal_id, started(2))
        host.read(Ticket(4), b"q", LogIndex(2), LATE_MS)
        with pytest.raises(ApplicationStopped):
            host.apply(apply_request(1, entry_of(good), entry_of(bad)))
        commands, queries = host.take_answers()
        assert dict(commands) == {1: done(b"1", 1), 2: STOPPED, 3: NotLeader(leader=None)}
        assert dict(queries) == {4: STOPPED}
        assert host.waiting_count == 0

    def test_an_answer_that_is_not_bytes_is_such_a_failure(self) -> None:
        class Wordy(Journal):
            def apply(self, index: int, command: bytes) -> bytes:
                return "text"  # type: ignore[return-value]

        with pytest.raises(ApplicationStopped, match="TypeError"):
            attached_host(Wordy()).apply(apply_request(1, entry(b"a")))

    def test_a_query_that_raises_ends_that_query_alone(self) -> None:
        class Picky(Journal):
            def query(self, request: bytes) -> bytes:
                if request == b"bad":
                    raise KeyError("secret")
                return super().query(request)

        host = attached_host(Picky())
        host.read(Ticket(1), b"bad", LogIndex(0), LATE_MS)
        host.read(Ticket(2), b"good", LogIndex(0), LATE_MS)
        got = query_answers(host)
        assert isinstance(failed := got[1], QueryFailed)
        assert failed.why.startswith("KeyError in query")
        assert got[2] == QueryDone(result=b"good:", applied_index=LogIndex(0))


class TestReads:
    def test_wait_until_their_index_is_applied(self) -> None:
        host = attached_host()
        for ticket, index in ((1, 2), (2, 1), (3, 3)):
            host.read(Ticket(ticket), b"q", LogIndex(index), LATE_MS)
        assert query_answers(host) == {}
        apply(host, 1, entry(b"a"), entry(b"b"))
        seen = QueryDone(result=b"q:a,b", applied_index=LogIndex(2))
        assert query_answers(host) == {1: seen, 2: seen}
        apply(host, 3, entry(b"c"))
        assert query_answers(host) == {3: QueryDone(result=b"q:a,b,c", applied_index=LogIndex(3))}

    def test_are_answered_at_once_when_it_is(self) -> None:
        host = attached_host()
        apply(host, 1, entry(b"a"))
        host.read(Ticket(1), b"q", LogIndex(1), LATE_MS)
        assert query_answers(host) == {1: QueryDone(result=b"q:a", applied_index=LogIndex(1))}

    def test_end_at_their_deadline(self) -> None:
        host = attached_host()
        host.read(Ticket(1), b"q", LogIndex(1), 10)
        host.read(Ticket(2), b"q", LogIndex(1), 20)
        host.expire(10)
        assert query_answers(host) == {1: READ_DEADLINE}
        assert host.waiting_count == 1

    def test_end_when_the_peer_is_gone_and_stale_ones_go_on(self) -> None:
        host = attached_host()
        host.read(Ticket(1), b"q", LogIndex(1), LATE_MS)
        host.detach()
        host.read(Ticket(2), b"q", LogIndex(0), LATE_MS)
        assert query_answers(host) == {1: PEER_GONE, 2: QueryDone(result=b"q:", applied_index=LogIndex(0))}

    def test_beyond_the_limit_are_refused(self) -> None:
        host = attached_host(limits=HostLimits(reads_waiting_max=1))
        host.read(Ticket(1), b"q", LogIndex(1), LATE_MS)
        host.read(Ticket(2), b"q", LogIndex(1), LATE_MS)
        assert query_answers(host) == {2: Overloaded()}


def test_raw_commands_share_the_log_with_sessions() -> None:
    host = attached_host(journal := Journal())
    apply(host, 1, entry(RawFrame(command=b"raw"), frame(1, opens=0)), entry(RawFrame(command=b"raw"), frame(1)))
    assert journal.commands == [b"raw", b"1", b"raw"]


class TestMemory:
    def test_a_host_that_is_let_go_takes_its_state_with_it(self) -> None:
        """Without the help of a collector: there are no full collections, so a cycle would keep a whole state."""

        class Watched(Journal):
            pass

        machine = Watched()
        gone = ref(machine)
        one = ApplicationHost(machine, SessionLimits())
        one.attach(EPOCH)
        apply(one, 1, entry(frame(1, opens=0)))
        one.read(Ticket(1), b"", LogIndex(1), 10)
        gc.disable()
        try:
            del machine, one
            assert gone() is None
        finally:
            gc.enable()
