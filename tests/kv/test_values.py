"""What goes in comes out, exactly; what is not native is a pickle that only a reader who wants to opens."""

from __future__ import annotations

import contextlib
import enum
import math
import pickle
import struct
import threading
from collections import OrderedDict, namedtuple
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kv.encoded import Encoded, Kind
from kv.errors import ValueNotNative, ValueOpaque, ValueTooLarge, ValueUnreadable
from kv.values import DEPTH_MAX, decode, encode

MIB = 1024 * 1024
Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


def native(value: Any) -> Encoded:
    return encode(value, allow_pickle=False, value_bytes_max=MIB)


def same(one: Any, other: Any) -> bool:
    """Equal in type, order and, for floats, in every bit."""
    if type(one) is not type(other):
        return False
    if type(one) is float:
        return struct.pack("<d", one) == struct.pack("<d", other)
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return bool(one == other)


def nested(depth: int, wrap: Any) -> Any:
    value: Any = None
    for _ in range(depth - 1):
        value = wrap(value)
    return value


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)
NATIVE = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=5),
    ),
    max_leaves=12,
)


class TestNativeValuesComeBackExactly:
    @settings(max_examples=25)
    @given(NATIVE)
    def test_any_native_value(self, value: Any) -> None:
        assert same(decode(native(value), allow_pickle=False), value)

    @pytest.mark.parametrize(
        "value",
        [
            True,
            1,
            1.0,
            -0.0,
            math.nan,
            -math.nan,
            math.inf,
            struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0],
            2**63 - 1,
            -(2**63),
            "",
            "\x00é\U0001f600",
            b"",
            [],
            (),
            {},
            (1, [2, (3, {"a": (4,)})], ()),
            [(1, 2), [(), [()]]],
            {"b": 1, "a": (True, None)},
            nested(DEPTH_MAX, lambda inner: [inner]),
            nested(DEPTH_MAX, lambda inner: (inner,)),
            nested(DEPTH_MAX, lambda inner: {"": inner}),
            nested(DEPTH_MAX - 1, lambda inner: ([inner],) if inner is None else (inner,)),
            list(range(70_000)),
        ],
        ids=lambda value: f"{type(value).__name__}",
    )
    def test_edges(self, value: Any) -> None:
        assert same(decode(native(value), allow_pickle=False), value)

    @pytest.mark.parametrize(
        ("value", "data"),
        [
            (None, b"\x00\xc0"),
            (True, b"\x00\xc3"),
            (5, b"\x00\x05"),
            (1.5, b"\x00\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"),
            ("é", b"\x01\xc3\xa9"),
            (b"\xff", b"\x02\xff"),
            ([1, "a"], b"\x03\x01\xa1a"),
            ({"a": 1}, b"\x00\x81\xa1a\x01"),
            ((1,), b"\x00\xd5\x01\x91\x01"),
        ],
    )
    def test_golden_bytes(self, value: Any, data: bytes) -> None:
        assert native(value) == Encoded(data)

    @pytest.mark.parametrize(("one", "other"), [("aé", "b"), (b"a", b""), ([1, [2]], [(3,)]), ([], [4])])
    def test_the_body_of_a_sum_is_the_sum_of_the_bodies(self, one: Any, other: Any) -> None:
        assert native(one + other).data == native(one).data + native(other).data[1:]


NOT_NATIVE = [
    2**63,
    -(2**63) - 1,
    [2**64],
    Colour.RED,
    OrderedDict(a=1),
    Point(1, 2),
    {1: "a"},
    {b"a": 1},
    {("a",): 1},
    {"a": {2: 3}},
    bytearray(b"a"),
    {1, 2},
    1j,
    "\ud800",
    ["\ud800"],
    {"\ud800": 1},
    [msgpack.ExtType(1, b"\x90")],
    msgpack.Timestamp(1),
    nested(DEPTH_MAX + 1, lambda inner: [inner]),
    nested(DEPTH_MAX + 1, lambda inner: (inner,)),
]


class TestWhatIsNotNativeIsOpaque:
    @pytest.mark.parametrize("value", NOT_NATIVE, ids=lambda value: type(value).__name__)
    def test_it_is_pickled_as_a_whole_or_refused(self, value: Any) -> None:
        with pytest.raises(ValueNotNative, match="convert it"):
            native(value)
        encoded = encode(value, value_bytes_max=MIB)
        assert encoded.kind is Kind.OPAQUE
        assert same(decode(encoded), value)
        with pytest.raises(ValueOpaque):
            decode(encoded, allow_pickle=False)

    def test_what_cannot_be_pickled_either_is_refused(self) -> None:
        with pytest.raises(ValueNotNative, match="neither"):
            encode(threading.Lock(), value_bytes_max=MIB)

    def test_a_value_that_contains_itself_is_pickled(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        copy = decode(encode(loop, value_bytes_max=MIB))
        assert copy[0] is copy

    def test_a_small_value_that_unfolds_without_end_is_refused_early(self) -> None:
        value: Any = 0
        for _ in range(DEPTH_MAX - 1):
            value = [value, value]
        with pytest.raises(ValueTooLarge):
            encode(value, value_bytes_max=1000)

    def test_classes_of_the_caller_travel_with_the_value(self) -> None:
        class Local:
            def answer(self) -> int:
                return 42

        assert decode(encode(Local(), value_bytes_max=MIB)).answer() == 42


class TestSizes:
    @pytest.mark.parametrize("value", ["x" * 10, b"x" * 10, [1] * 10, "é" * 5])
    def test_the_body_counts_without_its_kind(self, value: Any) -> None:
        assert encode(value, value_bytes_max=10).size_bytes == 10
        with pytest.raises(ValueTooLarge):
            encode(value, value_bytes_max=9)

    def test_a_pickle_counts_too(self) -> None:
        with pytest.raises(ValueTooLarge):
            encode({1: "x" * 100}, value_bytes_max=100)


class TestDamagedBytesAreOneNamedError:
    @pytest.mark.parametrize(
        "data",
        [
            b"\x00",
            b"\x00\xc1",
            b"\x00\x01\x02",
            b"\x00\x92\x01",
            b"\x00\x81\x01\x02",
            b"\x00\xd4\x02\x90",
            b"\x00\xd4\x01\x01",
            b"\x00\xd4\x01\xc1",
            b"\x01\xff",
            b"\x03\x92\x01",
            b"\x03\xc1",
            b"\x04",
            b"\x04junk",
        ],
    )
    def test_each_way_to_be_damaged(self, data: bytes) -> None:
        with pytest.raises(ValueUnreadable):
            decode(Encoded(data))

    @given(st.sampled_from([Kind.OTHER, Kind.STR, Kind.BYTES, Kind.LIST]), st.binary(max_size=40))
    def test_any_bytes_decode_or_are_refused(self, kind: Kind, body: bytes) -> None:
        with contextlib.suppress(ValueUnreadable):
            decode(Encoded(bytes((kind,)) + body), allow_pickle=False)

    def test_tuples_nested_without_end_are_refused(self) -> None:
        body = b"\xc0"
        for _ in range(2000):
            body = msgpack.packb(msgpack.ExtType(1, b"\x91" + body))
        with pytest.raises(ValueUnreadable):
            decode(Encoded(b"\x00" + body))

    def test_a_pickle_whose_class_is_not_here_says_so(self) -> None:
        with pytest.raises(ValueUnreadable, match="installed here"):
            decode(Encoded(b"\x04cno_such_module\nThing\n."))


class TestEncoded:
    def test_what_is_no_encoded_is_a_value_already(self) -> None:
        assert decode([1]) == [1]

    def test_its_text_never_holds_the_value(self) -> None:
        assert repr(native("secret")) == "Encoded(STR, 6 bytes)"

    def test_it_pickles(self) -> None:
        assert pickle.loads(pickle.dumps(native("a"))) == native("a")

    @pytest.mark.parametrize("data", [b"", b"\x05", b"\xff", bytearray(b"\x00\xc0"), "a", None])
    def test_unknown_kinds_are_none(self, data: Any) -> None:
        with pytest.raises(ValueError, match="known kind"):
            Encoded(data)
