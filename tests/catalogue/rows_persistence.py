"""Rows about what survives: crashes, figure 8 of the paper, churn (ruaft.md 2.2, 2.4). Crashes are SIGKILL, with the
member's own files, where the labs copy its state.

Here:   one function for each row; its docstring says what it means, and what differs from the labs' text.
Never:  kinds of groups.
"""

from __future__ import annotations

from typing import Final

from tests.catalogue.churner import Churner
from tests.catalogue.lab import LEADER_S, Lab
from tests.catalogue.row import Row, rows


def persist1(lab: Lab) -> None:
    """Everybody crashes, the leader crashes, is away, a follower is away: nothing is lost."""
    lab.one(by=5)
    lab.crash(*lab.members)
    lab.restart(*lab.members)
    lab.one(by=5)
    leader = lab.check_one_leader()
    lab.crash(leader)
    lab.restart(leader)
    lab.one(by=5)
    leader = lab.check_one_leader()
    lab.crash(leader)
    index = lab.one(by=4)
    lab.restart(leader)
    lab.until(lambda: lab.committed(index) == 5, LEADER_S, "the one that was away has it")
    follower = lab.others(lab.check_one_leader())[0]
    lab.crash(follower)
    lab.one(by=4)
    lab.restart(follower)
    lab.one(by=5)


def persist2(lab: Lab) -> None:
    """Five times a majority crashes that has what a minority lacks; the minority alone decides nothing."""
    for _ in range(5):
        lab.one(by=5)
        leader = lab.check_one_leader()
        first, second, third, fourth = lab.others(leader)
        lab.crash(first, second)
        index = lab.one(by=3)
        lab.crash(leader, third, fourth)
        lab.restart(first, second)
        lab.sleep(1.0)
        lab.check_no_leader()
        lab.nothing_at(index + 1)
        lab.restart(third)
        lab.one(by=3)
        lab.restart(fourth, leader)
    lab.one(by=5)


def persist3(lab: Lab) -> None:
    """One that was cut off and one that crashed agree, by what is on the second one's disk."""
    lab.one(by=3)
    leader = lab.check_one_leader()
    follower, away = lab.others(leader)
    lab.disconnect(away)
    index = lab.one(by=2)
    lab.crash(leader, follower)
    lab.connect(away)
    lab.restart(leader)
    lab.one(by=2)
    assert index in lab.look_at(away), "what two had agreed on is gone"
    lab.restart(follower)
    lab.one(by=3)


def figure8(lab: Lab) -> None:
    """The leader crashes again and again, soon after it took a command; three at least are up. In the end all agree.

    A thousand rounds on Ray; as many in four worlds.
    """
    lab.one(by=1)
    for _ in range(lab.rounds(1000)):
        leader = lab.offer_to_all(lab.next_command())
        lab.sleep(lab.random() * (0.5 if lab.random() < 0.1 else 0.013))
        if leader is not None:
            lab.crash(leader)
        if len(lab.down) > 2:
            lab.restart(lab.choose(sorted(lab.down)))
    lab.restart(*sorted(lab.down))
    lab.one(by=5)


def figure8_unreliable(lab: Lab) -> None:
    """The same with the leader cut off in half of the rounds, on a network that loses, delays, and from a fifth of the
    rounds on reorders for seconds. (Ruaft's is reliable, by a slip.)"""
    lab.one(by=1)
    total = lab.rounds(1000)
    for number in range(total):
        if number == total // 5:
            lab.set_network(unreliable=True, long_reordering=True)
        leader = lab.offer_to_all(lab.next_command())
        lab.sleep(lab.random() * (0.5 if lab.random() < 0.1 else 0.013))
        if leader is not None and lab.random() < 0.5:
            lab.disconnect(leader)
        if len(lab.connected) < 3:
            lab.connect(lab.choose(sorted(lab.cut_off)))
    lab.connect_all()
    lab.set_network(unreliable=False, long_reordering=False)
    lab.one(by=5)


def reliable_churn(lab: Lab) -> None:
    """Members crash, are cut off and come back while three clients offer values: what a client saw committed, at the
    index that it was told (Ruaft looks at another one), all have in the end."""
    churners = [Churner(lab, b"client %d" % number) for number in range(3)]
    lab.check_one_leader()
    _churn(lab, churners, 0.7)
    for _ in range(lab.rounds(20)):
        if lab.random() < 0.2:
            lab.disconnect(lab.draw(0, lab.size - 1))
        if lab.random() < 0.5:
            member = lab.draw(0, lab.size - 1)
            if member in lab.down:
                lab.restart(member)
            lab.connect(member)
        if lab.random() < 0.2:
            member = lab.draw(0, lab.size - 1)
            if member not in lab.down:
                lab.crash(member)
        _churn(lab, churners, 0.7)
    _churn(lab, churners, 1.0)
    lab.restart(*sorted(lab.down))
    lab.connect_all()
    lab.one(by=5)
    for churner in churners:
        churner.stop()
        for index, value in churner.committed.items():
            found = [lab.look_at(member).get(index) for member in lab.members]
            assert found == [value] * lab.size, f"{value!r} was committed at index {index}, and is {found} there"
    assert sum(len(churner.committed) for churner in churners) > 0, "no client saw anything committed"


def unreliable_churn(lab: Lab) -> None:
    """The same, on a network that loses and delays (Ruaft's is reliable, by a slip)."""
    reliable_churn(lab)


def _churn(lab: Lab, churners: list[Churner], seconds: float) -> None:
    until_s = lab.now_s() + seconds
    while lab.now_s() < until_s:
        for churner in churners:
            churner.go_on()
        lab.sleep(0.04)


ROWS: Final[tuple[Row, ...]] = rows(
    Row(persist1, size=5),
    Row(persist2, size=5),
    Row(persist3, size=3, real_time=True),
    Row(figure8, size=5),
    Row(figure8_unreliable, size=5, unreliable=True),
    Row(reliable_churn, size=5),
    Row(unreliable_churn, size=5, unreliable=True),
)
