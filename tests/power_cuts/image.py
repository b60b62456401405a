"""Everything that happens to one disk: lives, kills, cuts, in an order drawn from a seed.

Here:   `run_image`, a campaign's unit: so many cuts of one file system, each followed by a start that must find all.
Never:  what is right (oracle.py). The order of things repeats with the seed; the moments do not: that is their use.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Final

from tests.campaigns import Finding, Outcome
from tests.campaigns.outcome import ROOT
from tests.power_cuts.disk import BadFileSystem, Cut, CutDisk, Make
from tests.power_cuts.life import Closed, Done, Failed, Life, Message, Opened, Orders, Ready, Refused
from tests.power_cuts.oracle import BrokenPromise, Oracle
from tests.power_cuts.planted import PRODUCT

EVIDENCE: Final = ROOT / "build" / "campaigns"
"""Where the data directory of a finding is copied to."""

_STEPS_MAX: Final = 24
_CHECK_EVERY: Final = 12
"""About every so many cuts e2fsck looks at the file system."""


class Moment(Enum):
    """Where in a life the end comes."""

    OPENING = "while opening"
    ANSWERED = "at the first answer"
    WORKING = "while working"
    AT_REST = "after its end"


MUST_BE_SEEN: Final = (
    *(f"cuts {moment.value}" for moment in Moment),
    *(f"cuts {how.name}" for how in Cut),
    "kills",
    "groups acknowledged",
    "group under way kept",
    "group under way lost",
    "torn tails dropped",
    "marks",
    "closed in order",
    "lives cut before their first answer",
    "lives cut after a kill",
    "file systems checked",
)
"""What a campaign must have met, or it was none."""


def run_image(
    unit: int, *, cuts: int, first: int = 0, opener: str = PRODUCT, evidence: Path | None = EVIDENCE
) -> Outcome:
    """So many power cuts of image `first + unit`; ends at the first finding, whose data directory is kept."""
    number = first + unit
    image = _Image(number, opener)
    with image.disk:
        finding: Finding | None = None
        try:
            for _ in range(cuts):
                image.cut_once()
            image.look()
        except (BrokenPromise, BadFileSystem) as found:
            rule = "file system" if isinstance(found, BadFileSystem) else "durability"
            replay = f"python -m tests.power_cuts --image {number} --cuts {cuts}"
            finding = Finding(rule=rule, text=f"image {number}, {image.story}: {found}", replay=replay)
            if evidence is not None and os.path.isdir(image.path):
                shutil.copytree(image.path, evidence / f"power-cuts-{number}", dirs_exist_ok=True)
    counters = image.counters + image.oracle.counters
    return Outcome(done=counters["cuts"], counters=counters, findings=(finding,) if finding else ())


class _Image:
    """One disk, the promises of the directory on it, and the dice for both."""

    def __init__(self, number: int, opener: str) -> None:
        self.counters: Counter[str] = Counter()
        self.oracle = Oracle()
        self.story = ""
        """The last events, for a finding."""
        self._number, self._opener = number, opener
        self._dice = random.Random(number)
        self.disk = CutDisk(Make.drawn(self._dice))
        self._segment_bytes_max = self._dice.choice((300, 2_000, 20_000))
        self._lives = 0
        self._cut_at_ns = 0
        self._opening_s, self._step_s = 0.003, 0.0005
        """How long these took lately, so that a moment within them can be drawn."""

    @property
    def path(self) -> str:
        """The data directory."""
        return f"{self.disk.path}/0"

    def cut_once(self) -> None:
        """Perhaps some lives that end by SIGKILL, then one whose disk loses its power; then power is back."""
        self.story = ""
        kills = self._dice.choice((0, 0, 0, 1, 1, 2))
        for _ in range(kills):
            self._live_until_killed()
        how = self._dice.choices((Cut.NOLOGFLUSH, Cut.LOGFLUSH, Cut.DEFAULT), (7, 2, 1))[0]
        told = self._live_until_cut(how)
        self.counters["cuts"] += 1
        self.counters[f"cuts {how.name}"] += 1
        self.counters["lives cut before their first answer"] += not told
        self.counters["lives cut after a kill"] += bool(kills)
        self.disk.again()
        if self._dice.random() < 1 / _CHECK_EVERY:
            self._check()

    def look(self) -> None:
        """A last life without harm: everything is there, and the file system is well."""
        with self._life(steps=0, close=True) as life:
            while (message := life.hear()) is not None:
                self._judge(message, cut=False)
        self._check()

    def _check(self) -> None:
        self.counters["free counts of the file system mended"] += not self.disk.check()
        self.counters["file systems checked"] += 1

    # -- lives

    def _live_until_killed(self) -> None:
        moment = self._dice.choice((Moment.OPENING, Moment.WORKING, Moment.WORKING))
        with self._life(steps=_STEPS_MAX, close=False) as life:
            self._wait_for(life, moment)
            life.kill()
            while (message := life.hear()) is not None:
                self._judge(message, cut=False)
        self.counters["kills"] += 1
        self.story += f"killed {moment.value}; "

    def _live_until_cut(self, how: Cut) -> bool:
        """Whether the life told anything."""
        moment = self._dice.choices(list(Moment), (6, 5, 10, 2))[0]
        starts_before = self.oracle.counters["starts told"]
        at_rest = moment is Moment.AT_REST
        steps = self._dice.randint(1, 8) if at_rest else _STEPS_MAX
        with self._life(steps=steps, close=self._dice.random() < 0.5) as life:
            self._wait_for(life, moment)
            self._cut_at_ns = time.monotonic_ns()
            self.disk.cut(how)
            self.story += f"cut {moment.value} ({how.name}, {self.disk.make.options}); "
            while (message := life.hear()) is not None:
                self._judge(message, cut=True)
        self.counters[f"cuts {moment.value}"] += 1
        return self.oracle.counters["starts told"] > starts_before

    def _life(self, *, steps: int, close: bool) -> Life:
        self._lives += 1
        seed = f"image {self._number} life {self._lives}"
        self.oracle.process_begins(seed)
        return Life(
            Orders(
                path=self.path,
                opener=self._opener,
                segment_bytes_max=self._segment_bytes_max,
                seed=seed,
                steps=steps,
                close=close,
            )
        )

    def _wait_for(self, life: Life, moment: Moment) -> None:
        """Return at the moment, or when the life has ended before."""
        messages = {Moment.OPENING: 1, Moment.ANSWERED: 2, Moment.WORKING: 2 + self._dice.randint(0, 12)}
        left = messages.get(moment, -1)
        at = time.perf_counter()
        while left and (message := life.hear()) is not None:
            self._judge(message, cut=False)
            left -= 1
            now = time.perf_counter()
            if isinstance(message, Opened):
                self._opening_s += 0.2 * (now - at - self._opening_s)
            elif isinstance(message, Done):
                self._step_s += 0.2 * (now - at - self._step_s)
            at = now
        if moment is Moment.OPENING:
            _spin(self._dice.uniform(0, 1.2 * self._opening_s))
        elif moment is Moment.WORKING:
            _spin(self._dice.uniform(0, 2 * self._step_s))

    def _judge(self, message: Message, *, cut: bool) -> None:
        """What is said after the power began to go is said by a machine that is off. Raises `BrokenPromise`.

        A sync that is under way then may return without an error though its journal was thrown away (Linux 6.18).
        """
        late = cut and isinstance(message, Opened | Done | Closed) and message.at_ns >= self._cut_at_ns
        self.counters["answers of a machine without power"] += late
        match message:
            case Ready():
                pass
            case Opened(found=found):
                self.oracle.opened(found, late=late)
            case Done():
                self.oracle.done(late=late)
            case Closed():
                self.oracle.closed(late=late)
            case Failed(text=text):
                if not cut:
                    raise BrokenPromise(f"the disk refuses without a cut: {text}")
            case Refused(text=text):
                raise BrokenPromise(f"the directory is refused{' while the power fails' if cut else ''}: {text}")
            case _:
                raise BrokenPromise(f"raised: {message.text}")


def _spin(seconds: float) -> None:
    """Wait less than a scheduler could."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
