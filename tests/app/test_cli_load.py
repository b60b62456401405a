"""`raft-kv load`: what each format means, which line is blamed, what is said about what was written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

import pytest

from kv.app.load import (
    BATCH_BYTES_MAX,
    BATCH_COUNT_MAX,
    LINE_BYTES_MAX,
    OPEN_MAX,
    BadLine,
    Item,
    LoadStopped,
    Store,
    put_all,
    read_items,
)
from kv.errors import BatchTooLarge, KeyTooLarge, KVError, NoQuorum, Timeout


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
    """A store that refuses what `end` names. Batches end when somebody waits for one of them, the newest first."""

    def __init__(self, end: Callable[[str], BaseException | None] = lambda _: None) -> None:
        self.values: dict[str, object] = {}
        self.open: list[Waited] = []
        self.open_max = self.batches = 0
        self._end = end

    def submit_put_many(
        self, values: Mapping[str, object], *, timeout_s: float | None = None
    ) -> Future[dict[str, int]]:
        under_way = {key for each in self.open for key in each.values}
        assert not under_way & values.keys(), "a key is in two batches under way"
        self.open.append(Waited(self, values))
        self.open_max = max(self.open_max, len(self.open))
        self.batches += 1
        return self.open[-1]

    def put(self, key: str, value: object, *, timeout_s: float | None = None) -> int:
        failure = self._end(key)
        if failure is not None:
            raise failure
        self.values[key] = value
        return 1

    def end_all(self) -> None:
        while self.open:
            batch = self.open.pop()
            failure = next(filter(None, map(self._end, batch.values)), None)
            if failure is None:
                self.values.update(batch.values)
                batch.set_result(dict.fromkeys(batch.values, 1))
            else:
                batch.set_exception(failure)


class Waited(Future[dict[str, int]]):
    """Ends when somebody waits, so that nothing ends before it must."""

    def __init__(self, store: Remembers, values: Mapping[str, object]) -> None:
        super().__init__()
        self._store = store
        self.values = values

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._store.end_all()
        return super().exception(timeout)


def items(*keys: str, size_bytes: int = 10) -> Iterator[Item]:
    for line, key in enumerate(keys, start=1):
        yield Item(place=f"in:{line}", key=key, value=line, size_bytes=size_bytes)


def load(store: Store, source: Iterator[Item]) -> int:
    return put_all(store, source, written=lambda _: None)


TOO_LARGE = KeyTooLarge.of(size_bytes=9, size_bytes_max=8)


class TestWriting:
    def test_all_are_written_and_their_bytes_told(self) -> None:
        store, told = Remembers(), list[int]()
        assert put_all(store, items("a", "b"), written=told.append) == 2
        assert (store.values, sum(told)) == ({"a": 1, "b": 2}, 20)

    def test_batches_are_under_way_together_but_never_more_than_the_bound(self) -> None:
        store, count = Remembers(), 10 * OPEN_MAX * BATCH_COUNT_MAX
        assert load(store, items(*map(str, range(count)))) == len(store.values) == count
        assert (store.batches, store.open_max) == (10 * OPEN_MAX, OPEN_MAX)

    def test_a_batch_is_bounded_in_bytes_too(self) -> None:
        store = Remembers()
        assert load(store, items("a", "b", "c", size_bytes=BATCH_BYTES_MAX // 2)) == 3
        assert store.batches == 2

    def test_of_a_key_that_comes_twice_the_last_line_wins_whatever_the_order_of_answers(self) -> None:
        store = Remembers()
        assert load(store, items("a", "b", "a", "c", "b", "a")) == 6
        assert store.values == {"a": 6, "b": 5, "c": 4}

    def test_a_refused_batch_is_put_line_by_line_until_the_one_to_blame(self) -> None:
        store = Remembers(lambda key: TOO_LARGE if key == "b" else None)
        with pytest.raises(LoadStopped) as stopped:
            load(store, items("a", "b", "c"))
        assert str(stopped.value).startswith("in:2: the key has 9 bytes")
        assert (stopped.value.written, stopped.value.not_written, stopped.value.unknown) == (1, 1, 0)
        assert store.values == {"a": 1}

    def test_a_refusal_before_anything_is_sent_names_its_line_too(self) -> None:
        class Refuses(Remembers):
            def submit_put_many(
                self, values: Mapping[str, object], *, timeout_s: float | None = None
            ) -> Future[dict[str, int]]:
                raise TOO_LARGE

        with pytest.raises(LoadStopped, match=r"^in:3: the key .*\(written: 2, unknown: 0, not written: 1\)"):
            load(Refuses(lambda key: TOO_LARGE if key == "c" else None), items("a", "b", "c"))

    def test_a_batch_that_only_was_too_large_is_written_line_by_line(self) -> None:
        class Refuses(Remembers):
            def submit_put_many(
                self, values: Mapping[str, object], *, timeout_s: float | None = None
            ) -> Future[dict[str, int]]:
                raise BatchTooLarge.of(size_bytes=9, size_bytes_max=8)

        store = Refuses()
        assert load(store, items("a", "b")) == 2
        assert store.values == {"a": 1, "b": 2}

    @pytest.mark.parametrize(
        ("failure", "counts"),
        [
            (Timeout("no answer"), "written: 0, unknown: 2, not written: 0"),
            (NoQuorum("no leader"), "written: 0, unknown: 0, not written: 2"),
        ],
    )
    def test_unknown_is_never_said_to_be_unwritten(self, failure: KVError, counts: str) -> None:
        with pytest.raises(LoadStopped, match=rf"^in:1: no .*\({counts}\)"):
            load(Remembers(lambda _: failure), items("a", "b"))

    def test_after_a_failure_nothing_more_is_begun(self) -> None:
        store = Remembers(lambda _: NoQuorum("no leader"))
        with pytest.raises(LoadStopped):
            load(store, items(*map(str, range(100 * BATCH_COUNT_MAX))))
        assert store.batches == OPEN_MAX

    def test_a_bad_line_ends_the_load_after_all_lines_before_it_were_written(self) -> None:
        store = Remembers()
        source = read_items(io.BytesIO(b"a 1\nb 2\nbad\nc 3\n"), "text", "words.txt")
        with pytest.raises(LoadStopped, match=r"^words\.txt:3: expected .*\(written: 2, unknown: 0, not written: 0\)"):
            load(store, source)
        assert store.values == {"a": "1", "b": "2"}

    def test_a_bad_line_does_not_hide_that_a_put_before_it_failed(self) -> None:
        source = read_items(io.BytesIO(b"a 1\nbad\n"), "text", "in")
        with pytest.raises(LoadStopped, match=r"^in:2: expected .*; in:1: no leader \("):
            load(Remembers(lambda _: NoQuorum("no leader")), source)

    def test_ctrl_c_waits_for_nothing_and_says_what_is_not_known(self) -> None:
        def interrupted() -> Iterator[Item]:
            yield from items(*map(str, range(BATCH_COUNT_MAX + 1)))
            raise KeyboardInterrupt

        with pytest.raises(LoadStopped, match=r"^interrupted \(written: 0, unknown: 500, not written: 0\)"):
            load(Remembers(), interrupted())

    def test_a_fault_of_ours_is_no_refusal(self) -> None:
        with pytest.raises(ZeroDivisionError):
            load(Remembers(lambda _: ZeroDivisionError()), items("a"))
