"""A replicated counter: any class with these four methods becomes a group whose state outlives its processes.

`python docs/examples/counter.py` starts a Ray on this machine; with RAY_ADDRESS=auto it uses a running one.
"""

from __future__ import annotations

from collections.abc import Iterator

import ray

import raft_actors


class Counter:
    def __init__(self) -> None:
        self.value = 0

    def apply(self, index: int, command: bytes) -> bytes:
        self.value += int(command)
        return str(self.value).encode()

    def query(self, request: bytes) -> bytes:
        return str(self.value).encode()

    def snapshot(self) -> Iterator[bytes]:
        yield str(self.value).encode()

    def restore(self, chunks: Iterator[memoryview]) -> None:
        self.value = int(b"".join(chunks))


if __name__ == "__main__":
    ray.init(log_to_driver=False)
    group = raft_actors.start("counter", Counter, members=3)
    before = int(group.query(b""))  # not 0 when this ran before: the data is still there
    for _ in range(5):
        group.submit(b"1")
    group.shutdown()  # all six processes end ...
    group = raft_actors.start("counter", Counter, members=3)  # ... and come back with their state
    print("counted", int(group.submit(b"1")) - before)
    group.shutdown()
