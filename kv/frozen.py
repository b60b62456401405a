"""The store as it was at one moment, read in order while it goes on changing: copy on write, key by key.

Here:   `Frozen`: what was there, what changed since and was not read yet.
Never:  bytes of a snapshot, limits, commands (machine.py).

Freezing copies nothing, whatever the number of keys. From then on the machine says of each key, before it changes it,
what it holds; the first such value of a key that was not read yet is kept. So at most the keys that change while a
snapshot is read are kept twice, and reading goes on from block to block of the store's own order:

- a key that is there and was not changed is read from the store;
- a key that was changed, or removed, is read as it is kept (`_kept`), at its place in the order (`_changed`);
- a key that was not there when it was frozen is kept as None, and passed over.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from kv.parts import Stored
from kv.sorted_keys import SortedKeys


class Frozen:
    """Of one snapshot. Read once, by the thread that changes the store."""

    def __init__(self, keys: SortedKeys, values: dict[bytes, Stored]) -> None:
        """The store's own keys and values, which go on changing."""
        self._keys = keys
        self._values = values
        self._passed: bytes | None = None
        """The last key that was read; all below it were."""
        self._kept: dict[bytes, Stored | None] = {}
        self._changed: list[bytes] = []
        """A heap of those keys in `_kept` that were there."""

    def before_change(self, key: bytes) -> None:
        """The store is about to write or remove this key."""
        if key in self._kept or (self._passed is not None and key <= self._passed):
            return
        stored = self._kept[key] = self._values.get(key)
        if stored is not None:
            heapq.heappush(self._changed, key)

    def items(self) -> Iterator[tuple[bytes, Stored]]:
        """All keys and values of that moment, ascending. The store may change between two of them."""
        block = self._keys.block_from(b"")
        while block or self._changed:
            for key in block:
                yield from self._changed_below(key)
                if key in self._kept:
                    stored = self._kept.pop(key)
                    if stored is not None:
                        heapq.heappop(self._changed)
                else:
                    stored = self._values[key]
                self._passed = key
                if stored is not None:
                    yield key, stored
            if not block:
                yield from self._changed_below(None)
                return
            block = self._keys.block_from(block[-1] + b"\0")

    def _changed_below(self, key: bytes | None) -> Iterator[tuple[bytes, Stored]]:
        """Those that are not in the store any more, or were not when the block was taken."""
        while self._changed and (key is None or self._changed[0] < key):
            changed = heapq.heappop(self._changed)
            stored = self._kept.pop(changed)
            assert stored is not None, "only keys that were there are in the heap"
            self._passed = changed
            yield changed, stored
