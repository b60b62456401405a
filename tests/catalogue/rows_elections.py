"""Rows about elections (ruaft.md 2.2, 2.4).

Here:   one function for each row; its docstring says what it means, and what differs from the labs' text.
Never:  kinds of groups.
"""

from __future__ import annotations

from typing import Final

from tests.catalogue.lab import LEADER_S, Lab
from tests.catalogue.row import Row, rows

ELECTIONS_S: Final = 2.0
"""Longer than any election timeout: what has not happened by then does not."""


def initial_election(lab: Lab) -> None:
    """One leader; all have one term, 1 at least; without a fault both stay for two seconds."""
    leader = lab.check_one_leader()
    term = lab.check_terms(within_s=0.5)
    assert term >= 1, f"the term is {term}"
    lab.sleep(ELECTIONS_S)
    assert (lab.check_one_leader(), lab.check_terms()) == (leader, term), "the leader went, and nothing was wrong"


def re_election(lab: Lab) -> None:
    """Without the leader there is another one; the old one comes back and follows; without a quorum there is none,
    and none comes (Ruaft looks at once, MIT after two seconds: we look all the time)."""
    first = lab.check_one_leader()
    lab.disconnect(first)
    lab.check_one_leader()
    lab.connect(first)
    second = lab.check_one_leader()
    third = lab.others(second)[0]
    lab.disconnect(second, third)
    until_s = lab.now_s() + ELECTIONS_S
    while lab.now_s() < until_s:
        lab.check_no_leader()
        lab.sleep(0.1)
    lab.connect(third)
    lab.check_one_leader()
    lab.connect(second)
    lab.check_one_leader()


def many_elections(lab: Lab) -> None:
    """Nine times three of seven are disconnected, by chance the leader with them: four others have one."""
    lab.check_one_leader()
    for _ in range(9):
        lost = {lab.draw(0, lab.size - 1) for _ in range(3)}  # the same one may be drawn twice, as in the labs
        lab.disconnect(*lost)
        lab.check_one_leader()
        lab.connect(*lost)
    lab.check_one_leader()


def no_disruptive_rejoin(lab: Lab) -> None:
    """Two members that hear no leader, each linked to one follower, disturb nobody: same leader, same term, and
    commands are committed meanwhile and when they are back. (Ruaft's second one is linked to nobody, by a slip.)"""
    leader = lab.check_one_leader()
    one, other, first, second = lab.others(leader)
    lab.one(by=5)
    term = lab.check_terms(within_s=LEADER_S)
    lab.partition((leader, one, other), (one, first), (other, second))
    began_s = lab.now_s()
    for _ in range(3):
        lab.one(by=3, retry=False)
    while lab.now_s() < began_s + ELECTIONS_S:
        lab.sleep(0.1)
        assert lab.state_of(leader) == (term, True), f"{lab.state_of(leader)}, and it led term {term}"
    lab.connect_all()
    lab.one(by=5, retry=False)
    assert lab.state_of(leader) == (term, True), "those who came back deposed the leader"


def disruptive_liveness(lab: Lab) -> None:
    """A leader that reaches one follower alone gives up; the three that reach each other elect one of themselves and
    go on. (Stickiness alone would keep them from it: the one follower hears the old leader.)"""
    leader = lab.check_one_leader()
    near, first, second, away = lab.others(leader)
    lab.one(by=5)
    lab.disconnect(away)
    lab.partition((near, first, second), (leader, near))
    lab.until(lambda: lab.check_one_leader() != leader, LEADER_S, "another one leads")
    lab.one(by=3)


ROWS: Final[tuple[Row, ...]] = rows(
    Row(initial_election, size=3, real_time=True),
    Row(re_election, size=3, real_time=True),
    Row(many_elections, size=7),
    Row(no_disruptive_rejoin, size=5, real_time=True),
    Row(disruptive_liveness, size=5, real_time=True),
)
