"""The machine against its dumb twin, a dict of Python values: any calls, the same answers and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kv.encoded import Kind, Versioned
from kv.errors import BatchTooLarge, KVError, TypeMismatch, ValueTooLarge, VersionMismatch
from kv.limits import Limits
from kv.machine import KVMachine
from tests.kv.store import Store, to_encoded

LIMITS = Limits(key_bytes_max=8, value_bytes_max=24, batch_bytes_max=128)

KEYS = st.sampled_from(["a", "ab", "b", "é", "\U0001f600"])
VALUES = st.one_of(
    st.sampled_from([None, 7, (1, 2), {"a": 1}, {1: 2}]),
    st.text("xé", max_size=14),
    st.binary(max_size=27),
    st.lists(st.sampled_from([1, "y", (2,), [3]]), max_size=9),
)
VERSIONS = st.one_of(st.none(), st.integers(0, 12))
CALLS = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES, VERSIONS),
    st.tuples(st.just("append"), KEYS, VALUES),
    st.tuples(st.just("append"), KEYS, st.sampled_from(["x", "é", "", b"", b"z", [1]])),
    st.tuples(st.just("delete"), KEYS, VERSIONS),
    st.tuples(st.just("put_many"), st.dictionaries(KEYS, VALUES, max_size=5)),
)


class Model:
    """What the documentation says, in the plainest Python."""

    def __init__(self) -> None:
        self.items: dict[str, Versioned[Any]] = {}
        self.writes = 0

    def write(self, key: str, value: Any) -> int:
        self.writes += 1
        self.items[key] = Versioned(value, self.writes)
        return self.writes

    def check(self, key: str, if_version: int | None) -> None:
        current = self.items[key].version if key in self.items else 0
        if if_version not in (None, current):
            raise VersionMismatch("", current=current)

    def put(self, key: str, value: Any, if_version: int | None) -> int:
        check_size(value)
        self.check(key, if_version)
        return self.write(key, value)

    def append(self, key: str, value: Any) -> int:
        check_size(value)
        if not is_appendable(value):
            raise TypeMismatch("")
        if key not in self.items:
            return self.write(key, value)
        before = self.items[key].value
        if type(before) is not type(value):
            raise TypeMismatch("")
        check_size(before + value)
        return self.write(key, before + value)

    def delete(self, key: str, if_version: int | None) -> bool:
        self.check(key, if_version)
        if key not in self.items:
            return False
        del self.items[key]
        self.writes += 1
        return True

    def put_many(self, values: dict[str, Any]) -> dict[str, int]:
        for value in values.values():
            check_size(value)
        return {key: self.write(key, value) for key, value in values.items()}


def check_size(value: Any) -> None:
    if to_encoded(value).size_bytes > LIMITS.value_bytes_max:
        raise ValueTooLarge("")


def is_appendable(value: Any) -> bool:
    return to_encoded(value).kind in (Kind.STR, Kind.BYTES, Kind.LIST)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except KVError as refused:
        return type(refused), getattr(refused, "current", None)


def perform(store: Store | Model, name: str, arguments: tuple[Any, ...]) -> Any:
    if isinstance(store, Store) and name in ("put", "delete"):
        *arguments_only, if_version = arguments
        return outcome(lambda: getattr(store, name)(*arguments_only, if_version=if_version))
    return outcome(lambda: getattr(store, name)(*arguments))


class TestTheMachineIsADict:
    @pytest.mark.slow
    @settings(max_examples=200)
    @given(st.lists(CALLS, max_size=25), st.integers(0, 25))
    def test_any_calls(self, calls: list[tuple[Any, ...]], read_at: int) -> None:
        store, model = Store(LIMITS), Model()
        for number, (name, *arguments) in enumerate(calls):
            answer = perform(store, name, tuple(arguments))
            if name == "put_many" and answer == (BatchTooLarge, None):
                continue  # the model does not know how many bytes a command has; test_machine.py does
            assert answer == perform(model, name, tuple(arguments))
            if number == read_at:  # joins the parts half way
                assert_equal(store, model)
        assert_equal(store, model)
        copy = Store(LIMITS)
        copy.machine.restore(map(memoryview, store.snapshot()))
        assert_equal(copy, model)
        assert copy.snapshot() == store.snapshot()


def assert_equal(store: Store, model: Model) -> None:
    names = sorted(model.items, key=str.encode)
    assert [store.get_versioned(name) for name in names] == [[model.items[name]] for name in names]
    assert walk(store) == {name: model.items[name].value for name in names}
    assert list(walk(store)) == names
    assert (store.machine.write_count, len(store.machine)) == (model.writes, len(names))


def walk(store: Store) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    while True:
        after = next(reversed(seen)) if seen else None
        seen |= store.scan(start_after=after, limit=2)
        if not store.page(start_after=after, limit=2).more:
            return seen


class Recorder(Store):
    """Keeps the command that it was asked to apply."""

    command = b""

    def apply(self, command: bytes) -> bytes:
        self.command = command
        return super().apply(command)


class TestNothingAClientSendsStopsAMember:
    @given(st.binary(max_size=60))
    def test_any_bytes_are_answered(self, junk: bytes) -> None:
        machine = KVMachine(LIMITS)
        assert machine.apply(1, junk)
        assert machine.query(junk)

    @settings(max_examples=30)
    @given(CALLS, st.data())
    def test_a_command_with_one_byte_changed_is_answered_the_same_by_all(
        self, call: tuple[Any, ...], data: st.DataObject
    ) -> None:
        recorder = Recorder(LIMITS)
        perform(recorder, call[0], call[1:])
        command = bytearray(recorder.command)
        command[data.draw(st.integers(0, len(command) - 1))] = data.draw(st.integers(0, 255))
        one, other = KVMachine(LIMITS), KVMachine(LIMITS)
        assert one.apply(1, bytes(command)) == other.apply(1, bytes(command))
        assert list(one.snapshot()) == list(other.snapshot())
