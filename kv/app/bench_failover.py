"""How long nobody's put is acknowledged after the leader's SIGKILL, again and again, and whether anything gets lost.

Here:   `run_failover`, `OpenLoop`.
Never:  tables (figures.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final

import kv
from kv.app.figures import Figure, first_after
from kv.app.members import Watch, kill_leader, wait_until_whole

EVERY_S: Final = 0.01
PUT_TIMEOUT_S: Final = 10.0
WHOLE_S: Final = 60.0
RECOVERED_S: Final = 30.0
LOOK_S: Final = 0.02
GAP_MS_MAX: Final = 1500.0
READ_BATCH: Final = 2000
READ_TIMEOUT_S: Final = 30.0
MEMBERS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """What came of it."""

    figures: list[Figure]
    lost: list[str]
    """Keys whose acknowledged put is not there."""


class OpenLoop:
    """A put every 10 ms, whatever became of those before; each writes its number under a key of its own."""

    def __init__(self, store: kv.Client) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._acknowledged: dict[int, tuple[int, int]] = {}
        self.begun = 0
        self.failed = 0

    @contextmanager
    def going(self) -> Iterator[None]:
        """Puts begin within this context. Raises what beginning one raised."""
        stop, failures = threading.Event(), []

        def run() -> None:
            try:
                self._run(stop)
            except Exception as failure:  # raised below, in the thread that can tell somebody
                failures.append(failure)

        thread = threading.Thread(target=run, name="open-loop", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]

    def acknowledged(self) -> dict[int, tuple[int, int]]:
        """(invoked, returned) in ns of `time.monotonic_ns`, by the number of the put."""
        with self._lock:
            return dict(self._acknowledged)

    def _run(self, stop: threading.Event) -> None:
        next_s = time.monotonic()
        pending: list[Future[int]] = []
        while not stop.wait(max(0.0, next_s - time.monotonic())):
            next_s += EVERY_S
            invoked_ns = time.monotonic_ns()
            put = self._store.submit_put(key_of(self.begun), self.begun, timeout_s=PUT_TIMEOUT_S)
            put.add_done_callback(partial(self._done, self.begun, invoked_ns))
            self.begun += 1
            pending = [*(other for other in pending if not other.done()), put]
        for put in pending:
            put.exception()  # waits

    def _done(self, number: int, invoked_ns: int, put: Future[int]) -> None:
        returned_ns = time.monotonic_ns()
        with self._lock:
            if put.exception() is None:
                self._acknowledged[number] = (invoked_ns, returned_ns)
            else:
                self.failed += 1


def key_of(number: int) -> str:
    """Where the put of this number goes."""
    return f"failover/{number:08}"


def run_failover(store: kv.Client, kills: int, progress: Callable[[str], None]) -> Failover:
    """Kill the leader so many times. Raises `NotInTime` when the group does not become whole between two kills."""
    loop, gaps_ms = OpenLoop(store), []
    with Watch(store.group) as watch, loop.going():
        for kill in range(1, kills + 1):
            whole = wait_until_whole(watch, MEMBERS, WHOLE_S)
            killed = kill_leader(whole)
            gap_ms = _gap_ms(loop, killed.at_ns)
            gaps_ms.append(RECOVERED_S * 1000 if gap_ms is None else gap_ms)
            took = "no put acknowledged" if gap_ms is None else f"a put acknowledged after {gap_ms:,.0f} ms"
            progress(f"kill {kill} of {kills}: member {killed.member}, term {killed.term}; {took}")
            watch.wait_for(killed.is_replaced, "a new leader", WHOLE_S)
    acknowledged = loop.acknowledged()
    progress(f"reading back {len(acknowledged):,} acknowledged puts")
    lost = lost_puts(acknowledged, lambda keys: store.get_many(keys, timeout_s=READ_TIMEOUT_S))
    figures = [
        Figure(name="kills", value=kills),
        Figure(name="SIGKILL to acknowledged put: median", value=median(gaps_ms), unit="ms", at_most=GAP_MS_MAX),
        Figure(name="maximum", value=max(gaps_ms), unit="ms"),
        Figure(name="puts acknowledged", value=len(acknowledged)),
        Figure(name="puts not acknowledged", value=loop.failed),
        Figure(name="acknowledged puts lost", value=len(lost), at_most=0),
    ]
    return Failover(figures=figures, lost=lost)


def _gap_ms(loop: OpenLoop, killed_ns: int) -> float | None:
    """Until the first acknowledgement of a put invoked after the kill; None if there is none for long."""
    deadline_s, pause = time.monotonic() + RECOVERED_S, threading.Event()
    while (gap_ms := first_after(killed_ns, loop.acknowledged().values())) is None and time.monotonic() < deadline_s:
        pause.wait(LOOK_S)
    return gap_ms


def lost_puts(acknowledged: Mapping[int, object], read: Callable[[list[str]], Mapping[str, object]]) -> list[str]:
    """Keys of acknowledged puts that are not there with their number."""
    numbers = sorted(acknowledged)
    lost: list[str] = []
    for first in range(0, len(numbers), READ_BATCH):
        part = {key_of(number): number for number in numbers[first : first + READ_BATCH]}
        found = read(list(part))
        lost.extend(key for key, number in part.items() if found.get(key) != number)
    return lost
