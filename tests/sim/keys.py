"""The keys that the clients of a world use.

Here:   `Keys`: some at a time; one is given up for a fresh one before its history is too hard to judge.
Never:  what is asked of a key (client.py), judging (analysis/linearizability.py).

Two deletes of one key are the same bytes, so the machines cannot tell which of those of unknown outcome they ran: each
doubles what the judge has to try. And a search over thousands of calls goes far before it finds that it went wrong.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Final

DELETES_IN_DOUBT_MAX: Final = 3
"""Of one key, under way or of unknown outcome."""
CALLS_MAX: Final = 300
"""Of one key; a world of some hundred events makes fewer."""


class Keys:
    """Names in use, and those that were."""

    def __init__(self, count: int) -> None:
        self.in_use = [f"k{number}" for number in range(count)]
        self.given_up: list[str] = []
        self._calls: Counter[str] = Counter()
        self._deletes_in_doubt: Counter[str] = Counter()

    def draw(self, dice: random.Random) -> str:
        """One of those in use."""
        place = dice.randrange(len(self.in_use))
        key = self.in_use[place]
        if self._calls[key] >= CALLS_MAX or self._deletes_in_doubt[key] >= DELETES_IN_DOUBT_MAX:
            self.given_up.append(key)
            key = self.in_use[place] = f"k{place}.{len(self.given_up)}"
        return key

    def asked(self, key: str, *, is_delete: bool) -> None:
        """A call on this key begins."""
        self._calls[key] += 1
        self._deletes_in_doubt[key] += is_delete

    def delete_ended(self, key: str) -> None:
        """With a known outcome."""
        self._deletes_in_doubt[key] -= 1
