"""`raft-kv load`: what each format means, which line is blamed, what is said about what was written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from kv.app.load import LINE_BYTES_MAX, OPEN_COUNT_MAX, BadLine, Item, LoadStopped, Store, put_all, read_items
from kv.errors import KeyTooLarge, NoQuorum, Timeout


def pairs(text: str | bytes, input_format: str, **options: bool) -> list[tuple[str, object]]:
    data = text.encode() if isinstance(text, str) else text
    return [(item.key, item.value) for item in read_items(io.BytesIO(data), input_format, "in", **options)]


class TestFormats:
    @pytest.mark.parametrize(
        ("input_format", "text", "expected"),
        [
            ("csv", "key,value\na,1\n", [("a", "1")]),
            ("csv", "a,1\nkey,value\n", [("a", "1"), ("key", "value")]),
            ("csv", '\ufeffKey,Value\r\n"a,b","two\nlines"\r\n\r\nc,\r\n', [("a,b", "two\nlines"), ("c", "")]),
            ("jsonl", '{"key": "a", "value": [1, null]}\n\n{"value": "x", "key": "b"}', [("a", [1, None]), ("b", "x")]),
            ("text", "a 1\n\n  b\ttwo words \r\n", [("a", "1"), ("b", "two words ")]),
            ("text", "", []),
        ],
    )
    def test_a_good_file(self, input_format: str, text: str, expected: list[tuple[str, object]]) -> None:
        assert pairs(text, input_format) == expected

    def test_values_in_csv_and_text_can_be_json(self) -> None:
        assert pairs('a,"[1,2]"\n', "csv", values_are_json=True) == [("a", [1, 2])]
        assert pairs("a 7\n", "text", values_are_json=True) == [("a", 7)]

    def test_a_csv_value_may_be_as_large_as_a_store_takes(self) -> None:
        assert pairs("a," + "x" * 1_000_000, "csv") == [("a", "x" * 1_000_000)]

    @pytest.mark.parametrize(
        ("input_format", "text", "line", "why"),
        [
            ("csv", "a,1\nb\n", 2, "found 1"),
            ("csv", "a,1\nb,2,3\n", 2, "found 3"),
            ("csv", 'a,1\nb,"begun on line 2\nand never ended\n', 2, "unexpected end of data"),
            ("jsonl", '{"key": "a", "value": 1}\n{"key": 1, "value": 1}', 2, "and nothing else"),
            ("jsonl", '{"key": "a", "value": 1, "ttl": 5}', 1, "and nothing else"),
            ("jsonl", "\n\n{", 3, "no JSON"),
            ("jsonl", "[" * 100_000, 1, "nested too deeply"),
            ("text", "a 1\nalone\n", 2, "a key, white space and a value"),
            ("text", b"a 1\nb \xff\n", 2, "no UTF-8"),
        ],
    )
    def test_a_bad_line_is_named(self, input_format: str, text: str | bytes, line: int, why: str) -> None:
        with pytest.raises(BadLine, match=why) as bad:
            pairs(text, input_format)
        assert str(bad.value).startswith(f"in:{line}: ")

    def test_a_line_without_end_is_not_read_into_memory(self) -> None:
        class Endless(io.RawIOBase):
            def readline(self, size: int | None = -1, /) -> bytes:
                assert size is not None
                assert 0 <= size <= LINE_BYTES_MAX + 1
                return b"x" * size

        with pytest.raises(BadLine, match="more than"):
            next(read_items(Endless(), "text", "in"))  # type: ignore[arg-type]


class Remembers:
    """A store that ends each put when `end` says so, and counts how many were open at a time."""

    def __init__(self, end: Callable[[str], BaseException | None] = lambda _: None, at_once: bool = True) -> None:
        self.values: dict[str, object] = {}
        self.open: list[tuple[str, object, Future[int]]] = []
        self.open_max = 0
        self._end = end
        self._at_once = at_once

    def submit_put(self, key: str, value: object, *, timeout_s: float | None = None) -> Future[int]:
        assert key not in [open_key for open_key, _, _ in self.open], f"two puts of {key} under way"
        future: Future[int] = Waited(self)
        self.open.append((key, value, future))
        self.open_max = max(self.open_max, len(self.open))
        if self._at_once:
            self.end_all()
        return future

    def end_all(self) -> None:
        while self.open:
            key, value, future = self.open.pop()  # the newest first: a store may answer in any order
            failure = self._end(key)
            if failure is None:
                self.values[key] = value
                future.set_result(1)
            else:
                future.set_exception(failure)


class Waited(Future[int]):
    """Ends when somebody waits for it, so that nothing ends before it must."""

    def __init__(self, store: Remembers) -> None:
        super().__init__()
        self._store = store

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._store.end_all()
        return super().exception(timeout)


def items(*keys: str) -> Iterator[Item]:
    for line, key in enumerate(keys, start=1):
        yield Item(place=f"in:{line}", key=key, value=line, size_bytes=10)


def load(store: Store, source: Iterator[Item]) -> int:
    return put_all(store, source, written=lambda _: None)


class TestWriting:
    def test_all_are_written_and_told(self) -> None:
        store, told = Remembers(), []
        assert put_all(store, items("a", "b"), written=lambda item: told.append(item.key)) == 2
        assert (store.values, told) == ({"a": 1, "b": 2}, ["a", "b"])

    def test_many_are_under_way_at_a_time_but_never_more_than_the_bound(self) -> None:
        store = Remembers(at_once=False)
        assert load(store, items(*(str(number) for number in range(3 * OPEN_COUNT_MAX)))) == 3 * OPEN_COUNT_MAX
        assert store.open_max == OPEN_COUNT_MAX

    def test_of_a_key_that_comes_twice_the_last_line_wins_whatever_the_order_of_answers(self) -> None:
        store = Remembers(at_once=False)
        assert load(store, items("a", "b", "a")) == 3
        assert store.values == {"a": 3, "b": 2}

    def test_a_put_that_the_store_refuses_stops_the_load_and_names_its_line(self) -> None:
        refusal = KeyTooLarge.of(size_bytes=9, size_bytes_max=8)
        store = Remembers(lambda key: refusal if key == "b" else None)
        with pytest.raises(LoadStopped) as stopped:
            load(store, items("a", "b", "c"))
        assert str(stopped.value).startswith("in:2: the key has 9 bytes")
        assert (stopped.value.written, stopped.value.not_written, stopped.value.unknown) == (2, 1, 0)
        assert store.values == {"a": 1, "c": 3}, "what was under way has its end, and is counted"

    def test_a_refusal_before_anything_is_sent_names_its_line_too(self) -> None:
        class Refuses(Remembers):
            def submit_put(self, key: str, value: object, *, timeout_s: float | None = None) -> Future[int]:
                if key == "b":
                    raise KeyTooLarge.of(size_bytes=9, size_bytes_max=8)
                return super().submit_put(key, value)

        with pytest.raises(LoadStopped, match=r"^in:2: the key .*\(written: 1, unknown: 0, not written: 1\)"):
            load(Refuses(at_once=False), items("a", "b", "c"))

    def test_unknown_is_never_said_to_be_unwritten(self) -> None:
        ends = {"a": Timeout("no answer"), "b": NoQuorum("no leader")}
        with pytest.raises(LoadStopped, match=r"^in:1: no answer \(written: 1, unknown: 1, not written: 1\)"):
            load(Remembers(ends.get, at_once=False), items("a", "b", "c"))

    def test_a_bad_line_ends_the_load_after_all_lines_before_it_were_written(self) -> None:
        store = Remembers(at_once=False)
        source = read_items(io.BytesIO(b"a 1\nb 2\nbad\nc 3\n"), "text", "words.txt")
        with pytest.raises(LoadStopped, match=r"^words\.txt:3: expected .*\(written: 2, unknown: 0, not written: 0\)"):
            load(store, source)
        assert store.values == {"a": "1", "b": "2"}

    def test_ctrl_c_waits_for_nothing_and_says_what_is_not_known(self) -> None:
        def interrupted() -> Iterator[Item]:
            yield from items("a", "b")
            raise KeyboardInterrupt

        with pytest.raises(LoadStopped, match=r"^interrupted \(written: 0, unknown: 2, not written: 0\)"):
            load(Remembers(at_once=False), interrupted())

    def test_a_fault_of_ours_is_no_refusal(self) -> None:
        with pytest.raises(ZeroDivisionError):
            load(Remembers(lambda _: ZeroDivisionError()), items("a"))
