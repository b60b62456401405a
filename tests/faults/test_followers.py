"""Who is waited for, who is not, and whose held messages are still there."""

from __future__ import annotations

from raft_actors.faults.followers import AWAKE_TICKS, Followers
from raft_actors.faults.orders import Report
from raft_actors.faults.rules import Message, Node, Part
from raft_actors.faults.transit import HeldMessage

HELD = HeldMessage(7, Message(0, 1, "append_entries", Part.REQUEST), 0)


def report(node: Node = 0, process: str = "a", pid: int = 1, *, held: tuple[HeldMessage, ...] = ()) -> Report:
    return Report(node=node, process=process, pid=pid, node_id="n", version=1, held=held)


def nodes(followers: Followers) -> list[Node]:
    return [each.report.node for each in followers.awake()]


def standing(*stopped: Node) -> Followers:
    return Followers(lambda node: node in stopped)


def test_who_asks_is_waited_for_and_who_stopped_asking_is_not() -> None:
    followers = standing()
    followers.take(report(0, "a"))
    for _ in range(AWAKE_TICKS - 1):
        followers.tick()
    followers.take(report("c1", "b"))
    assert nodes(followers) == [0, "c1"]
    followers.tick()
    assert nodes(followers) == ["c1"]


def test_time_that_the_injector_itself_stood_still_does_not_count() -> None:
    """However long it was: without a tick nobody has fallen asleep, and a word would wait for nobody otherwise."""
    followers = standing()
    followers.take(report(0))
    assert nodes(followers) == [0]


def test_who_was_stopped_by_our_hand_is_not_waited_for_and_is_still_there() -> None:
    stopped: set[Node] = {0}
    followers = Followers(lambda node: node in stopped)
    followers.take(report(0, held=(HELD,)))
    for _ in range(2 * AWAKE_TICKS):
        followers.tick()
    assert nodes(followers) == []
    assert [each.report.held for each in followers.there()] == [(HELD,)]
    stopped.clear()
    followers.resumed(0)
    assert nodes(followers) == [0]


def test_what_is_held_by_a_process_that_is_gone_is_not_there_any_more() -> None:
    followers = standing()
    followers.take(report(0, "a", 11, held=(HELD,)))
    followers.forget_pids({11})
    assert followers.there() == []
    assert followers.of("a") is None
    assert followers.ever == {0}


def test_a_killed_server_does_not_make_its_peer_forgotten() -> None:
    followers = standing()
    followers.take(report(0, "a", 11))
    followers.forget_pids({12})
    assert nodes(followers) == [0]


def test_the_next_process_of_a_node_takes_the_place_of_one_that_does_not_ask_any_more() -> None:
    followers = standing()
    followers.take(report(0, "a", 11))
    for _ in range(AWAKE_TICKS):
        followers.tick()
    followers.take(report(0, "b", 12))
    assert followers.of("a") is None
    assert nodes(followers) == [0]


def test_orders_about_a_held_message_are_repeated_until_it_is_gone() -> None:
    """An answer with orders may be lost: what is let go twice went once."""
    followers = standing()
    follower = followers.take(report(held=(HELD,)))
    follower.let_go.add(7)
    assert followers.take(report(held=(HELD,))).let_go == {7}
    assert followers.take(report()).let_go == set()


def test_who_leaves_is_forgotten() -> None:
    followers = standing()
    followers.take(report("c1", "b"))
    followers.forget("b")
    followers.forget("b")
    assert nodes(followers) == []
