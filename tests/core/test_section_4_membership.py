"""Dissertation §4.1 to §4.3: the membership changes one member at a time; which change is refused, and why.

What several leaders do to each other is in test_section_4_membership_across_leaders.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.core.effects import (
    ChangeRefusal,
    CommitAdvanced,
    ConfigurationChanged,
    Count,
    DropReason,
    Persist,
    RoleChanged,
)
from raft_actors.core.entries import Configuration, Member, Noop
from raft_actors.core.events import Change
from raft_actors.core.messages import AppendEntries, RequestVoteReply
from raft_actors.core.types import GENESIS_ID, EntryId, Role
from tests.core.builders import (
    SETTINGS,
    Peer,
    append,
    candidate,
    configuration,
    directory,
    elected,
    follower,
    leader,
    log_of,
    only,
    requests,
    restored,
    some,
)
from tests.core.several import add, change, ended, promote, refused, remove, started, transfer


def ready(size: int = 3, non_voters: tuple[int, ...] = ()) -> Peer:
    """Member 0 leads term 2 of `size` voters; its log |1|2| is everywhere and committed."""
    members = configuration(range(size), non_voters)
    peer = elected(restored(members=members, log=log_of(1)))
    peer.sync()
    others = [line.member_id for line in members.members if line.member_id]
    for _ in range(2):
        for member in others:
            peer.accepted(member)
        peer.beat()
    for member in others:
        peer.accepted(member)
    assert peer.state.commit_index == peer.state.log.last.index == 2
    return peer


def in_force(peer: Peer) -> Configuration:
    return peer.state.configurations.in_force


class TestInForce:
    """ "The new configuration takes effect on each server as soon as it is added to that server's log" (§4.1)."""

    def test_a_leader_appends_it_as_an_entry_and_lives_by_it_at_once(self) -> None:
        """Reliability D2."""
        peer = ready()
        effects = change(peer, remove(2))
        assert (started(effects).change_id, started(effects).index, started(effects).term) == (7, 3, 2)
        assert only(effects, ConfigurationChanged).index == 3
        assert in_force(peer) == configuration((0, 1))
        assert only(effects, Persist).records[0].entries[0].payload == configuration((0, 1))
        assert peer.state.commit_index == 2

    def test_the_others_get_it_at_once_and_the_removed_one_nothing(self) -> None:
        sent = requests(change(ready(), remove(2)), AppendEntries)
        assert {to: [entry.payload for entry in message.entries] for to, message in sent.items()} == {
            1: [configuration((0, 1))]
        }

    def test_the_new_majority_commits_it(self) -> None:
        """Of {0, 1} both are needed, where two of three were."""
        peer = ready()
        change(peer, remove(2))
        peer.sync()
        assert peer.state.commit_index == 2
        assert only(peer.accepted(1), CommitAdvanced).commit_index == 3

    def test_a_promoted_voter_is_needed_at_once(self) -> None:
        """Of two voters one was enough with the leader; of {0, 1, 3} two are, and of four three."""
        peer = ready(3, (3,))
        change(peer, promote(3))
        peer.sync()
        peer.accepted(1)
        assert peer.state.commit_index == 2
        assert only(peer.accepted(3), CommitAdvanced).commit_index == 3

    def test_a_deposed_leader_takes_its_change_back(self) -> None:
        """Reliability D3: "a server must be prepared to fall back to the previous configuration"."""
        peer = ready()
        change(peer, remove(2))
        effects = peer.ask(append(3, EntryId(2, 2), log_of(3, after=2)), 1)
        assert only(effects, ConfigurationChanged).index == 0
        assert in_force(peer) == configuration((0, 1, 2))

    def test_a_truncated_change_is_not_counted_by_the_next_election(self) -> None:
        peer = ready()
        change(peer, remove(2))
        peer.sync()
        peer.ask(append(3, EntryId(2, 2), log_of(3, after=2)), 1)
        candidate(peer).sync()
        peer.answer(RequestVoteReply(term=4, vote_granted=True), 2)
        assert peer.state.role is Role.LEADER


class TestOneAtATime:
    """Reliability D4; rule 2 of the argument."""

    @pytest.mark.parametrize("second", [add(5), promote(3), remove(1), remove(0)])
    def test_a_second_change_waits_for_the_first(self, second: Change) -> None:
        peer = ready(3, (3, 4))
        change(peer, remove(4))
        peer.sync()
        before = peer.state.log.last
        assert refused(change(peer, second)).reason is ChangeRefusal.CHANGE_NOT_COMMITTED
        assert peer.state.log.last == before
        peer.accepted(1)
        started(change(peer, second))

    def test_a_change_of_the_leader_before_counts_too(self) -> None:
        """Not known to be committed here is enough."""
        log = (*log_of(1), replace(log_of(1, after=1)[0], payload=configuration((0, 1, 2), (3,))))
        peer = elected(restored(log=log))
        peer.sync()
        assert refused(change(peer, add(5))).reason is ChangeRefusal.CHANGE_NOT_COMMITTED
        peer.refused(1, GENESIS_ID)
        peer.accepted(1)
        started(change(peer, add(5)))


class TestAnEntryOfTheOwnTermFirst:
    """Reliability D1; rule 3 of the argument."""

    def quiet(self) -> Peer:
        """It knows that its whole log is committed, so it wrote no no-op (DESIGN 4)."""
        peer = elected(follower(log=log_of(1), commit=1))
        peer.sync()
        assert peer.state.log.last == EntryId(1, 1)
        return peer

    def test_a_quiet_leader_refuses_and_writes_a_no_op(self) -> None:
        peer = self.quiet()
        effects = change(peer, add(5))
        assert refused(effects).reason is ChangeRefusal.TERM_NOT_COMMITTED
        assert peer.state.log.entry_at(2).payload == Noop()
        assert peer.state.log.last == EntryId(2, 2)

    def test_once_that_is_committed_it_agrees(self) -> None:
        peer = self.quiet()
        peer.accepted(1)  # its first word: what it knows of the member from here on is confirmed
        effects = change(peer, add(5))
        assert [entry.payload for entry in requests(effects, AppendEntries)[1].entries] == [Noop()]
        peer.sync()
        peer.accepted(1)
        started(change(peer, add(5)))

    def test_one_no_op_is_enough(self) -> None:
        peer = self.quiet()
        change(peer, add(5))
        assert not some(change(peer, add(5)), Persist)

    def test_a_command_on_its_way_will_do(self) -> None:
        peer = self.quiet()
        peer.propose()
        effects = change(peer, add(5))
        assert refused(effects).reason is ChangeRefusal.TERM_NOT_COMMITTED
        assert not some(effects, Persist)

    def test_other_refusals_write_nothing(self) -> None:
        assert not some(change(self.quiet(), add(5), made_for=1), Persist)


class TestMadeForOneConfiguration:
    """Contracts 12: Ray runs a held call after the heal."""

    def test_a_late_copy_changes_nothing(self) -> None:
        """ "Replace member 3": its second copy would remove the new directory, or remove and add for ever."""
        peer = ready(4)
        started(change(peer, remove(3), made_for=0))
        peer.sync()
        peer.accepted(1)
        peer.accepted(2)
        again = refused(change(peer, remove(3), made_for=0))
        assert again.reason is ChangeRefusal.OTHER_CONFIGURATION
        started(change(peer, add(3, wiped=1), made_for=3))
        peer.sync()
        peer.accepted(1)
        assert refused(change(peer, remove(3), made_for=0)).reason is ChangeRefusal.OTHER_CONFIGURATION
        assert in_force(peer).find(3) == Member(member_id=3, directory_id=directory(3, wiped=1), voter=False)

    @pytest.mark.parametrize("made_for", [1, 2, 99])
    def test_no_other_index_will_do(self, made_for: int) -> None:
        assert refused(change(ready(), add(5), made_for=made_for)).reason is ChangeRefusal.OTHER_CONFIGURATION


class TestRefusals:
    """Each is definite and changes nothing."""

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [
            (add(1), ChangeRefusal.ALREADY_MEMBER),
            (add(1, wiped=1), ChangeRefusal.ALREADY_MEMBER),
            (promote(5), ChangeRefusal.NOT_MEMBER),
            (remove(5), ChangeRefusal.NOT_MEMBER),
            (promote(1), ChangeRefusal.ALREADY_VOTER),
        ],
    )
    def test_of_what_makes_no_sense(self, wanted: Change, reason: ChangeRefusal) -> None:
        assert change(ready(), wanted) == [refused(change(ready(), wanted))]
        assert refused(change(ready(), wanted)).reason is reason

    def test_of_the_last_voter(self) -> None:
        assert refused(change(ready(1, (3,)), remove(0))).reason is ChangeRefusal.LAST_VOTER

    def test_of_a_removal_that_too_few_are_left_to_commit(self) -> None:
        """Reliability D11: with 2 silent, 1 is needed; 2 itself may go."""
        for wanted in (remove(1), remove(1, keep_place=True)):
            peer = ready()
            peer.wait(SETTINGS.election_timeout_ms_min).beat()
            peer.accepted(1)
            assert refused(change(peer, wanted)).reason is ChangeRefusal.WOULD_STALL
            started(change(peer, remove(2)))

    def test_of_the_own_removal_unless_the_others_are_a_majority_without_us(self) -> None:
        peer = ready(4)
        peer.wait(SETTINGS.election_timeout_ms_min).beat()
        peer.accepted(1)
        assert refused(change(peer, remove(0))).reason is ChangeRefusal.WOULD_STALL
        peer.accepted(2)
        started(change(peer, remove(0)))

    def test_of_who_does_not_lead_with_a_hint(self) -> None:
        answer = refused(change(follower(leader=2), add(5)))
        assert (answer.change_id, answer.reason, answer.leader) == (7, ChangeRefusal.NOT_LEADER, 2)

    def test_while_leadership_moves(self) -> None:
        peer = ready()
        peer.propose()
        transfer(peer, directory(1))
        answer = refused(change(peer, add(5)))
        assert (answer.reason, answer.leader) == (ChangeRefusal.TRANSFERRING, 0)
        ended(peer.wait(SETTINGS.election_timeout_ms_min).beat())
        peer.sync()
        peer.accepted(1)
        started(change(peer, add(5)))


class TestProgress:
    """Reliability D9: for exactly the members in force, by directory."""

    def test_a_new_member_starts_from_nothing(self) -> None:
        peer = ready()
        effects = change(peer, add(5))
        progress = peer.state.leading.progress[directory(5)]
        assert (progress.match_index, progress.next_index, progress.probing) == (0, 3, True)
        assert requests(effects, AppendEntries)[5].prev_entry == EntryId(2, 2)

    def test_it_is_brought_the_whole_log(self) -> None:
        peer = ready()
        change(peer, add(5))
        effects = peer.refused(5, GENESIS_ID)
        assert len(requests(effects, AppendEntries)[5].entries) == 3
        peer.accepted(5)
        assert peer.state.leading.progress[directory(5)].match_index == 3

    def test_a_removed_one_is_forgotten_and_its_answers_count_nowhere(self) -> None:
        peer = ready()
        peer.propose()
        late = peer.newest(2)
        change(peer, remove(2))
        assert set(peer.state.leading.progress) == {directory(1)}
        assert peer.accepted(2, late) == [Count(sender=2, reason=DropReason.NOT_A_VOTER)]

    def test_a_new_disk_inherits_nothing(self) -> None:
        """Match 4 of the old directory would commit what the new one does not hold."""
        peer = ready(4)
        for wanted in (remove(3), add(3, wiped=1)):
            started(change(peer, wanted))
            peer.sync()
            for member in (1, 2):
                peer.accepted(member)
        assert peer.state.leading.progress[directory(3, wiped=1)].match_index == 0

    def test_who_stays_keeps_what_is_known(self) -> None:
        peer = ready()
        before = peer.state.leading.progress[directory(1)]
        change(peer, add(5))
        assert peer.state.leading.progress[directory(1)] is before


class TestPromotion:
    """Reliability D8: a voter that cannot follow stops the group when the next one is lost."""

    def lagging(self, *, lag: int) -> Peer:
        """Non-voter 3 confirmed entry 2, and is `lag` committed entries behind."""
        peer = ready(3, (3,))
        for _ in range(lag):
            peer.propose()
        peer.sync()
        for request in peer.sent:
            if request.envelope.to == 1 and isinstance(request.envelope.message, AppendEntries):
                peer.accepted(1, request)
        while peer.state.commit_index < peer.state.log.last.index:
            peer.accepted(1)
        return peer

    def test_within_the_bound(self) -> None:
        peer = self.lagging(lag=SETTINGS.promotion_lag_max)
        started(change(peer, promote(3)))
        assert in_force(peer) == configuration((0, 1, 2, 3))

    def test_one_entry_too_far(self) -> None:
        peer = self.lagging(lag=SETTINGS.promotion_lag_max + 1)
        assert refused(change(peer, promote(3))).reason is ChangeRefusal.LAGS

    def test_uncommitted_entries_do_not_count(self) -> None:
        """They are bounded in bytes, and a group under load has always some."""
        peer = ready(3, (3,))
        for _ in range(SETTINGS.promotion_lag_max + 10):
            peer.propose()
        started(change(peer, promote(3)))

    def test_not_heard_of_lately(self) -> None:
        peer = ready(3, (3,))
        peer.wait(SETTINGS.election_timeout_ms_min)
        assert refused(change(peer, promote(3))).reason is ChangeRefusal.LAGS
        peer.beat()
        peer.accepted(3)
        started(change(peer, promote(3)))

    def test_never_heard_of_at_all(self) -> None:
        """A short log is within the bound of an empty disk that may not even be there."""
        peer = ready()
        started(change(peer, add(5)))
        peer.sync()
        peer.accepted(1)
        assert peer.state.commit_index == 3
        assert refused(change(peer, promote(5))).reason is ChangeRefusal.LAGS
        peer.refused(5, GENESIS_ID)
        peer.accepted(5)
        started(change(peer, promote(5)))

    def test_restarted_since(self) -> None:
        """Its new process has confirmed nothing yet."""
        peer = ready(3, (3,))
        peer.hello(3, 2)
        assert refused(change(peer, promote(3))).reason is ChangeRefusal.LAGS


class TestListedIsNotVoter:
    """Contracts 1 (a), across an addition: leader 0 is cut off with the member that it has just added."""

    def test_the_added_one_commits_nothing_and_elects_nobody(self) -> None:
        peer = ready()
        change(peer, add(3))
        peer.sync()
        peer.refused(3, GENESIS_ID)
        peer.accepted(3)
        assert peer.state.commit_index == 2
        peer.wait(SETTINGS.check_quorum_ms + 1)
        peer.accepted(3)
        assert only(peer.beat(), RoleChanged).role is Role.FOLLOWER

    def test_a_leader_with_a_log_of_nothing_is_no_exception(self) -> None:
        peer = leader()
        assert refused(change(peer, add(5))).reason is ChangeRefusal.TERM_NOT_COMMITTED
