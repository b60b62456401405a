"""How operations are sent, tried again and ended, under a manual clock against real application hosts."""

from __future__ import annotations

from typing import cast

import pytest

from raft_actors.application.exchange import LogFull as ServerLogFull
from raft_actors.application.exchange import Overloaded as ServerOverloaded
from raft_actors.application.packing import Malformed
from raft_actors.application.requests import ANSWERS, SUBMIT, TooLarge, Unknown
from raft_actors.application.settings import SessionLimits
from raft_actors.client.limits import ClientLimits
from raft_actors.client.operation import Call, Kind
from raft_actors.errors import LogFull, NoQuorum, OperationError, Overloaded, SessionLost, Timeout
from tests.application.builders import Journal
from tests.client.world import FakeGroup, Rig


def applied(rig: Rig) -> list[bytes]:
    """What the machines applied; all alike."""
    journals = cast(list[Journal], rig.group.machines)
    assert all(journal.commands == journals[0].commands for journal in journals)
    return journals[0].commands


def frames(call: Call) -> list[tuple[int, int, int, int | None]]:
    """(attempt number, sequence, acked_below, opens) of each attempt."""
    return [
        (attempt.number, attempt.frame.sequence, attempt.frame.acked_below, attempt.frame.opens)
        for attempt in SUBMIT.decode(call.data).attempts
    ]


def submits(rig: Rig) -> list[Call]:
    return [call for call in rig.calls if call.kind is Kind.COMMAND]


class TestFirstContact:
    def test_learns_an_index_before_the_first_command(self) -> None:
        rig = Rig()
        number = rig.submit()
        rig.pass_time(500)
        assert rig.calls[0].kind is Kind.READ
        assert frames(submits(rig)[0]) == [(1, 0, 0, 0)]
        assert rig.result(number) == b"1"

    def test_finds_the_leader_in_passing_so_the_first_command_is_sent_once(self) -> None:
        for seed in range(6):
            rig = Rig(seed=seed)
            number = rig.submit()
            rig.pass_time(500)
            assert rig.outcomes[number].report.attempts == 1

    def test_a_machine_that_does_not_take_the_question_is_served_all_the_same(self) -> None:
        class Strict(Journal):
            def query(self, request: bytes) -> bytes:
                raise ValueError("no such query")

        rig = Rig(FakeGroup(machine=Strict))
        number = rig.submit()
        rig.pass_time(500)
        assert rig.result(number) == b"1"

    def test_without_a_leader_it_ends_with_the_commands_that_wait(self) -> None:
        rig = Rig()
        rig.group.elect(None)
        rig.submit(timeout_ms=1_000)
        rig.pass_time(1_500)
        calls = len(rig.calls)
        rig.pass_time(5_000)
        assert len(rig.calls) == calls
        assert rig.engine.next_tick_ms(rig.now_ms) is None

    def test_no_command_is_sent_under_a_session_without_one_whoever_is_asked(self) -> None:
        """A session that was idle is replaced; what everyone was to be asked about waits until the new one is open."""
        rig = Rig(limits=ClientLimits(calls_in_flight_max=1, session_idle_ms=2_000)).connected()
        rig.fate = lambda call: "hold"
        rig.submit(timeout_ms=100)  # ends without an answer; its call keeps the leader's slot
        rig.pass_time(2_500)
        number = rig.submit()
        rig.engine._lanes[Kind.COMMAND].ask(rig.engine._operations[number], rig.held[0].member_id)
        rig.pump()
        rig.carry(rig.held.pop(0), "deliver")
        rig.pump()
        assert [call.kind for call in rig.held] == [Kind.READ], "the first contact"
        rig.fate = lambda call: "deliver"
        rig.deliver_held()
        rig.pass_time(500)
        assert rig.result(number) == b"3"


class TestBatches:
    def test_what_waits_goes_in_one_call(self) -> None:
        rig = Rig().connected()
        numbers = [rig.submit(b"%d" % i) for i in range(50)]
        rig.pump()
        assert rig.group.batches == [(0, 50)]
        assert [rig.result(number) for number in numbers] == [b"%d" % (i + 2) for i in range(50)]

    def test_reads_share_a_call_of_their_own(self) -> None:
        rig = Rig().connected()
        for _ in range(10):
            rig.read()
        rig.pump()
        assert [(call.kind, len(call.operations)) for call in rig.calls] == [(Kind.READ, 10)]

    def test_a_call_is_capped_by_count_and_by_bytes(self) -> None:
        rig = Rig(limits=ClientLimits(batch_count_max=4, batch_bytes_max=100)).connected()
        for command in (b"a", b"a", b"a", b"a", b"a", b"b" * 99, b"c" * 99, b"d" * 200):
            rig.submit(command)
        rig.pump()
        assert [len(call.operations) for call in rig.calls] == [4, 2, 1, 1]

    @pytest.mark.parametrize("limits", [ClientLimits(), ClientLimits(calls_in_flight_max=4)], ids=["default", "4"])
    def test_few_calls_are_open_and_what_arrives_meanwhile_goes_with_the_next(self, limits: ClientLimits) -> None:
        rig = Rig(limits=limits).connected()
        rig.fate = lambda call: "hold"
        for _ in range(10):
            rig.submit()
            rig.pump()
        assert [len(call.operations) for call in rig.held] == [1] * limits.calls_in_flight_max
        rig.fate = lambda call: "deliver"
        rig.carry(rig.held.pop(), "deliver")
        rig.pump()
        assert len(rig.calls[-1].operations) == 10 - limits.calls_in_flight_max

    def test_an_answer_with_too_few_parts_is_no_answer(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        rig.submit(timeout_ms=300)
        rig.pump()
        rig.engine.answered(rig.held[0].number, ANSWERS.encode(()), rig.now_ms)
        rig.pass_time(300)
        assert rig.result(2).outcome == "unknown"

    @pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 20])
    def test_an_answer_that_makes_no_sense_is_no_answer(self, data: bytes) -> None:
        with pytest.raises(Malformed):
            ANSWERS.decode(data)
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        rig.submit(timeout_ms=300)
        rig.pump()
        rig.engine.answered(rig.held[0].number, data, rig.now_ms)
        rig.pass_time(300)
        assert rig.result(2).outcome == "unknown"


class TestTheLeader:
    def test_is_followed_by_its_hint_at_once(self) -> None:
        rig = Rig().connected()
        rig.group.elect(2)
        number = rig.submit()
        rig.pump()
        assert rig.result(number) == b"2"
        assert [call.member_id for call in rig.calls] == [0, 2]
        assert rig.outcomes[number].report.server == 2

    def test_is_looked_for_by_a_few_while_the_rest_waits(self) -> None:
        rig = Rig().connected()
        rig.group.elect(None)
        for _ in range(500):
            rig.submit()
        rig.pass_time(1_000)
        sent = sum(len(call.operations) for call in rig.calls)
        assert sent < 500 + 16 * 40
        rig.group.elect(1)
        rig.pass_time(200)
        assert len(rig.outcomes) == 501
        assert len(applied(rig)) == 501

    def test_is_found_soon_after_an_election_when_the_old_one_hangs(self) -> None:
        """The followers name the dead one until they have elected another: they are not believed."""
        rig = Rig().connected()
        rig.fate = lambda call: "lose" if call.member_id == 0 else "deliver"
        rig.group.hints = {1: 0, 2: 0}
        rig.group.elect(None)
        numbers = [rig.submit(timeout_ms=10_000) for _ in range(200)]
        rig.pass_time(1_500)
        rig.group.hints = {}
        rig.group.elect(2)
        rig.pass_time(200)
        assert all(isinstance(rig.result(number), bytes) for number in numbers)
        assert len(applied(rig)) == 201

    def test_two_that_name_each_other_are_not_asked_without_a_pause(self) -> None:
        rig = Rig().connected()
        rig.group.elect(None)
        rig.group.hints = {0: 1, 1: 0, 2: None}
        rig.submit(timeout_ms=1_000)
        rig.pass_time(1_000)
        assert len(rig.calls) < 60

    def test_that_refuses_for_too_much_work_is_asked_again_after_pauses(self) -> None:
        rig = Rig().connected()
        rig.group.refusal = ServerOverloaded()
        number = rig.submit()
        rig.pass_time(500)
        assert 3 < len(rig.calls) < 20
        rig.group.refusal = None
        rig.pass_time(200)
        assert rig.result(number) == b"2"

    def test_stale_reads_need_none(self) -> None:
        rig = Rig()
        rig.group.elect(None)
        numbers = [rig.stale() for _ in range(3)]
        rig.pump()
        assert [rig.result(number) for number in numbers] == [b"?:"] * 3

    def test_stale_reads_do_not_wait_for_a_server_whose_turn_it_is_and_that_has_no_slot(self) -> None:
        rig = Rig(limits=ClientLimits(calls_in_flight_max=1))
        rig.stale()
        rig.fate = lambda call: "hold" if call.member_id == rig.calls[0].member_id else "deliver"
        rig.pump()
        for _ in range(4):  # of three servers one is silent: each turn comes twice
            number = rig.stale()
            rig.pump()
            assert rig.result(number) == b"?:"


class TestPatience:
    def test_while_answers_are_awaited_nobody_looks_before_patience_ends(self) -> None:
        rig = Rig(limits=ClientLimits(calls_in_flight_max=1)).connected()
        rig.fate = lambda call: "hold"
        rig.submit()
        rig.pump()
        number = rig.submit()  # no slot: it waits for the first one's answer
        rig.pump()
        assert rig.engine.next_tick_ms(rig.now_ms) == rig.now_ms + rig.limits.attempt_ms
        rig.fate = lambda call: "deliver"
        rig.deliver_held()
        assert rig.result(number) == b"3"

    def test_after_400_ms_of_silence_all_servers_are_asked_each_with_an_attempt_of_its_own(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        rig.submit()
        rig.pass_time(399)
        assert len(rig.calls) == 1
        rig.pass_time(1)
        assert sorted(call.member_id for call in rig.calls[1:]) == [0, 1, 2]
        numbers = [frames(call)[0][0] for call in rig.calls]
        assert len(set(numbers)) == 4
        assert {frames(call)[0][1] for call in rig.calls} == {1}

    def test_a_call_that_fails_is_made_once_more_at_once_where_it_failed(self) -> None:
        """On a network that loses one answer in ten a put took a second: everybody named the leader, who was not asked
        again while under suspicion."""
        rig = Rig().connected()
        fates = iter(["break"])
        rig.fate = lambda call: next(fates, "deliver")
        number = rig.submit()
        rig.pump()
        assert rig.result(number) == b"2", "it was applied once, and the second call said so"
        assert [call.member_id for call in rig.calls] == [rig.calls[0].member_id] * 2

    def test_and_only_once_while_it_is_under_suspicion(self) -> None:
        """A server that is gone for good is not called in a loop."""
        rig = Rig().connected()
        rig.fate = lambda call: "break"
        rig.submit(timeout_ms=1_000)
        rig.pump()
        assert len(rig.calls) == 2
        rig.pass_time(999)
        assert len(rig.calls) < 40

    def test_reads_too(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        rig.read()
        rig.pass_time(400)
        assert sorted(call.member_id for call in rig.calls[1:]) == [0, 1, 2]

    def test_a_late_answer_is_still_taken(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        number = rig.submit()
        rig.pass_time(1_000)
        rig.carry(rig.held[0], "deliver")
        rig.pump()
        assert rig.result(number) == b"2"

    def test_answers_after_the_end_are_ignored_and_applied_once(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        number = rig.submit()
        rig.pass_time(1_000)
        rig.fate = lambda call: "deliver"
        rig.deliver_held()
        assert rig.result(number) == b"2"
        assert applied(rig) == [b"first", b"x"]

    def test_grows_with_each_round(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "lose"
        rig.submit(timeout_ms=60_000)
        began = rig.now_ms
        rig.pass_time(3_000)
        by_call = {call.number: call.patient_until_ms for call in rig.calls if call.member_id == 1}
        assert sorted(by_call.values())[0] - began == 400 + 800
        assert rig.engine._calls[max(by_call)].operations[0].rounds >= 2

    def test_a_server_that_answers_nothing_is_asked_once_a_second_and_no_more_than_32_calls_wait_there(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold" if call.member_id == 0 else "deliver"
        rig.group.elect(None)
        for _ in range(200):
            rig.submit(timeout_ms=1_000)
            rig.pass_time(1_000)
        open_there = [call for call in rig.held if call.member_id == 0 and call.kind is Kind.COMMAND]
        assert 4 < len(open_there) <= 32
        assert len(rig.engine._calls) == len(rig.held)

    def test_one_that_could_not_be_called_had_no_attempt(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "refuse"
        number = rig.submit(timeout_ms=1_000)
        rig.pass_time(1_000)
        assert isinstance(rig.result(number), NoQuorum)
        assert rig.outcomes[number].report.attempts == 0


def unknown(call: Call) -> bytes:
    return ANSWERS.encode((Unknown(why="test"),) * len(call.operations))


class TestOutcomes:
    """Every operation ends as done, not done or unknown; unknown if any of its attempts was."""

    @pytest.mark.parametrize(
        ("fate", "leader", "error", "outcome"),
        [
            ("deliver", None, NoQuorum, "not_done"),  # every attempt was refused
            ("refuse", 0, NoQuorum, "not_done"),  # none could be sent
            ("lose", 0, Timeout, "unknown"),  # it may sit in a queue
            ("mute", 0, Timeout, "unknown"),  # it was applied, the answer is lost
            ("break", None, Timeout, "unknown"),  # the call failed after it was refused: nobody knows
        ],
    )
    def test_at_the_deadline(self, fate: str, leader: int | None, error: type[OperationError], outcome: str) -> None:
        rig = Rig().connected()
        rig.group.elect(leader)
        rig.fate = lambda call: fate
        number = rig.submit(timeout_ms=2_000)
        rig.pass_time(1_999)
        assert number not in rig.outcomes
        rig.pass_time(1)
        assert type(rig.result(number)) is error
        assert rig.result(number).outcome == outcome

    def test_a_later_refusal_does_not_make_an_unknown_attempt_definite(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "lose" if len(rig.calls) == 1 else "deliver"
        rig.group.elect(None)
        number = rig.submit(timeout_ms=3_000)
        rig.pass_time(3_000)
        assert rig.outcomes[number].report.attempts > 3
        assert rig.result(number).outcome == "unknown"

    def test_a_server_that_does_not_know_makes_it_unknown(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        number = rig.submit(timeout_ms=1_000)
        rig.pump()
        rig.engine.answered(rig.held.pop().number, unknown(rig.calls[0]), rig.now_ms)
        rig.fate = lambda call: "refuse"
        rig.pass_time(1_000)
        assert rig.result(number).outcome == "unknown"

    def test_an_overloaded_leader_until_the_end_is_definite(self) -> None:
        rig = Rig().connected()
        rig.group.refusal = ServerOverloaded()
        number = rig.submit(timeout_ms=1_000)
        rig.pass_time(1_000)
        assert type(rig.result(number)) is Overloaded
        assert rig.result(number).outcome == "not_done"

    def test_a_full_log_is_definite_at_once(self) -> None:
        rig = Rig().connected()
        rig.group.refusal = ServerLogFull()
        number = rig.submit()
        rig.pump()
        assert type(rig.result(number)) is LogFull
        assert rig.result(number).outcome == "not_done"

    def test_a_full_log_says_nothing_about_an_attempt_before(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "lose" if len(rig.calls) == 1 else "deliver"
        number = rig.submit(timeout_ms=1_000)
        rig.pass_time(399)
        rig.group.refusal = ServerLogFull()
        rig.pass_time(601)
        assert type(rig.result(number)) is LogFull
        assert rig.result(number).outcome == "unknown"

    def test_a_full_log_waits_for_an_open_attempt_which_may_have_succeeded(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold" if len(rig.calls) == 1 else "deliver"
        number = rig.submit()
        rig.pass_time(399)
        first = rig.held.pop()
        answer = rig.group.serve(first.member_id, "submit", first.data)
        rig.group.refusal = ServerLogFull()
        rig.pass_time(100)
        assert number not in rig.outcomes
        rig.engine.answered(first.number, answer, rig.now_ms)
        rig.pump()
        assert rig.result(number) == b"2"

    def test_a_command_that_is_too_large_is_definite_at_once_and_says_the_limit(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        number = rig.submit(b"x" * 100)
        rig.pump()
        rig.engine.answered(rig.held[0].number, ANSWERS.encode((TooLarge(bytes_max=50),)), rig.now_ms)
        rig.pump()
        assert (rig.result(number).outcome, rig.result(number).bytes_max) == ("not_done", 50)

    def test_a_query_at_which_the_machine_raises_is_definite_at_once(self) -> None:
        class Strict(Journal):
            def query(self, request: bytes) -> bytes:
                raise ValueError("secret")

        rig = Rig(FakeGroup(machine=Strict))
        number = rig.read()
        rig.pass_time(500)
        assert rig.result(number).outcome == "not_done"
        assert "ValueError" in str(rig.result(number))
        assert "secret" not in str(rig.result(number))

    def test_closing_says_which_may_have_happened(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "mute"
        sent = rig.submit()
        rig.pump()
        waiting = rig.submit()
        rig.engine.close()
        rig.pump()
        assert rig.result(sent).outcome == "unknown"
        assert rig.result(waiting).outcome == "not_done"

    def test_texts_say_how_much_was_tried(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "lose"
        number = rig.submit(timeout_ms=500)
        rig.pass_time(500)
        assert "within 0.5 s (4 attempts at server 0, 1, 2)" in str(rig.result(number))


class TestSessions:
    def test_opens_is_sent_until_the_first_answer(self) -> None:
        rig = Rig()
        rig.submit(b"a")
        rig.submit(b"b")
        rig.pass_time(500)
        rig.submit(b"c")
        rig.pass_time(1)
        assert [frames(call) for call in submits(rig)] == [[(1, 0, 0, 0), (1, 1, 0, 0)], [(1, 2, 2, None)]]

    def test_acked_below_passes_an_operation_that_was_given_up(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "lose"
        rig.submit(timeout_ms=300)
        rig.pass_time(300)
        rig.fate = lambda call: "deliver"
        rig.submit()
        rig.pass_time(1_000)
        [(_, sequence, acked_below, _)] = frames(submits(rig)[-1])
        assert (sequence, acked_below) == (2, 2)

    def test_contract_3_a_held_copy_of_what_was_given_up_is_not_applied_later(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold"
        rig.submit(b"given up", timeout_ms=300)
        rig.pass_time(300)
        rig.fate = lambda call: "deliver"
        rig.submit(b"later")
        rig.pass_time(1_000)
        rig.deliver_held()
        assert applied(rig) == [b"first", b"later"]

    def test_contract_3_a_held_copy_of_what_was_done_and_acknowledged_is_not_applied_again(self) -> None:
        rig = Rig().connected()
        rig.fate = lambda call: "hold" if len(rig.calls) == 1 else "deliver"
        number = rig.submit(b"once")
        rig.pass_time(1_000)
        assert rig.result(number) == b"2"
        rig.submit(b"next")
        rig.pump()
        rig.deliver_held()
        assert applied(rig) == [b"first", b"once", b"next"]

    def test_contract_3_unknown_ones_never_fill_the_window(self) -> None:
        rig = Rig(limits=ClientLimits(commands_max=4)).connected()
        rig.fate = lambda call: "lose"
        for _ in range(12):
            rig.submit(timeout_ms=100)
            rig.pass_time(100)
        rig.fate = lambda call: "deliver"
        number = rig.submit()
        rig.pass_time(2_000)
        assert rig.result(number) == b"2"

    def test_what_is_beyond_the_window_waits_for_room(self) -> None:
        rig = Rig(limits=ClientLimits(commands_max=4), group=FakeGroup(sessions=SessionLimits(results_max=4)))
        numbers = [rig.submit() for _ in range(20)]
        rig.pass_time(1_000)
        assert [rig.result(number) for number in numbers] == [b"%d" % (i + 1) for i in range(20)]
        assert max(len(call.operations) for call in submits(rig)) == 4


def expire_session(rig: Rig) -> None:
    """An hour passes in the log, and another client's command notices."""
    rig.group.stamp_ms += 3_600_000
    other = Rig(rig.group, first_id=1_000)
    other.submit(b"other")
    other.pass_time(500)
    rig.calls.clear()


class TestAnExpiredSession:
    def test_a_fresh_operation_is_issued_again_in_a_new_session(self) -> None:
        rig = Rig().connected()
        expire_session(rig)
        number = rig.submit(b"fresh")
        rig.pass_time(100)
        assert applied(rig) == [b"first", b"other", b"fresh"]
        assert rig.result(number) == b"3"
        ids = [SUBMIT.decode(call.data).attempts[0].frame.client_id for call in submits(rig)]
        assert len(ids) == len(set(ids)) == 2

    def test_pipelined_fresh_operations_all_are(self) -> None:
        rig = Rig().connected()
        expire_session(rig)
        numbers = [rig.submit(b"%d" % i) for i in range(30)]
        rig.pass_time(100)
        assert all(isinstance(rig.result(number), bytes) for number in numbers)
        assert sorted(applied(rig)[2:]) == sorted(b"%d" % i for i in range(30))

    def test_a_retried_operation_ends_unknown(self) -> None:
        rig = Rig().connected()
        expire_session(rig)
        rig.fate = lambda call: "lose" if len(rig.calls) == 1 else "deliver"
        number = rig.submit(b"retried", timeout_ms=3_000)
        rig.pass_time(3_000)
        assert type(rig.result(number)) is SessionLost
        assert rig.result(number).outcome == "unknown"
        assert applied(rig) == [b"first", b"other"]

    def test_its_id_is_never_used_again(self) -> None:
        rig = Rig().connected()
        expire_session(rig)
        for _ in range(3):
            rig.submit()
            rig.pass_time(50)
        old, *later = [SUBMIT.decode(call.data).attempts[0].frame.client_id for call in submits(rig)]
        assert len(later) == 3
        assert set(later) == {later[0]}
        assert old != later[0]

    def test_contract_2_a_late_copy_of_the_opening_command_does_not_open_it_again(self) -> None:
        """The first attempt is held by a stopped server; all are asked; the session is dropped; then it wakes."""
        rig = Rig()
        rig.fate = lambda call: "hold" if len(submits(rig)) == 1 and call.kind is Kind.COMMAND else "deliver"
        number = rig.submit(b"once")
        rig.pass_time(1_500)
        assert rig.result(number) == b"1"
        expire_session(rig)
        rig.deliver_held()
        assert applied(rig) == [b"once", b"other"]

    def test_contract_2_nor_do_many_short_lived_clients_under_loss_and_delay(self) -> None:
        group = FakeGroup(sessions=SessionLimits(sessions_max=3))
        held: list[tuple[int, bytes]] = []
        done: list[bytes] = []
        for client in range(40):
            rig = Rig(group, seed=client, first_id=client * 1_000)

            def fate(call: Call, rig: Rig = rig) -> str:
                if call.kind is Kind.COMMAND and len(rig.calls) % 3 == 0:
                    held.append((call.member_id, call.data))
                    return "lose"
                return "deliver"

            rig.fate = fate
            for step in range(3):
                name = b"%d.%d" % (client, step)
                number = rig.submit(name)
                rig.pass_time(2_000)
                if isinstance(rig.result(number), bytes):
                    done.append(name)
            if client % 5 == 4:
                for member_id, data in held:
                    group.submit(member_id, data)
                held.clear()
        journal = cast(Journal, group.machines[0]).commands
        assert len(journal) == len(set(journal))
        assert set(done) <= set(journal)
        assert len(done) == 120

    def test_an_idle_session_is_replaced_before_the_group_drops_it(self) -> None:
        rig = Rig().connected()
        rig.now_ms += 1_800_000
        number = rig.submit()
        rig.pass_time(100)
        assert rig.result(number) == b"2"
        assert [call.kind for call in rig.calls] == [Kind.READ, Kind.COMMAND]
