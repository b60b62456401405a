"""One process that runs units, and everything that can go wrong with it turned into a finding.

Here:   `Worker`: start, give a unit, collect its outcome, its deadline, its death, its end.
Never:  which unit comes next (campaign.py).

A unit that raises, hangs, exits or is killed is an outcome with a finding, never an exception here and never a wait
without end. Three things end a hanging unit: the worker's own watchdog, which writes down where it hangs; the parent,
which kills a worker whose watchdog did not work; and the end of the pipe, when the parent is gone. A worker leads a
process group of its own, so that what a unit started ends with it, and Ctrl-C in a terminal reaches the parent alone.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Final, TypeAlias

from tests.campaigns.outcome import Finding, Outcome

RunUnit: TypeAlias = Callable[[int], Outcome]

GRACE_S: Final = 5.0
"""What a worker gets to clean up after its watchdog or SIGTERM, before it is killed."""

UNITS_PER_PROCESS: Final = 20
"""Then a fresh one goes on: each start and stop of tracemalloc leaves something behind in CPython, a kilobyte or some,
and hundreds of units ran into the limit of their own address space."""

_SPAWN: Final = multiprocessing.get_context("spawn")
"""A fresh interpreter: a fork of a process with threads (a test's watchdog is one) may deadlock."""


class Worker:
    """A process that runs one unit at a time; started when it gets its first, and anew after a death or many units."""

    def __init__(self, run_unit: RunUnit, *, deadline_s: float, trace: Path) -> None:
        """`trace` is a file of its own, for the watchdog's last words."""
        self._run_unit = run_unit
        self._deadline_s = deadline_s
        self._trace = trace
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._began_at = 0.0
        self._units_begun = 0
        self.unit: int | None = None
        """The unit that it runs now."""

    @property
    def connection(self) -> Connection:
        """Readable when `collect` would return."""
        assert self._connection is not None, "a worker without a unit has nothing to collect"
        return self._connection

    @property
    def is_overdue(self) -> bool:
        """Whether even the watchdog did not end the unit."""
        return self.unit is not None and time.monotonic() > self._began_at + self._deadline_s + GRACE_S

    def begin(self, unit: int) -> None:
        """Run a unit; `connection` tells of its end."""
        assert self.unit is None, f"unit {self.unit} has not ended"
        if self._process is not None and self._units_begun == UNITS_PER_PROCESS:
            self.stop()
        if self._process is None:
            self._start()
        self._units_begun += 1
        self.unit, self._began_at = unit, time.monotonic()
        with suppress(OSError):  # it died while idle: `collect` finds that out
            self.connection.send(unit)

    def collect(self) -> Outcome:
        """The outcome of the unit, once `connection` is readable or the unit is overdue."""
        assert self.unit is not None, "nothing was begun"
        unit = self.unit
        try:
            answer = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            answer = None
        if answer is None:
            return self._bury(unit)
        assert isinstance(answer, Outcome), f"unit {unit} returned {type(answer).__name__}, not an Outcome"
        self.unit = None
        return answer

    def stop(self) -> None:
        """End the process, its unit too if it runs one."""
        if self._process is None:
            return
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(GRACE_S)
        self._end_process()
        self.unit = None

    def _start(self) -> None:
        self._units_begun = 0
        self._trace.write_text("")
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(theirs, self._run_unit, self._deadline_s, str(self._trace)), name="campaign worker"
        )
        self._process.start()
        theirs.close()

    def _bury(self, unit: int) -> Outcome:
        """Of a worker that died, or that has to: the finding."""
        assert self._process is not None, "a worker that runs a unit has a process"
        overdue = self.is_overdue
        if not overdue:
            self._process.join(GRACE_S)
        code = self._process.exitcode
        last_words = self._trace.read_text(errors="replace")
        self._end_process()
        self.unit = None
        if overdue or last_words.startswith("Timeout"):
            rule, text = "deadline", f"unit {unit} did not end within {self._deadline_s:g} s"
        else:
            how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            rule, text = "worker died", f"unit {unit} ended its process: {how}"
        return Outcome(done=0, findings=(Finding(rule=rule, text=f"{text}\n{last_words}".strip()),))

    def _end_process(self) -> None:
        process, self._process = self._process, None
        assert process is not None, "there is a process to end"
        assert process.pid is not None, "it was started"
        with suppress(ProcessLookupError, PermissionError):  # before it is joined, so that the number is still its own
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()  # it may have been ended before it led a group
        process.join(GRACE_S)
        self.connection.close()
        self._connection = None


def _work(connection: Connection, run_unit: RunUnit, deadline_s: float, trace_path: str) -> None:
    """The worker's process: units in, outcomes out, until the pipe ends."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _leave)
    with open(trace_path, "w") as trace, suppress(EOFError, BrokenPipeError):
        faulthandler.enable(trace)
        while True:
            unit = connection.recv()
            faulthandler.dump_traceback_later(deadline_s, exit=True, file=trace)
            try:
                outcome = run_unit(unit)
            except Exception:
                text = f"unit {unit} raised\n{traceback.format_exc()}"
                outcome = Outcome(done=0, findings=(Finding(rule="raised", text=text),))
            finally:
                faulthandler.cancel_dump_traceback_later()
            connection.send(outcome)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM: leave through every `finally`, so that scratch directories go."""
    sys.exit(0)
