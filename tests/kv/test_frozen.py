"""A snapshot is the state at the call, whatever happens while it is read; taking one costs the same for any state."""

from __future__ import annotations

import gc
import random
import sys

import pytest

from kv import sorted_keys
from kv.frozen import Frozen
from kv.limits import Limits
from kv.machine import KVMachine
from kv.parts import Stored
from kv.sorted_keys import SortedKeys
from tests.kv.store import Store


class Twin:
    """Keys and values as the machine has them, and readers that are told before each change."""

    def __init__(self) -> None:
        self.keys, self.values = SortedKeys(), {}
        self.readers: list[Frozen] = []
        self.version = 0

    def put(self, key: bytes) -> None:
        self._tell(key)
        if key not in self.values:
            self.keys.add(key)
        self.version += 1
        self.values[key] = Stored.of(b"\x01%d" % self.version, self.version)

    def remove(self, key: bytes) -> None:
        if key in self.values:
            self._tell(key)
            del self.values[key]
            self.keys.remove(key)

    def freeze(self) -> tuple[Frozen, list[tuple[bytes, Stored]]]:
        """A reader, and the dumb copy of what it has to read."""
        frozen = Frozen(self.keys, self.values)
        self.readers.append(frozen)
        return frozen, sorted(self.values.items())

    def _tell(self, key: bytes) -> None:
        for reader in self.readers:
            reader.before_change(key)


@pytest.mark.parametrize("block", [2, 3, 8, 1024])
@pytest.mark.parametrize("seed", range(60))
def test_it_reads_what_a_copy_would_have(seed, block, monkeypatch):
    """Several readers at once, each at another place, while few keys are written and removed again and again."""
    monkeypatch.setattr(sorted_keys, "BLOCK_KEYS_MAX", block)
    dice, twin = random.Random(seed), Twin()
    names = [b"%03d" % number for number in range(dice.choice((1, 5, 40)))]
    reading = []
    for _ in range(400):
        chance = dice.random()
        if chance < 0.4:
            twin.put(dice.choice(names))
        elif chance < 0.65:
            twin.remove(dice.choice(names))
        elif chance < 0.7 and len(reading) < 4:
            frozen, expected = twin.freeze()
            reading.append((frozen.items(), expected, []))
        elif reading:
            items, expected, read = dice.choice(reading)
            for item in items:
                read.append(item)
                assert read == expected[: len(read)]
                if dice.random() < 0.5:
                    break
    for items, expected, read in reading:
        assert [*read, *items] == expected


def test_the_machine_tells_of_every_kind_of_change():
    store = Store()
    for key in "abcdefgh":
        store.put(key, f"{key} before")
    before = store.snapshot()
    chunks = store.machine.snapshot()
    store.put("a", "after")
    store.append("b", " and after")
    store.delete("c")
    store.put_many({"d": "after", "new": 1})
    store.delete("e")
    store.put("e", "again")
    assert list(chunks) == before


def test_a_restore_does_not_disturb_who_reads():
    store, other = Store(), Store()
    store.put("a", 1)
    other.put("b", 2)
    before, chunks = store.snapshot(), store.machine.snapshot()
    store.machine.restore(map(memoryview, other.snapshot()))
    store.put("a", 3)
    assert list(chunks) == before


def test_who_stops_reading_costs_nothing_more():
    store = Store()
    store.put("a", 1)
    chunks = store.machine.snapshot()
    del chunks
    gc.collect()
    store.put("a", 2)
    assert store.machine._frozen == []


def test_taking_one_allocates_the_same_for_any_state():
    """What a clock would say, in bytes."""

    def cost(count: int) -> int:
        machine = KVMachine(Limits())
        for number in range(count):
            machine._write(b"%d" % number, b"\x01x")
        before = sys.getallocatedblocks()
        chunks = machine.snapshot()
        after = sys.getallocatedblocks()
        del chunks
        return after - before

    cost(10)
    assert abs(cost(20_000) - cost(10)) < 100
