"""A state written down as a stream of plain fields: how snapshots are made and read.

Here:   `pack_fields`, `FieldReader`. Fields are numbers, bytes and text (msgpack), never containers, so nothing
        is allocated that the bytes do not hold.
Never:  what the fields mean (sessions.py, host.py, kv/machine.py), files and checksums (raft_actors/storage).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgpack

from raft_actors.application.packing import Malformed

F = TypeVar("F", int, bytes, str)


def pack_fields(fields: Iterable[int | bytes | str]) -> Iterator[bytes]:
    """One piece for each field."""
    return map(msgpack.Packer().pack, fields)


class FieldReader:
    """The fields at the beginning of a stream, then whatever follows them."""

    def __init__(self, chunks: Iterable[memoryview]) -> None:
        """Takes chunks as it needs them."""
        self._chunks = iter(chunks)
        self._chunk = memoryview(b"")
        self._begin = 0
        """Where in the stream the present chunk begins."""
        self._unpacker = msgpack.Unpacker(max_array_len=0, max_map_len=0, max_ext_len=0)

    def read(self, kind: type[F]) -> F:
        """The next field. Raises `Malformed` for one of another type, and at the end."""
        value = self._next()
        if type(value) is not kind:
            raise Malformed(f"a {type(value).__name__} where a {kind.__name__} belongs")
        return value

    def read_count(self, most: int) -> int:
        """A number from 0 to `most`. Raises `Malformed`."""
        count = self.read(int)
        if not 0 <= count <= most:
            raise Malformed(f"{count} where at most {most} belong")
        return count

    def require_end(self) -> None:
        """Nothing follows. Raises `Malformed`."""
        if any(map(len, self.rest())):
            raise Malformed("bytes behind its end")

    def rest(self) -> Iterator[memoryview]:
        """The stream behind the fields that were read, which may not be read any more."""
        behind = self._chunk[self._unpacker.tell() - self._begin :]
        if behind:
            yield behind
        yield from self._chunks

    def _next(self) -> Any:
        while True:
            try:
                return next(self._unpacker)
            except StopIteration:
                pass
            except (ValueError, msgpack.UnpackException) as broken:
                raise Malformed("a field cannot be decoded") from broken
            self._begin += len(self._chunk)
            chunk = next(self._chunks, None)
            if chunk is None:
                raise Malformed("it is cut off")
            self._chunk = chunk
            self._unpacker.feed(chunk)
