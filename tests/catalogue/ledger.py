"""A state machine that keeps every command it was given, so that a test can read what a member applied.

Here:   `Ledger`, and what its answer says.
Never:  the machine that users have (kv/machine.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgpack


class Ledger:
    """Commands by the index of their entry, in order. For entries of one command, as those of `start` are."""

    def __init__(self) -> None:
        self.commands: dict[int, bytes] = {}

    def apply(self, index: int, command: bytes) -> bytes:
        """Raises, and so stops its member, for an entry that comes again or too late."""
        last = next(reversed(self.commands), 0)
        if index <= last:
            raise ValueError(f"entry {index} was applied after entry {last}")
        self.commands[index] = command
        return b""

    def query(self, request: bytes) -> bytes:
        """All of it, whatever is asked: see `read_commands`."""
        packed: bytes = msgpack.packb(self.commands)
        return packed

    def snapshot(self) -> Iterator[bytes]:
        """In one piece, made when it is asked for."""
        yield self.query(b"")

    def restore(self, chunks: Iterator[memoryview]) -> None:
        """Become what a snapshot holds."""
        self.commands = read_commands(b"".join(chunks))


def read_commands(answer: bytes) -> dict[int, bytes]:
    """What a ledger had: commands by index."""
    commands: dict[int, bytes] = msgpack.unpackb(answer, strict_map_key=False)
    return commands
