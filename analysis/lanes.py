"""Lanes: where the calls of one client overlap, each goes where nothing else is going on.

Here:   until when a call occupies its place; the lane of each call among its client's.
Never:  what a call is about; numbers over all clients (porcupine.py), pictures (timeline.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from analysis.history import Call, Outcome


def occupied_until(call: Call) -> int | None:
    """Its return; None: for ever, since it may take effect at any time, whatever its caller has heard."""
    return None if call.outcome is Outcome.UNKNOWN else call.returned


def lanes(calls: Sequence[Call]) -> list[int]:
    """By call: the lowest lane of its client, from 0, that is free when it is invoked.

    Calls that overlap never share a lane. An invocation at the moment of a return overlaps, as it does for the judge.
    """
    answer = [0] * len(calls)
    clients: dict[str, _Lanes] = {}
    for number in sorted(range(len(calls)), key=lambda number: calls[number].invoked):
        call = calls[number]
        answer[number] = clients.setdefault(call.client, _Lanes()).place(call.invoked, occupied_until(call))
    return answer


class _Lanes:
    """Of one client. Lanes that are occupied for ever are in neither heap, so they cost nothing."""

    def __init__(self) -> None:
        self._count = 0
        self._free: list[int] = []
        self._busy: list[tuple[int, int]] = []
        """(until, lane)."""

    def place(self, begin: int, end: int | None) -> int:
        """To be asked in the order of `begin`."""
        while self._busy and self._busy[0][0] < begin:
            heapq.heappush(self._free, heapq.heappop(self._busy)[1])
        if self._free:
            lane = heapq.heappop(self._free)
        else:
            lane = self._count
            self._count += 1
        if end is not None:
            heapq.heappush(self._busy, (end, lane))
        return lane
