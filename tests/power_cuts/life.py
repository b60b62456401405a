"""One life of a member's disk thread, as a process of its own that can be killed or lose its disk at any moment.

Here:   `Life`: fork it, hear what it says, end it; and what it does in there: open, tell, work, tell.
Never:  what a message means for the promises (oracle.py).
"""

from __future__ import annotations

import errno
import os
import random
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from typing import Final, NoReturn, Self, TypeAlias

from raft_actors.core.effects import Record
from raft_actors.core.entries import Genesis
from raft_actors.errors import DirectoryNotWritable, StorageError, StorageFailed
from raft_actors.storage.image import LogImage
from raft_actors.storage.interface import Recovered, Storage
from tests.power_cuts.planted import OPENERS
from tests.power_cuts.workload import Pause, Step, Write, next_step

LIFE_S_MAX: Final = 30
"""A process that takes longer ends itself."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The next thing is to open the storage."""


@dataclass(frozen=True, slots=True)
class Opened:
    """This is what `open` returned."""

    found: Recovered
    at_ns: int = field(default_factory=time.monotonic_ns)
    """When it returned, on the clock that all processes of a machine share."""


@dataclass(frozen=True, slots=True)
class Done:
    """A write or a mark returned."""

    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Closed:
    """`close` returned."""

    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Failed:
    """The disk refused; fine after a cut, and only then."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The storage says that the directory is not as it should be. Never fine."""

    text: str


@dataclass(frozen=True, slots=True)
class Raised:
    """Something else was raised. Never fine."""

    text: str


Message: TypeAlias = Ready | Opened | Done | Closed | Failed | Refused | Raised


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a life is to do."""

    path: str
    opener: str
    segment_bytes_max: int
    seed: str
    steps: int
    close: bool
    """Whether it closes in order after its last step; else it just ends."""


class Life:
    """A child process, as a context: at its end it is dead, and all that it held open is closed."""

    def __init__(self, orders: Orders) -> None:
        """Starts with the context."""
        self._orders = orders
        self._pid = 0
        self._ours: Connection | None = None

    def __enter__(self) -> Self:
        self._ours, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _live(self._orders, theirs)
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._ours is not None, "the context was entered"
        self.kill()
        os.waitpid(self._pid, 0)
        self._ours.close()

    def kill(self) -> None:
        """SIGKILL; what it said before can still be heard."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def hear(self) -> Message | None:
        """The next thing it says; None when it has ended."""
        assert self._ours is not None, "the context was entered"
        try:
            message: Message = self._ours.recv()
        except (EOFError, OSError):
            return None
        return message


def _live(orders: Orders, connection: Connection) -> NoReturn:
    """The child's whole life. It shares no file position with its parent and leaves without its cleanups."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(LIFE_S_MAX)
    try:
        _work(orders, connection)
    except StorageFailed as refusal:
        connection.send(Failed(str(refusal)))
    except DirectoryNotWritable as refusal:  # a file system that lost its journal turns read-only
        read_only = isinstance(refusal.__cause__, OSError) and refusal.__cause__.errno == errno.EROFS
        connection.send(Failed(str(refusal)) if read_only else Refused(str(refusal)))
    except StorageError as refusal:
        connection.send(Refused(f"{type(refusal).__name__}: {refusal}"))
    except BaseException:
        connection.send(Raised(traceback.format_exc()))
    finally:
        os._exit(0)


def _work(orders: Orders, connection: Connection) -> None:
    dice = random.Random(orders.seed)
    connection.send(Ready())
    storage, image = _open(orders, connection)
    for _ in range(orders.steps):
        step = next_step(dice, image)
        if step is Pause.REOPEN:
            storage.close()
            connection.send(Closed())
            storage, image = _open(orders, connection)
        else:
            _take(storage, image, step)
            connection.send(Done())
    if orders.close:
        storage.close()
        connection.send(Closed())


def _open(orders: Orders, connection: Connection) -> tuple[Storage, LogImage]:
    storage = OPENERS[orders.opener](orders.path, orders.segment_bytes_max)
    found = storage.recovered
    connection.send(Opened(found))
    return storage, LogImage(found.genesis, found.hard_state, found.base, list(found.entries))


def _take(storage: Storage, image: LogImage, step: Step) -> None:
    if not isinstance(step, Write):
        storage.mark_synced()
        return
    records: list[Record] = []
    for record in step.records:
        if isinstance(record, Genesis):
            storage.write_genesis(record)
        else:
            records.append(record)
    if records:
        storage.write(records)
    for record in step.records:
        image.apply(record)
