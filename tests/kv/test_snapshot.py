"""A snapshot is the state: equal states give equal bytes, damaged bytes change nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgpack
import pytest

from kv.errors import SnapshotMalformed
from kv.fields import pack_many
from kv.limits import Limits, encode_settings
from kv.machine import SNAPSHOT_FORMAT, KVMachine
from raft_actors.errors import VersionDiffers
from tests.kv.store import Store

ROOT = Path(__file__).resolve().parents[2]


def filled(limits: Limits | None = None) -> Store:
    store = Store(limits)
    store.put_many({"b": 1, "a": "x", "é": [1]})
    store.append("a", "yz")
    store.delete("b")
    return store


def restored(chunks: Iterable[bytes]) -> KVMachine:
    machine = KVMachine(Limits())
    machine.restore(map(memoryview, chunks))
    return machine


class TestRoundTrip:
    def test_counter_limits_and_values_come_back(self) -> None:
        limits = Limits(key_bytes_max=9, value_bytes_max=99, batch_bytes_max=999)
        store = filled(limits)
        machine = restored(store.snapshot())
        assert list(machine.snapshot()) == store.snapshot()
        assert (machine.limits, machine.write_count, len(machine)) == (limits, 5, 2)
        after = Store()
        after.machine = machine
        assert after.put("c", 1) == 6
        assert after.scan() == {"a": "xyz", "c": 1, "é": [1]}

    def test_golden_bytes(self) -> None:
        limits = Limits(key_bytes_max=1, value_bytes_max=2, batch_bytes_max=99)
        store = Store(limits)
        store.put("k", "v")
        header = pack_many([SNAPSHOT_FORMAT, encode_settings(limits), 1, 1])
        assert b"".join(store.snapshot()) == header + b"\xc4\x01k\x01\xc4\x02\x01v"

    def test_how_a_value_was_built_does_not_show(self) -> None:
        one, other = Store(), Store()
        one.put("a", "xyz")
        one.put("a", "xyz")
        other.put("a", "xy")
        other.append("a", "z")
        assert one.snapshot() == other.snapshot()

    def test_it_may_be_cut_anywhere(self) -> None:
        store = filled()
        whole = b"".join(store.snapshot())
        for size in (1, 7, len(whole) - 1, len(whole)):
            cut = [whole[at : at + size] for at in range(0, len(whole), size)]
            assert b"".join(restored(cut).snapshot()) == whole

    def test_it_is_the_state_at_the_call_whatever_is_applied_meanwhile(self) -> None:
        store = filled()
        before = store.snapshot()
        chunks = store.machine.snapshot()
        store.append("a", "more")
        store.delete("é")
        store.put("0", 1)
        assert list(chunks) == before


GOOD = [SNAPSHOT_FORMAT, encode_settings(Limits()), 2, 2, b"a", 1, b"\x00\xc0", b"b", 2, b"\x01x"]


def with_field(at: int, field: object) -> bytes:
    return b"".join(msgpack.packb(field if number == at else good) for number, good in enumerate(GOOD))


class TestDamageChangesNothing:
    def test_the_undamaged_one_is_taken(self) -> None:
        assert len(restored([with_field(0, GOOD[0])])) == 2

    @pytest.mark.parametrize(
        "snapshot",
        [
            b"",
            b"\xc1",
            with_field(0, "something else"),
            with_field(0, None),
            with_field(1, b""),
            with_field(1, "settings"),
            with_field(2, "2"),
            with_field(2, 1),
            with_field(3, 3),
            with_field(4, "a"),
            with_field(4, b"b"),
            with_field(5, 0),
            with_field(6, b""),
            with_field(6, b"\x09"),
            with_field(7, b"0"),
            with_field(8, None),
            with_field(9, [1]),
            with_field(9, b"\x01x") + b"\x01",
        ],
    )
    def test_each_field(self, snapshot: bytes) -> None:
        store = filled()
        before = store.snapshot()
        with pytest.raises(SnapshotMalformed, match="restore another one"):
            store.machine.restore(iter([memoryview(snapshot)]))
        assert store.snapshot() == before

    def test_cut_off_anywhere(self) -> None:
        whole = with_field(0, GOOD[0])
        for size in range(len(whole)):
            with pytest.raises(SnapshotMalformed):
                restored([whole[:size]])

    @pytest.mark.parametrize(
        "newer",
        [
            with_field(0, "raft-actors kv 2"),
            with_field(1, msgpack.packb({"machine_version": 2})),
        ],
    )
    def test_a_newer_snapshot_is_refused_by_name(self, newer: bytes) -> None:
        with pytest.raises(VersionDiffers):
            restored([newer])


HISTORY = """
import hashlib, random, sys
from tests.kv.store import Store
from kv.errors import KVError
dice, store, results = random.Random(7), Store(), hashlib.blake2b()
apply = store.apply
def hashed(command):
    result = apply(command)
    results.update(result)
    return result
store.apply = hashed
for number in range(300):
    key = f"k{dice.randrange(40)}"
    try:
        match dice.randrange(4):
            case 0: store.put(key, {"n": number, "s": "x"}, if_version=dice.choice([None, 0, number // 2]))
            case 1: store.append(key, dice.choice(["x", b"y", [number]]))
            case 2: store.delete(key)
            case 3: store.put_many({f"{key}{n}": (n,) for n in range(3)})
    except KVError:
        pass
state = hashlib.blake2b(b"".join(store.snapshot()))
state.update(repr(list(store.scan())).encode())
print(results.hexdigest(), state.hexdigest())
"""


@pytest.mark.slow
def test_members_with_different_hash_seeds_stay_equal() -> None:
    """Order of sets and dicts of bytes differs between processes; results and state must not."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", HISTORY],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    [output] = outputs
    results, state = output.split()
    assert len(results) == len(state) == 2 * hashlib.blake2b().digest_size
    assert results != hashlib.blake2b().hexdigest()
