"""Who belongs to the group, changed one member at a time (dissertation §4.1 to §4.3; Raft §6 in its simpler form).

Here:   what a change makes of a configuration; when the leader may append one; when a removed leader leaves.
Never:  which configuration is in force (configuration.py), who asked for a change, what a new member's disk needs.

The argument. A configuration entry is in force in each log that holds it, from its append on, until it is truncated
(configuration.py). So members may disagree about it, and two leaders could be elected, or one elected that lacks what
another committed, if two configurations that are in force anywhere *and can still win* had majorities without a common
member. Three rules keep that from happening; each alone is not enough.

1. One voter more or one less (§4.1). Let C and D be the voters of a configuration and of the next. If they differ by
   one voter, any majority of C and any majority of D share a voter: with |D| = |C| + 1, `|C| // 2 + 1 + |D| // 2 + 1`
   is more than |D|, which holds all there are. A change adds a non-voter (no voter changes), makes a voter of one, or
   takes one member out; it cannot name two. So neighbours are safe, whoever believes in which of the two.

2. One at a time (D4). A leader appends a change only when the one in force is committed. Then a majority of the one in
   force holds it durably, and whoever wins a later election has it or something newer (Leader Completeness, §5.4.1:
   voters refuse a candidate whose log ends before theirs). What is older than it can win nothing any more, so among the
   configurations that can win there is this one and its successors.

3. An entry of the own term first (D1; Ongaro, raft-dev, 10 July 2015). Rules 1 and 2 say nothing of a sibling: S1
   appends D = C + 5 in term 1, no majority has it; S2, which never saw it, is elected in term 2 by C and appends
   E = C - 1. D and E both follow C and are two voters apart: a majority of D and one of E need not meet, and S1,
   elected once more in term 3 by a majority of D, would overwrite what a majority of E committed. So before a leader
   appends E it must have committed an entry of its own term 2. A majority of C then holds that entry, whose term is
   above D's; every majority of D meets that majority (rule 1) in a voter whose log is newer than S1's, and S1 wins
   nothing with D.
   The no-op of a new term is written when something may be uncommitted, so a quiet leader may have no entry of its term
   yet: it writes one as soon as a change waits, and refuses until it is committed.

By induction over the committed configurations, no schedule has two configurations that can win and do not share a
voter between their majorities. Everything that is counted (votes, copies, rounds of a read, check quorum) is counted
among the voters of the counter's own configuration in force, by directory (contracts 1), so this is all there is to
show.

What a change is for. It names the index of the configuration that it was made for: any other one in force refuses it
(contracts 12). Ray runs a held call after a heal; the second copy of "remove directory D, add D'" would otherwise undo
what came after. A change of a change that was truncated is refused by the same number, unless it stands at the same
index: then its directories decide, since a change names directories, never places alone.

A member that comes back with another disk is another voter: the old directory is removed first, by the smaller group,
and then the new one is added. Both at once would be two voters of difference. In between the place is vacant: a line
without a directory, which is no voter and nobody's address. It changes no majority; it says in the log that somebody
has to come there, whoever it was that wanted it and whatever became of him since (docs/adr/0013).

Progress (D9). The leader keeps progress for exactly the members of the configuration in force, by directory. A removed
one is forgotten at the append, a new one starts from nothing at the append, whatever its place held before.

Removal (D11's other half). A change is committed by the voters that it leaves. If too few of those answer, a removal
would be in force and never be committed: the group would stand still, though the one before could have gone on. So the
leader removes a voter only while a majority of the others, itself included if it stays, has answered lately.

Promotion (D8). A voter that lacks half the log stops the group the moment another one is lost: the majority then needs
it, and it cannot follow. So the leader promotes a member only if it confirmed that it is within `promotion_lag_max`
entries of the commit index, and answered within the shortest election timeout. A guess is no confirmation.

The leader's own removal (§4.2.2, D6). It leads on until the entry is committed, for until then the others may need it
to replicate the entry; it does not count itself (contracts 1 b), for the new configuration does not. Then it tells the
others what is committed and stops leading. It will not campaign: its removal is known to be committed (contracts 7).
If it stops early, before the entry is committed, it may campaign, since it may hold the only copy that can win.

A removed follower is told nothing: it is forgotten at the append. It asks for pre-votes now and then, and gets none,
since the others hear their leader or hold more (§4.2.3, D7).
"""

from __future__ import annotations

from typing import assert_never

from raft_actors.core.effects import ChangeRefusal, ChangeRefused, ChangeStarted, Effect
from raft_actors.core.entries import Configuration, Member, Noop
from raft_actors.core.events import AddMember, Change, ChangeRequested, Promote, RemoveMember, RemovePlace
from raft_actors.core.quorum import majority
from raft_actors.core.replication import append_as_leader, broadcast, feed, new_progress
from raft_actors.core.state import Leading, Progress, State
from raft_actors.core.terms import become_follower
from raft_actors.core.types import VACANT, DirectoryId, LogIndex, MemberId

# -- what a change makes of a configuration --------------------------------------------------------------------------


def after_change(configuration: Configuration, change: Change) -> Configuration | ChangeRefusal:
    """The configuration that follows, which differs by one member at most, or why there is none."""
    match change:
        case AddMember(member=member):
            return _added(configuration, member)
        case Promote(directory_id=directory_id):
            return _promoted(configuration, directory_id)
        case RemoveMember(directory_id=directory_id, keep_place=keep_place):
            return _removed(configuration, directory_id, keep_place=keep_place)
        case RemovePlace(member_id=member_id):
            return _place_removed(configuration, member_id)
        case _:
            assert_never(change)


def _added(configuration: Configuration, member: Member) -> Configuration | ChangeRefusal:
    """A place is taken by one directory at a time: the one that served it has to be removed first (DESIGN 4)."""
    place = configuration.find(member.member_id)
    if configuration.find_directory(member.directory_id) is not None:
        return ChangeRefusal.ALREADY_MEMBER
    if place is not None and (not place.vacant or member.vacant):
        return ChangeRefusal.ALREADY_MEMBER
    others = [each for each in configuration.members if each != place]
    return Configuration(members=tuple(sorted((*others, member), key=lambda each: each.member_id)))


def _promoted(configuration: Configuration, directory_id: DirectoryId) -> Configuration | ChangeRefusal:
    line = configuration.find_directory(directory_id)
    if line is None:
        return ChangeRefusal.NOT_MEMBER
    if line.voter:
        return ChangeRefusal.ALREADY_VOTER
    voter = Member(member_id=line.member_id, directory_id=directory_id, voter=True)
    return Configuration(members=tuple(voter if each == line else each for each in configuration.members))


def _removed(
    configuration: Configuration, directory_id: DirectoryId, *, keep_place: bool
) -> Configuration | ChangeRefusal:
    """The last voter stays: without one, nothing would ever be committed again (reliability D12)."""
    line = configuration.find_directory(directory_id)
    if line is None:
        return ChangeRefusal.NOT_MEMBER
    if configuration.voters() == (line,):
        return ChangeRefusal.LAST_VOTER
    vacant = (Member(member_id=line.member_id, directory_id=VACANT, voter=False),) if keep_place else ()
    others = tuple(each for each in configuration.members if each != line)
    return Configuration(members=tuple(sorted((*others, *vacant), key=lambda each: each.member_id)))


def _place_removed(configuration: Configuration, member_id: MemberId) -> Configuration | ChangeRefusal:
    place = configuration.find(member_id)
    if place is None:
        return ChangeRefusal.NOT_MEMBER
    if not place.vacant:  # made for a place that was: whoever wants it gone removes the directory
        return ChangeRefusal.ALREADY_MEMBER
    return Configuration(members=tuple(each for each in configuration.members if each != place))


# -- the leader appends one ------------------------------------------------------------------------------------------


def change_membership(state: State, request: ChangeRequested, out: list[Effect]) -> None:
    """Append the configuration that follows, in force from here on (dissertation §4.1), or say why not."""
    leading, change_id = state.leading, request.change_id
    if leading is None:
        out.append(ChangeRefused(change_id=change_id, reason=ChangeRefusal.NOT_LEADER, leader=state.leader_hint))
        return
    following = _judge(state, leading, request)
    if isinstance(following, ChangeRefusal):
        if following is ChangeRefusal.TERM_NOT_COMMITTED:
            _write_own_term(state, leading, request.now_ms, out)
        out.append(ChangeRefused(change_id=change_id, reason=following, leader=state.leader_hint))
        return
    entry_id = append_as_leader(state, leading, following, request.now_ms, out)
    _keep_progress(state, leading, request.now_ms)
    for progress in leading.progress.values():
        feed(state, leading, progress, out)
    out.append(ChangeStarted(change_id=change_id, index=entry_id.index, term=entry_id.term))


def _judge(state: State, leading: Leading, request: ChangeRequested) -> Configuration | ChangeRefusal:
    """The rules of the argument, in the order in which a caller can do something about them."""
    if leading.transfer is not None:
        return ChangeRefusal.TRANSFERRING
    in_force_index = state.configurations.in_force_index
    if request.made_for != in_force_index:  # contracts 12
        return ChangeRefusal.OTHER_CONFIGURATION
    if in_force_index > state.commit_index:  # rule 2; reliability D4
        return ChangeRefusal.CHANGE_NOT_COMMITTED
    if state.log.term_at(state.commit_index) != state.current_term:  # rule 3; reliability D1
        return ChangeRefusal.TERM_NOT_COMMITTED
    following = after_change(state.configurations.in_force, request.change)
    if isinstance(following, ChangeRefusal):
        return following
    match request.change:
        case Promote(directory_id=directory_id):
            return _unless_it_lags(state, leading, directory_id, following, request.now_ms)
        case RemoveMember():
            return _unless_it_stalls(state, leading, following, request.now_ms)
        case _:
            return following


def _unless_it_lags(
    state: State, leading: Leading, directory_id: DirectoryId, following: Configuration, now_ms: int
) -> Configuration | ChangeRefusal:
    """Reliability D8. While it is probed, nothing is confirmed: it may have answered nothing yet, or restarted."""
    progress = leading.progress[directory_id]  # a leader whose configuration is committed is a voter: another member
    near = progress.match_index + state.settings.promotion_lag_max >= state.commit_index
    ready = near and _answered_lately(state, progress, now_ms) and not progress.probing
    return following if ready else ChangeRefusal.LAGS


def _unless_it_stalls(
    state: State, leading: Leading, following: Configuration, now_ms: int
) -> Configuration | ChangeRefusal:
    """The voters that are left have to commit it (D11)."""
    there = sum(
        voter.directory_id == state.directory_id
        or _answered_lately(state, leading.progress[voter.directory_id], now_ms)
        for voter in following.voters()
    )
    return following if there >= majority(len(following.voters())) else ChangeRefusal.WOULD_STALL


def _answered_lately(state: State, progress: Progress, now_ms: int) -> bool:
    return now_ms - progress.last_answer_ms < state.settings.election_timeout_ms_min


def _write_own_term(state: State, leading: Leading, now_ms: int, out: list[Effect]) -> None:
    """A change waits for an entry of this term: write one, if none is on its way (DESIGN 4)."""
    if state.log.last.term != state.current_term:
        append_as_leader(state, leading, Noop(), now_ms, out)
        for progress in leading.progress.values():
            feed(state, leading, progress, out)


def _keep_progress(state: State, leading: Leading, now_ms: int) -> None:
    """Of exactly the members in force, by directory. A new one is probed, with the entry that adds it first."""
    before = LogIndex(state.configurations.in_force_index - 1)
    leading.progress = {
        member.directory_id: leading.progress.get(member.directory_id) or new_progress(member, before, now_ms)
        for member in state.configurations.others(state.member_id)
    }


# -- a leader that is no voter any more ------------------------------------------------------------------------------


def leave_when_removed(state: State, leading: Leading, now_ms: int, out: list[Effect]) -> None:
    """ "The leader steps down once the configuration entry is committed" (§4.2.2), having told the others so."""
    configurations = state.configurations
    if configurations.in_force.is_voter(state.directory_id) or configurations.in_force_index > state.commit_index:
        return
    broadcast(state, leading, now_ms, out)
    become_follower(state, why="its removal is committed", out=out)
