"""The versioned election timer: one deadline, drawn anew at each restart, fired once."""

from __future__ import annotations

import random

from raft_actors.peer.election_timer import SOON_MS_MAX, ElectionTimer

LOW_MS, HIGH_MS = 600, 1200


def timer(seed: int = 1) -> ElectionTimer:
    return ElectionTimer(random.Random(seed), timeout_ms_min=LOW_MS, timeout_ms_max=HIGH_MS)


def drawn(which: ElectionTimer, *, soon: bool = False, now_ms: int = 0) -> int:
    which.restart(1, now_ms, soon=soon)
    assert which.deadline is not None
    return which.deadline.at_ms - now_ms


def test_none_runs_before_the_first_restart() -> None:
    assert timer().deadline is None
    assert timer().fire(10**9) is None


def test_timeouts_are_drawn_from_the_whole_interval() -> None:
    which = timer()
    draws = {drawn(which, now_ms=5000) for _ in range(10_000)}
    assert draws == set(range(LOW_MS, HIGH_MS + 1))


def test_soon_is_soon_and_apart() -> None:
    which = timer()
    assert {drawn(which, soon=True) for _ in range(2_000)} == set(range(SOON_MS_MAX + 1))


def test_the_dice_decide() -> None:
    assert [drawn(timer(7)) for _ in range(3)] == [drawn(timer(7)) for _ in range(3)]


def test_it_fires_once_at_its_deadline_with_its_generation() -> None:
    which = timer()
    which.restart(5, 0, soon=False)
    assert which.deadline is not None
    at_ms = which.deadline.at_ms
    assert which.fire(at_ms - 1) is None
    assert which.fire(at_ms) == 5
    assert which.fire(at_ms + 1) is None


def test_a_restart_voids_the_deadline_before() -> None:
    which = timer()
    which.restart(1, 0, soon=False)
    which.restart(2, HIGH_MS, soon=False)
    assert which.fire(HIGH_MS) is None
    assert which.fire(2 * HIGH_MS) == 2


def test_a_stopped_one_does_not_fire() -> None:
    which = timer()
    which.restart(1, 0, soon=False)
    which.stop()
    assert which.fire(10**9) is None
