"""Worlds from seeds: nothing bad happens, once healed something good does, and enough happened to mean anything."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.core.random_world import run


@pytest.mark.long
@pytest.mark.slow
def test_three_hundred_worlds() -> None:
    happened: Counter[str] = Counter()
    for seed in range(300):
        happened += run(seed, events=1000).counts
    rare = {what: count for what, count in happened.items() if count < 5}
    assert not rare, f"too little happened for the test to mean anything: {happened}"
    assert set(happened) == {
        *("crash", "truncation", "read", "election", "commit"),
        *("snapshot", "compaction", "installation", "reset by a start"),
    }


def test_a_seed_is_a_story() -> None:
    """The same seed plays the same events, so a failure can be looked at as often as one likes."""
    assert run(3, events=100).story == run(3, events=100).story
