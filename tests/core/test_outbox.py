"""The queue that keeps the durability promise: nothing leaves before the write that it waits for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_actors.core.effects import SendReply
from raft_actors.core.messages import Envelope, RequestVoteReply
from raft_actors.core.outbox import Outbox
from tests.core.builders import CLUSTER_ID, incarnation


def message(after: int, request_id: int = 1) -> SendReply:
    envelope = Envelope(
        cluster_id=CLUSTER_ID,
        sender=0,
        incarnation=incarnation(0),
        to=1,
        message=RequestVoteReply(term=1, vote_granted=True),
    )
    return SendReply(request_id=request_id, envelope=envelope, after=after)


class TestOutbox:
    """ "Every `Send` and `Reply` carries `after` [...] nothing leaves before its `after` is durable" (DESIGN 4)."""

    def test_what_waits_for_nothing_leaves_at_once(self) -> None:
        assert Outbox().push(message(after=0)) == [message(after=0)]

    def test_what_waits_for_a_write_leaves_with_it(self) -> None:
        outbox = Outbox()
        assert outbox.push(message(after=2)) == []
        assert outbox.durable(1) == []
        assert outbox.durable(2) == [message(after=2)]
        assert len(outbox) == 0

    def test_one_report_may_free_many_writes(self) -> None:
        """Writes are merged into groups, so the disk skips numbers."""
        outbox = Outbox()
        for after in (1, 2, 3):
            outbox.push(message(after=after, request_id=after))
        assert [freed.request_id for freed in outbox.durable(3)] == [1, 2, 3]

    def test_a_message_may_overtake_one_that_waits_for_more(self) -> None:
        """A leader's heartbeat does not wait behind its own vote of a later write."""
        outbox = Outbox()
        outbox.push(message(after=5))
        assert outbox.push(message(after=0)) == [message(after=0)]

    def test_the_disk_never_goes_back(self) -> None:
        outbox = Outbox(durable_seq=3)
        with pytest.raises(AssertionError, match="write 2 done after 3"):
            outbox.durable(2)

    @pytest.mark.slow
    @given(st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=40))
    def test_each_message_leaves_once_in_order_and_never_early(self, steps: list[int | None]) -> None:
        """A number is a message that waits for that write; None is the disk finishing one more."""
        outbox, durable, pushed, left = Outbox(), 0, [], []
        for number, after in enumerate(steps):
            if after is None:
                durable += 1
                freed = outbox.durable(durable)
            else:
                pushed.append(message(after, request_id=number))
                freed = outbox.push(pushed[-1])
            assert all(one.after <= durable for one in freed)
            left += freed
            assert len(outbox) == sum(one.after > durable for one in pushed)
        left += outbox.durable(99)
        assert sorted(left, key=lambda one: one.request_id) == pushed
