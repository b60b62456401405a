"""What a process asks of its interpreter and of its allocator."""

from __future__ import annotations

import threading

import psutil
import pytest

from raft_actors.process import give_memory_back
from tests.peer.test_runtime import LONG_S, wait_for

NAME = "give memory back"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


class TestMemoryThatWasFreed:
    def test_goes_back_again_and_again_until_it_shall_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trims: list[int] = []
        monkeypatch.setattr(psutil, "heap_trim", lambda: trims.append(1), raising=False)
        stop = give_memory_back(every_s=0.001)
        wait_for(lambda: len(trims) >= 3)
        (thread,) = threads()
        stop.set()
        thread.join(LONG_S)
        assert not threads()

    def test_stays_where_nobody_can_return_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(psutil, "heap_trim", raising=False)
        give_memory_back(every_s=0.001)
        assert not threads()
