"""A long run: which unit goes to which worker, when it ends, what is said meanwhile.

Here:   `Campaign`, its options on a command line, progress on stderr, the end.
Never:  what a unit does. The package's docstring shows how to write one.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Final

from tests.campaigns.outcome import ROOT
from tests.campaigns.results import row_of, table, write_findings, write_row
from tests.campaigns.state import Parameter, RunState, code_digest, load_or_start
from tests.campaigns.workers import RunUnit, Worker

COMPLETE: Final = "complete"
MINUTES_UP: Final = "minutes up"
INTERRUPTED: Final = "interrupted"
TOO_MANY_FINDS: Final = "too many finds"

_LOOK_AROUND_S: Final = 0.25
_SAVE_EVERY_S: Final = 2.0
_SAY_EVERY_S: Final = 5.0
_FINDS_SHOWN_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of any campaign may want."""

    workers: int = 1
    minutes: float | None = None
    """Units begun by then are ended; None: until all are done."""
    anew: bool = False
    """Forget an unfinished run."""
    finds_max: int = 20
    """More findings than this end the run."""
    states: Path = ROOT / "build" / "campaigns"
    results: Path | None = ROOT / "docs" / "results"
    """None: nothing is written there."""

    @staticmethod
    def add_to(parser: argparse.ArgumentParser) -> None:
        """The options that every campaign's command line has."""
        parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
        parser.add_argument("--minutes", type=float, metavar="M", help="begin nothing after this time")
        parser.add_argument("--anew", action="store_true", help="forget an unfinished run")
        parser.add_argument("--no-record", action="store_true", help="write nothing to docs/results")

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> Options:
        """What the command line said."""
        options = cls(workers=parsed.workers, minutes=parsed.minutes, anew=parsed.anew)
        return replace(options, results=None) if parsed.no_record else options


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a run ended."""

    end: str
    state: RunState
    never_seen: tuple[str, ...] = ()
    """Counters that had to be above 0 in a complete run and are not."""

    @property
    def exit_code(self) -> int:
        """1: something was found; 130: interrupted; else 0."""
        if self.state.findings or self.never_seen:
            return 1
        return 130 if self.end == INTERRUPTED else 0


class Campaign:
    """Units of work, run by processes, with an end and a result."""

    def __init__(
        self,
        name: str,
        *,
        units: int | None,
        run_unit: RunUnit,
        noun: str,
        parameters: Mapping[str, Parameter],
        unit_deadline_s: float,
        items: int | None = None,
        code: Sequence[str] = ("raft_actors", "kv", "tests"),
        must_be_seen: Sequence[str] = (),
        options: Options | None = None,
    ) -> None:
        """See the package's docstring. `units=None` needs `options.minutes`."""
        self._options = options or Options()
        assert units is not None or self._options.minutes is not None, "a campaign ends: give it units or minutes"
        self.name = name
        self._units = units
        self._items = items
        self._run_unit = run_unit
        self._noun = noun
        self._parameters = dict(parameters)
        self._deadline_s = unit_deadline_s
        self._code = tuple(code)
        self._must_be_seen = tuple(must_be_seen)
        self._stopping = False
        self._said_at = 0.0
        self._said_length = 0

    def run(self) -> Report:
        """Run what is left, say what came out, keep it. Findings are in the report; nothing is raised for them."""
        path = self._options.states / f"{self.name}.json"
        if self._options.anew:
            path.unlink(missing_ok=True)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        state, why = load_or_start(
            path, now=now, parameters=self._parameters, code=code_digest(self._code), units=self._units
        )
        if why:
            self._say_line(why)
        with self._signals():
            end = self._work(state, path)
        return self._close(state, path, end)

    # -- the loop

    def _work(self, state: RunState, path: Path) -> str:
        """Give units to workers and collect them until the run ends; says why it did."""
        began_at, seconds_before, items_before = time.monotonic(), state.seconds, state.items
        left, saved_at = state.units_left(self._units), began_at
        ending: str | None = None
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campaign-")))
            workers = [
                Worker(self._run_unit, deadline_s=self._deadline_s, trace=scratch / str(number))
                for number in range(max(1, self._options.workers))
            ]
            for worker in workers:
                stack.callback(worker.stop)
            while True:
                elapsed_s = time.monotonic() - began_at
                ending = ending or self._why_end(state, elapsed_s)
                for worker in workers:
                    if ending is None and worker.unit is None:
                        unit = next(left, None)
                        if unit is None:
                            ending = COMPLETE
                        else:
                            worker.begin(unit)
                busy = [worker for worker in workers if worker.unit is not None]
                if ending in (INTERRUPTED, TOO_MANY_FINDS) or self._stopping or not busy:
                    break
                ready = wait([worker.connection for worker in busy], timeout=_LOOK_AROUND_S)
                for worker in busy:
                    if worker.connection in ready or worker.is_overdue:
                        unit = worker.unit
                        assert unit is not None, "a busy worker has a unit"
                        state.add(unit, worker.collect())
                state.seconds = seconds_before + time.monotonic() - began_at
                if time.monotonic() > saved_at + _SAVE_EVERY_S:
                    state.save(path)
                    saved_at = time.monotonic()
                self._say_progress(state, state.items - items_before, time.monotonic() - began_at)
        state.seconds = seconds_before + time.monotonic() - began_at
        if self._units is not None and state.units_done >= self._units:
            return COMPLETE
        return INTERRUPTED if self._stopping else ending or COMPLETE

    def _why_end(self, state: RunState, elapsed_s: float) -> str | None:
        if self._stopping:
            return INTERRUPTED
        if len(state.findings) > self._options.finds_max:
            return TOO_MANY_FINDS
        if self._options.minutes is not None and elapsed_s >= self._options.minutes * 60:
            return MINUTES_UP
        return None

    def _close(self, state: RunState, path: Path, end: str) -> Report:
        goes_on = end == INTERRUPTED or (end == MINUTES_UP and self._units is not None)
        if goes_on:
            state.save(path)
        else:
            path.unlink(missing_ok=True)
        if self._options.results is not None and state.units_done:
            row = row_of(state, noun=self._noun, end=end, planned=self._units, workers=max(1, self._options.workers))
            write_row(self._options.results / f"{self.name}.csv", row)
            write_findings(self._options.results / f"{self.name}-findings.jsonl", state)
        never_seen = tuple(each for each in self._must_be_seen if not state.counters[each]) if end == COMPLETE else ()
        self._print_end(state, end, never_seen)
        if goes_on:
            self._say_line(f"{end}: the same command goes on from here ({state.units_done} units are done)")
        return Report(end=end, state=state, never_seen=never_seen)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM ends the run in order; a second SIGINT is a KeyboardInterrupt as ever."""

        def stop(number: int, _frame: FrameType | None) -> None:
            self._stopping = True
            signal.signal(number, before[number])

        before = {int(number): signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- what is said

    def _print_end(self, state: RunState, end: str, never_seen: tuple[str, ...]) -> None:
        planned = "" if self._units is None else f" of {self._units:,}"
        facts = [
            ("end", end),
            ("units", f"{state.units_done:,}{planned}"),
            (self._noun, f"{state.items:,}"),
            ("seconds", f"{state.seconds:,.1f}"),
            (f"{self._noun} per second", f"{state.items / state.seconds:,.1f}" if state.seconds else "-"),
            ("finds", f"{len(state.findings):,}"),
        ]
        print(f"{self.name}\n{table(facts, state.counters)}", flush=True)
        for finding in state.findings[:_FINDS_SHOWN_MAX]:
            print(f"\nfound in unit {finding['unit']}: {finding['rule']}\n{finding['text']}")
            if finding["replay"]:
                print(f"again: {finding['replay']}")
        if len(state.findings) > _FINDS_SHOWN_MAX:
            print(f"\nand {len(state.findings) - _FINDS_SHOWN_MAX} more")
        if never_seen:
            print(f"\nnever seen, and had to be: {', '.join(never_seen)}")
        sys.stdout.flush()

    def _say_progress(self, state: RunState, items_now: int, elapsed_s: float) -> None:
        terminal = sys.stderr.isatty()
        if time.monotonic() < self._said_at + (_LOOK_AROUND_S if terminal else _SAY_EVERY_S):
            return
        self._said_at = time.monotonic()
        of = "" if self._items is None else f" of {self._items:,}"
        rate = items_now / elapsed_s if elapsed_s else 0.0
        text = f"{self.name}: {state.items:,}{of} {self._noun}, {rate:,.1f}/s, finds: {len(state.findings)}"
        if (seconds_left := self._seconds_left(state, rate, elapsed_s)) is not None:
            text += f", {seconds_left // 60:.0f} min {seconds_left % 60:02.0f} s left"
        if terminal:
            sys.stderr.write(f"\r{text:<{self._said_length}}")
            self._said_length = len(text)
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _seconds_left(self, state: RunState, rate: float, elapsed_s: float) -> float | None:
        limits = []
        if self._items is not None and rate:
            limits.append((self._items - state.items) / rate)
        if self._options.minutes is not None:
            limits.append(self._options.minutes * 60 - elapsed_s)
        return max(0.0, min(limits)) if limits else None

    def _say_line(self, text: str) -> None:
        clear = "\n" if self._said_length else ""
        self._said_length = 0
        print(f"{clear}{self.name}: {text}", file=sys.stderr, flush=True)
