"""A dumb twin of all sessions together: the rules of sessions.py, read off the whole history at every frame.

Here:   several clients, sessions that come, go idle, are crowded out and come back; every outcome compared.
Never:  what honest clients may rely on (test_sessions.py): here frames are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_actors.application.frames import Computed, Fenced, Frame, Outcome, SessionExpired, WindowExceeded
from raft_actors.application.sessions import Sessions
from raft_actors.application.settings import SessionLimits
from tests.application.builders import frame

LIMITS = SessionLimits(results_max=3, sessions_max=3, idle_ms_max=20)


@dataclass
class Life:
    """One session from its opening on: every frame that it was given, and when."""

    client_id: bytes
    frames: list[Frame] = field(default_factory=list)
    used_at: list[int] = field(default_factory=list)
    stamps_ms: list[int] = field(default_factory=list)
    results: dict[int, bytes] = field(default_factory=dict)
    """All that it ever computed."""

    @property
    def age(self) -> tuple[int, bytes]:
        """Who is dropped first: lowest last used index, then lowest client id."""
        return self.used_at[-1], self.client_id

    @property
    def acked_below(self) -> int:
        return max(given.acked_below for given in self.frames)


class Twin:
    """Lists, searched from end to end."""

    def __init__(self) -> None:
        self.living: list[Life] = []
        self.dropped_to = -1
        self.command_count = 0

    def apply_entry(self, index: int, stamp_ms: int, frames: Sequence[Frame]) -> tuple[Outcome, ...]:
        for life in [each for each in self.living if stamp_ms - each.stamps_ms[-1] >= LIMITS.idle_ms_max]:
            self._drop(life)
        outcomes = tuple([self._apply(index, stamp_ms, given) for given in frames])
        while len(self.living) > LIMITS.sessions_max:
            self._drop(min(self.living, key=lambda each: each.age))
        return outcomes

    def _drop(self, life: Life) -> None:
        self.living.remove(life)
        self.dropped_to = max(self.dropped_to, life.used_at[-1])

    def _apply(self, index: int, stamp_ms: int, given: Frame) -> Outcome:
        known = [life for life in self.living if life.client_id == given.client_id]
        if not known:
            if given.opens is None or given.opens <= self.dropped_to:
                return SessionExpired(applied_index=index)
            known = [Life(given.client_id)]
            self.living += known
        (life,) = known
        life.frames.append(given)
        life.used_at.append(index)
        life.stamps_ms.append(stamp_ms)
        if given.sequence < life.acked_below:
            return Fenced()
        if given.sequence - life.acked_below >= LIMITS.results_max:
            return WindowExceeded()
        if given.sequence not in life.results:
            self.command_count += 1
            life.results[given.sequence] = b"%d" % self.command_count
        return Computed(result=life.results[given.sequence])

    @property
    def clients(self) -> list[bytes]:
        return [life.client_id for life in sorted(self.living, key=lambda each: each.age)]

    @property
    def result_count(self) -> int:
        return sum(sequence >= life.acked_below for life in self.living for sequence in life.results)


given_frames = st.builds(
    lambda sequence, by, acked_below, opens: frame(sequence, by=by, acked_below=acked_below, opens=opens),
    sequence=st.integers(0, 9),
    by=st.sampled_from("abcde"),
    acked_below=st.integers(0, 6),
    opens=st.none() | st.integers(0, 25),
)
entries = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 12), st.lists(given_frames, max_size=5)), max_size=25)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(entries)
def test_all_sessions_do_what_their_dumb_twin_does(log: list[tuple[int, int, list[Frame]]]) -> None:
    sessions, twin = Sessions(LIMITS), Twin()
    commands: list[bytes] = []

    def run(command: bytes) -> bytes:
        commands.append(command)
        return b"%d" % len(commands)

    index = stamp_ms = 0
    for further, later_ms, frames in log:
        index, stamp_ms = index + further, stamp_ms + later_ms
        assert sessions.apply_entry(index, stamp_ms, frames, run) == twin.apply_entry(index, stamp_ms, frames)
        assert sessions.clients() == twin.clients
        assert (sessions.dropped_to, sessions.result_count) == (twin.dropped_to, twin.result_count)
    assert len(commands) == twin.command_count
