"""Each invariant of invariants.py, broken on purpose: it must see it, and say it in a sentence.

Here alone a test pokes into fields: breaking is the point. Each starts from a state that passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

import pytest

from raft_actors.core.entries import Configuration
from raft_actors.core.invariants import Footprint, check_state, check_step
from raft_actors.core.state import PendingWrite, Transfer, WaitingRead
from raft_actors.core.types import DirectoryId, EntryId, Role
from tests.core.builders import (
    SETTINGS,
    Peer,
    candidate,
    configuration,
    directory,
    entry,
    follower,
    leader,
    leader_of_all,
    log_of,
    snapshot,
)
from tests.core.several import add, change, started

FOOTPRINT = Footprint(
    term=5,
    voted_for=directory(1),
    role=Role.FOLLOWER,
    last=EntryId(4, 9),
    commit_index=7,
    durable_index=8,
    write_seq=20,
    durable_seq=18,
    timer_generation=3,
)
LEADING = FOOTPRINT._replace(role=Role.LEADER, voted_for=directory(0))


class TestAStep:
    """What no single step may do, whatever the event (constant time, runs in actors too)."""

    def test_a_step_that_changes_nothing_passes(self) -> None:
        check_step(FOOTPRINT, FOOTPRINT)
        check_step(LEADING, LEADING)

    @pytest.mark.parametrize(
        ("before", "changed", "sentence"),
        [
            (FOOTPRINT, {"term": 4, "write_seq": 21}, "term went back: 5 -> 4"),
            (FOOTPRINT, {"voted_for": directory(2), "write_seq": 21}, "second vote in term 5"),
            (FOOTPRINT, {"voted_for": None, "write_seq": 21}, "second vote in term 5"),
            (FOOTPRINT, {"term": 6, "voted_for": None}, "changed without a write"),
            (FOOTPRINT._replace(voted_for=None), {"voted_for": directory(1)}, "its vote changed without a write"),
            (FOOTPRINT, {"commit_index": 6}, "commit went back: 7 -> 6"),
            (FOOTPRINT, {"commit_index": 10}, "committed 10, but the log ends"),
            (FOOTPRINT, {"durable_index": 10}, "durable 10, but the log ends"),
            (FOOTPRINT, {"last": EntryId(6, 10), "write_seq": 21}, "after the present term 5"),
            (LEADING, {"term": 6, "write_seq": 21}, "changed its term without stepping down"),
            (LEADING, {"last": EntryId(4, 8), "write_seq": 21}, "leader append-only"),
            (FOOTPRINT, {"last": EntryId(4, 10)}, "the log changed to .* without a write"),
            (FOOTPRINT, {"durable_seq": 21}, "write 21 done, 20 issued"),
            (FOOTPRINT, {"durable_seq": 17}, "durable write went back to 17"),
            (FOOTPRINT, {"timer_generation": 2}, "generation went back"),
        ],
    )
    def test_a_broken_step_is_seen(self, before: Footprint, changed: dict[str, object], sentence: str) -> None:
        with pytest.raises(AssertionError, match=sentence):
            check_step(before, before._replace(**changed))  # type: ignore[arg-type]

    def test_the_footprint_is_taken_from_the_state(self) -> None:
        state = follower(log=log_of(1, 1), commit=1).state
        assert Footprint.of(state) == Footprint(
            term=1,
            voted_for=None,
            role=Role.FOLLOWER,
            last=EntryId(1, 2),
            commit_index=1,
            durable_index=2,
            write_seq=state.write_seq,
            durable_seq=state.durable_seq,
            timer_generation=state.timer_generation,
        )


def some_leader() -> Peer:
    """Leads term 2; entries 1 to 3 are committed and everywhere, entry 4 is proposed."""
    peer = leader_of_all(log=log_of(1, 1))
    peer.propose()
    return peer


def some_follower() -> Peer:
    return follower(log=log_of(1, 1, 1), commit=2)


def progress(peer: Peer, **fields: object) -> None:
    for name, value in fields.items():
        setattr(peer.state.leading.progress[directory(1)], name, value)


def state(peer: Peer, **fields: object) -> None:
    for name, value in fields.items():
        setattr(peer.state, name, value)


def leading(peer: Peer, **fields: object) -> None:
    for name, value in fields.items():
        setattr(peer.state.leading, name, value)


def entries(peer: Peer, *replaced: tuple[int, object]) -> None:
    for position, one in replaced:
        peer.state.log._entries[position] = one
    peer.state.log._ends[:] = accumulate(one.size_bytes for one in peer.state.log._entries)


def pending(peer: Peer, *seqs: int) -> None:
    peer.state.pending_writes.extend(PendingWrite(seq=seq, last_index=3) for seq in seqs)


def reads(peer: Peer, *beats: int) -> None:
    peer.state.leading.reads.extend(WaitingRead(read_id=beat, read_index=3, beat=beat) for beat in beats)


def changing() -> Peer:
    """The same, and entry 5 adds member 3 as a non-voter, not committed yet."""
    peer = some_leader()
    started(change(peer, add(3)))
    return peer


def history(peer: Peer, *lines: tuple[int, Configuration]) -> None:
    peer.state.configurations._history[:] = lines


def moving(peer: Peer, **fields: object) -> None:
    end = {"to": directory(1), "term": peer.state.current_term} | fields
    leading(peer, transfer=Transfer(transfer_id=1, since_ms=0, **end))  # type: ignore[arg-type]


def another_member() -> DirectoryId:
    return directory(9)


THREE = configuration(range(3))

BREAKS: dict[str, tuple[Callable[[], Peer], Callable[[Peer], object], str]] = {
    "commit above the log": (
        some_follower,
        lambda p: state(p, commit_index=4),
        "snapshot 0, committed 4, last 3",
    ),
    "commit below the base": (some_follower, lambda p: state(p, commit_index=-1), "base 0, snapshot 0, committed -1"),
    "snapshot above the commit": (some_follower, lambda p: state(p, snapshot=snapshot(1, 3)), "snapshot 3, committed"),
    "snapshot of another log": (
        some_follower,
        lambda p: state(p, snapshot=snapshot(2, 1), commit_index=1),
        "the log does not hold",
    ),
    "gap in the log": (some_follower, lambda p: entries(p, (1, entry(1, 7))), "gap in the log after"),
    "falling terms": (some_follower, lambda p: entries(p, (0, entry(2, 1))), "terms fall along the log"),
    "falling log time": (some_follower, lambda p: entries(p, (0, entry(1, 1, stamp_ms=5))), "log time falls"),
    "log does not start at its base": (
        some_follower,
        lambda p: entries(p, *((position, entry(1, position)) for position in range(3))),
        "says that it is",
    ),
    "byte count": (some_follower, lambda p: p.state.log._ends.append(1), "byte count is off"),
    "leader without leading": (some_leader, lambda p: state(p, leading=None), "LEADER.* and leading=None"),
    "leading without leader": (some_leader, lambda p: state(p, role=Role.FOLLOWER), "FOLLOWER.* and leading="),
    "term's write not issued": (some_follower, lambda p: state(p, hard_state_seq=99), "never issued"),
    "pending writes out of order": (some_follower, lambda p: pending(p, 98, 97), "pending writes out of order"),
    "pending write that is done": (some_follower, lambda p: pending(p, 0), "is done"),
    "leads with another's vote": (some_leader, lambda p: state(p, voted_for=directory(1)), "voted for another"),
    "candidate with another's vote": (
        lambda: candidate(some_follower()),
        lambda p: state(p, voted_for=None),
        "voted for another",
    ),
    "follower with votes": (some_follower, lambda p: p.state.votes.add(directory(1)), "a follower holds votes"),
    "leads before its term is durable": (
        some_leader,
        lambda p: state(p, hard_state_seq=p.state.write_seq),
        "leading before the own term was durable",
    ),
    "progress of a stranger": (
        some_leader,
        lambda p: p.state.leading.progress.update({another_member(): p.state.leading.progress[directory(1)]}),
        "progress is kept for other members",
    ),
    "two changes at once": (
        changing,
        lambda p: history(p, (0, THREE), (4, THREE), (5, configuration(range(3), (3,)))),
        "2 configurations under way at once",
    ),
    "a change before an entry of the own term": (
        changing,
        lambda p: state(p, commit_index=2),
        "configuration 5 was made before an entry of term 2 was committed",
    ),
    "two voters at once": (
        changing,
        lambda p: history(p, (0, configuration(range(5))), (5, configuration(range(3), (3,)))),
        "configuration 5 changes 2 voters at once",
    ),
    "leads although it is removed": (
        some_leader,
        lambda p: history(p, (0, configuration((1, 2)))),
        "leads although its removal is committed",
    ),
    "leadership goes to a stranger": (some_leader, lambda p: moving(p, to=directory(9)), "to ourselves, or to a stran"),
    "leadership goes to itself": (some_leader, lambda p: moving(p, to=directory(0)), "to ourselves, or to a stranger"),
    "leadership goes to a non-voter": (changing, lambda p: moving(p, to=directory(3)), "a member that is no voter"),
    "a transfer of an earlier term": (some_leader, lambda p: moving(p, term=1), "of an earlier leadership goes on"),
    "uncommitted bytes": (some_leader, lambda p: leading(p, uncommitted_bytes=1), "counted 1 B"),
    "reads out of order": (some_leader, lambda p: reads(p, 2, 1), "reads out of order"),
    "a read for a round that never comes": (
        some_leader,
        lambda p: reads(p, p.state.leading.beat + 2),
        "a round that will not come",
    ),
    "too many reads": (
        lambda: leader(settings=replace(SETTINGS, reads_waiting_max=1)),
        lambda p: reads(p, 1, 1),
        "too many reads wait",
    ),
    "committed by a minority": (
        some_leader,
        lambda p: [setattr(one, "match_index", 2) for one in p.state.leading.progress.values()],
        "committed by 1 durable copies",
    ),
    "match above next": (some_leader, lambda p: progress(p, match_index=5, next_index=5), "match 5, next 5"),
    "next above the end": (some_leader, lambda p: progress(p, next_index=6), "next 6, last 4"),
    "two probes": (some_leader, lambda p: progress(p, probing=True, appends={1, 2}), "2 appends under way, at most 1"),
    "too many appends": (some_leader, lambda p: progress(p, appends={1, 2, 3, 4}), "4 appends under way, at most 3"),
    "answered a round that was not begun": (some_leader, lambda p: progress(p, acked_beat=99), "answered round 99"),
}


class TestAState:
    """What is true of every state between two steps (linear in the log)."""

    @pytest.mark.parametrize("name", BREAKS)
    def test_a_broken_state_is_seen(self, name: str) -> None:
        make, break_it, sentence = BREAKS[name]
        peer = make()
        check_state(peer.state)
        break_it(peer)
        with pytest.raises(AssertionError, match=sentence):
            check_state(peer.state)
