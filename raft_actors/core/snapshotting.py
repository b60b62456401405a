"""Snapshots: offered, stored, taken over, and what the log then forgets (Raft §7, Fig. 13; dissertation §5).

Here:   InstallSnapshot on both sides; what a snapshot that became durable means.
Never:  the state, when one is taken, how it is fetched and written (raft_actors/peer/snapshots.py).

The argument. A snapshot holds committed entries only. So whoever knows its last entry to be committed, or holds that
very entry, has everything that is in it (Log Matching, Raft §5.3), and says so without fetching anything. All others
fetch it, which may take long; meanwhile the log goes on, and a snapshot that is durable at last changes only what is
still true then (contracts 5 a):

- its last entry is committed here, or held: it becomes the newest snapshot; nothing acknowledged is touched. If it was
  held and not known to be committed, it is committed.
- else the log ends below it, or differs there. (A leader's never does.) Nothing that this peer acknowledged to a leader
  of the snapshot's or a later term can be behind that place: such a leader holds the snapshot's last entry, and
  AppendEntries matches what is before. So the log is reset, and the reset is durable before anything is answered.

A follower answers with its commit index: it may have installed an older snapshot than the newest by now, and the
leader's log may begin there. Asked for the newest alone, it would fetch one after the other under load, for ever.

What is acknowledged is durable: the file was before the core heard of it, the log or the reset before the answer leaves
(`SendReply.after`).

The log begins at the snapshot before the newest (ADR 10), which leaves slow members a snapshot's worth of entries.
"""

from __future__ import annotations

from raft_actors.core.effects import CommitAdvanced, Compact, DropReason, Effect, FetchSnapshot, Refuse, StateReplaced
from raft_actors.core.entries import COUNT_MAX, SnapshotMeta
from raft_actors.core.messages import InstallSnapshot, InstallSnapshotReply
from raft_actors.core.replication import (
    advance_commit_index,
    append_lost,
    confirm_match,
    feed,
    note_answer,
    probe_again,
)
from raft_actors.core.state import Leading, Progress, State, reset_log, send_reply
from raft_actors.core.terms import become_follower, follow, is_second_leader
from raft_actors.core.types import GENESIS_ID, EntryId, Incarnation, LogIndex, MemberId, RequestId, Role, RpcId

# -- the follower's side ---------------------------------------------------------------------------------------------


def handle_install_snapshot(
    state: State,
    request_id: RequestId,
    sender: MemberId,
    incarnation: Incarnation,
    request: InstallSnapshot,
    now_ms: int,
    out: list[Effect],
) -> None:
    """Raft Fig. 13, receiver implementation; the chunks of 2. to 5. are the shell's."""
    refusal = _refusal(state, incarnation, request)
    if refusal is not None:
        out.append(Refuse(request_id=request_id, reason=refusal))
        return
    match_index = LogIndex(0)
    if request.term >= state.current_term:  # 1. "Reply immediately if term < currentTerm"
        follow(state, sender, incarnation, request.term, now_ms, out)
        # 6. "If existing log entry has same index and term ..., retain log entries following it"
        if state.log.covers(request.snapshot.last):
            _commit(state, request.snapshot.last.index, out)
        else:
            out.append(FetchSnapshot(source=sender, snapshot=request.snapshot, after=state.write_seq))
        match_index = state.commit_index
    reply = InstallSnapshotReply(
        term=state.current_term, request_term=request.term, match_index=match_index, beat=request.beat
    )
    send_reply(state, request_id, sender, reply, out)


def _refusal(state: State, incarnation: Incarnation, request: InstallSnapshot) -> DropReason | None:
    """What no correct leader of our cluster sends."""
    snapshot, place = request.snapshot, request.snapshot.configuration_id
    if not 0 < snapshot.last.term <= request.term or not 0 <= place.term <= snapshot.last.term:
        return DropReason.MALFORMED
    if (place.index == 0) != (place.term == 0) or (place.index == snapshot.last.index and place != snapshot.last):
        return DropReason.MALFORMED
    if not snapshot.configuration.voters() or max(snapshot.stamp_ms, snapshot.last.index) > COUNT_MAX:
        return DropReason.MALFORMED
    if request.term < state.current_term:
        return None
    if is_second_leader(state, incarnation.directory_id, request.term):
        return DropReason.SECOND_LEADER
    if snapshot.last.index <= state.commit_index:
        return None if state.log.covers(snapshot.last) else DropReason.CONFLICTS_WITH_COMMITTED
    committed = state.log.entry_id_at(state.commit_index)
    if snapshot.last.term < committed.term or snapshot.stamp_ms < state.log.stamp_at(committed.index):
        return DropReason.MALFORMED  # terms and time never fall along a log
    return None


# -- a snapshot of our own application -------------------------------------------------------------------------------


def snapshot_of(state: State, last: EntryId) -> SnapshotMeta | None:
    """What the state after the entry `last` stands for; None if that entry is not committed here, or not held any more.

    A peer that restarted may know less than its application: what that applied was committed, but its log may lack it.
    """
    if not 0 < last.index <= state.commit_index or not state.log.matches(last):
        return None
    index, configuration = state.configurations.at(last.index)
    term = state.log.term_at(index)
    if term is not None:
        at = EntryId(term, index)
    else:  # below the log's base: the newest snapshot has it, or it is the genesis
        at = GENESIS_ID if state.snapshot is None else state.snapshot.configuration_id
        assert at.index == index, f"a configuration at {index}, and the newest snapshot's is {at}"
    stamp_ms = state.log.stamp_at(last.index)
    return SnapshotMeta(last=last, stamp_ms=stamp_ms, configuration_id=at, configuration=configuration)


# -- a snapshot is durable -------------------------------------------------------------------------------------------


def snapshot_stored(state: State, snapshot: SnapshotMeta, out: list[Effect]) -> None:
    """Decide anew what it means: the log may be elsewhere than when it was begun."""
    assert snapshot.last.term <= state.current_term, f"{snapshot.last} was offered in a term that we never had"
    newest = state.snapshot
    if newest is not None and snapshot.last.index <= newest.last.index:
        return
    if state.leading is not None and snapshot.last.index > state.commit_index:
        return  # begun before it led: a leader commits by counting, and will take a newer one
    if state.log.covers(snapshot.last):
        _commit(state, snapshot.last.index, out)
        state.snapshot = snapshot
        if newest is not None:
            _compact(state, newest.last.index, out)
    elif snapshot.last.index > state.commit_index:
        if state.role is not Role.FOLLOWER:
            become_follower(state, why="took over a snapshot", out=out)  # its log is another, and perhaps who may vote
        reset_log(state, snapshot, out)
        state.snapshot = snapshot
        out.append(StateReplaced(snapshot=snapshot))
        _commit(state, snapshot.last.index, out)
        out.append(Compact(to=snapshot.last.index))
    # Else it is of no correct leader: it differs from what is committed (Leader Completeness, Raft §5.4).


def _commit(state: State, index: LogIndex, out: list[Effect]) -> None:
    """What a snapshot holds was committed."""
    if index > state.commit_index:
        state.commit_index = index
        out.append(CommitAdvanced(commit_index=index))


def _compact(state: State, to: LogIndex, out: list[Effect]) -> None:
    """Forget what the older snapshot covers. Members that would have needed it are offered the newer one."""
    state.log.compact(to)
    state.configurations.compacted(to)
    out.append(Compact(to=to))
    if state.leading is not None:
        for progress in state.leading.progress.values():
            if progress.next_index <= state.log.base.index:
                probe_again(progress, progress.next_index)


# -- the leader's side -----------------------------------------------------------------------------------------------


def handle_install_snapshot_reply(
    state: State,
    leading: Leading,
    progress: Progress,
    rpc_id: RpcId,
    reply: InstallSnapshotReply,
    now_ms: int,
    out: list[Effect],
) -> DropReason | None:
    """Go on behind what it has. While that is too little, the next heartbeat asks again."""
    assert reply.request_term == state.current_term, "an answer to another term's request must not be counted (B5)"
    if reply.match_index > state.log.last.index:
        append_lost(progress, rpc_id)
        return DropReason.IMPOSSIBLE_MATCH
    note_answer(leading, progress, rpc_id, reply.beat, now_ms)
    confirm_match(state, progress, reply.match_index)
    advance_commit_index(state, leading, out)
    feed(state, leading, progress, out)
    return None
