"""Rows about elections (ruaft.md 2.2, 2.4).

Here:   one function for each row; its docstring says what it means, and what differs from the labs' text.
Never:  kinds of groups.
"""

from __future__ import annotations

from typing import Final

from tests.catalogue.lab import Lab
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
    and none comes (the labs look at once, Ruaft, or after two seconds: we look all the time)."""
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


ROWS: Final[tuple[Row, ...]] = rows(
    Row(initial_election, size=3, real_time=True),
    Row(re_election, size=3, real_time=True),
)
