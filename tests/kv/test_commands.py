"""Commands, queries and results keep their bytes, and clients refuse early what the store would refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kv.commands import (
    SCAN_LIMIT_MAX,
    Append,
    Delete,
    Get,
    Put,
    PutMany,
    Scan,
    decode_command,
    decode_query,
    encode_append,
    encode_delete,
    encode_get,
    encode_put,
    encode_put_many,
    encode_scan,
)
from kv.encoded import Encoded, Versioned
from kv.errors import AnswerMalformed, ArgumentInvalid, BatchTooLarge, KeyInvalid, KeyTooLarge, ValueTooLarge
from kv.fields import ROW_FIELDS_MAX, pack, pack_many, unpack, unpack_many
from kv.limits import Limits
from kv.parts import Stored
from kv.results import (
    decode_deleted,
    decode_found,
    decode_page,
    decode_version,
    decode_versions,
    encode_deleted,
    encode_found,
    encode_page,
    encode_version,
)

LIMITS = Limits(key_bytes_max=4, value_bytes_max=4, batch_bytes_max=100)
X = Encoded(b"\x01x")


class TestCommandsKeepTheirBytes:
    """They are in the logs of groups that run: another form needs another machine version."""

    @pytest.mark.parametrize(
        ("command", "data", "decoded"),
        [
            (
                encode_put("k", X, limits=LIMITS),
                b"\x94\x01\xc4\x01k\xc4\x02\x01x\xc0",
                Put(key=b"k", value=b"\x01x", if_version=None),
            ),
            (
                encode_put("é", X, if_version=0, limits=LIMITS),
                b"\x94\x01\xc4\x02\xc3\xa9\xc4\x02\x01x\x00",
                Put(key=b"\xc3\xa9", value=b"\x01x", if_version=0),
            ),
            (
                encode_append("k", X, limits=LIMITS),
                b"\x93\x02\xc4\x01k\xc4\x02\x01x",
                Append(key=b"k", value=b"\x01x"),
            ),
            (
                encode_delete("k", if_version=9, limits=LIMITS),
                b"\x93\x03\xc4\x01k\x09",
                Delete(key=b"k", if_version=9),
            ),
            (
                encode_put_many({"b": X, "a": X}, limits=LIMITS),
                b"\x92\x04\xc4\x0e\xc4\x01b\xc4\x02\x01x\xc4\x01a\xc4\x02\x01x",
                PutMany(items=((b"b", b"\x01x"), (b"a", b"\x01x")), size_bytes=18),
            ),
        ],
    )
    def test_command(self, command: bytes, data: bytes, decoded: object) -> None:
        assert command == data
        assert decode_command(command) == decoded

    @pytest.mark.parametrize(
        ("query", "data", "decoded"),
        [
            (encode_get(["a", "b"], limits=LIMITS), b"\x92\x10\xc4\x06\xc4\x01a\xc4\x01b", Get(keys=(b"a", b"b"))),
            (
                encode_scan("p", start_after="q", limit=5, limits=LIMITS),
                b"\x94\x11\xc4\x01p\xc4\x01q\x05",
                Scan(prefix=b"p", start_after=b"q", limit=5),
            ),
            (
                encode_scan(limits=LIMITS),
                b"\x94\x11\xc4\x00\xc0\xcd\x03\xe8",
                Scan(prefix=b"", start_after=None, limit=1000),
            ),
        ],
    )
    def test_query(self, query: bytes, data: bytes, decoded: object) -> None:
        assert query == data
        assert decode_query(query) == decoded


class TestClientsRefuseEarly:
    @pytest.mark.parametrize("key", ["", None, b"a", 1, "\ud800"])
    def test_what_is_no_key(self, key: Any) -> None:
        for encode in calls_with(key):
            with pytest.raises(KeyInvalid):
                encode()

    def test_keys_that_are_too_long(self) -> None:
        for encode in calls_with("éé1"):
            with pytest.raises(KeyTooLarge):
                encode()

    def test_values_that_are_too_long(self) -> None:
        value = Encoded(b"\x0112345")
        for encode in calls_with("a", value)[:3]:
            with pytest.raises(ValueTooLarge):
                encode()

    def test_batches_that_are_too_long(self) -> None:
        with pytest.raises(BatchTooLarge):
            encode_put_many({str(number): X for number in range(10, 40)}, limits=LIMITS)
        # Short in keys and values alone, too long as a command.
        with pytest.raises(BatchTooLarge) as caught:
            encode_put_many({str(number): X for number in range(10, 23)}, limits=LIMITS)
        assert caught.value.size_bytes == 13 * 8 + 4
        encode_put_many({str(number): X for number in range(10, 22)}, limits=LIMITS)
        with pytest.raises(BatchTooLarge):
            encode_get([str(number) for number in range(10, 40)], limits=LIMITS)

    @pytest.mark.parametrize("if_version", [-1, True, "1", 1.0, 2**63])
    def test_what_is_no_version(self, if_version: Any) -> None:
        with pytest.raises(ArgumentInvalid, match="if_version"):
            encode_put("a", X, if_version=if_version, limits=LIMITS)
        with pytest.raises(ArgumentInvalid, match="if_version"):
            encode_delete("a", if_version=if_version, limits=LIMITS)

    @pytest.mark.parametrize(
        "options",
        [
            {"limit": 0},
            {"limit": True},
            {"limit": SCAN_LIMIT_MAX + 1},
            {"prefix": b"a"},
            {"prefix": "\ud800"},
            {"prefix": "12345"},
            {"start_after": 1},
            {"start_after": "12345"},
        ],
    )
    def test_what_is_no_scan(self, options: dict[str, Any]) -> None:
        with pytest.raises(ArgumentInvalid):
            encode_scan(**options, limits=LIMITS)


def calls_with(key: Any, value: Encoded = X) -> list[Callable[[], bytes]]:
    return [
        lambda: encode_put(key, value, limits=LIMITS),
        lambda: encode_append(key, value, limits=LIMITS),
        lambda: encode_put_many({"a": X, key: value}, limits=LIMITS),
        lambda: encode_delete(key, limits=LIMITS),
        lambda: encode_get(["a", key], limits=LIMITS),
    ]


STORED = Stored.of(b"\x01x", 7)


class TestResults:
    def test_they_are_read_as_they_were_written(self) -> None:
        found = Versioned(Encoded(b"\x01x"), 7)
        assert decode_version(encode_version(7)) == 7
        assert decode_versions(encode_version(7), ["b", "a"]) == {"b": 7, "a": 8}
        assert [decode_deleted(encode_deleted(answer)) for answer in (True, False)] == [True, False]
        assert decode_found(encode_found([STORED, None]), ["a", "b"]) == [found, None]
        page = decode_page(encode_page([(b"a", STORED), ("é".encode(), STORED)], True))
        assert (page.items, page.more) == ({"a": found, "é": found}, True)

    @pytest.mark.parametrize(
        "result",
        [
            pack(0, pack_many([1])),
            pack(0, pack_many([1, 2])),
            pack(0, pack_many([0, b"\x01x"])),
            pack(0, pack_many([7, b""])),
            pack(0, pack_many([7, b"\x09"])),
            pack(0, pack_many([True, b"\x01x"])),
            pack(0, pack_many([7, b"\x01x", 7, b"\x01x"])),
            pack(0, pack_many([7, b"\x01x"])[:-1]),
            pack(0, 7),
        ],
    )
    def test_a_malformed_get_is_refused(self, result: bytes) -> None:
        with pytest.raises(AnswerMalformed):
            decode_found(result, ["a"])

    @pytest.mark.parametrize(
        "result",
        [
            pack(0, 1, b""),
            pack(0, True),
            pack(0, True, pack_many([b"a", 7])),
            pack(0, True, pack_many([b"", 7, b"\x01x"])),
            pack(0, True, pack_many([b"\xff", 7, b"\x01x"])),
            pack(0, True, pack_many(["a", 7, b"\x01x"])),
        ],
    )
    def test_a_malformed_page_is_refused(self, result: bytes) -> None:
        with pytest.raises(AnswerMalformed):
            decode_page(result)

    @pytest.mark.parametrize("result", [pack(0, 1), pack(0), pack(0, True, 1)])
    def test_a_malformed_delete_is_refused(self, result: bytes) -> None:
        with pytest.raises(AnswerMalformed):
            decode_deleted(result)


FIELDS = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5), st.binary())


class TestRowsOfFields:
    @settings(max_examples=25)
    @given(st.lists(FIELDS, max_size=20))
    def test_round_trip(self, fields: list[Any]) -> None:
        assert unpack_many(pack_many(fields)) == fields
        if len(fields) <= ROW_FIELDS_MAX:
            assert unpack(pack(*fields)) == fields

    @settings(max_examples=25)
    @given(st.lists(FIELDS, min_size=1, max_size=8), st.data())
    def test_a_row_that_was_cut_off_is_never_taken_for_another(self, fields: list[Any], data: st.DataObject) -> None:
        row = pack_many(fields)
        size = data.draw(st.integers(0, len(row) - 1))
        whole = {len(pack_many(fields[:count])): fields[:count] for count in range(len(fields))}
        if size in whole:
            assert unpack_many(row[:size]) == whole[size]
        else:
            with pytest.raises(ValueError, match="not a row of fields"):
                unpack_many(row[:size])
        with pytest.raises(ValueError, match="not a row of fields"):
            unpack(pack(*fields)[:-1])

    @pytest.mark.parametrize(
        "row",
        [
            b"\x01",
            b"\x99" + b"\x01" * 9,
            b"\x91\x99" + b"\x01" * 9,
            b"\x91\xdd\x00\x0f\xff\xff",
            b"\x91\x81\x01\x01",
            b"\x91\xd4\x01x",
        ],
    )
    def test_large_containers_and_long_rows_are_refused(self, row: bytes) -> None:
        with pytest.raises(ValueError, match="not a row of fields"):
            unpack(row)

    @pytest.mark.parametrize("row", [b"\x91\x01", b"\x81\x01\x01", b"\xd4\x01x"])
    def test_containers_are_refused_in_long_rows(self, row: bytes) -> None:
        with pytest.raises(ValueError, match="not a row of fields"):
            unpack_many(row)
