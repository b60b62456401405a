"""The state machine of the catalogue's groups: it keeps every command that it was given, by index.

Here:   `Ledger`, what is asked of it and how its answer is read.
Never:  how it is asked (ray_lab.py, sim_lab.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgpack


class Ledger:
    """Commands by index. Its answer to a query says which life of it that is, and what it has beyond an index."""

    def __init__(self) -> None:
        self._commands: dict[int, bytes] = {}
        self._life = os.urandom(8)

    def apply(self, index: int, command: bytes) -> bytes:
        self._commands[index] = command
        return command

    def query(self, request: bytes) -> bytes:
        after = int(request)
        newer = [(index, self._commands[index]) for index in sorted(self._commands) if index > after]
        packed: bytes = msgpack.packb((self._life, newer))
        return packed

    def snapshot(self) -> Iterator[bytes]:
        whole: bytes = msgpack.packb(list(self._commands.items()))
        yield whole

    def restore(self, chunks: Iterator[memoryview]) -> None:
        self._commands = dict(msgpack.unpackb(b"".join(chunks)))
        self._life = os.urandom(8)


def asked(after: int) -> bytes:
    """A query for all beyond this index."""
    return b"%d" % after


def told(answer: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Which life answered, and what it has."""
    life, newer = msgpack.unpackb(answer)
    return life, dict(map(tuple, newer))
