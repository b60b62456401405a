"""Rows about agreement on commands (ruaft.md 2.2, 2.4, 2.13). Indexes are told from the first command's: 2.12.1.

Here:   one function for each row; its docstring says what it means, and what differs from the labs' text.
Never:  kinds of groups.
"""

from __future__ import annotations

from typing import Final

from raft_actors.core.messages import PreVote, RequestVote
from tests.catalogue.lab import COMMIT_S, LEADER_S, Lab
from tests.catalogue.row import Row, rows


def basic_agreement(lab: Lab) -> None:
    """Three commands have three indexes in a row, and nothing is there before; so an election adds no entry."""
    first = lab.one(by=lab.size)
    for index in (first + 1, first + 2):
        lab.nothing_at(index)
        assert lab.one(by=lab.size) == index


def rpc_bytes(lab: Lab) -> None:
    """Each follower is sent each command once: ten of 5,000 bytes take no more than one copy for each member, and as
    much again as one copy."""
    index = lab.one(by=3, retry=False)
    before = lab.rpc_bytes()
    for number in range(10):
        assert lab.one(bytes([65 + number]) * 5000, by=3, retry=False) == index + 1 + number
    sent = lab.rpc_bytes() - before
    assert sent <= 3 * 50_000 + 50_000, f"{sent} bytes for 50,000"


def bytes_beside_a_slow_follower(lab: Lab) -> None:
    """A hundred commands at once, one follower away and back: it is sent what it lacks, not everything again and again
    (RF14). Where messages overtake each other, the last commands go out once for each append that was under way, three
    at most to a follower."""
    lab.one(by=3)
    leader = lab.check_one_leader()
    lab.disconnect(lab.others(leader)[0])
    before = lab.rpc_bytes()
    last = None
    for number in range(100):
        last = lab.start(leader, b"%04d" % number * 250)
        assert last is not None, "the leader went, and nothing was wrong with its majority"
    lab.until(lambda: lab.committed(last or 0) >= 2, COMMIT_S, "two have all")
    lab.connect_all()
    lab.until(lambda: lab.committed(last or 0) == 3, LEADER_S, "the one that was away catches up")
    sent = lab.rpc_bytes() - before
    assert sent <= 6 * 100 * 1000 + 50_000, f"{sent} bytes for 100,000"


def follower_failure(lab: Lab) -> None:
    """Agreement goes on without one follower, and stops without both."""
    index = lab.one(by=3, retry=False)
    leader = lab.check_one_leader()
    first, second = lab.others(leader)
    lab.disconnect(first)
    assert lab.one(by=2, retry=False) == index + 1
    lab.sleep(1.0)
    assert lab.one(by=2, retry=False) == index + 2
    leader = lab.check_one_leader()
    lab.disconnect(*(set(lab.others(leader)) - {first}))
    assert lab.start(leader, lab.next_command()) == index + 3
    lab.sleep(2.0)
    lab.nothing_at(index + 3)
    assert second in lab.members


def leader_failure(lab: Lab) -> None:
    """Agreement goes on without the first leader, and stops without the second one too."""
    index = lab.one(by=3, retry=False)
    lab.disconnect(lab.check_one_leader())
    lab.one(by=2)
    lab.sleep(1.0)
    last = lab.one(by=2)
    lab.disconnect(lab.check_one_leader())
    for member in lab.members:
        lab.start(member, lab.next_command())
    lab.sleep(2.0)
    lab.nothing_at(last + 1)
    assert last >= index + 2


def fail_agree(lab: Lab) -> None:
    """A follower that was away has everything when it is back."""
    lab.one(by=3, retry=False)
    away = lab.others(lab.check_one_leader())[0]
    lab.disconnect(away)
    for _ in range(2):
        lab.one(by=2, retry=False)
    lab.sleep(1.0)
    for _ in range(2):
        lab.one(by=2, retry=False)
    lab.connect(away)
    lab.one(by=3)
    lab.sleep(1.0)
    lab.one(by=3)


def fail_no_agree(lab: Lab) -> None:
    """What a leader takes without a quorum is not committed; healed, the group agrees again. Whether the entry stays
    depends on who leads then, so the next index is one of three (Ruaft: 2 to 4)."""
    base = lab.one(by=5, retry=False)
    leader = lab.check_one_leader()
    lab.disconnect(*lab.others(leader)[:3])
    index = lab.start(leader, lab.next_command())
    assert index == base + 1
    lab.sleep(2.0)
    lab.nothing_at(index)
    lab.connect_all()
    found: int | None = None
    while found is None:
        found = lab.start(lab.check_one_leader(), lab.next_command())
    assert base + 1 <= found <= base + 3, f"index {found} behind {base}"
    lab.one(by=5)


def concurrent_starts(lab: Lab) -> None:
    """Five commands that are offered at once are all committed, in one term."""
    for _ in range(5):
        lab.one(by=3)
        leader = lab.check_one_leader()
        term = lab.check_terms(within_s=LEADER_S)
        commands = [lab.next_command() for _ in range(5)]
        indexes = [lab.start(leader, command) for command in commands]
        if None in indexes:
            continue
        found = [lab.wait(index, by=3, term=term) for index in indexes if index is not None]
        if None not in found:
            assert found == commands
            return
    raise AssertionError("the term changed five times, and nothing was wrong")


def rejoin(lab: Lab) -> None:
    """What a leader took while it was cut off gives way to what the others agreed on."""
    lab.one(by=3)
    first = lab.check_one_leader()
    lab.disconnect(first)
    for _ in range(3):
        lab.start(first, lab.next_command())
    lab.one(by=2)
    lab.disconnect(lab.check_one_leader())
    lab.connect(first)
    lab.one(by=2)
    lab.connect_all()
    lab.one(by=3)


def backup(lab: Lab) -> None:
    """Fifty pending entries on the wrong side, twice (Ruaft: five): logs that differ much agree fast."""
    lab.one(by=5)
    leader = lab.check_one_leader()
    near, *far = lab.others(leader)
    lab.disconnect(*far)
    for _ in range(50):
        lab.start(leader, lab.next_command())
    lab.sleep(0.5)
    lab.disconnect(leader, near)
    lab.connect(*far)
    lab.agree([lab.next_command() for _ in range(50)], by=3)
    second = lab.check_one_leader()
    away = next(member for member in far if member != second)
    lab.disconnect(away)
    for _ in range(50):
        lab.start(second, lab.next_command())
    lab.sleep(0.5)
    lab.disconnect(*lab.members)
    lab.connect(leader, near, away)
    lab.agree([lab.next_command() for _ in range(50)], by=3)
    lab.connect_all()
    lab.one(by=5)


def count(lab: Lab) -> None:
    """Few calls: for an election, for ten commands, for a second in which nothing happens.

    The election's are counted from when all run: members on Ray take their time to start, and until then a leader may
    have sent any number of heartbeats. Calls for votes are counted from the first one.
    """
    election, batch, idle = lab.rpc_limits
    running = lab.rpc_count()
    lab.check_one_leader()
    votes, calls = lab.rpc_count(PreVote, RequestVote), lab.rpc_count() - running
    assert 1 <= votes <= election, f"{votes} calls for votes"
    assert calls <= election, f"{calls} calls for an election"
    for _ in range(5):
        if _few_calls_for_a_batch(lab, batch):
            break
        lab.sleep(3.0)
    else:
        raise AssertionError("the term changed five times, and nothing was wrong")
    before = lab.rpc_count()
    lab.sleep(1.0)
    calls = lab.rpc_count() - before
    assert calls < idle, f"{calls} calls in a second without commands"


def _few_calls_for_a_batch(lab: Lab, limit: int) -> bool:
    leader = lab.check_one_leader()
    before = lab.rpc_count()
    state = lab.state_of(leader)
    first = lab.start(leader, lab.next_command())
    if first is None or state is None:
        return False
    commands = [lab.next_command() for _ in range(10)]
    if [lab.start(leader, command) for command in commands] != list(range(first + 1, first + 11)):
        return False
    found = [lab.wait(index, by=lab.size, term=state[0]) for index in range(first + 1, first + 11)]
    calls = lab.rpc_count() - before
    if lab.state_of(leader) != state or None in found:
        return False
    assert found == commands
    assert calls <= limit, f"{calls} calls for ten commands"
    return True


def unreliable_agree(lab: Lab) -> None:
    """Commands of five clients at a time, on a network that loses and delays; then all have them."""
    for _ in range(lab.rounds(49)):
        lab.agree([lab.next_command() for _ in range(5)], by=1)
    lab.set_network(unreliable=False, long_reordering=False)
    lab.one(by=5)


def even_group(lab: Lab) -> None:
    """Four agree without one of them, and not without two (RF1)."""
    lab.one(by=4)
    leader = lab.check_one_leader()
    first, second, _ = lab.others(leader)
    lab.disconnect(first)
    index = lab.one(by=3)
    lab.disconnect(second)
    for member in lab.connected:
        lab.start(member, lab.next_command())
    lab.sleep(2.0)
    lab.nothing_at(index + 1)
    lab.connect_all()
    lab.one(by=4)


def alone(lab: Lab) -> None:
    """One member is a group: it leads, agrees with itself, and has everything after a crash (RF2)."""
    index = lab.one(by=1)
    lab.crash(0)
    lab.restart(0)
    assert lab.one(by=1) > index
    assert index in lab.look_at(0), "what was committed is gone"


ROWS: Final[tuple[Row, ...]] = rows(
    Row(basic_agreement, size=5, real_time=True),
    Row(rpc_bytes, size=3, real_time=True),
    Row(bytes_beside_a_slow_follower, size=3, real_time=True),
    Row(follower_failure, size=3),
    Row(leader_failure, size=3),
    Row(fail_agree, size=3, real_time=True),
    Row(fail_no_agree, size=5),
    Row(concurrent_starts, size=3, real_time=True),
    Row(rejoin, size=3, real_time=True),
    Row(backup, size=5),
    Row(count, size=3, real_time=True),
    Row(unreliable_agree, size=5, unreliable=True),
    Row(even_group, size=4),
    Row(alone, size=1, real_time=True),
)
