"""Reads that share a question to the peer, on an event loop.

Here:   `ReadRounds`: who arrives while a question is under way shares the next one.
Never:  the question (actor.py), what is read (reads.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from raft_actors.application.exchange import ReadAnswer

Known: TypeAlias = "asyncio.Future[ReadAnswer | None]"


class ReadRounds:
    """From which index on is a state new enough? An answer to a question asked before the read arrived would not do
    (dissertation §6.4)."""

    def __init__(self, question: Callable[[], Known]) -> None:
        self._question = question
        self._under_way: Known | None = None
        self._next: Known | None = None

    def ask(self) -> Known:
        """The answer to a question that is asked from now on."""
        if self._under_way is None:
            return self._begin()
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def _begin(self) -> Known:
        self._under_way = known = self._question()
        known.add_done_callback(self._ended)
        return known

    def _ended(self, _: Known) -> None:
        """One question is answered: ask the next, if anybody came meanwhile."""
        self._under_way = None
        waiting, self._next = self._next, None
        if waiting is not None:
            self._begin().add_done_callback(lambda known: settle(waiting, known.result()))


def settle(future: asyncio.Future[Any], answer: Any) -> None:
    """Set a result, unless the future has one."""
    if not future.done():
        future.set_result(answer)
