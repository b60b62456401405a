"""What the store answers, as bytes: results of commands and queries, refusals among them.

Here:   an encoder for the machine and a decoder for the client, per result; the one table of refusal codes.
Never:  texts on the wire: every member computes and hashes a result, so it holds codes and numbers alone.

Every decoder raises the refusal that the result holds, or `AnswerMalformed` (outcome unknown) when it holds neither
that nor what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kv.encoded import KIND_BYTES, Encoded, Versioned
from kv.errors import (
    AnswerMalformed,
    BatchTooLarge,
    CommandMalformed,
    KeyInvalid,
    KeyTooLarge,
    StoreRefusal,
    TypeMismatch,
    ValueTooLarge,
    VersionMismatch,
)
from kv.fields import Field, pack, pack_many, unpack, unpack_many
from kv.parts import Stored

OK: Final = 0

REFUSAL_CODES: Final[dict[int, type[StoreRefusal]]] = {
    1: KeyInvalid,
    2: KeyTooLarge,
    3: ValueTooLarge,
    4: BatchTooLarge,
    5: VersionMismatch,
    6: TypeMismatch,
    7: CommandMalformed,
}
"""First field of a result that is not OK. The numbers are hashed and stored: never give one another meaning."""

_CODE_OF: Final = {refusal: code for code, refusal in REFUSAL_CODES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a scan, in ascending order of the keys' UTF-8."""

    items: dict[str, Versioned[Encoded]]
    more: bool
    """Whether more keys follow: ask again with `start_after` = the last one here."""


# -- the store's side -----------------------------------------------------------------------------------------------


def encode_refusal(refusal: StoreRefusal) -> bytes:
    """The refusal's code and details."""
    return pack(_CODE_OF[type(refusal)], *(refusal.details[name] for name in refusal.detail_names))


def encode_version(version: int) -> bytes:
    """Result of put and append: the version written. Of put_many: the first one; the others follow by one each."""
    return pack(OK, version)


def encode_deleted(deleted: bool) -> bytes:
    """Result of delete: whether there was something to remove."""
    return pack(OK, deleted)


def encode_found(values: Iterable[Stored | None]) -> bytes:
    """Result of get: for each key asked for its version and value, in the order asked. Values must be joined."""
    fields: list[Field] = []
    for stored in values:
        fields += (0, None) if stored is None else (stored.version, stored.parts[0])
    return pack(OK, pack_many(fields))


def encode_page(items: Iterable[tuple[bytes, Stored]], more: bool) -> bytes:
    """Result of scan: keys with version and value. Values must be joined."""
    fields: list[Field] = []
    for key, stored in items:
        fields += (key, stored.version, stored.parts[0])
    return pack(OK, more, pack_many(fields))


# -- the client's side ----------------------------------------------------------------------------------------------


def decode_version(result: bytes) -> int:
    """The version that a put or append wrote."""
    match _fields_ok(result):
        case [int(version)] if version > 0:
            return version
        case _:
            raise _malformed()


def decode_versions(result: bytes, keys: Iterable[str]) -> dict[str, int]:
    """The versions that a put_many of these keys, in this order, wrote."""
    first = decode_version(result)
    return {key: first + offset for offset, key in enumerate(keys)}


def decode_deleted(result: bytes) -> bool:
    """Whether a delete removed something."""
    match _fields_ok(result):
        case [bool(deleted)]:
            return deleted
        case _:
            raise _malformed()


def decode_found(result: bytes, keys: Sequence[str]) -> list[Versioned[Encoded] | None]:
    """What a get of these keys found, in their order; None for a missing key."""
    match _fields_ok(result):
        case [bytes(row)]:
            fields = _many(row)
            if len(fields) != 2 * len(keys):
                raise _malformed()
            pairs = zip(fields[::2], fields[1::2], strict=True)
            return [None if version == 0 and data is None else _versioned(version, data) for version, data in pairs]
        case _:
            raise _malformed()


def decode_page(result: bytes) -> Page:
    """What one scan found."""
    match _fields_ok(result):
        case [bool(more), bytes(row)]:
            fields = _many(row)
            if len(fields) % 3 != 0:
                raise _malformed()
            rows = zip(fields[::3], fields[1::3], fields[2::3], strict=True)
            return Page(items={_key(key): _versioned(version, data) for key, version, data in rows}, more=more)
        case _:
            raise _malformed()


def _fields_ok(result: bytes) -> list[Any]:
    """The fields behind OK; raises the refusal when it is one."""
    try:
        code, *fields = unpack(result)
    except ValueError:
        raise _malformed() from None
    if type(code) is not int or code not in (OK, *REFUSAL_CODES):
        raise _malformed()
    if code == OK:
        return fields
    refusal = REFUSAL_CODES[code]
    if len(fields) != len(refusal.detail_names) or any(type(field) not in (int, str) for field in fields):
        raise _malformed()
    raise refusal.of(**dict(zip(refusal.detail_names, fields, strict=True)))


def _many(row: bytes) -> list[Any]:
    try:
        return unpack_many(row)
    except ValueError:
        raise _malformed() from None


def _versioned(version: object, data: object) -> Versioned[Encoded]:
    if type(version) is not int or version <= 0 or type(data) is not bytes or not data or data[0] not in KIND_BYTES:
        raise _malformed()
    return Versioned(Encoded(data), version)


def _key(key: object) -> str:
    try:
        if type(key) is bytes and key:
            return key.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise _malformed()


def _malformed() -> AnswerMalformed:
    return AnswerMalformed("the store's answer makes no sense: use the version of raft-actors that the store runs")
