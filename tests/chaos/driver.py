"""`python -m tests.chaos.driver`: one of the drivers of a segment, with clients that go on whatever happens.

Here:   `ChaosClient`, which asks one thing after the other; the program, which ends when its input does.
Never:  faults, verdicts: what clients were told is in the run that the group records.

Each client does everything that a store is for, on few keys that all clients share, so that many operations on a key
are under way at a time. The keys change with the clock: a judge that searches for an order has a history of one window
for each, however long the run.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from random import Random
from typing import Final

import ray

import kv
from raft_actors.errors import OperationError

WINDOW_S: Final = 20
KEYS: Final = 8
"""In each window."""
TIMEOUT_S: Final = 3.0
PAUSE_S: Final = 0.03
"""The longest, between two operations of a client."""
LARGE_BYTES: Final = 4096
PAGE: Final = 50
END_S: Final = 30.0


class ChaosClient:
    """Of one label."""

    def __init__(self, store: kv.Client, label: str, seed: int) -> None:
        self._store = store
        self._label = label
        self._dice = Random(f"{seed} {label}")
        self._count = 0
        self._acts = (
            *(6 * [self._get]),
            *(5 * [self._append]),
            *(3 * [self._put]),
            *(2 * [self._race]),
            self._delete,
            self._put_many,
            self._get_many,
            self._scan,
        )

    def go_on_until(self, over: threading.Event) -> None:
        """One operation after the other. Whatever is no answer of the store is raised."""
        while not over.wait(self._dice.uniform(0, PAUSE_S)):
            with contextlib.suppress(OperationError):  # the run says how it ended
                self._dice.choice(self._acts)()

    def _keys(self, count: int = 1) -> list[str]:
        window = int(time.time() // WINDOW_S)
        return [f"{window}/{number}" for number in self._dice.sample(range(KEYS), count)]

    def _value(self) -> str:
        """No two are equal."""
        self._count += 1
        value = f"({self._label} {self._count})"
        return value if self._dice.random() < 0.9 else value + "." * self._dice.randrange(LARGE_BYTES)

    def _get(self) -> None:
        self._store.get(*self._keys())

    def _append(self) -> None:
        self._store.append(*self._keys(), self._value())

    def _put(self) -> None:
        self._store.put(*self._keys(), self._value())

    def _race(self) -> None:
        (key,) = self._keys()
        found = self._store.get_versioned(key)
        self._store.put(key, self._value(), if_version=0 if found is None else found.version)

    def _delete(self) -> None:
        self._store.delete(*self._keys())

    def _put_many(self) -> None:
        self._store.put_many({key: self._value() for key in self._keys(3)})

    def _get_many(self) -> None:
        self._store.get_many(self._keys(3))

    def _scan(self) -> None:
        self._store.scan(f"{int(time.time() // WINDOW_S)}/", limit=PAGE)


def main(address: str, group: str, seed: int, labels: list[str]) -> int:
    """Connect; go on from the first line of the input until its end. 0 unless a client failed otherwise than a store
    may."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    print("connected", flush=True)
    if not sys.stdin.readline():
        return 0
    over, failures = threading.Event(), []

    def run(label: str) -> None:
        try:
            with kv.connect(group, label=label, timeout_s=TIMEOUT_S, connect_timeout_s=END_S) as store:
                ChaosClient(store, label, seed).go_on_until(over)
        except BaseException as failure:
            failures.append((label, failure))
            raise

    threads = [threading.Thread(target=run, args=(label,), name=label) for label in labels]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join(END_S)
    hanging = [thread.name for thread in threads if thread.is_alive()]
    if hanging or failures:
        print(f"hanging: {hanging}; failed: {failures}", file=sys.stderr, flush=True)
    return 1 if hanging or failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
