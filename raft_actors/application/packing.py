"""Messages as bytes: a version byte, then msgpack, then a check of every field. Never pickle.

Here:   `Codec`, which reads a message's layout off its frozen dataclass; `Malformed`; the limits of what is decoded.
Never:  which messages exist (frames.py, exchange.py, requests.py).

A field's annotation says how it travels and what is accepted: `int` from 0 to 2**63 - 1, `bytes`, `str`, `bool`,
a `NewType` of bytes (16 bytes: an id that was drawn), an `Enum` of ints, `X | None`, `tuple[X, ...]`, a dataclass (its
fields in order), a union of dataclasses (their place in the union, then the fields). Order of fields and of unions is
the format: whoever changes it raises the version; golden bytes in the tests say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, Generic, NewType, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack

from raft_actors.errors import RefusedError

T = TypeVar("T")

ID_BYTES: Final = 16
"""Length of every id that is drawn at random: clients, epochs, directories, clusters."""
COUNT_MAX: Final = 2**63 - 1
"""Largest number that travels."""
ITEMS_MAX: Final = 65_536
"""Most items of one list."""
TEXT_CHARS_MAX: Final = 4_096
"""Longest text (reasons, hints) that travels."""


SHORT_BYTES_MAX: Final = 1_024
"""So short a message cannot announce more than some megabytes, however it nests its lists."""


class Malformed(RefusedError, ValueError):
    """These bytes are no message of this version: drop and count them, and check that both sides run the same code."""


_Pack: TypeAlias = Callable[[Any], Any]
_Unpack: TypeAlias = Callable[[Any], Any]
_Pair: TypeAlias = tuple[_Pack, _Unpack]


def require_whole(data: bytes, start: int = 0) -> None:
    """Raise ValueError unless `data` holds, from `start` on, every element that its msgpack announces.

    msgpack makes room for a list when it reads the list's length. A list in a list in a list, 5 bytes each, so asks for
    a hundred megabytes with some kilobytes. This looks at all of it first and makes nothing.
    """
    if len(data) <= SHORT_BYTES_MAX or (b"\xdd" not in data and b"\xdc" not in data):
        return  # a list of more than 15 elements begins with one of these
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(memoryview(data)[start:])
    try:
        while unpacker.tell() < len(data) - start:
            unpacker.skip()
    except msgpack.UnpackException as failure:
        raise ValueError("msgpack that announces more than it holds, or nests too deeply") from failure


class Codec(Generic[T]):
    """Encodes and decodes one kind of message, `kind`, or one of a union of kinds."""

    def __init__(self, kind: Any, *, version: int) -> None:
        assert 0 < version < 256, f"a version is one byte above 0, got {version}"
        self._version = bytes([version])
        self._pack, self._unpack = _pair_for(kind)

    def encode(self, message: T) -> bytes:
        """The bytes of `message`, which is ours and therefore not checked again."""
        packed: bytes = msgpack.packb(self._pack(message))
        return self._version + packed

    def decode(self, data: bytes) -> T:
        """The message in `data`, every field checked. Raises `Malformed`, whatever the bytes are."""
        if type(data) is not bytes or data[:1] != self._version:
            raise Malformed(f"expected bytes of version {self._version[0]}, got {data[:1]!r} in front")
        try:
            require_whole(data, 1)
            raw = msgpack.unpackb(
                memoryview(data)[1:],
                raw=False,
                max_array_len=min(ITEMS_MAX, len(data)),
                max_map_len=0,
                max_ext_len=0,
            )
        except (ValueError, msgpack.UnpackException) as failure:
            raise Malformed(f"{len(data)} bytes are not msgpack: {type(failure).__name__}") from failure
        message: T = self._unpack(raw)
        return message


def _pair_for(hint: Any) -> _Pair:
    """How values of this annotation are packed, and unpacked with a check."""
    if isinstance(hint, NewType):
        return (_as_is, _unpack_id) if hint.__supertype__ is bytes else _pair_for(hint.__supertype__)
    if hint in _PLAIN:
        return _as_is, _PLAIN[hint]
    if get_origin(hint) is tuple:
        item, ellipsis = get_args(hint)
        assert ellipsis is Ellipsis, f"only tuples of any length travel, not {hint}"
        return _pair_for_tuple(*_pair_for(item))
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        if len(kinds) == len(get_args(hint)):
            return _pair_for_union(kinds)
        assert len(kinds) == 1, f"only one kind or None travels, not {hint}"
        return _pair_for_optional(*_pair_for(kinds[0]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _pair_for_enum(hint)
    assert isinstance(hint, type), f"{hint} cannot travel"
    assert is_dataclass(hint), f"{hint} cannot travel"
    return _pair_for_dataclass(hint)


def _as_is(value: Any) -> Any:
    return value


def _unpack_id(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != ID_BYTES:
        raise Malformed(f"expected an id of {ID_BYTES} bytes, got {_shape(value)}")
    return value


def _unpack_count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise Malformed(f"expected a whole number from 0 to {COUNT_MAX}, got {_shape(value)}")
    return value


def _unpack_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Malformed(f"expected true or false, got {_shape(value)}")
    return value


def _unpack_bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise Malformed(f"expected bytes, got {_shape(value)}")
    return value


def _unpack_text(value: Any) -> str:
    if type(value) is not str or len(value) > TEXT_CHARS_MAX:
        raise Malformed(f"expected at most {TEXT_CHARS_MAX} characters, got {_shape(value)}")
    return value


_PLAIN: Final[dict[Any, _Unpack]] = {
    int: _unpack_count,
    bool: _unpack_bool,
    bytes: _unpack_bytes,
    str: _unpack_text,
}


def _pair_for_tuple(pack: _Pack, unpack: _Unpack) -> _Pair:
    def unpack_tuple(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise Malformed(f"expected a list, got {_shape(value)}")
        return tuple([unpack(item) for item in value])

    def pack_tuple(items: Any) -> list[Any]:
        assert len(items) <= ITEMS_MAX, f"{len(items)} items in one list, nobody could read them; at most {ITEMS_MAX}"
        return list(items) if pack is _as_is else [pack(item) for item in items]

    return pack_tuple, unpack_tuple


def _pair_for_optional(pack: _Pack, unpack: _Unpack) -> _Pair:
    return (
        _as_is if pack is _as_is else (lambda value: None if value is None else pack(value)),
        lambda value: None if value is None else unpack(value),
    )


def _pair_for_enum(kind: type[Enum]) -> _Pair:
    by_value = {member.value: member for member in kind}

    def unpack_enum(value: Any) -> Enum:
        if type(value) is not int or value not in by_value:
            raise Malformed(f"expected a {kind.__name__}, got {_shape(value)}")
        return by_value[value]

    return (lambda member: member.value), unpack_enum


def _pair_for_dataclass(kind: type[Any]) -> _Pair:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    pairs = [_pair_for(hints[name]) for name in names]
    packs = [pack for pack, _ in pairs]
    unpacks = [unpack for _, unpack in pairs]
    is_plain = all(pack is _as_is for pack in packs)

    def pack_dataclass(message: Any) -> list[Any]:
        values = [getattr(message, name) for name in names]
        return values if is_plain else [pack(value) for pack, value in zip(packs, values, strict=False)]

    def unpack_dataclass(value: Any) -> Any:
        if type(value) is not list or len(value) != len(unpacks):
            raise Malformed(f"expected the {len(unpacks)} fields of {kind.__name__}, got {_shape(value)}")
        made = [unpack(item) for unpack, item in zip(unpacks, value, strict=False)]
        return kind(**dict(zip(names, made, strict=False)))

    return pack_dataclass, unpack_dataclass


def _pair_for_union(kinds: Sequence[Any]) -> _Pair:
    pairs = [_pair_for_dataclass(kind) for kind in kinds]
    packs = {kind: (tag, pack) for tag, (kind, (pack, _)) in enumerate(zip(kinds, pairs, strict=True))}
    unpacks = [unpack for _, unpack in pairs]

    def pack_union(message: Any) -> list[Any]:
        tag, pack = packs[type(message)]
        return [tag, *pack(message)]

    def unpack_union(value: Any) -> Any:
        if type(value) is not list or not value or type(value[0]) is not int or not 0 <= value[0] < len(unpacks):
            raise Malformed(f"expected one of {[kind.__name__ for kind in kinds]}, got {_shape(value)}")
        return unpacks[value[0]](value[1:])

    return pack_union, unpack_union


def _shape(value: Any) -> str:
    """What a value is, without what it says: values of users do not belong in texts."""
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, bytes | str | list) else type(value).__name__
