"""The form in which a value travels and is stored: one byte for its kind, then its body.

Here:   `Kind`, `Encoded`, `Versioned`.
Never:  how a Python value becomes an `Encoded` and back (values.py): servers need this file, only clients that one.

The bodies of the three kinds that can be appended to are made so that the body of `a + b` is body(a) + body(b): UTF-8
for str, the bytes themselves, and msgpack elements one after the other, without a count, for list. So an append joins
bytes, and nobody decodes the value for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Kind(IntEnum):
    """First byte of an encoded value. The numbers are stored: never give one another meaning."""

    OTHER = 0
    """None, bool, int, float, dict or tuple: one msgpack object."""
    STR = 1
    BYTES = 2
    LIST = 3
    OPAQUE = 4
    """Anything else: a pickle, which only a client opens."""


APPENDABLE: Final = frozenset({Kind.STR, Kind.BYTES, Kind.LIST})
"""Kinds whose bodies can be joined."""

KIND_BYTES: Final = frozenset(int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True, repr=False)
class Encoded:
    """A value as the store holds it. `kv.decode` opens it."""

    data: bytes

    def __post_init__(self) -> None:
        if type(self.data) is not bytes or not self.data or self.data[0] not in KIND_BYTES:
            raise ValueError("an encoded value is bytes that start with a known kind")

    @property
    def kind(self) -> Kind:
        """What the body is."""
        return Kind(self.data[0])

    @property
    def size_bytes(self) -> int:
        """Bytes of the body: what counts against value_bytes_max."""
        return len(self.data) - 1

    def __repr__(self) -> str:
        # Never the data: reprs end in logs.
        return f"Encoded({self.kind.name}, {self.size_bytes} bytes)"


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """A value and the number of the write that made it; versions only rise, and no two writes share one."""

    value: T
    version: int
