"""Raft §5.3, the leader: what is sent to whom, how much of it, and what an answer means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.core.effects import (
    Append,
    Count,
    DropReason,
    Persist,
    ProposalRefusal,
    ProposalRefused,
    ProposalStarted,
    SendRequest,
)
from raft_actors.core.entries import ENTRY_OVERHEAD_BYTES, Command, Noop
from raft_actors.core.messages import AppendEntries
from raft_actors.core.state import Progress
from raft_actors.core.types import GENESIS_ID, EntryId
from tests.core.builders import (
    SETTINGS,
    Peer,
    append_reply,
    directory,
    elected,
    entry,
    follower,
    leader,
    leader_of_all,
    log_of,
    only,
    requests,
    some,
)


def progress_of(peer: Peer, member: int) -> Progress:
    assert peer.state.leading is not None
    return peer.state.leading.progress[directory(member)]


class TestProposing:
    """ "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel." """

    def test_one_entry_to_the_disk_and_to_all_at_the_same_time(self) -> None:
        peer = leader_of_all()
        effects = peer.propose(b"set x", proposal_id=5)
        (record,) = only(effects, Persist).records
        assert isinstance(record, Append)
        assert [one.payload for one in record.entries] == [Command(data=b"set x")]
        assert {to: message.entries for to, message in requests(effects, AppendEntries).items()} == {
            1: record.entries,
            2: record.entries,
        }
        assert only(effects, ProposalStarted) == ProposalStarted(proposal_id=5, index=1, term=1)

    def test_only_the_leader_takes_proposals_and_others_say_who_it_is(self) -> None:
        effects = follower(leader=2).propose(proposal_id=5)
        assert effects == [ProposalRefused(proposal_id=5, reason=ProposalRefusal.NOT_LEADER, leader=2)]

    def test_what_no_majority_holds_is_bounded_in_bytes(self) -> None:
        """Reliability G12: a leader without a quorum would collect for ever."""
        room_for_two = replace(SETTINGS, uncommitted_bytes_max=2 * (ENTRY_OVERHEAD_BYTES + 1))
        peer = leader_of_all(settings=room_for_two)
        assert some(peer.propose(), ProposalStarted)
        assert some(peer.propose(), ProposalStarted)
        assert peer.propose() == [ProposalRefused(proposal_id=1, reason=ProposalRefusal.OVERLOADED, leader=0)]
        peer.sync()
        peer.accepted(1)  # the newest append to it carries both
        assert some(peer.propose(), ProposalStarted)

    def test_entries_left_over_from_earlier_terms_count_against_the_limit(self) -> None:
        full = replace(SETTINGS, uncommitted_bytes_max=3 * ENTRY_OVERHEAD_BYTES)
        peer = leader(log=log_of(1, 1, 1), settings=full)
        assert only(peer.propose(), ProposalRefused).reason is ProposalRefusal.OVERLOADED

    def test_log_time_follows_the_leaders_monotonic_clock_and_never_falls(self) -> None:
        """Contracts rule 11: last stamp in the log + the leader's own time since it led; never wall time."""
        peer = leader(log=(entry(1, 1, stamp_ms=70_000),))
        noop = peer.state.log.entry_at(2)
        assert (noop.payload, noop.stamp_ms) == (Noop(), 70_000)
        peer.wait(250).propose()
        peer.wait(0).propose()
        assert [peer.state.log.entry_at(index).stamp_ms for index in (3, 4)] == [70_250, 70_250]


class TestCaps:
    """AppendEntries is capped in bytes and in entries, so that a heartbeat never waits long behind one."""

    @pytest.mark.parametrize(
        ("caps", "first"),
        [
            ({"append_entries_max": 2}, [3, 4]),
            ({"append_bytes_max": 2 * log_of(1)[0].size_bytes}, [3, 4]),
            ({"append_bytes_max": 1}, [3]),
            ({}, [3, 4, 5, 6]),
        ],
    )
    def test_no_message_is_above_the_caps_and_the_next_goes_on(self, caps: dict[str, int], first: list[int]) -> None:
        peer = leader(log=log_of(1, 1, 1, 1, 1), settings=replace(SETTINGS, **caps))
        effects = peer.refused(1, EntryId(1, 2))
        assert [one.index for one in requests(effects, AppendEntries)[1].entries] == first
        peer.sync()
        while progress_of(peer, 1).match_index < 6:
            peer.accepted(1, next(sent for sent in peer.sent if sent.rpc_id in progress_of(peer, 1).appends))
        assert peer.state.commit_index == 6


class TestPacing:
    """Probing: a guess, one append under way. Replicating: a few under way, next_index runs ahead of the answers."""

    def test_a_new_leader_guesses_its_own_end(self) -> None:
        """ "nextIndex[] initialized to leader last log index + 1"; here with the no-op that follows."""
        peer = leader(log=log_of(1, 1))
        message = peer.newest_append(1)
        assert (message.prev_entry, [one.index for one in message.entries]) == (EntryId(1, 2), [3])

    def test_probing_sends_nothing_more_until_it_is_answered(self) -> None:
        peer = leader(log=log_of(1, 1))
        assert not requests(peer.propose(), AppendEntries)
        confirmed = requests(peer.accepted(1), AppendEntries)
        assert [one.index for one in confirmed[1].entries] == [4]

    def test_replicating_runs_ahead_up_to_the_window(self) -> None:
        peer = leader_of_all()
        windows = [[one.index for one in requests(peer.propose(), AppendEntries)[1].entries] for _ in range(3)]
        assert windows == [[1], [2], [3]]
        assert not requests(peer.propose(), AppendEntries)
        freed = requests(peer.accepted(1), AppendEntries)[1]
        assert [one.index for one in freed.entries] == [4]

    def test_a_lost_append_is_probed_for_with_the_next_heartbeat(self) -> None:
        """An unreachable member costs one message per heartbeat, not a storm."""
        peer = leader_of_all()
        peer.propose()
        assert peer.fail(peer.newest(1)) == []
        assert [one.index for one in requests(peer.beat(), AppendEntries)[1].entries] == [1]

    def test_only_the_loss_of_an_append_counts_as_one(self) -> None:
        peer = leader_of_all()
        peer.propose()
        peer.beat()
        peer.fail(peer.newest(1))  # the heartbeat
        assert not progress_of(peer, 1).probing

    def test_heartbeats_go_on_while_appends_are_under_way(self) -> None:
        peer = leader_of_all()
        peer.propose()
        heartbeat = requests(peer.beat(), AppendEntries)[1]
        assert (heartbeat.entries, heartbeat.prev_entry) == ((), GENESIS_ID)

    def test_a_restarted_follower_is_probed_anew(self) -> None:
        """DESIGN 4: what its predecessor acknowledged is durable there, but what was under way to it is gone."""
        peer = leader_of_all(log=log_of(1, 1))
        assert progress_of(peer, 1).match_index == 3
        peer.propose()
        peer.hello(1, start=2)
        assert (progress_of(peer, 1).match_index, progress_of(peer, 1).probing) == (0, True)
        assert not progress_of(peer, 1).appends
        peer.accepted(1, start=1)  # the predecessor's answer, late: not listened to
        assert progress_of(peer, 1).match_index == 0
        peer.beat()
        peer.accepted(1, start=2)
        assert progress_of(peer, 1).match_index == 4

    def test_what_it_acknowledged_before_stays_committed_though_its_progress_says_less(self) -> None:
        """A heartbeat of before the restart, held by the network, is answered by the new process: match is 1, commit 2.
        (Found by a random world: the invariant "committed by a majority" took this for a fault.)"""
        peer = leader_of_all()
        peer.propose()
        peer.sync()
        peer.accepted(2)
        peer.accepted(1)
        peer.beat()
        heartbeat = peer.newest(1)
        peer.propose()
        peer.sync()
        peer.accepted(1)
        peer.hello(1, start=2)
        peer.accepted(1, heartbeat, start=2)
        assert (progress_of(peer, 1).match_index, peer.state.commit_index) == (1, 2)


class TestAnswers:
    """matchIndex: "index of highest log entry known to be replicated on server"; it rises, by what was asked."""

    def test_match_comes_from_the_request(self) -> None:
        """Reliability B6: whatever else the follower holds."""
        peer = leader(log=log_of(1, 1))
        probe = peer.newest(1)
        peer.propose()
        peer.accepted(1, probe)
        assert progress_of(peer, 1).match_index == 3

    def test_a_late_success_takes_nothing_back(self) -> None:
        peer = leader_of_all()
        peer.propose()
        first = peer.newest(1)
        peer.propose()
        second = peer.newest(1)
        peer.accepted(1, second)
        peer.accepted(1, first)
        assert progress_of(peer, 1).match_index == 2

    def test_a_late_refusal_takes_nothing_back(self) -> None:
        """Reliability B7: the messages overtook each other, the refusal of the second arrives last."""
        peer = leader_of_all()
        peer.propose()
        peer.propose()
        second = peer.newest(1)
        peer.accepted(1)
        before = (progress_of(peer, 1).next_index, progress_of(peer, 1).match_index)
        assert peer.refused(1, GENESIS_ID, second) == []
        assert (progress_of(peer, 1).next_index, progress_of(peer, 1).match_index) == before

    def test_what_overtook_the_append_before_it_is_sent_again(self) -> None:
        """Two appends under way, the second arrives first and is refused; the answer to the first comes first. The
        refusal says nothing new about the log, but what the second carried is not there: nobody else would send it.
        """
        peer = leader_of_all()
        peer.propose()
        first = peer.newest(1)
        peer.propose()
        second = peer.newest(1)
        peer.accepted(1, first)
        (again,) = some(peer.refused(1, GENESIS_ID, second), SendRequest)
        message = again.envelope.message
        assert isinstance(message, AppendEntries)
        assert (message.prev_entry.index, [entry.id.index for entry in message.entries]) == (1, [2])
        assert peer.refused(1, GENESIS_ID, again) == [], (
            "a member that refuses what it acknowledged is not asked at once"
        )
        assert progress_of(peer, 1).probing

    def test_a_refusal_of_a_probe_that_is_not_the_present_one_sends_nothing(self) -> None:
        """RF4: answering each refusal with the same message again would never end."""
        peer = leader(log=log_of(1, 1, 2, 2))
        probe = peer.newest(1)
        assert some(peer.refused(1, EntryId(1, 2), probe), SendRequest)
        assert peer.refused(1, EntryId(1, 2), probe) == []

    def test_an_answer_of_an_earlier_leadership_counts_for_nothing(self) -> None:
        """Reliability B5: leads term 2, loses, leads again; the acknowledgement of term 2 comes now."""
        peer = leader(log=log_of(1, 1))
        late = peer.newest(1)
        peer.answer(append_reply(peer.newest_append(2), success=False, term=3), 2)
        elected(peer).sync()
        assert peer.accepted(1, late) == [Count(sender=1, reason=DropReason.STALE_REPLY)]
        assert (progress_of(peer, 1).match_index, peer.state.commit_index) == (0, 0)

    def test_a_refusal_of_an_earlier_leaderships_request_counts_for_nothing_either(self) -> None:
        """The append of term 2 comes late to a follower that is in term 4 with us: it answers in our term, but not
        to this leadership."""
        peer = leader(log=log_of(1, 1))
        late = append_reply(peer.newest_append(1), success=False, term=4)
        peer.answer(append_reply(peer.newest_append(2), success=False, term=3), 2)
        elected(peer)
        assert peer.answer(late, 1) == [Count(sender=1, reason=DropReason.STALE_REPLY)]
