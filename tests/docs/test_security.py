"""What docs/SECURITY.md promises about the store, where no other directory has the test: names, pickles, texts.

Here:   promises of that page that concern several packages at once.
Never:  those of one package (tests/storage, tests/codec, tests/application ...), which the page names.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from kv.encoded import Kind
from kv.errors import KVError
from kv.limits import Limits
from kv.machine import KVMachine
from raft_actors.core.types import MemberId
from raft_actors.errors import InvalidName
from raft_actors.names import check_group, keeper_name, peer_name
from tests.kv.store import Store, to_encoded

SECRET = "hunter2"


class TestNamesCannotLeaveTheirPlace:
    """A group's name becomes part of paths and of actor names (security point 4)."""

    @pytest.mark.parametrize(
        "name", ["", ".", "..", ".x", "a/b", "../x", "a\0b", "a:b", "a b", "a\n", "ä", "x" * 65, b"a", 1]
    )
    def test_what_is_no_name_is_refused(self, name: object) -> None:
        with pytest.raises(InvalidName, match="cannot name a group"):
            check_group(name)

    def test_what_is_one_is_taken_as_it_is(self) -> None:
        assert check_group("A-z_0.9") == "A-z_0.9"
        assert peer_name("a.b", MemberId(3)) == "raft:a.b:peer:3"
        assert keeper_name("a.b") == "raft:a.b:keeper"


class Custom:
    """No native value: it travels as a pickle."""


class TestServersOpenNoPickle:
    """A pickled value is bytes to every member; only a client that reads it runs its writer's code (point 2)."""

    def test_from_the_command_to_the_snapshot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[object] = []

        def note(data: object, *_args: object, **_options: object) -> object:
            opened.append(data)
            return None

        store = Store()
        assert to_encoded(Custom()).kind is Kind.OPAQUE
        store.put("k", Custom())
        for module in (pickle, cloudpickle):
            for name in ("loads", "load", "Unpickler"):
                monkeypatch.setattr(module, name, note, raising=False)
        store.append("text", "x")
        store.delete("text")
        again = Store()
        again.machine.restore(memoryview(chunk) for chunk in store.snapshot())
        assert again.page().items.keys() == {"k"}
        assert again.snapshot() == store.snapshot()
        assert not opened
        again.get("k")  # what a client does: so the guard would have seen it
        assert len(opened) == 1


class TestTextsHoldNoValues:
    """Errors end in logs: they hold sizes, versions and kinds, never a key or a value (point 10)."""

    @pytest.mark.parametrize(
        "refused",
        [
            lambda store: store.put(SECRET * 20, 1),
            lambda store: store.put("k", SECRET * 20),
            lambda store: store.put(SECRET, 1, if_version=3),
            lambda store: store.append(SECRET, 7),
            lambda store: store.append("number", SECRET),
            lambda store: store.put_many({SECRET + str(n): SECRET for n in range(20)}),
        ],
        ids=["long key", "long value", "version", "type", "type of value", "batch"],
    )
    def test_neither_the_text_nor_the_details(self, refused: Callable[[Store], Any]) -> None:
        store = Store(Limits(key_bytes_max=64, value_bytes_max=64, batch_bytes_max=256))
        store.put("number", 1)
        with pytest.raises(KVError) as caught:
            refused(store)
        for said in (str(caught.value), repr(caught.value), repr(caught.value.details)):
            assert SECRET not in said

    def test_neither_what_a_client_cannot_encode(self) -> None:
        class Unpicklable:
            def __reduce__(self) -> str:
                raise TypeError(SECRET)

        with pytest.raises(KVError) as caught:
            to_encoded(Unpicklable())
        assert SECRET not in str(caught.value)

    def test_nor_the_machine(self) -> None:
        machine = KVMachine(Limits())
        assert SECRET.encode() not in machine.apply(1, SECRET.encode())
