"""Snapshots that a leader offers: Raft §7 and Fig. 13, dissertation §5."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import (
    Effect,
)
from raft_actors.core.messages import AppendEntries, AppendEntriesReply, InstallSnapshot, InstallSnapshotReply
from raft_actors.core.types import GENESIS_ID, EntryId
from tests.core.builders import (
    Peer,
    append_reply,
    compacted_leader,
    directory,
    elected,
    leader_of_all,
    log_of,
    offer,
    offer_reply,
    reply,
    requests,
    restored,
    snapshot,
)

TEN = log_of(*[1] * 10)


class TestTheLeader:
    """Raft §7: "the leader must occasionally send snapshots to followers that lag behind"."""

    def test_a_member_that_ends_before_the_base_is_offered_the_newest_snapshot(self):
        peer = compacted_leader()
        assert not requests(self.behind(peer), InstallSnapshot)
        assert requests(peer.beat(), InstallSnapshot)[2].snapshot == snapshot(1, 8)

    def test_an_offer_is_repeated_with_every_heartbeat_and_nothing_else(self):
        peer = self.offering()
        for _ in range(3):
            request = peer.newest(2)
            effects = peer.answer(offer_reply(request.envelope.message, 3), 2, to=request, start=2)
            assert not requests(effects, InstallSnapshot), "asking again at once would never end"
            assert not requests(peer.propose(), InstallSnapshot)
            assert 2 in requests(peer.beat(), InstallSnapshot)

    @pytest.mark.parametrize("match", [4, 8, 9])
    def test_it_goes_on_behind_what_the_member_has(self, match):
        """At the base or beyond it, perhaps an older snapshot than the one on offer, the log goes on."""
        peer = self.offering()
        request = peer.newest(2)
        effects = peer.answer(offer_reply(request.envelope.message, match), 2, to=request, start=2)
        sent = requests(effects, AppendEntries)[2]
        assert sent.prev_entry == EntryId(1, match)
        assert sent.entries[0].index == match + 1
        progress = peer.state.leading.progress[directory(2)]
        assert (progress.match_index, progress.probing) == (match, False)

    def test_a_member_that_fetches_more_slowly_than_we_take_catches_up(self):
        """Each snapshot that it installs is where our log begins by then."""
        peer = self.offering()
        slow = restored(log=TEN[:3], member=2)
        first = peer.newest(2).envelope.message
        slow.ask(first, 0)
        peer.stored(snapshot(1, 10))
        slow.stored(first.snapshot)
        peer.answer(offer_reply(first, 3), 2, to=peer.newest(2), start=2)
        peer.beat()
        request = peer.newest(2)
        assert request.envelope.message.snapshot == snapshot(1, 10)
        answer = reply(slow.ask(request.envelope.message, 0), InstallSnapshotReply)
        assert answer.match_index == 8
        assert requests(peer.answer(answer, 2, to=request, start=2), AppendEntries)[2].prev_entry == EntryId(1, 8)

    def test_a_lost_offer_is_made_again(self):
        peer = self.offering()
        peer.fail(peer.newest(2))
        assert 2 in requests(peer.beat(), InstallSnapshot)

    def test_one_offer_at_a_time_and_heartbeats_beside_it(self):
        peer = self.offering()
        beats = requests(peer.beat(), AppendEntries)
        assert beats[2].prev_entry == GENESIS_ID, "everybody holds that, whatever we have compacted"
        assert not beats[2].entries

    def test_an_answer_counts_for_check_quorum_and_reads(self):
        peer = self.offering()
        request = peer.newest(2)
        peer.wait(500)
        peer.answer(offer_reply(request.envelope.message, 3), 2, to=request, start=2)
        progress = peer.state.leading.progress[directory(2)]
        assert progress.last_answer_ms == peer.now_ms
        assert progress.acked_beat == request.envelope.message.beat

    @pytest.mark.parametrize("lost_first", [True, False], ids=["probed", "fed"])
    def test_a_member_whose_entries_go_meanwhile_is_offered_it(self, lost_first):
        """C13."""
        peer = leader_of_all(log=TEN)
        peer.stored(snapshot(1, 10))
        for _ in range(5):
            peer.propose()
            peer.sync()
            while peer.newest_append(1).entries and peer.accepted(1):
                pass
        assert peer.state.commit_index == peer.state.log.last.index == 16
        lagging = peer.state.leading.progress[directory(2)]
        for lose in (lost_first, not lost_first):
            if lose:
                for request in [sent for sent in peer.sent if sent.rpc_id in lagging.appends]:
                    peer.fail(request)
            else:
                for index in (14, 16):
                    peer.stored(snapshot(peer.state.current_term, index))
        assert 2 in requests(peer.beat(), InstallSnapshot)

    def test_an_answer_of_an_earlier_term_counts_for_nothing(self):
        peer = self.offering()
        request = peer.newest(2).envelope.message
        stale = offer_reply(offer(request.term - 1, request.snapshot), 8)
        peer.answer(stale, 2, to=peer.newest(2), start=2)
        assert peer.state.leading.progress[directory(2)].match_index == 0

    def test_what_lies_behind_our_end_is_impossible(self):
        peer = self.offering()
        far = offer_reply(offer(peer.state.current_term, snapshot(1, 99)), 99)
        peer.answer(far, 2, to=peer.newest(2), start=2)
        assert peer.state.leading.progress[directory(2)].match_index == 0

    @staticmethod
    def offering() -> Peer:
        peer = compacted_leader()
        TestTheLeader.behind(peer)
        peer.beat()
        assert isinstance(peer.newest(2).envelope.message, InstallSnapshot)
        return peer

    @staticmethod
    def behind(peer: Peer) -> list[Effect]:
        """Member 2 comes back from an older disk: what it held counts no more, and it says that it ends at 3."""
        peer.hello(2, 2)
        peer.beat()
        request = peer.newest(2)
        refusal = append_reply(request.envelope.message, success=False, conflict=EntryId(1, 3))
        return peer.answer(refusal, 2, to=request, start=2)


class TestALeaderWithNothingButASnapshot:
    """Its log is empty behind the snapshot, and nothing is ever written (reliability C12)."""

    def test_a_fresh_member_is_offered_the_snapshot_without_a_new_entry(self):
        end = EntryId(1, 8)
        peer = elected(restored(term=1, base=end, taken=snapshot(1, 8)))
        assert peer.state.log.last == peer.state.log.base == end
        assert peer.state.commit_index == 8, "so there is nothing to write a no-op for"
        request = peer.newest(2)
        assert request.envelope.message.prev_entry == end
        fresh = restored(member=2)
        answer = reply(fresh.ask(request.envelope.message, 0), AppendEntriesReply)
        assert not answer.success
        peer.answer(answer, 2, to=request)
        assert requests(peer.beat(), InstallSnapshot)[2].snapshot == snapshot(1, 8)
