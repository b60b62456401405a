"""What a client asks of the store, as bytes: commands that change it and queries that do not.

Here:   one frozen class per command and query, their encoders (which refuse early what the store would refuse) and
        decoders (which trust nothing).
Never:  what a command does (machine.py), results (results.py), sessions and batches of commands (the application host).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

from kv.encoded import KIND_BYTES, Encoded
from kv.errors import ArgumentInvalid, CommandMalformed, KeyInvalid
from kv.fields import pack, pack_many, unpack, unpack_many
from kv.limits import Limits

SCAN_LIMIT_DEFAULT: Final = 1000
SCAN_LIMIT_MAX: Final = 10_000
"""Keys in one page of a scan, so that one query never holds the machine for long."""


class Op(IntEnum):
    """First field of every command and query. The numbers are in the log: never give one another meaning."""

    PUT = 1
    APPEND = 2
    DELETE = 3
    PUT_MANY = 4
    GET = 16
    SCAN = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Set one key. `value` is an encoded value (encoded.py); `if_version` as in `encode_put`."""

    key: bytes
    value: bytes
    if_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Put `value` behind what the key holds, or create it."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Remove one key, if it is there."""

    key: bytes
    if_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PutMany:
    """Set several keys, all or none."""

    items: tuple[tuple[bytes, bytes], ...]
    size_bytes: int
    """Of the command: what counts against batch_bytes_max."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """Read these keys at one point in the history."""

    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Read one page of the keys that start with `prefix`, ascending."""

    prefix: bytes
    start_after: bytes | None
    limit: int


Command: TypeAlias = Put | Append | Delete | PutMany
Query: TypeAlias = Get | Scan


# -- the client's side ----------------------------------------------------------------------------------------------


def encode_put(key: str, value: Encoded, *, if_version: int | None = None, limits: Limits) -> bytes:
    """`if_version` is the version the key must have, 0 for a key that must be missing, None for either.

    Raises `KeyInvalid`, `KeyTooLarge`, `ValueTooLarge`, `ArgumentInvalid`.
    """
    limits.check_value(value.size_bytes)
    return pack(Op.PUT, _key(key, limits), value.data, _version(if_version))


def encode_append(key: str, value: Encoded, *, limits: Limits) -> bytes:
    """Raises `KeyInvalid`, `KeyTooLarge`, `ValueTooLarge`; whether kinds fit together only the store knows."""
    limits.check_value(value.size_bytes)
    return pack(Op.APPEND, _key(key, limits), value.data)


def encode_delete(key: str, *, if_version: int | None = None, limits: Limits) -> bytes:
    """Raises `KeyInvalid`, `KeyTooLarge`, `ArgumentInvalid`."""
    return pack(Op.DELETE, _key(key, limits), _version(if_version))


def encode_put_many(values: Mapping[str, Encoded], *, limits: Limits) -> bytes:
    """One atomic command; versions are given in the mapping's order.

    Raises `KeyInvalid`, `KeyTooLarge`, `ValueTooLarge`, and `BatchTooLarge` when the command is too long.
    """
    fields: list[bytes] = []
    for key, value in values.items():
        limits.check_value(value.size_bytes)
        fields += (_key(key, limits), value.data)
    # Checked before packing as well: a mapping far too large must not be copied first.
    limits.check_batch(sum(map(len, fields)))
    command = pack(Op.PUT_MANY, pack_many(fields))
    limits.check_batch(len(command))
    return command


def encode_get(keys: Sequence[str], *, limits: Limits) -> bytes:
    """Raises `KeyInvalid`, `KeyTooLarge`, and `BatchTooLarge` when the request is too long."""
    query = pack(Op.GET, pack_many(_key(key, limits) for key in keys))
    limits.check_batch(len(query))
    return query


def encode_scan(
    prefix: str = "", *, start_after: str | None = None, limit: int = SCAN_LIMIT_DEFAULT, limits: Limits
) -> bytes:
    """One page of at most `limit` keys, and of at most batch_bytes_max bytes. Raises `ArgumentInvalid`.

    `prefix` and `start_after` need not be keys; they only must not be longer than one.
    """
    if type(limit) is not int or not 1 <= limit <= SCAN_LIMIT_MAX:
        raise ArgumentInvalid(f"limit={limit!r} must be a whole number from 1 to {SCAN_LIMIT_MAX}: scan page by page")
    after = None if start_after is None else _text("start_after", start_after, limits)
    return pack(Op.SCAN, _text("prefix", prefix, limits), after, limit)


def _key(key: str, limits: Limits) -> bytes:
    if type(key) is not str:
        raise KeyInvalid.of()
    try:
        encoded = key.encode("utf-8")
    except UnicodeEncodeError:
        raise KeyInvalid.of() from None
    limits.check_key(encoded)
    return encoded


def _text(name: str, text: str, limits: Limits) -> bytes:
    try:
        encoded = text.encode("utf-8") if type(text) is str else None
    except UnicodeEncodeError:
        encoded = None
    if encoded is None or len(encoded) > limits.key_bytes_max:
        raise ArgumentInvalid(f"{name} must be a str of at most {limits.key_bytes_max} bytes of UTF-8")
    return encoded


def _version(if_version: int | None) -> int | None:
    if if_version is not None and (type(if_version) is not int or not 0 <= if_version < 2**63):
        raise ArgumentInvalid(f"if_version={if_version!r} must be None, 0 (no such key) or a version")
    return if_version


# -- the store's side -----------------------------------------------------------------------------------------------


def decode_command(command: bytes) -> Command:
    """The command in these bytes, with every field's type checked; limits are the machine's to check.

    Raises `CommandMalformed`, the same on every member for the same bytes.
    """
    match _fields(command):
        case [Op.PUT, bytes(key), bytes(value), if_version] if _is_value(value) and _is_version(if_version):
            return Put(key=key, value=value, if_version=if_version)
        case [Op.APPEND, bytes(key), bytes(value)] if _is_value(value):
            return Append(key=key, value=value)
        case [Op.DELETE, bytes(key), if_version] if _is_version(if_version):
            return Delete(key=key, if_version=if_version)
        case [Op.PUT_MANY, bytes(row)]:
            fields = _many(row)
            keys, values = fields[::2], fields[1::2]
            if len(keys) != len(values) or not all(map(_is_value, values)):
                raise CommandMalformed.of()
            return PutMany(items=tuple(zip(keys, values, strict=True)), size_bytes=len(command))
        case _:
            raise CommandMalformed.of()


def decode_query(query: bytes) -> Query:
    """The query in these bytes. Raises `CommandMalformed`."""
    match _fields(query):
        case [Op.GET, bytes(row)]:
            return Get(keys=tuple(_many(row)))
        case [Op.SCAN, bytes(prefix), None | bytes() as start_after, int(limit)] if 1 <= limit <= SCAN_LIMIT_MAX:
            return Scan(prefix=prefix, start_after=start_after, limit=limit)
        case _:
            raise CommandMalformed.of()


def _fields(row: bytes) -> list[Any]:
    try:
        return unpack(row)
    except ValueError:
        raise CommandMalformed.of() from None


def _many(row: bytes) -> list[bytes]:
    try:
        fields = unpack_many(row)
    except ValueError:
        raise CommandMalformed.of() from None
    if not all(type(field) is bytes for field in fields):
        raise CommandMalformed.of()
    return fields


def _is_value(value: bytes) -> bool:
    return len(value) > 0 and value[0] in KIND_BYTES


def _is_version(version: object) -> bool:
    return version is None or (type(version) is int and version >= 0)
