"""Which way brings an actor back sooner after SIGKILL: Ray's own restart, or a watcher that creates it anew? (ADR 0004)

Here:   one small actor, killed `--rounds` times each way, in turns, and the medians. Needs nothing of raft-actors.
Never:  a verdict; that is argued in 0004-who-restarts-a-peer.md.

    python docs/adr/measure_restarts.py [--rounds 10]

"restart": `max_restarts=-1`. "re-create": `max_restarts=0`, and an actor that has a call in flight to the subject
creates it again under the same name as soon as that call fails. Times are milliseconds from the SIGKILL, on the
machine's monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import time
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, RayError

RESTARTED: Final = "measure_restarts:restarted"
RE_CREATED: Final = "measure_restarts:re-created"
ATTEMPT_INTERVAL_S: Final = 0.01
"""A new call is tried this often; the first to be answered counts, whichever attempt it was."""
ROUND_TIMEOUT_S: Final = 30.0
COLUMNS: Final = ("constructor runs", "call in flight fails", "new call answered")


@ray.remote(num_cpus=0, max_task_retries=0, max_concurrency=256)
class Subject:
    """Knows its process and when its constructor ran."""

    def __init__(self) -> None:
        self._born_ns = time.monotonic_ns()

    def born(self) -> tuple[int, int]:
        """(process, time of the constructor)."""
        return os.getpid(), self._born_ns

    def hang(self) -> None:
        """A call that is in flight when the process dies."""
        time.sleep(ROUND_TIMEOUT_S * 2)


def create(name: str, max_restarts: int) -> Any:
    """The subject under its name, which a predecessor may hold for a moment after its death.

    Detached, as members are. Not only for the likeness: an actor that is not keeps its name after its death for as long
    as its creator holds the handle.
    """
    while True:
        try:
            return Subject.options(name=name, lifetime="detached", max_restarts=max_restarts).remote()
        except ValueError:
            time.sleep(0.002)


@ray.remote(num_cpus=0)
class Watcher:
    """Creates the subject, and creates it again at once when it dies."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._subject = create(name, 0)

    def watch(self) -> None:
        """Returns when the subject died and was created anew."""
        with contextlib.suppress(RayError):
            ray.get(self._subject.hang.remote())
        self._subject = create(self._name, 0)


def look_up(name: str) -> Any:
    """The subject by its name, or None while there is none."""
    try:
        return ray.get_actor(name)
    except ValueError:
        return None


def one_round(name: str) -> tuple[float, float, float]:
    """Kill the process of the actor of this name; the three times of `COLUMNS` in ms."""
    while (subject := look_up(name)) is None:
        time.sleep(ATTEMPT_INTERVAL_S)
    pid, _ = ray.get(subject.born.remote())
    in_flight = subject.hang.remote()
    ray.wait([in_flight], timeout=0.3)  # it has reached the process
    killed_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    failed_ns, answer = None, None
    attempts: list[Any] = []
    while failed_ns is None or answer is None:
        if time.monotonic_ns() - killed_ns > ROUND_TIMEOUT_S * 1e9:
            raise SystemExit(f"nothing came back within {ROUND_TIMEOUT_S:.0f} s; is the machine overloaded?")
        if subject is None:
            subject = look_up(name)
        if subject is not None and answer is None:
            with contextlib.suppress(RayError):
                attempts.append(subject.born.remote())
        refs = attempts if failed_ns is not None else [in_flight, *attempts]
        ended, _ = ray.wait(refs, num_returns=1, timeout=ATTEMPT_INTERVAL_S) if refs else ([], [])
        for ref in ended:
            now_ns = time.monotonic_ns()
            try:
                said = ray.get(ref)
            except ActorDiedError:
                subject = None  # dead for good: its successor has the name
            except RayError:
                pass
            else:
                answer = answer or (said[1], now_ns)
            if ref is in_flight:
                failed_ns = now_ns
            else:
                attempts.remove(ref)
    born_ns, answered_ns = answer
    return tuple((at_ns - killed_ns) / 1e6 for at_ns in (born_ns, failed_ns, answered_ns))  # type: ignore[return-value]


def main() -> None:
    """Print a table of medians, and the slowest of each."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    restarted, watcher = create(RESTARTED, -1), Watcher.remote(RE_CREATED)
    ray.get(restarted.born.remote())
    times: dict[str, list[tuple[float, float, float]]] = {"restart": [], "re-create": []}
    for _ in range(rounds):
        times["restart"].append(one_round(RESTARTED))
        watching = watcher.watch.remote()
        times["re-create"].append(one_round(RE_CREATED))
        ray.get(watching)
    print(f"Ray {ray.__version__}, {os.cpu_count()} CPUs, {rounds} rounds each; ms after SIGKILL: median (slowest)")
    print(f"{'':12}" + "".join(f"{column:>24}" for column in COLUMNS))
    for way, rows in times.items():
        cells = [f"{statistics.median(each):.0f} ({max(each):.0f})" for each in zip(*rows, strict=True)]
        print(f"{way:12}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
