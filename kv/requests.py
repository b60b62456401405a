"""What each call of a client asks of the store, and how its answer is read.

Here:   `Requests`, which makes a `Request` of a call's arguments, and refuses those that the store would refuse.
Never:  sending and waiting (client.py), the bytes themselves (commands.py, results.py, values.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from kv.commands import encode_append, encode_delete, encode_get, encode_put, encode_put_many, encode_scan
from kv.encoded import Encoded, Versioned
from kv.errors import ArgumentInvalid
from kv.limits import Limits
from kv.recorded import RecordedBatch, recorded_found, recorded_parts, recorded_value
from kv.results import Page, decode_deleted, decode_found, decode_page, decode_version, decode_versions
from kv.values import decode, encode
from raft_actors.client.records import Measure
from raft_actors.recording.schema import Row

T = TypeVar("T")
Consistency: TypeAlias = Literal["linearizable", "stale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[T]):
    """One operation, ready to be sent."""

    op: str
    data: bytes
    read: Consistency | None
    """None: it writes."""
    decode: Callable[[bytes], T]
    asked: Callable[[], Row]
    """What a record of it says from the start (raft_actors/recording/schema.py); called only where there is one."""
    measure: Measure
    """What a record of it says of its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The requests of one client. Each is named as the client's call; its docstring says what its answer becomes."""

    allow_pickle: bool
    limits: Limits

    def decode(self, value: Encoded) -> Any:
        """For whoever reads a page one by one; opens a pickle only if this client may."""
        return decode(value, allow_pickle=self.allow_pickle)

    def get(self, key: str, default: Any, consistency: Consistency) -> Request[Any]:
        """The key's value, or `default`."""

        def value(result: bytes) -> Any:
            found = decode_found(result, [key])[0]
            return default if found is None else self.decode(found.value)

        return self._get_request(key, consistency, value)

    def get_versioned(self, key: str) -> Request[Versioned[Any] | None]:
        """The key's value and version, or None."""

        def versioned(result: bytes) -> Versioned[Any] | None:
            found = decode_found(result, [key])[0]
            return None if found is None else Versioned(self.decode(found.value), found.version)

        return self._get_request(key, "linearizable", versioned)

    def _get_request(self, key: str, consistency: Consistency, value: Callable[[bytes], T]) -> Request[T]:
        data = encode_get([key], limits=self.limits)
        return Request(
            op="get",
            data=data,
            read=_checked(consistency),
            decode=value,
            asked=lambda: {"key": key, "consistency": consistency},
            measure=lambda result: recorded_found(decode_found(result, [key])[0]),
        )

    def put(self, key: str, value: Any, if_version: int | None) -> Request[int]:
        """The key's new version."""
        encoded = self._encode(value)
        data = encode_put(key, encoded, if_version=if_version, limits=self.limits)
        return self._one_write("put", key, data, encoded, if_version)

    def append(self, key: str, value: Any) -> Request[int]:
        """The key's new version."""
        encoded = self._encode(value)
        return self._one_write("append", key, encode_append(key, encoded, limits=self.limits), encoded, None)

    @staticmethod
    def _one_write(op: str, key: str, data: bytes, value: Encoded, if_version: int | None) -> Request[int]:
        return Request(
            op=op,
            data=data,
            read=None,
            decode=decode_version,
            asked=lambda: {"key": key, "if_version": if_version, **recorded_value(value)},
            measure=lambda result: {"version": decode_version(result)},
        )

    def delete(self, key: str, if_version: int | None) -> Request[bool]:
        """Whether the key was there."""
        data = encode_delete(key, if_version=if_version, limits=self.limits)
        return Request(
            op="delete",
            data=data,
            read=None,
            decode=decode_deleted,
            asked=lambda: {"key": key, "if_version": if_version},
            measure=lambda result: {"found": decode_deleted(result)},
        )

    def put_many(self, values: Mapping[str, Any]) -> Request[dict[str, int]]:
        """The keys' new versions."""
        encoded = {key: self._encode(value) for key, value in values.items()}
        keys = tuple(encoded)
        recorded = RecordedBatch(encoded)

        def versions(result: bytes) -> dict[str, int]:
            return decode_versions(result, keys)

        return Request(
            op="put_many",
            data=encode_put_many(encoded, limits=self.limits),
            read=None,
            decode=versions,
            asked=recorded.asked,
            measure=lambda result: recorded.told(versions(result)),
        )

    def get_many(self, keys: Iterable[str], consistency: Consistency) -> Request[dict[str, Any]]:
        """The values of the keys that are there."""
        keys = tuple(dict.fromkeys(keys))

        def values(result: bytes) -> dict[str, Any]:
            pairs = zip(keys, decode_found(result, keys), strict=True)
            return {key: self.decode(found.value) for key, found in pairs if found is not None}

        return Request(
            op="get_many",
            data=encode_get(keys, limits=self.limits),
            read=_checked(consistency),
            decode=values,
            asked=lambda: {"consistency": consistency},
            measure=lambda result: {"parts": recorded_parts(dict(zip(keys, decode_found(result, keys), strict=True)))},
        )

    def scan(
        self, prefix: str, start_after: str | None, limit: int, consistency: Consistency
    ) -> Request[dict[str, Any]]:
        """The values of one page, by key."""

        def values(result: bytes) -> dict[str, Any]:
            return {key: self.decode(found.value) for key, found in decode_page(result).items.items()}

        return self._scan_request(prefix, start_after, limit, consistency, values)

    def page(self, prefix: str, start_after: str | None, limit: int) -> Request[Page]:
        """One page as it came, its values not decoded."""
        return self._scan_request(prefix, start_after, limit, "linearizable", decode_page)

    def _scan_request(
        self,
        prefix: str,
        start_after: str | None,
        limit: int,
        consistency: Consistency,
        read: Callable[[bytes], T],
    ) -> Request[T]:
        data = encode_scan(prefix, start_after=start_after, limit=limit, limits=self.limits)
        return Request(
            op="scan",
            data=data,
            read=_checked(consistency),
            decode=read,
            asked=lambda: {"consistency": consistency},
            measure=lambda result: {"parts": recorded_parts(decode_page(result).items)},
        )

    def _encode(self, value: Any) -> Encoded:
        return encode(value, allow_pickle=self.allow_pickle, value_bytes_max=self.limits.value_bytes_max)


def _checked(consistency: Consistency) -> Consistency:
    if consistency not in ("linearizable", "stale"):
        raise ArgumentInvalid(f'consistency={consistency!r} must be "linearizable" or "stale"')
    return consistency
