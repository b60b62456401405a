"""What each call means (the table of calls in the documentation), one sentence per test."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from kv.encoded import Encoded, Versioned
from kv.errors import (
    BatchTooLarge,
    CommandMalformed,
    KeyInvalid,
    KeyTooLarge,
    StoreRefusal,
    TypeMismatch,
    ValueTooLarge,
    VersionMismatch,
)
from kv.fields import pack
from kv.limits import Limits
from tests.kv.store import Store

SMALL = Limits(key_bytes_max=8, value_bytes_max=20, batch_bytes_max=400)


@pytest.fixture
def store() -> Store:
    return Store(SMALL)


class TestVersionsAreNumbersOfWrites:
    def test_they_rise_by_one_over_all_keys(self, store: Store) -> None:
        assert [store.put("a", 1), store.put("b", 1), store.append("c", "x"), store.put("a", 2)] == [1, 2, 3, 4]
        assert store.get_versioned("a", "b", "x") == [Versioned(2, 4), Versioned(1, 2), None]

    def test_each_key_of_a_batch_is_a_write(self, store: Store) -> None:
        assert store.put_many({"b": 1, "a": 2}) == {"b": 1, "a": 2}
        assert store.put("c", 3) == 3

    def test_a_delete_that_removes_is_a_write_and_one_that_does_not_is_none(self, store: Store) -> None:
        store.put("a", 1)
        assert store.delete("a") is True
        assert store.delete("a") is False
        assert store.machine.write_count == 2

    def test_a_key_created_again_has_a_new_version(self, store: Store) -> None:
        first = store.put("a", 1)
        store.delete("a")
        assert store.put("a", 1) > first

    def test_an_empty_batch_writes_nothing(self, store: Store) -> None:
        assert store.put_many({}) == {}
        assert store.machine.write_count == 0

    def test_an_append_of_nothing_is_a_write(self, store: Store) -> None:
        store.put("a", "x")
        assert store.append("a", "") == 2
        assert store.get_versioned("a") == [Versioned("x", 2)]


class TestIfVersion:
    def test_zero_creates_and_never_overwrites(self, store: Store) -> None:
        version = store.put("a", 1, if_version=0)
        with pytest.raises(VersionMismatch) as caught:
            store.put("a", 2, if_version=0)
        assert (caught.value.current, caught.value.expected) == (version, 0)
        assert store.get("a") == 1

    def test_only_the_version_that_is_there_is_replaced(self, store: Store) -> None:
        store.put("a", 1)
        assert store.put("a", 2, if_version=1) == 2
        with pytest.raises(VersionMismatch, match="version 2, not 1"):
            store.put("a", 3, if_version=1)
        assert store.get("a") == 2

    def test_a_missing_key_has_version_zero(self, store: Store) -> None:
        with pytest.raises(VersionMismatch) as caught:
            store.put("a", 1, if_version=3)
        assert caught.value.current == 0

    def test_a_delete_may_ask_for_it(self, store: Store) -> None:
        store.put("a", 1)
        with pytest.raises(VersionMismatch):
            store.delete("a", if_version=7)
        with pytest.raises(VersionMismatch):
            store.delete("missing", if_version=7)
        assert store.delete("missing", if_version=0) is False
        assert store.delete("a", if_version=1) is True


class TestAppend:
    @pytest.mark.parametrize(("one", "other"), [("a", "é"), (b"a", b"b"), ([1, (2,)], ["x"])])
    def test_it_creates_then_extends(self, store: Store, one: Any, other: Any) -> None:
        assert store.append("k", one) == 1
        assert store.append("k", other) == 2
        assert store.get_versioned("k") == [Versioned(one + other, 2)]

    @pytest.mark.parametrize(
        ("stored", "given", "names"),
        [
            ("a", b"a", ("str", "bytes")),
            ("a", ["a"], ("str", "list")),
            ([1], (1,), ("list", "a value of another type")),
            (1, 1, ("a value of another type", "a value of another type")),
            ([2**64], [1], ("a pickled value", "list")),
            (None, 1, ("missing", "a value of another type")),
        ],
    )
    def test_other_types_do_not_mix(self, stored: Any, given: Any, names: tuple[str, str]) -> None:
        store = Store()
        if stored is not None:
            store.put("k", stored)
        before = store.snapshot()
        with pytest.raises(TypeMismatch) as caught:
            store.append("k", given)
        assert (caught.value.stored, caught.value.given) == names
        assert store.snapshot() == before

    def test_the_whole_counts_against_the_limit(self, store: Store) -> None:
        store.append("k", "x" * 15)
        store.append("k", "x" * 5)
        with pytest.raises(ValueTooLarge) as caught:
            store.append("k", "x")
        assert (caught.value.size_bytes, caught.value.size_bytes_max) == (21, 20)
        assert store.get("k") == "x" * 20

    def test_ten_bytes_to_a_megabyte_allocate_what_ten_bytes_to_nothing_do(self) -> None:
        """From the command's bytes to the result's: nothing on the way copies the value."""
        store = Store()
        store.put("large", b"." * 1_000_000)
        store.put("empty", b"")
        empty = peak_bytes(lambda: store.append("empty", b"0123456789"))
        large = peak_bytes(lambda: store.append("large", b"0123456789"))
        assert large <= empty + 100
        assert store.get("large") == b"." * 1_000_000 + b"0123456789" * 2


def peak_bytes(action: Callable[[], object]) -> int:
    action()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestRefusalsChangeNothing:
    @pytest.mark.parametrize(
        ("call", "refusal"),
        [
            (lambda s: s.put("123456789", 1), KeyTooLarge),
            (lambda s: s.append("123456789", "x"), KeyTooLarge),
            (lambda s: s.delete("123456789"), KeyTooLarge),
            (lambda s: s.get("123456789"), KeyTooLarge),
            (lambda s: s.put("a", "x" * 21), ValueTooLarge),
            (lambda s: s.append("new", "x" * 21), ValueTooLarge),
            (lambda s: s.put_many({"new": 1, "b": "x" * 21}), ValueTooLarge),
            (lambda s: s.put_many({"new": 1, "123456789": 1}), KeyTooLarge),
            (lambda s: s.put_many({str(n): "x" * 20 for n in range(20)}), BatchTooLarge),
            (lambda s: s.put("a", 2, if_version=9), VersionMismatch),
        ],
    )
    def test_each(self, store: Store, call: Callable[[Store], object], refusal: type[StoreRefusal]) -> None:
        store.put("a", 1)
        before = store.snapshot()
        with pytest.raises(refusal):
            call(store)
        assert store.snapshot() == before

    def test_what_a_foreign_client_sends_as_a_key_is_checked_again(self, store: Store) -> None:
        value = b"\x00\xc0"
        for key in (b"", b"\xff"):
            for command in (pack(1, key, value, None), pack(2, key, b"\x01"), pack(3, key, None)):
                assert store.apply(command) == pack(1)
        assert pack(1) == store.machine.query(pack(16, b"\xc4\x00"))
        with pytest.raises(KeyInvalid):
            store.put("", 1)

    @pytest.mark.parametrize(
        "junk",
        [
            b"",
            b"\xc1",
            b"\x93",
            pack(99, b"a"),
            pack(None),
            pack(1, b"a", b"\x00\xc0"),
            pack(1, "a", b"\x00\xc0", None),
            pack(1, b"a", b"", None),
            pack(1, b"a", b"\x09", None),
            pack(1, b"a", b"\x00\xc0", -1),
            pack(1, b"a", b"\x00\xc0", True),
            pack(2, b"a"),
            pack(3, b"a", b""),
            pack(4, b"\xc4\x01a"),
            pack(4, b"\x01\x02"),
            pack(4, b"\xc4\x01a\xc4\x00"),
            pack(4, b"\xc4\x09a"),
            pack(4, b"\xdd\xff\xff\xff\xff"),
            b"\xdd\xff\xff\xff\xff",
            b"\xdd\x00\x00\x00\x08" * 5000,
        ],
    )
    def test_bytes_that_are_no_command_are_refused_as_a_result(self, store: Store, junk: bytes) -> None:
        before = store.snapshot()
        refused = pack(7)
        assert store.apply(junk) == refused
        assert store.machine.query(junk) == refused
        assert store.snapshot() == before

    def test_a_query_is_no_command_and_a_command_no_query(self, store: Store) -> None:
        assert store.apply(pack(16, b"")) == pack(7)
        assert store.machine.query(pack(3, b"a", None)) == pack(7)
        with pytest.raises(CommandMalformed):
            raise CommandMalformed.of()


class TestScan:
    def test_keys_come_in_the_order_of_their_utf8(self, store: Store) -> None:
        names = ["\uffff", "b", "\U0001f600", "a", "é", "aa"]
        for name in names:
            store.put(name, name)
        expected = sorted(names, key=str.encode)
        assert expected != sorted(names, key=lambda name: name.encode("utf-16-be"))
        assert list(store.scan()) == expected

    def test_a_prefix_and_a_start_narrow_it(self, store: Store) -> None:
        store.put_many({"a": 0, "b": 1, "ba": 2, "bb": 3, "c": 4})
        assert store.scan("b") == {"b": 1, "ba": 2, "bb": 3}
        assert store.scan("b", start_after="ba") == {"bb": 3}
        assert store.scan("b", start_after="a") == {"b": 1, "ba": 2, "bb": 3}
        assert store.scan("b", start_after="c") == {}
        assert store.scan("bx") == {}
        assert store.scan(start_after="aa") == {"b": 1, "ba": 2, "bb": 3, "c": 4}

    def test_a_page_says_whether_more_follow(self, store: Store) -> None:
        store.put_many({"a": 0, "ba": 1, "bb": 2, "c": 3})
        assert list(store.page("b", limit=1).items) == ["ba"]
        assert store.page("b", limit=1).more
        assert not store.page("b", limit=2).more
        assert store.page(limit=3).more

    def test_a_page_is_bounded_in_bytes_and_never_empty_while_more_follow(self) -> None:
        store = Store(Limits(key_bytes_max=8, value_bytes_max=120, batch_bytes_max=192))
        for name in "abc":
            store.put(name, "x" * 100)
        seen: list[str] = []
        more = True
        while more:
            page = store.page(start_after=seen[-1] if seen else None)
            assert len(page.items) == 1
            seen += page.items
            more = page.more
        assert seen == ["a", "b", "c"]

    def test_values_come_with_their_versions(self, store: Store) -> None:
        store.put_many({"a": "x", "b": [1]})
        store.append("a", "y")
        assert store.page().items == {
            "a": Versioned(Encoded(b"\x01xy"), 3),
            "b": Versioned(Encoded(b"\x03\x01"), 2),
        }


class TestGet:
    def test_several_keys_in_the_order_asked_also_twice(self, store: Store) -> None:
        store.put_many({"a": 1, "b": None})
        a, b = Versioned(1, 1), Versioned(None, 2)
        assert store.get_versioned("b", "x", "a", "b") == [b, None, a, b]
        assert store.get_versioned() == []

    def test_an_answer_beyond_the_batch_limit_is_refused_but_one_key_always_fits(self) -> None:
        store = Store(Limits(key_bytes_max=8, value_bytes_max=120, batch_bytes_max=192))
        store.put_many({"a": "x" * 120})
        store.put_many({"b": "x" * 120})
        assert store.get("a") == "x" * 120
        with pytest.raises(BatchTooLarge):
            store.get_versioned("a", "b")

    def test_reading_an_appended_value_changes_nothing_a_snapshot_shows(self, store: Store) -> None:
        store.put("a", "xyzxyz")
        store.append("a", "1")
        before = store.snapshot()
        assert store.get("a") == store.get("a") == "xyzxyz1"
        assert store.snapshot() == before
