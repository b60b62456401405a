"""Leader election: who may ask for votes, who gives one, and when an election ends.

Here:   Raft §5.2 and §5.4.1, pre-vote (dissertation §9.6) with stickiness (§4.2.3), check quorum (§6.2), hello.
Never:  clocks and dice: the shell draws timeouts and says what time it is.

Why pre-vote, stickiness and check quorum come together. Pre-vote keeps a peer that was away from raising the term.
Stickiness keeps a peer with a hiccup from deposing a healthy leader. Stickiness alone would protect a leader that can
send but not commit; check quorum makes that leader give up. Terms are adopted from pre-vote *replies*, never from
requests: without the first, a peer with the longer log and one with the higher term refuse each other for ever
(Ruaft's fault RF3); with the second, any peer that was away would raise everybody's term.
"""

from __future__ import annotations

from raft_actors.core.effects import Effect
from raft_actors.core.entries import Member, Noop
from raft_actors.core.messages import PreVote, PreVoteReply, RequestVote, RequestVoteReply
from raft_actors.core.quorum import majority
from raft_actors.core.replication import append_as_leader, broadcast, new_progress
from raft_actors.core.state import (
    Leading,
    State,
    change_role,
    persist_hard_state,
    restart_election_timer,
    send_reply,
    send_request,
    stop_election_timer,
)
from raft_actors.core.terms import adopt_term, become_follower
from raft_actors.core.types import DirectoryId, EntryId, Incarnation, LogIndex, MemberId, RequestId, Role, Term


def at_least_as_up_to_date(candidate_last: EntryId, voter_last: EntryId) -> bool:
    """Raft §5.4.1: the later term wins, then the longer log. `EntryId` is ordered so."""
    return candidate_last >= voter_last


# -- check quorum ----------------------------------------------------------------------------------------------------


def check_quorum(state: State, leading: Leading, now_ms: int, out: list[Effect]) -> None:
    """Step down when no majority of the voters answered for `check_quorum_ms` (dissertation §6.2)."""
    oldest_ms = now_ms - state.settings.check_quorum_ms
    voters = state.configurations.in_force.voters()
    fresh = sum(
        1
        for voter in voters
        if voter.directory_id == state.directory_id
        or (voter.directory_id in leading.progress and leading.progress[voter.directory_id].last_answer_ms >= oldest_ms)
    )
    if fresh < majority(len(voters)):
        become_follower(state, why=f"only {fresh} of {len(voters)} voters answered lately", out=out)


# -- campaigns -------------------------------------------------------------------------------------------------------


def election_timed_out(state: State, generation: int, now_ms: int, out: list[Effect]) -> None:
    """Ask whether an election could be won, unless the timer that fired has been restarted meanwhile."""
    if generation != state.timer_generation:
        return  # stale: a heartbeat or a vote overtook this event in the inbox
    assert state.role is not Role.LEADER, "a leader's election timer is stopped, so its generation has passed"
    restart_election_timer(state, out)
    if now_ms < state.campaign_not_before_ms:
        return
    if not state.configurations.may_campaign(state.directory_id, state.commit_index):
        return
    state.campaign += 1
    state.leader = None
    state.votes.clear()
    change_role(state, Role.PRE_CANDIDATE, why="election timeout", out=out)
    request = PreVote(term=state.current_term, last_entry=state.log.last, campaign=state.campaign)
    for voter in _other_voters(state):
        # A pre-vote promises nothing new: the term it names became legal with its own write.
        send_request(state, voter, request, after=state.hard_state_seq, out=out)
    _count_vote(state, state.directory_id, now_ms, out)  # promises nothing, so it need not be durable


def become_candidate(state: State, *, why: str, out: list[Effect]) -> None:
    """ "Increment currentTerm, vote for self, reset election timer, send RequestVote RPCs" (Fig. 2, Candidates).

    After a pre-vote, or because the leader of this term hands over (dissertation §3.10).
    """
    state.leader = None
    state.current_term = Term(state.current_term + 1)
    state.voted_for = state.directory_id
    state.last_heard_ms = None
    persist_hard_state(state, out)
    state.votes.clear()  # our own vote is counted when it is durable: see own_vote_durable
    change_role(state, Role.CANDIDATE, why=why, out=out)
    restart_election_timer(state, out)
    request = RequestVote(term=state.current_term, last_entry=state.log.last)
    for voter in _other_voters(state):
        send_request(state, voter, request, after=state.write_seq, out=out)


def own_vote_durable(state: State, now_ms: int, out: list[Effect]) -> None:
    """The disk moved on: a candidate counts its own vote only now (dissertation §10.2.1, reliability A1)."""
    if state.role is Role.CANDIDATE and state.durable_seq >= state.hard_state_seq:
        _count_vote(state, state.directory_id, now_ms, out)


def _count_vote(state: State, directory_id: DirectoryId, now_ms: int, out: list[Effect]) -> None:
    """Add a vote to the set; move on with a majority of the voters in force.

    Only voters count, by directory: a wiped disk at a voter's address has broken the promises that the old one made
    (DESIGN 4, "why refusing to vote is not enough"), and a non-voter made none (contracts rule 1).
    """
    configuration = state.configurations.in_force
    if configuration.is_voter(directory_id):
        state.votes.add(directory_id)
    counted = sum(1 for voter in configuration.voters() if voter.directory_id in state.votes)
    if counted < majority(len(configuration.voters())):
        return
    if state.role is Role.PRE_CANDIDATE:
        become_candidate(state, why="a majority would vote for us", out=out)
    elif state.role is Role.CANDIDATE:
        _become_leader(state, now_ms, out)


def _other_voters(state: State) -> list[MemberId]:
    """Whom to ask. A non-voter may be a voter by now without us knowing, but then its vote is not ours to count."""
    return [member.member_id for member in state.configurations.others(state.member_id) if member.voter]


def _become_leader(state: State, now_ms: int, out: list[Effect]) -> None:
    """Raft §5.2, §8: next_index at the log's end, a no-op if anything may be uncommitted, and a first word to all.

    The no-op is written when the leader does not know that its whole log is committed. If it does know, its commit
    index is the group's true one already (Leader Completeness, §5.4): reads need no entry, and a quiet first election
    adds nothing to the log.
    """
    last = state.log.last.index
    state.leading = Leading(
        progress={
            member.directory_id: new_progress(member, last, now_ms)
            for member in state.configurations.others(state.member_id)
        },
        term_start_index=last,
        since_ms=now_ms,
        stamp_base_ms=state.log.last_stamp_ms,
        uncommitted_bytes=sum(
            state.log.entry_at(LogIndex(index)).size_bytes for index in range(state.commit_index + 1, last + 1)
        ),
    )
    state.leader = Member(member_id=state.member_id, directory_id=state.directory_id, voter=True)
    state.votes.clear()
    change_role(state, Role.LEADER, why="elected", out=out)
    stop_election_timer(state, out)
    if state.commit_index < last:
        append_as_leader(state, state.leading, Noop(), now_ms, out)
    broadcast(state, state.leading, now_ms, out)


# -- requests --------------------------------------------------------------------------------------------------------


def handle_pre_vote(
    state: State, request_id: RequestId, sender: MemberId, request: PreVote, now_ms: int, out: list[Effect]
) -> None:
    """Would we vote for it? Changes nothing: no term, no vote, no timer (dissertation §9.6; reliability A11)."""
    granted = (
        request.term >= state.current_term
        and at_least_as_up_to_date(request.last_entry, state.log.last)
        and not _hears_leader(state, now_ms)
    )
    reply = PreVoteReply(term=state.current_term, vote_granted=granted, campaign=request.campaign)
    send_reply(state, request_id, sender, reply, out)


def _hears_leader(state: State, now_ms: int) -> bool:
    """Stickiness (dissertation §4.2.3): a leader of our own term was heard within the minimum election timeout.

    A leader hears itself; it stops when check quorum makes it step down (contracts rule 13).
    """
    if state.role is Role.LEADER:
        return True
    return state.last_heard_ms is not None and now_ms - state.last_heard_ms < state.settings.election_timeout_ms_min


def handle_request_vote(
    state: State,
    request_id: RequestId,
    sender: MemberId,
    directory: DirectoryId,
    request: RequestVote,
    out: list[Effect],
) -> None:
    """ "If votedFor is null or candidateId, and candidate's log is at least as up-to-date [...], grant vote" (Fig. 2).

    Stickiness is asked of pre-votes alone: who comes here had a majority's leave, or its leader's (transfer.py).
    The vote goes to a directory, and the reply waits for it to be durable. Non-voters answer too: a candidate may know
    of our promotion before we do (contracts rule 1).
    """
    if request.term > state.current_term:
        adopt_term(state, request.term, out)
    granted = (
        request.term == state.current_term
        and state.voted_for in (None, directory)
        and at_least_as_up_to_date(request.last_entry, state.log.last)
    )
    if granted:
        if state.voted_for is None:
            state.voted_for = directory
            persist_hard_state(state, out)
        restart_election_timer(state, out)
    send_reply(state, request_id, sender, RequestVoteReply(term=state.current_term, vote_granted=granted), out)


# -- replies ---------------------------------------------------------------------------------------------------------


def handle_pre_vote_reply(
    state: State, directory: DirectoryId, reply: PreVoteReply, now_ms: int, out: list[Effect]
) -> None:
    """Count a grant of the present campaign. The term, if higher, was adopted by step.py."""
    if state.role is Role.PRE_CANDIDATE and reply.vote_granted and reply.campaign == state.campaign:
        _count_vote(state, directory, now_ms, out)


def handle_request_vote_reply(
    state: State, directory: DirectoryId, reply: RequestVoteReply, now_ms: int, out: list[Effect]
) -> None:
    """Count a vote of the present term (reliability A5: a grant of an older term counts for nothing).

    The question leaves when our own vote is durable, so what comes before is no answer to it, and must not make us
    lead in a term that a crash could take back.
    """
    asked = state.role is Role.CANDIDATE and state.durable_seq >= state.hard_state_seq
    if asked and reply.vote_granted and reply.term == state.current_term:
        _count_vote(state, directory, now_ms, out)


# -- incarnations ----------------------------------------------------------------------------------------------------


def note_incarnation(state: State, incarnation: Incarnation, out: list[Effect]) -> bool:
    """Learn how often a listed directory was started. False: it is an older start than one already heard of.

    A start counter not above the one known changes nothing (contracts rule 13). A higher one means that the process
    is new: as a follower it starts from probing, and if it led us, nobody does any more, so the election that the old
    leader's silence would bring after a timeout may begin at once.
    """
    directory_id, start_count = incarnation.directory_id, incarnation.start_count
    was_leader = state.leader is not None and state.leader.directory_id == directory_id
    if was_leader and start_count > state.leader_start_count:
        state.leader = None
        state.last_heard_ms = None
        change_role(state, state.role, why="the leader restarted", out=out)
        restart_election_timer(state, out, soon=True)
    known = state.start_counts.get(directory_id, 0)
    if start_count < known:
        return False
    if start_count == known:
        return True
    if state.configurations.in_force.find_directory(directory_id) is not None:
        # only listed ones, so that strangers cannot grow the table
        state.start_counts[directory_id] = start_count
        if known and state.leading is not None and directory_id in state.leading.progress:
            _forget_progress(state.leading, directory_id)
    return True


def _forget_progress(leading: Leading, directory_id: DirectoryId) -> None:
    """Probe a restarted follower anew; what is under way to its predecessor ends with that one's slots."""
    progress = leading.progress[directory_id]
    progress.match_index = LogIndex(0)
    progress.restarted = True
    progress.probing = True
    progress.appends.clear()
