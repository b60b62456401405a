"""Python values to and from what the store holds. Used by clients, and by servers for what is native.

Here:   what is native and how it is encoded; the pickle of everything else, and the only place that opens one.
Never:  imported by machine.py: the store compares, joins and returns values without knowing what they mean.

Native are None, bool, int64, float, str, bytes, list, dict with str keys, and tuple, of exactly these types
(`type(x) is`), nested up to 64 levels: they come back exactly as they went in, NaNs, -0.0 and the order of a dict
included. What is anywhere else, an int beyond 64 bits or a subclass too, makes the whole value opaque: a cloudpickle.
"""

from __future__ import annotations

from typing import Any, Final

import cloudpickle
import msgpack

from kv.encoded import Encoded, Kind, Versioned
from kv.errors import ValueNotNative, ValueOpaque, ValueTooLarge, ValueUnreadable
from raft_actors.application.packing import require_whole

__all__ = ["Encoded", "Versioned", "decode", "encode"]

DEPTH_MAX: Final = 64
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
TUPLE_EXT: Final = 1
"""msgpack extension type of a tuple; its data is the list of its elements."""

_LEAVES: Final = frozenset({type(None), bool, float, str, bytes})


def encode(value: Any, *, allow_pickle: bool = True, value_bytes_max: int) -> Encoded:
    """The value as the store holds it.

    Raises `ValueTooLarge` beyond value_bytes_max bytes, and `ValueNotNative` where the value is not native and
    allow_pickle is False, or where cloudpickle cannot take it.
    """
    encoded = _encode_native(value, value_bytes_max)
    if encoded is None:
        if not allow_pickle:
            raise ValueNotNative(
                f"a value of type {type(value).__qualname__!r} is not made of None, bool, int64, float, str, bytes, "
                "list, tuple and dict with str keys alone: convert it, or allow_pickle=True"
            )
        try:
            body = cloudpickle.dumps(value)
        except Exception as failure:  # a value's own __reduce__ may raise anything
            raise ValueNotNative(
                f"a value of type {type(value).__qualname__!r} can be neither encoded nor pickled: convert it"
            ) from failure
        encoded = _of(Kind.OPAQUE, body)
    if encoded.size_bytes > value_bytes_max:
        raise ValueTooLarge.of(size_bytes=encoded.size_bytes, size_bytes_max=value_bytes_max)
    return encoded


def decode(encoded: Any, allow_pickle: bool = True) -> Any:
    """The value that was put. What is no `Encoded` is a value already, and is returned as it is.

    **Opening an opaque value runs code of whoever wrote it**, like any unpickling: with allow_pickle=False it raises
    `ValueOpaque` instead. Raises `ValueUnreadable` for damaged bytes, and for a pickle whose classes are not here.
    """
    if not isinstance(encoded, Encoded):
        return encoded
    body = encoded.data[1:]
    kind = encoded.kind
    if kind is Kind.BYTES:
        return body
    if kind is not Kind.OPAQUE:
        try:
            return _decode_native(kind, body)
        except (ValueError, msgpack.UnpackException) as broken:
            raise ValueUnreadable("the value's bytes are damaged: put it again") from broken
    if not allow_pickle:
        raise ValueOpaque("the value is a pickle, which runs its writer's code when it is opened: allow_pickle=True")
    try:
        return cloudpickle.loads(body)
    except Exception as failure:  # a pickle runs its writer's code, which may raise anything
        raise ValueUnreadable("the pickled value cannot be opened: is its writer's code installed here?") from failure


def _of(kind: Kind, body: bytes) -> Encoded:
    return Encoded(bytes((kind,)) + body)


def _encode_native(value: Any, value_bytes_max: int) -> Encoded | None:
    """None for a value that is not native."""
    kind = type(value)
    try:
        if kind is str:
            return _of(Kind.STR, value.encode("utf-8"))
        if kind is bytes:
            return _of(Kind.BYTES, value)
        if not _is_native(value, value_bytes_max):
            return None
        if kind is list:
            packer = msgpack.Packer(strict_types=True, default=_tuple_as_extension, autoreset=False)
            for element in value:
                packer.pack(element)
            return _of(Kind.LIST, packer.bytes())
        return _of(Kind.OTHER, _pack(value))
    except UnicodeEncodeError:  # a str with half of a surrogate pair, which only a pickle can hold
        return None


def _is_native(value: Any, value_bytes_max: int) -> bool:
    """Level by level, so that neither depth nor a value that contains itself can exhaust the stack or the memory."""
    level, count = [value], 0
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for element in level:
            kind = type(element)
            if kind is int:
                if not INT64_MIN <= element <= INT64_MAX:
                    return False
            elif kind is list or kind is tuple:
                below.extend(element)
            elif kind is dict:
                if any(type(key) is not str for key in element):
                    return False
                below.extend(element.values())
            elif kind not in _LEAVES:
                return False
            # Each element costs a byte at least: what has more can be refused before it is encoded.
            if count + len(below) > value_bytes_max:
                raise ValueTooLarge.of(size_bytes=count + len(below), size_bytes_max=value_bytes_max)
        if not below:
            return True
        level, count = below, count + len(below)
    return False


def _pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value, strict_types=True, default=_tuple_as_extension))


def _tuple_as_extension(value: Any) -> msgpack.ExtType:
    assert type(value) is tuple, f"{type(value).__qualname__} is not native"
    return msgpack.ExtType(TUPLE_EXT, _pack(list(value)))


def _decode_native(kind: Kind, body: bytes) -> Any:
    """Raises ValueError or msgpack's UnpackException for damaged bytes."""
    if kind is Kind.STR:
        return body.decode("utf-8")
    if kind is Kind.LIST:
        return _elements(body)
    return _unpack(body, 1)


def _elements(body: bytes) -> list[Any]:
    if not body:
        return []
    require_whole(body)
    unpacker = msgpack.Unpacker(max_buffer_size=len(body), ext_hook=_extension_hook(1))
    unpacker.feed(body)
    elements = []
    # Not list(unpacker), which takes a last element that was cut off for the end.
    while unpacker.tell() < len(body):
        elements.append(unpacker.unpack())
    return elements


def _unpack(body: bytes, depth: int) -> Any:
    require_whole(body)
    return msgpack.unpackb(body, ext_hook=_extension_hook(depth))


def _extension_hook(depth: int) -> Any:
    """Opens tuples, to a depth: a value that was never encoded here could nest them without end."""

    def tuple_of(code: int, data: bytes) -> tuple[Any, ...]:
        elements = _unpack(bytes(data), depth + 1) if code == TUPLE_EXT and depth <= DEPTH_MAX else None
        if type(elements) is not list:
            raise ValueError("not a tuple")
        return tuple(elements)

    return tuple_of
