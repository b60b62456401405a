"""What replication costs: the store beside one plain Ray actor that holds a dict, in turns in the same run.

Here:   `run_quick`.
Never:  tables (figures.py). Nothing is judged by a clock alone: each turn measures both, and ratios are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Final

import ray

import kv
from kv.app.bench_load import Outstanding
from kv.app.figures import Figure, median_ratio, timed_ms

VALUE: Final = "x" * 100
CLIENTS: Final = 64
TIMEOUT_S: Final = 30.0
LATENCY_RATIO_MAX: Final = 6.5
"""A put is two calls in sequence more than a plain one, plus two syncs of a log."""
RATE_RATIO_MIN: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickSize:
    """How much is measured."""

    turns: int = 15
    """Many short ones: a shared machine changes its speed within seconds, and a turn measures both within one."""
    calls: int = 70
    """Of one client, each turn."""
    calls_of_many: int = 15
    """Of each of 64 clients, each turn."""


class PlainDict:
    """What a Ray application has without us: fast, and gone with its process."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def put(self, key: str, value: str) -> None:
        """Set one key."""
        self._values[key] = value

    def get(self, key: str) -> str | None:
        """Its value."""
        return self._values.get(key)


@dataclass(slots=True)
class _Turns:
    """One measure, turn by turn, of both."""

    store: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)

    def ratio(self) -> float:
        return median_ratio(self.store, self.plain)


def run_quick(store: kv.Client, size: QuickSize, progress: Callable[[int], None]) -> list[Figure]:
    """Measure; `progress` is told the number of each turn that is done."""
    plain = ray.remote(PlainDict).options(num_cpus=0).remote()
    put, get, threads, futures = _Turns(), _Turns(), _Turns(), _Turns()
    try:
        _warm_up(store, plain)
        for turn in range(size.turns):
            put.plain.append(_median_ms(size.calls, lambda key: ray.get(plain.put.remote(key, VALUE))))
            put.store.append(_median_ms(size.calls, lambda key: store.put(key, VALUE, timeout_s=TIMEOUT_S)))
            get.plain.append(_median_ms(size.calls, lambda key: ray.get(plain.get.remote(key))))
            get.store.append(_median_ms(size.calls, lambda key: store.get(key, timeout_s=TIMEOUT_S)))
            of_plain = _per_second(size.calls_of_many, lambda key: ray.get(plain.put.remote(key, VALUE)))
            threads.plain.append(of_plain)
            threads.store.append(
                _per_second(size.calls_of_many, lambda key: store.put(key, VALUE, timeout_s=TIMEOUT_S))
            )
            futures.plain.append(of_plain)
            futures.store.append(_per_second_outstanding(store, CLIENTS * size.calls_of_many))
            progress(turn + 1)
    finally:
        ray.kill(plain)
    return [
        Figure(name="put, 1 client: median", value=median(put.store), unit="ms"),
        Figure(name="plain actor's put, 1 client: median", value=median(put.plain), unit="ms"),
        Figure(name="put, store / plain actor", value=put.ratio(), at_most=LATENCY_RATIO_MAX),
        Figure(name="get, 1 client: median", value=median(get.store), unit="ms"),
        Figure(name="get, store / plain actor", value=get.ratio()),
        Figure(name="plain actor's puts, 64 threads", value=median(threads.plain), unit="/s"),
        Figure(name="puts, 64 threads", value=median(threads.store), unit="/s"),
        Figure(name="puts, 64 threads, store / plain actor", value=threads.ratio(), at_least=RATE_RATIO_MIN),
        Figure(name="puts, 64 futures", value=median(futures.store), unit="/s"),
        Figure(name="puts, 64 futures, store / plain actor", value=futures.ratio(), at_least=RATE_RATIO_MIN),
    ]


def _warm_up(store: kv.Client, plain: Any) -> None:
    for number in range(50):
        store.put(_key(number), VALUE, timeout_s=TIMEOUT_S)
        ray.get(plain.put.remote(_key(number), VALUE))


def _key(number: int) -> str:
    return f"bench/{number % 1000}"


def _median_ms(count: int, call: Callable[[str], object]) -> float:
    return median(timed_ms(partial(call, _key(number))) for number in range(count))


def _per_second(count: int, call: Callable[[str], object]) -> float:
    """Calls a second of 64 threads, each of which makes `count` one after the other."""

    def work(client: int) -> None:
        for number in range(count):
            call(_key(client * count + number))

    with ThreadPoolExecutor(CLIENTS) as threads:
        began_s = time.perf_counter()
        for done in [threads.submit(work, client) for client in range(CLIENTS)]:
            done.result()
        return CLIENTS * count / (time.perf_counter() - began_s)


def _per_second_outstanding(store: kv.Client, count: int) -> float:
    """Puts a second of one thread that keeps 64 of them outstanding."""
    began_s = time.perf_counter()
    puts = Outstanding(store, CLIENTS, timeout_s=TIMEOUT_S)
    for number in range(count):
        puts.put(_key(number), VALUE)
    puts.drain()
    return puts.ok / (time.perf_counter() - began_s)
