"""The demo's work on the store: load it, use it from several clients that remember what they were told, read it back.

Here:   `load`, `DemoClient`, `faults_of`.
Never:  what is a fault at the end (histories.py), killing and restarting, terminals.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import kv
from kv.app.histories import Outcome, Write, append_faults, loaded_faults, put_faults
from kv.app.tally import Tally

KEYS: Final = 64
"""Keys that all clients put to, and as many that they append to: few enough to be shared, and lists stay short."""
LOAD_BATCH: Final = 1000
READ_BATCH: Final = 2000
"""Keys in one call; 2,000 paths and counts are some 100 KB."""
PATIENCE_S: Final = 30.0
"""For loading and reading back, where nothing is to end as unknown because the machine is busy."""
REFUSED_PAUSE_S: Final = 0.05


def load(store: kv.Client, words: Mapping[str, int]) -> Iterator[int]:
    """Put all words; yields how many more are acknowledged now. Raises `KVError`."""
    remaining = iter(words.items())
    while batch := dict(islice(remaining, LOAD_BATCH)):
        store.put_many(batch, timeout_s=PATIENCE_S)
        yield len(batch)


@dataclass(slots=True, kw_only=True)
class DemoClient:
    """One of several clients; used by one thread, and read when that has ended."""

    number: int
    store: kv.Client
    words: Mapping[str, int]
    """What was loaded; never written again."""
    dice: random.Random
    tally: Tally
    stop: threading.Event
    puts: list[Write] = field(default_factory=list)
    appends: list[Write] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    """Reads older than linearizable ones may be, as sentences."""
    _own: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Its acknowledged tokens in each list."""

    def run(self) -> None:
        """Half gets, a quarter puts, a quarter appends, one after the other until told to stop."""
        keys = list(self.words)
        work = (lambda: self._get_word(self.dice.choice(keys)), self._get_list, self._put, self._append)
        while not self.stop.is_set():
            self.dice.choice(work)()

    def _get_word(self, key: str) -> None:
        outcome, found = self._call("get", lambda: self.store.get(key))
        if outcome == "ok" and found != self.words[key]:
            self.stale.append(f"{key}: loaded with {self.words[key]}, read as {found}")

    def _get_list(self) -> None:
        key = self._key("append")
        outcome, found = self._call("get", lambda: self.store.get(key, []))
        if outcome == "ok" and (missing := self._own[key].difference(found)):
            self.stale.append(f"{key}: read without {min(missing)}, which had been acknowledged before")

    def _put(self) -> None:
        key, token = self._key("put"), f"{self.number}-{len(self.puts)}"
        outcome, version = self._call("put", lambda: self.store.put(key, token))
        self.puts.append(Write(client=self.number, key=key, token=token, outcome=outcome, version=version))

    def _append(self) -> None:
        key, token = self._key("append"), f"{self.number}-{len(self.appends)}"
        outcome, version = self._call("append", lambda: self.store.append(key, [token]))
        self.appends.append(Write(client=self.number, key=key, token=token, outcome=outcome, version=version))
        if outcome == "ok":
            self._own[key].add(token)

    def _key(self, kind: str) -> str:
        return f"demo/{kind}/{self.dice.randrange(KEYS)}"

    def _call(self, op: str, call: Callable[[], Any]) -> tuple[Outcome, Any]:
        """How it ended, and what it returned if it did."""
        began_s = time.perf_counter()
        outcome: Outcome = "ok"
        result = None
        try:
            result = call()
        except kv.KVError as failure:
            outcome = failure.outcome
        self.tally.add(op, outcome, (time.perf_counter() - began_s) * 1000)
        if outcome != "ok":
            self.stop.wait(REFUSED_PAUSE_S)
        return outcome, result


def faults_of(store: kv.Client, words: Mapping[str, int], clients: Sequence[DemoClient]) -> Iterator[str]:
    """Read everything, and name each acknowledged write that is not there exactly once. Raises `KVError`."""
    keys = list(words)
    for first in range(0, len(keys), READ_BATCH):
        part = {key: words[key] for key in keys[first : first + READ_BATCH]}
        yield from loaded_faults(part, store.get_many(part, timeout_s=PATIENCE_S))
    puts = {}
    for key in _keys(write for client in clients for write in client.puts):
        found = store.get_versioned(key, timeout_s=PATIENCE_S)
        if found is not None:
            puts[key] = (found.value, found.version)
    yield from put_faults([write for client in clients for write in client.puts], puts)
    appends = [write for client in clients for write in client.appends]
    yield from append_faults(appends, store.get_many(_keys(appends), timeout_s=PATIENCE_S))
    for client in clients:
        yield from client.stale


def _keys(writes: Iterable[Write]) -> list[str]:
    return sorted({write.key for write in writes})
