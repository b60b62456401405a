"""Rows about snapshots at the level of Raft (ruaft.md 2.4, 3D). The labs' service takes a snapshot each ten entries and
bounds the log by 2,000 bytes; ours takes them by the size of the log files, which `LOG_BYTES` bounds the same way.

Here:   one function for each row; its docstring says what it means, and what differs from the labs' text.
Never:  kinds of groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.catalogue.lab import COMMIT_S, LEADER_S, Lab
from tests.catalogue.row import Row, rows

LOG_BYTES: Final = 10_000
"""More than the state of any of these rows; a larger state would bound its log by its own size."""
BATCH_BYTES: Final = 4_000
"""What may be written between two looks at the size."""


def snapshot_basic(lab: Lab) -> None:
    """Thirty rounds of some commands: logs stay small, and everybody has a snapshot in the end, or soon after."""
    for _ in range(lab.rounds(30)):
        _some(lab, by=3)
        _is_small(lab)
    for _ in range(100):
        if all(lab.snapshot_index(member) for member in lab.members):
            return
        lab.one(by=3)
    raise AssertionError("somebody takes no snapshot, whatever is written")


def snapshot_install(lab: Lab) -> None:
    """Thirty times somebody is cut off, each third time the leader, while the others go on: it catches up, from a
    snapshot where the log does not reach back."""
    _go_on_without(lab, lab.disconnect, lab.connect)


def snapshot_install_unreliable(lab: Lab) -> None:
    """The same, on a network that loses and delays."""
    snapshot_install(lab)


def snapshot_install_crash(lab: Lab) -> None:
    """The same, with the victim killed and started again."""
    _go_on_without(lab, lab.crash, lab.restart)


def snapshot_install_uncrash(lab: Lab) -> None:
    """The same, on a network that loses and delays."""
    snapshot_install_crash(lab)


def snapshot_all_crash(lab: Lab) -> None:
    """Five times everybody is killed and started again: the log goes on behind where it was."""
    for _ in range(5):
        index = _some(lab, by=3)
        lab.crash(*lab.members)
        lab.restart(*lab.members)
        assert lab.one(by=3) > index, "the log began anew"


def snapshot_init(lab: Lab) -> None:
    """A snapshot, one command, everybody killed, one command, everybody killed: the snapshot is in use each time."""
    for _ in range(3):
        _some(lab, by=3, count=40)
    lab.until(lambda: all(lab.snapshot_index(member) for member in lab.members), LEADER_S, "all have a snapshot")
    for _ in range(2):
        lab.crash(*lab.members)
        lab.restart(*lab.members)
        assert all(lab.snapshot_index(member) for member in lab.members), "it began without its snapshot"
        lab.one(by=3)


def _some(lab: Lab, *, by: int, count: int | None = None) -> int:
    """Five to fourteen commands, and one that all have to have; its index."""
    leader = lab.check_one_leader()
    for _ in range(count or lab.draw(5, 14)):
        lab.start(leader, lab.next_command())
    return lab.one(by=by)


def _go_on_without(lab: Lab, take: Callable[[int], None], bring_back: Callable[[int], None]) -> None:
    for number in range(lab.rounds(30)):
        leader = lab.check_one_leader()
        victim = leader if number % 3 == 2 else lab.others(leader)[0]
        take(victim)
        _some(lab, by=2)
        _is_small(lab)
        bring_back(victim)
        lab.one(by=3)


def _is_small(lab: Lab) -> None:
    limit = 2 * LOG_BYTES + BATCH_BYTES
    lab.until(lambda: lab.log_bytes() <= limit, COMMIT_S, f"no log is larger than {limit} bytes")


ROWS: Final[tuple[Row, ...]] = rows(
    Row(snapshot_basic, size=3, snapshot_log_bytes=LOG_BYTES, real_time=True),
    Row(snapshot_install, size=3, snapshot_log_bytes=LOG_BYTES),
    Row(snapshot_install_unreliable, size=3, unreliable=True, snapshot_log_bytes=LOG_BYTES),
    Row(snapshot_install_crash, size=3, snapshot_log_bytes=LOG_BYTES),
    Row(snapshot_install_uncrash, size=3, unreliable=True, snapshot_log_bytes=LOG_BYTES),
    Row(snapshot_all_crash, size=3, unreliable=True, snapshot_log_bytes=LOG_BYTES),
    Row(snapshot_init, size=3, unreliable=True, snapshot_log_bytes=LOG_BYTES),
)
