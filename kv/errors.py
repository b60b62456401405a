"""Every error of the key-value store: what went wrong, what to do, and whether the operation can still happen.

Here:   the errors only the store knows, the family that travels inside results, and the shared ones by their kv names.
Never:  how a refusal is written into a result (results.py), who checks what (limits.py, machine.py).

`KVError` is raft_actors' `OperationError` itself, so one `except` covers what the store and what the group raises.
Texts hold sizes, versions and kinds, never keys or values: errors end in logs.
"""

from __future__ import annotations

from typing import ClassVar, Self

from raft_actors.errors import (
    ClientClosed,
    LogFull,
    NoQuorum,
    OperationError,
    Outcome,
    Overloaded,
    SessionLost,
    StorageError,
    Timeout,
)

KVError = OperationError

__all__ = [
    "AnswerMalformed",
    "ArgumentInvalid",
    "BatchTooLarge",
    "ClientClosed",
    "CommandMalformed",
    "KVError",
    "KeyInvalid",
    "KeyTooLarge",
    "LogFull",
    "NoQuorum",
    "Overloaded",
    "SessionLost",
    "SnapshotMalformed",
    "StoreRefusal",
    "Timeout",
    "TypeMismatch",
    "UseAio",
    "ValueNotNative",
    "ValueOpaque",
    "ValueTooLarge",
    "ValueUnreadable",
    "VersionMismatch",
]


class StoreRefusal(KVError):
    """The store looked at the operation and refused it; nothing changed. Always definite.

    A refusal is a result that every member computes and hashes, so only its code and details travel; the sentence is
    made where it is read. `sentence` and `detail_names` (in the order in which they travel) make a subclass.
    """

    sentence: ClassVar[str]
    detail_names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, **details: int | str) -> Self:
        """The refusal with these details; they must be exactly those of `detail_names`."""
        assert details.keys() == set(cls.detail_names), f"{cls.__name__} needs {cls.detail_names}"
        return cls(cls.sentence.format(**details), outcome="not_done", **details)


class KeyInvalid(StoreRefusal, ValueError):
    """The key is no key."""

    sentence = "a key must be a str of at least 1 byte that UTF-8 can encode: use another key"


class KeyTooLarge(StoreRefusal, ValueError):
    """The key has more bytes of UTF-8 than the store allows."""

    sentence = "the key has {size_bytes} bytes of UTF-8, the store allows {size_bytes_max}: use a shorter key"
    detail_names = ("size_bytes", "size_bytes_max")

    size_bytes: int
    size_bytes_max: int


class ValueTooLarge(StoreRefusal, ValueError):
    """The value, encoded, has more bytes than the store allows; for an append, after it."""

    sentence = "the encoded value has {size_bytes} bytes, the store allows {size_bytes_max}: split it over several keys"
    detail_names = ("size_bytes", "size_bytes_max")

    size_bytes: int
    size_bytes_max: int


class BatchTooLarge(StoreRefusal, ValueError):
    """One put_many, or the request or the answer of one get_many, has more bytes than the store allows."""

    sentence = "the batch has {size_bytes} bytes, the store allows {size_bytes_max}: split it into smaller ones"
    detail_names = ("size_bytes", "size_bytes_max")

    size_bytes: int
    size_bytes_max: int


class VersionMismatch(StoreRefusal):
    """`if_version` is not the key's version. `current` is the key's version, 0 when the key is missing."""

    sentence = "the key has version {current}, not {expected} (0: no such key): read it again and decide anew"
    detail_names = ("current", "expected")

    current: int
    expected: int

    @property
    def told(self) -> dict[str, int]:
        return {"version": self.current}


class TypeMismatch(StoreRefusal, TypeError):
    """The two values cannot be appended to each other. `stored` is "missing" when there was no value."""

    sentence = "append takes str to str, bytes to bytes and list to list, not {given} to {stored}: use put"
    detail_names = ("stored", "given")

    stored: str
    given: str


class CommandMalformed(StoreRefusal, ValueError):
    """The store does not understand the bytes it was sent."""

    sentence = "the store does not understand this command: use the version of raft-actors that the store runs"


class ArgumentInvalid(KVError, ValueError):
    """An argument other than key or value makes no sense; nothing was sent."""


class ValueNotNative(KVError, TypeError):
    """The value needs cloudpickle, which this client may not use or which cannot take it; nothing was sent."""


class ValueOpaque(KVError, TypeError):
    """The value read is a pickle, and this reader may not open those."""


class ValueUnreadable(KVError, ValueError):
    """The value read cannot be decoded: its bytes are damaged, or its writer's classes are not here."""


class UseAio(KVError):
    """A blocking call inside a running event loop; nothing was sent."""


class AnswerMalformed(KVError, ValueError):
    """The store's answer cannot be understood, so that what happened is not known."""

    default_outcome: ClassVar[Outcome] = "unknown"


class SnapshotMalformed(StorageError):
    """The bytes are no snapshot of the store, or damaged; the machine is as it was. Restore another snapshot."""
