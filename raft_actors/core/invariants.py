"""Every property that the rest relies on, of a state and of a step.

Here:   `check_step`, constant time, runs after every step, in actors too; `check_state`, linear in the log, runs in
        tests and in the simulator; elsewhere once a second, over the newest entries.
Never:  anything about messages from outside (those are validated, dropped and counted).

The order of indexes, drawn (docs/INVARIANTS.md):

    base <= snapshot <= commit_index <= last          0 <= durable_index <= last
    leader, per member:  match_index < next_index <= last + 1
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from raft_actors.core.quorum import majority
from raft_actors.core.state import Leading, Progress, State
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, Role, Term, WriteSeq


class Footprint(NamedTuple):
    """The scalars of a state that tell whether a step was legal; cheap to take."""

    term: Term
    voted_for: DirectoryId | None
    role: Role
    last: EntryId
    commit_index: LogIndex
    durable_index: LogIndex
    write_seq: WriteSeq
    durable_seq: WriteSeq
    timer_generation: int

    @classmethod
    def of(cls, state: State) -> Footprint:
        """Take it."""
        return cls(
            state.current_term,
            state.voted_for,
            state.role,
            state.log.last,
            state.commit_index,
            state.durable_index,
            state.write_seq,
            state.durable_seq,
            state.timer_generation,
        )


def check_step(before: Footprint, after: Footprint) -> None:
    """What no single step may do, whatever the event."""
    assert after.term >= before.term, f"term went back: {before.term} -> {after.term} (Raft §5.1)"
    if after.term == before.term and before.voted_for is not None:
        assert after.voted_for == before.voted_for, f"second vote in term {after.term} (Raft §5.2)"
    if (after.term, after.voted_for) != (before.term, before.voted_for):
        assert after.write_seq > before.write_seq, f"term {after.term} or its vote changed without a write (Fig. 2)"
    assert after.commit_index >= before.commit_index, f"commit went back: {before.commit_index} -> {after.commit_index}"
    assert after.commit_index <= after.last.index, f"committed {after.commit_index}, but the log ends at {after.last}"
    assert after.durable_index <= after.last.index, f"durable {after.durable_index}, but the log ends at {after.last}"
    assert after.last.term <= after.term, f"the log ends at {after.last}, after the present term {after.term}"
    if before.role is Role.LEADER and after.role is Role.LEADER:
        assert after.term == before.term, "a leader changed its term without stepping down"
        assert after.last >= before.last, f"leader append-only (Fig. 3): {before.last} -> {after.last}"
    if after.last != before.last:
        assert after.write_seq > before.write_seq, f"the log changed to {after.last} without a write"
    assert after.durable_seq <= after.write_seq, f"write {after.durable_seq} done, {after.write_seq} issued"
    assert after.durable_seq >= before.durable_seq, f"durable write went back to {after.durable_seq}"
    assert after.timer_generation >= before.timer_generation, "the election timer's generation went back"


def check_state(state: State, *, entries_max: int | None = None) -> None:
    """What is true of every state between two steps. `entries_max`: look at that many of the newest entries only."""
    _check_log(state, entries_max)
    assert (state.role is Role.LEADER) == (state.leading is not None), f"{state.role} and leading={state.leading}"
    assert state.hard_state_seq <= state.write_seq, "the present term's write was never issued"
    seqs = [pending.seq for pending in state.pending_writes]
    assert seqs == sorted(set(seqs)), f"pending writes out of order: {seqs}"
    assert all(seq > state.durable_seq for seq in seqs), f"pending {seqs}, but {state.durable_seq} is done"
    if state.role in (Role.CANDIDATE, Role.LEADER):
        assert state.voted_for == state.directory_id, f"{state.role} of term {state.current_term} voted for another"
    if state.role is Role.FOLLOWER:
        assert not state.votes, "a follower holds votes"
    if state.leading is not None:
        assert state.hard_state_seq <= state.durable_seq, "leading before the own term was durable"
        _check_leading(state, state.leading)


def _check_log(state: State, entries_max: int | None) -> None:
    log = state.log
    covered = 0 if state.snapshot is None else state.snapshot.last.index
    assert log.base.index <= covered <= state.commit_index <= log.last.index, (
        f"base {log.base.index}, snapshot {covered}, committed {state.commit_index}, last {log.last.index}"
    )
    assert state.snapshot is None or log.matches(state.snapshot.last), f"the log does not hold {state.snapshot.last}"
    first = log.base.index + 1
    if entries_max is not None:
        first = max(first, log.last.index + 1 - entries_max)
    entries = [log.entry_at(LogIndex(index)) for index in range(first, log.last.index + 1)]
    for before, after in pairwise(entries):
        assert after.index == before.index + 1, f"gap in the log after {before.id}"
        assert after.term >= before.term, f"terms fall along the log at {after.id} (Raft §5.3)"
        assert after.stamp_ms >= before.stamp_ms, f"log time falls at {after.id}"
    if entries:
        assert entries[0].index == first, f"entry {first} says that it is {entries[0].id}"
    if len(entries) == len(log):
        assert log.size_bytes == sum(entry.size_bytes for entry in entries), "the log's byte count is off"


def _check_leading(state: State, leading: Leading) -> None:
    last = state.log.last.index
    in_force = state.configurations.in_force
    fed = {member.directory_id for member in in_force.served() if member.member_id != state.member_id}
    assert set(leading.progress) == fed, "progress is kept for other members than those of the configuration in force"
    _check_membership(state, leading)
    uncommitted = sum(
        state.log.entry_at(LogIndex(index)).size_bytes for index in range(state.commit_index + 1, last + 1)
    )
    assert leading.uncommitted_bytes == uncommitted, f"counted {leading.uncommitted_bytes} B, held {uncommitted} B"
    beats = [read.beat for read in leading.reads]
    assert beats == sorted(beats), "reads out of order"
    assert all(beat <= leading.beat + 1 for beat in beats), "a read waits for a round that will not come"
    assert len(leading.reads) <= state.settings.reads_waiting_max, "too many reads wait"
    for progress in leading.progress.values():
        _check_progress(state, leading, progress, last)
    reached = state.commit_index >= state.configurations.in_force_index  # else it was by another one's majority
    if reached and state.log.term_at(state.commit_index) == state.current_term:
        copies = sum(
            1
            for voter in in_force.voters()
            if (voter.directory_id == state.directory_id and state.durable_index >= state.commit_index)
            or (
                voter.directory_id in leading.progress
                and leading.progress[voter.directory_id].match_index >= state.commit_index
            )
        )
        restarted = any(progress.restarted for progress in leading.progress.values())
        assert restarted or copies >= majority(len(in_force.voters())), f"committed by {copies} durable copies"


def _check_membership(state: State, leading: Leading) -> None:
    """What membership.py's argument rests on, as far as one leader can see it."""
    configurations, in_force = state.configurations, state.configurations.in_force
    index = configurations.in_force_index
    made_here = state.log.term_at(index) == state.current_term and index > 0
    if made_here:
        pending = configurations.uncommitted(state.commit_index)
        assert pending <= 1, f"{pending} configurations under way at once (dissertation §4.1)"
        assert state.log.term_at(state.commit_index) == state.current_term, (
            f"configuration {index} was made before an entry of term {state.current_term} was committed (D1)"
        )
        before = configurations.before
        old, new = ({each.directory_id for each in one.voters()} for one in (before or in_force, in_force))
        assert len(old ^ new) <= 1, f"configuration {index} changes {len(old ^ new)} voters at once"
    assert in_force.is_voter(state.directory_id) or index > state.commit_index, (
        "leads although its removal is committed"
    )
    if leading.transfer is not None:
        to = leading.transfer.to
        assert to in leading.progress, "leadership is on its way to ourselves, or to a stranger"
        assert in_force.is_voter(to), "leadership is on its way to a member that is no voter"
        assert leading.transfer.term == state.current_term, "a transfer of an earlier leadership goes on"


def _check_progress(state: State, leading: Leading, progress: Progress, last: LogIndex) -> None:
    name = f"member {progress.member_id}"
    assert progress.match_index < progress.next_index <= last + 1, (
        f"{name}: match {progress.match_index}, next {progress.next_index}, last {last}"
    )
    limit = 1 if progress.probing else state.settings.appends_in_flight_max
    assert len(progress.appends) <= limit, f"{name}: {len(progress.appends)} appends under way, at most {limit}"
    assert progress.acked_beat <= leading.beat, f"{name} answered round {progress.acked_beat} of {leading.beat}"
