"""A command of a session happens once, whatever the network does (Raft §8, dissertation §6.3)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_actors.application.frames import (
    AnyFrame,
    Computed,
    Fenced,
    Frame,
    Outcome,
    RawFrame,
    SessionExpired,
    WindowExceeded,
    encode_outcomes,
)
from raft_actors.application.sessions import Sessions
from raft_actors.application.settings import SessionLimits
from raft_actors.errors import ConfigError
from tests.application.builders import Journal, client, frame

HOUR_MS = 3_600_000


class Replica:
    """Sessions and a journal, fed one entry after the other."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self.sessions = Sessions(limits or SessionLimits())
        self.journal = Journal()
        self.index = 0

    def apply(self, *frames: AnyFrame, stamp_ms: int = 0) -> tuple[Outcome, ...]:
        self.index += 1
        return self.sessions.apply_entry(
            self.index, stamp_ms, frames, lambda command: self.journal.apply(self.index, command)
        )


def computed(number: int) -> Computed:
    """The journal's answer to its `number`th command."""
    return Computed(result=b"%d" % number)


class TestARetryGetsTheFirstAnswer:
    def test_of_the_same_entry_and_of_a_later_one(self) -> None:
        replica = Replica()
        first = frame(1, opens=0)
        assert replica.apply(first, first) == (computed(1), computed(1))
        assert replica.apply(frame(1)) == (computed(1),)
        assert replica.journal.commands == [b"1"]

    def test_concurrent_sequences_applied_out_of_order_are_each_applied_once_with_their_own_result(self) -> None:
        """Ruaft's fault RF8: sequence 6 before 5 answered 5 as a success without applying it."""
        replica = Replica()
        assert replica.apply(frame(6, opens=0)) == (computed(1),)
        assert replica.apply(frame(5, opens=0), frame(7)) == (computed(2), computed(3))
        assert replica.apply(frame(5), frame(6), frame(7)) == (computed(2), computed(1), computed(3))
        assert replica.journal.commands == [b"6", b"5", b"7"]

    def test_clients_do_not_share_sequences(self) -> None:
        replica = Replica()
        assert replica.apply(frame(1, opens=0, by="a"), frame(1, opens=0, by="b")) == (computed(1), computed(2))

    def test_raw_frames_have_no_session_and_are_applied_as_often_as_they_stand_there(self) -> None:
        replica = Replica()
        assert replica.apply(RawFrame(command=b"x"), RawFrame(command=b"x")) == (computed(1), computed(2))
        assert replica.sessions.clients() == []


class TestWhatTheClientNoLongerWaitsForIsNeverApplied:
    """Contracts, schedule 3."""

    def test_a_copy_held_until_after_the_acknowledgement_is_fenced(self) -> None:
        replica = Replica()
        held = frame(5, opens=0)
        replica.apply(held)
        replica.apply(frame(6, acked_below=6))
        assert replica.apply(held) == (Fenced(),)
        assert replica.journal.commands == [b"5", b"6"]

    def test_an_operation_given_up_as_unknown_is_fenced_by_passing_it(self) -> None:
        replica = Replica()
        given_up = frame(1, opens=0)
        replica.apply(frame(2, opens=0, acked_below=2))
        assert replica.apply(given_up) == (Fenced(),)
        assert replica.journal.commands == [b"2"]

    def test_the_highest_acknowledgement_holds_whatever_a_late_frame_says(self) -> None:
        replica = Replica()
        replica.apply(frame(9, opens=0, acked_below=9))
        assert replica.apply(frame(8, acked_below=0)) == (Fenced(),)

    def test_a_frame_that_acknowledges_itself_is_fenced(self) -> None:
        assert Replica().apply(frame(1, opens=0, acked_below=2)) == (Fenced(),)

    def test_giving_up_without_end_does_not_close_the_window(self) -> None:
        replica = Replica(SessionLimits(results_max=4))
        for sequence in range(50):
            assert replica.apply(frame(sequence, opens=0, acked_below=sequence)) == (computed(sequence + 1),)
        assert replica.sessions.result_count == 1

    def test_acknowledged_results_are_forgotten_however_far_the_acknowledgement_jumps(self) -> None:
        replica = Replica(SessionLimits(results_max=4))
        replica.apply(*(frame(sequence, opens=0) for sequence in range(4)))
        replica.apply(frame(0, acked_below=2))
        assert replica.sessions.result_count == 2
        replica.apply(frame(0, acked_below=2**62))
        assert replica.sessions.result_count == 0


class TestTheWindow:
    def test_a_sequence_beyond_it_is_refused_and_applied_once_the_client_has_acknowledged(self) -> None:
        replica = Replica(SessionLimits(results_max=4))
        assert replica.apply(frame(3, opens=0), frame(4)) == (computed(1), WindowExceeded())
        assert replica.apply(frame(4, acked_below=1)) == (computed(2),)

    def test_its_size_is_what_the_genesis_record_says(self) -> None:
        limits = SessionLimits()
        assert (limits.results_max, limits.sessions_max, limits.idle_ms_max) == (8_192, 100_000, HOUR_MS)
        assert Replica().apply(frame(8_191, opens=0), frame(8_192)) == (computed(1), WindowExceeded())

    @pytest.mark.parametrize("name", ["results_max", "sessions_max", "idle_ms_max"])
    def test_a_limit_of_nothing_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=name):
            SessionLimits(**{name: 0})


class TestAnUnknownSession:
    def test_is_not_opened_by_a_command_that_does_not_open(self) -> None:
        replica = Replica()
        assert replica.apply(frame(1)) == (SessionExpired(applied_index=1),)
        assert replica.journal.commands == []

    def test_is_opened_by_whichever_pipelined_command_comes_first(self) -> None:
        replica = Replica()
        assert replica.apply(frame(2, opens=0), frame(1, opens=0)) == (computed(1), computed(2))

    def test_is_opened_by_a_client_that_met_an_empty_log(self) -> None:
        assert Replica().apply(frame(1, opens=0)) == (computed(1),)

    def test_a_late_copy_of_the_opening_command_does_not_open_it_again(self) -> None:
        """Contracts, schedule 2: dropped by many short-lived clients, then a held copy arrives, and later ones."""
        replica = Replica(SessionLimits(sessions_max=2))
        replica.apply(RawFrame(command=b"-"))
        opening = frame(1, opens=1)
        replica.apply(opening)
        replica.apply(frame(2, opens=1))
        for name in ("x", "y"):
            replica.apply(frame(1, b"", by=name, opens=replica.index))
        assert client("c") not in replica.sessions.clients()
        assert replica.sessions.dropped_to == 3
        late = replica.apply(opening, frame(2, opens=1), frame(3))
        assert late == (SessionExpired(applied_index=6),) * 3
        assert replica.journal.commands == [b"-", b"1", b"2", b"", b""]

    def test_opens_above_the_index_that_the_refusal_told(self) -> None:
        replica = Replica(SessionLimits(sessions_max=1))
        replica.apply(frame(1, opens=0, by="a"))
        replica.apply(frame(1, opens=0, by="b"))
        assert replica.apply(frame(1, opens=1, by="d")) == (SessionExpired(applied_index=3),)
        assert replica.apply(frame(1, opens=3, by="e")) == (computed(3),)


class TestIdleSessions:
    def test_end_after_an_hour_of_log_carried_time(self) -> None:
        replica = Replica()
        replica.apply(frame(1, opens=0), stamp_ms=1_000)
        assert replica.apply(frame(2), stamp_ms=1_000 + HOUR_MS - 1) == (computed(2),)
        assert replica.apply(frame(3), stamp_ms=1_000 + 2 * HOUR_MS - 1) == (SessionExpired(applied_index=3),)

    def test_end_at_entries_that_carry_no_command_too(self) -> None:
        replica = Replica()
        replica.apply(frame(1, opens=0))
        replica.apply(stamp_ms=HOUR_MS)
        assert replica.sessions.clients() == []
        assert replica.sessions.dropped_to == 1

    def test_a_retry_or_a_fenced_copy_counts_as_use(self) -> None:
        replica = Replica()
        replica.apply(frame(1, opens=0))
        replica.apply(frame(1, acked_below=1), stamp_ms=HOUR_MS - 1)
        replica.apply(frame(0), stamp_ms=2 * HOUR_MS - 2)
        assert replica.apply(frame(2), stamp_ms=3 * HOUR_MS - 3) == (computed(2),)


class TestWhichSessionsAreDropped:
    """Contracts, schedule 11."""

    @pytest.mark.parametrize("seed", range(5))
    def test_does_not_depend_on_the_order_within_an_entry(self, seed: int) -> None:
        names = [f"c{number}" for number in range(20)]
        random.Random(seed).shuffle(names)
        replica = Replica(SessionLimits(sessions_max=20))
        replica.apply(*(frame(1, opens=0, by=name) for name in names))
        replica.apply(*(frame(1, opens=0, by=f"d{number}") for number in range(15)))
        survivors = sorted(f"c{number}" for number in range(20))[15:]
        assert replica.sessions.clients() == [
            client(name) for name in [*survivors, *sorted(f"d{n}" for n in range(15))]
        ]

    def test_the_longest_unused_first_then_the_lowest_client_id(self) -> None:
        replica = Replica(SessionLimits(sessions_max=3))
        replica.apply(frame(1, opens=0, by="b"), frame(1, opens=0, by="a"), frame(1, opens=0, by="z"))
        replica.apply(frame(2, by="a"))
        replica.apply(frame(1, opens=0, by="n"))
        assert replica.sessions.clients() == [client("z"), client("a"), client("n")]
        assert replica.sessions.dropped_to == 1

    def test_a_single_entry_beyond_the_limit_leaves_the_limit(self) -> None:
        replica = Replica(SessionLimits(sessions_max=3))
        assert replica.apply(*(frame(1, opens=0, by=name) for name in "edcba")) == tuple(map(computed, range(1, 6)))
        assert replica.sessions.clients() == [client(name) for name in "cde"]

    @pytest.mark.long
    @pytest.mark.slow
    def test_does_not_depend_on_the_interpreters_hash_seed(self) -> None:
        said = {_hash_of_a_history(hash_seed) for hash_seed in ("0", "1", "4242")}
        assert len(said) == 1


def _hash_of_a_history(hash_seed: str) -> str:
    """What a fresh interpreter with this PYTHONHASHSEED makes of a history that drops many sessions."""
    return subprocess.run(
        [sys.executable, "-c", "from tests.application.test_sessions import print_a_history; print_a_history()"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def print_a_history() -> None:
    """Run in a child: the outcomes and the sessions left of a random history, always the same one."""
    dice = random.Random(7)
    replica = Replica(SessionLimits(sessions_max=10, idle_ms_max=50))
    for stamp_ms in range(0, 1_500, 5):
        names = [f"c{dice.randrange(40)}" for _ in range(dice.randrange(8))]
        frames = [frame(dice.randrange(30), by=name, opens=dice.choice([None, replica.index])) for name in names]
        print(encode_outcomes(replica.apply(*frames, stamp_ms=stamp_ms)).hex())
        print(replica.sessions.clients(), replica.sessions.dropped_to)
    assert replica.sessions.dropped_to > 0, "a history that drops nothing shows nothing"


class DumbTwin:
    """One session as a history: every frame so far, and the rules read off it."""

    def __init__(self, results_max: int) -> None:
        self.results_max = results_max
        self.frames: list[Frame] = []
        self.applied: dict[int, int] = {}

    def apply(self, given: Frame) -> Outcome:
        self.frames.append(given)
        acked_below = max(earlier.acked_below for earlier in self.frames)
        if given.sequence < acked_below:
            return Fenced()
        if given.sequence - acked_below >= self.results_max:
            return WindowExceeded()
        if given.sequence not in self.applied:
            self.applied[given.sequence] = len(self.applied) + 1
        return computed(self.applied[given.sequence])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 10)), max_size=40))
def test_one_session_does_what_its_dumb_twin_does(steps: Sequence[tuple[int, int]]) -> None:
    replica, twin = Replica(SessionLimits(results_max=4)), DumbTwin(4)
    for sequence, acked_below in steps:
        given_frame = frame(sequence, acked_below=acked_below, opens=0)
        assert replica.apply(given_frame) == (twin.apply(given_frame),)


@dataclass
class HonestClient:
    """A client that keeps the rules, on a network that keeps copies of everything it ever sent."""

    client_id: str
    opens: int | None
    sequence: int = 0
    acked_below: int = 0
    open_operations: list[Frame] = field(default_factory=list)

    def fresh(self) -> Frame:
        self.sequence += 1
        operation = frame(
            self.sequence,
            f"{self.client_id}/{self.sequence}".encode(),
            by=self.client_id,
            acked_below=self.acked_below,
            opens=self.opens,
        )
        self.open_operations.append(operation)
        return operation

    def retry(self, dice: random.Random) -> Frame:
        return replace(dice.choice(self.open_operations), acked_below=self.acked_below, opens=self.opens)

    def hear(self, sent: Frame, outcome: Outcome) -> None:
        if isinstance(outcome, Computed):
            self.opens = None
            self.end(sent.sequence)

    def end(self, sequence: int) -> None:
        """Answered, or given up as unknown."""
        self.open_operations = [operation for operation in self.open_operations if operation.sequence != sequence]
        self.acked_below = min((operation.sequence for operation in self.open_operations), default=self.sequence + 1)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_applied_twice_while_sessions_come_and_go_and_old_copies_arrive(seed: int) -> None:
    """Contracts 2 and 3 as a random world: more clients than sessions, and any frame ever sent may arrive again."""
    dice = random.Random(seed)
    replica = Replica(SessionLimits(results_max=8, sessions_max=3, idle_ms_max=40))
    clients: list[HonestClient] = []
    sent: list[Frame] = []
    results: dict[bytes, set[bytes]] = {}
    for step in range(150):
        if not clients or dice.random() < 0.15:
            clients.append(
                HonestClient(f"c{len(clients)}", opens=dice.randint(max(0, replica.index - 3), replica.index))
            )
        speaker = dice.choice(clients[-5:])
        match dice.choice(["fresh", "retry", "late", "late", "give up"]):
            case "retry" if speaker.open_operations:
                chosen = speaker.retry(dice)
            case "late" if sent:
                chosen = dice.choice(sent)
            case "give up" if speaker.open_operations:
                speaker.end(speaker.open_operations[0].sequence)
                continue
            case _:
                chosen = speaker.fresh()
        sent.append(chosen)
        (outcome,) = replica.apply(chosen, stamp_ms=step)
        if isinstance(outcome, Computed):
            results.setdefault(chosen.command, set()).add(outcome.result)
        if dice.random() < 0.6:
            next(each for each in clients if client(each.client_id) == chosen.client_id).hear(chosen, outcome)
    applied = replica.journal.commands
    assert len(applied) == len(set(applied)), "a command was applied twice"
    assert set(applied) == set(results), "what was answered is what was applied"
    assert all(len(said) == 1 for said in results.values()), "two copies of a command got different results"
    assert replica.sessions.dropped_to > 0, "a world that drops nothing shows nothing"
