"""The demo's clients on a real state machine: they remember what they were told, and what is lost is found."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from kv.app.demo import show_verdict
from kv.app.demo_clients import DemoClient, faults_of, load
from kv.app.tally import Tally
from kv.client import Client
from kv.limits import Limits
from kv.machine import KVMachine
from raft_actors.client import callers
from raft_actors.client.sender import Caller
from tests.client.world import FakeGroup, FakeServers

WORDS = {f"a.py:{number}": number for number in range(2100)}
OPERATIONS = 40


class StopAfter(threading.Event):
    """Set once it was asked that often."""

    asked = 0

    def is_set(self) -> bool:
        self.asked += 1
        return self.asked > OPERATIONS


@pytest.fixture
def store() -> Iterator[Client]:
    servers = FakeServers(FakeGroup(machine=lambda: KVMachine(Limits())))
    with Client("test", timeout_s=30.0, make_caller=lambda: Caller("test", servers)) as client:
        yield client
    callers.close_all()


@pytest.fixture
def worked(store: Client) -> DemoClient:
    assert sum(load(store, WORDS)) == len(WORDS)
    client = DemoClient(number=3, store=store, words=WORDS, dice=random.Random(1), tally=Tally(), stop=StopAfter())
    client.run()
    return client


def test_what_was_acknowledged_and_is_there_is_no_fault(store: Client, worked: DemoClient) -> None:
    assert worked.puts
    assert worked.appends
    assert sum(seen.ok for seen in worked.tally.look().values()) == OPERATIONS
    assert list(faults_of(store, WORDS, [worked])) == []


def test_each_kind_of_write_is_missed_when_it_is_gone(store: Client, worked: DemoClient) -> None:
    put, append = worked.puts[0].key, worked.appends[0].key
    for key in ("a.py:2099", put, append):
        store.delete(key)
    faults = list(faults_of(store, WORDS, [worked]))
    assert {fault.split(": ")[0] for fault in faults} == {"a.py:2099", put, append}


def test_a_read_without_what_was_acknowledged_before_is_stale(store: Client, worked: DemoClient) -> None:
    for write in worked.appends:
        store.delete(write.key)
    worked.stop = StopAfter()
    worked.run()
    assert any("had been acknowledged before" in sentence for sentence in worked.stale)
    assert set(worked.stale) <= set(faults_of(store, WORDS, [worked]))


@pytest.mark.parametrize(("faults", "code", "said"), [([], 0, "nothing lost"), (["k: is lost"], 1, "FAULT k: is lost")])
def test_the_exit_code_is_0_only_if_nothing_was_lost(
    faults: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_verdict(WORDS, [], faults, "/data") == code
    assert said in capsys.readouterr().out
