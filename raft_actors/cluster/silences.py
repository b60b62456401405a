"""For how long nobody has heard of each member, whoever led meanwhile. Pure.

Here:   `Silences`, from one confirmed look at the members to the next.
Never:  what silence means (upkeep.py).

A leader counts from its election. Where leaders follow each other faster than a silence has to last, because their
applications are slow, say, every count begins anew, and a machine that is gone for good would be waited for until the
last of them stayed. So what one leader counted is added to what the one before had.

Who took part meanwhile must not be counted as silent. An answer to a leader that came and went between two looks is not
seen here. So a leader's own count has to have lasted for a moment, too: a member that works answers within it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from raft_actors.core.types import DirectoryId
from raft_actors.peer.membership import MemberLine, Membership

OWN_COUNT_MS_MIN: Final = 1000
"""Of a leader, before it is added to those of others."""


class Silences:
    """Since when the members of one group are silent."""

    def __init__(self) -> None:
        self._since_ms: dict[DirectoryId, int] = {}

    def across_leaders(self, view: Membership, now_ms: int) -> Membership:
        """The same view; `silent_ms` of who has not answered this leader yet goes on from leaders before it.

        `now_ms`: of one clock, whoever leads. To be called at every look; it forgets who is not listed.
        """
        before, self._since_ms = self._since_ms, {}
        return replace(view, lines=tuple(self._line(line, before, now_ms) for line in view.lines))

    def _line(self, line: MemberLine, before: dict[DirectoryId, int], now_ms: int) -> MemberLine:
        if line.directory_id is None or line.silent_ms is None:
            return line
        since_ms = now_ms - line.silent_ms
        if not line.heard:
            since_ms = min(since_ms, before.get(line.directory_id, since_ms))
        self._since_ms[line.directory_id] = since_ms
        return line if line.silent_ms < OWN_COUNT_MS_MIN else replace(line, silent_ms=now_ms - since_ms)
