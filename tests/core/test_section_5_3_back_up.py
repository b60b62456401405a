"""Raft §5.3, end: finding where two logs agree takes one round for each term, not one for each entry.

"The leader can decrement nextIndex to bypass all of the conflicting entries in that term; one AppendEntries RPC will be
required for each term with conflicting entries, rather than one RPC per entry." (Reliability B14, Ruaft's fault RF4.)
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from raft_actors.core.effects import SendReply
from raft_actors.core.messages import AppendEntriesReply
from raft_actors.core.types import Role
from tests.core.builders import Peer, elected, log_of, only, restored
from tests.core.strategies import two_logs


def exchange(leaders: Sequence[int], followers: Sequence[int]) -> tuple[int, Peer, Peer]:
    """Two logs, one leader of a later term: carry its messages to the follower and back until both are quiet.

    Returns how many requests were refused.
    """
    later = max([0, *leaders, *followers])
    peer = elected(restored(3, log=log_of(*leaders), term=later))
    peer.sync()
    peer.propose()  # an empty log needs no no-op, and without an entry nothing is overwritten
    other = restored(3, log=log_of(*followers), term=later, member=1)
    refused, carried = 0, 0
    while carried < len(peer.sent):
        request = peer.sent[carried]
        carried += 1
        if request.envelope.to != 1 or peer.state.role is not Role.LEADER or carried > 1000:
            continue
        answered = only(other.ask(request.envelope.message, sender=0), SendReply)
        other.sync()
        answer = answered.envelope.message
        if isinstance(answer, AppendEntriesReply):
            refused += not answer.success
            peer.answer(answer, 1, to=request)
    return refused, peer, other


def terms_of(peer: Peer) -> list[int | None]:
    return [peer.state.log.term_at(index) for index in range(1, peer.state.log.last.index + 1)]


class TestRoundsAreBoundedByTerms:
    """Whatever the logs, they are equal after at most as many refusals as there are terms in them."""

    @pytest.mark.parametrize(
        ("leaders", "followers"),
        [
            pytest.param([1] * 5 + [8] * 60, [1] * 5 + [2] * 50, id="60 against 50 entries of another term"),
            pytest.param([1] + [6] * 50, [1] + [2] * 10 + [3] * 10 + [4] * 10 + [5] * 20, id="four terms that lost"),
            pytest.param([1] + [2] * 20 + [4] * 20 + [6] * 20, [1] + [3] * 20 + [5] * 20, id="interleaved terms"),
            pytest.param([1] * 80, [], id="an empty follower"),
            pytest.param([1] * 80, [1] * 3, id="a follower far behind"),
            pytest.param([1] * 3, [1] * 3 + [2] * 70, id="a follower far ahead"),
            pytest.param([4, 4, 5, 5, 6, 6, 6], [4, 4, 4, 4], id="Fig. 7, follower (e), in small"),
            pytest.param([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], id="Fig. 7, (f)"),
        ],
    )
    def test_long_divergence(self, leaders: list[int], followers: list[int]) -> None:
        refused, peer, other = exchange(leaders, followers)
        assert terms_of(other) == terms_of(peer)
        assert refused <= len({*leaders, *followers})

    @pytest.mark.slow
    @given(two_logs())
    def test_any_two_logs_of_one_group(self, logs: tuple[list[int], list[int]]) -> None:
        leaders, followers = logs
        refused, peer, other = exchange(leaders, followers)
        assert terms_of(other) == terms_of(peer)
        assert refused <= len({*leaders, *followers}) + 1

    def test_it_ends(self) -> None:
        """RF4, ping-pong: the follower ends one entry before the leader's end, everything known to be equal."""
        refused, peer, other = exchange([1, 1, 1, 1], [1, 1, 1])
        assert refused <= 1
        assert len(peer.sent) < 12
        assert other.state.log.last == peer.state.log.last
