"""Terms, and the ways back to follower that every rule shares (Raft §5.1).

Here:   adopting a higher term, ceasing to lead or campaign, following a leader.
Never:  asking for votes (election.py).
"""

from __future__ import annotations

from raft_actors.core.effects import Effect, ReadRefused, TransferEnd, TransferEnded
from raft_actors.core.entries import Member
from raft_actors.core.state import State, change_role, persist_hard_state, restart_election_timer
from raft_actors.core.types import DirectoryId, Incarnation, MemberId, Role, Term


def adopt_term(state: State, term: Term, out: list[Effect]) -> None:
    """ "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower" (Fig. 2).

    The election timer goes on unless we led: a stream of candidates that get no vote must not keep it from firing
    (reliability A16).
    """
    assert term > state.current_term, f"adopting {term} in term {state.current_term}"
    state.current_term = term
    state.voted_for = None
    persist_hard_state(state, out)
    become_follower(state, why=f"term {term}", out=out)


def become_follower(state: State, *, why: str, out: list[Effect]) -> None:
    """Lead nothing, follow nobody yet. Reads that waited for our authority are refused, a transfer is over."""
    led = state.leading
    state.leading = None
    state.leader = None
    state.last_heard_ms = None  # only messages of the present term count as hearing a leader (contracts rule 13)
    state.votes.clear()
    change_role(state, Role.FOLLOWER, why=why, out=out)
    if led is not None:
        out.extend(ReadRefused(read_id=read.read_id, leader=None) for read in led.reads)
        restart_election_timer(state, out)
        if led.transfer is not None:
            moved = led.transfer.told and state.current_term > led.transfer.term
            end = TransferEnd.MOVED if moved else TransferEnd.STEPPED_DOWN
            out.append(TransferEnded(transfer_id=led.transfer.transfer_id, done=moved, why=end))


def is_second_leader(state: State, directory: DirectoryId, term: Term) -> bool:
    """Whether another leader of the present term is known (Election Safety, Raft Fig. 3); a leader knows itself."""
    return term == state.current_term and state.leader is not None and state.leader.directory_id != directory


def follow(
    state: State, leader: MemberId, incarnation: Incarnation, term: Term, now_ms: int, out: list[Effect]
) -> None:
    """A legitimate leader of our term or a later one spoke: follow it, and start the silence anew (Raft §5.2)."""
    if term > state.current_term:
        adopt_term(state, term, out)
    known = state.leader
    if state.role is not Role.FOLLOWER or known is None or known.directory_id != incarnation.directory_id:
        state.votes.clear()
        state.leader = Member(member_id=leader, directory_id=incarnation.directory_id, voter=True)
        change_role(state, Role.FOLLOWER, why=f"follows member {leader}", out=out)
    state.leader_start_count = incarnation.start_count
    state.last_heard_ms = now_ms
    restart_election_timer(state, out)


def step_down(state: State, *, why: str, now_ms: int, hold_off_ms: int, out: list[Effect]) -> None:
    """Stop leading within the term; for `hold_off_ms` do not campaign (contracts rule 13)."""
    if state.role is not Role.LEADER:
        return
    state.campaign_not_before_ms = now_ms + hold_off_ms
    become_follower(state, why=why, out=out)
