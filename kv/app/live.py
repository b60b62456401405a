"""What a run shows while it lasts: a table that renews itself on a terminal, a line now and then elsewhere.

Here:   `LiveView`, `plain_line`.
Never:  asking anybody anything: it shows what it is given. Talks on stderr, where no data goes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import click

import kv
from kv.app.tally import Looked, Tally

try:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    HAS_RICH = True
except ImportError:  # an extra: the plain lines say the same
    HAS_RICH = False

LINE_INTERVAL_S: Final = 5.0
TABLE_INTERVAL_S: Final = 0.5


class LiveView:
    """Shows the members and the operations of a run, about as often as a reader can follow."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began_s = self._shown_s = time.monotonic()
        self._live = Live(console=Console(stderr=True), auto_refresh=False) if HAS_RICH else None
        if self._live is not None and not self._live.console.is_terminal:
            self._live = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: kv.Status) -> None:
        """The state of things, unless it was shown a moment ago."""
        now_s = time.monotonic()
        since_s = now_s - self._shown_s
        if since_s < (LINE_INTERVAL_S if self._live is None else TABLE_INTERVAL_S):
            return
        self._shown_s = now_s
        looked, title = self._tally.look(), f"{now_s - self._began_s:4.0f} s   {in_words(status)}"
        if self._live is None:
            click.echo(plain_line(title, looked, since_s), err=True)
        else:
            self._live.update(_table(title, looked, since_s), refresh=True)

    def say(self, sentence: str) -> None:
        """Something happened."""
        text = f"{time.monotonic() - self._began_s:4.0f} s   {sentence}"
        if self._live is None:
            click.echo(text, err=True)
        else:
            self._live.console.print(text, highlight=False, markup=False)


def in_words(status: kv.Status) -> str:
    """Who leads, and how many run."""
    running = sum(1 for member in status.members if member.state == "running")
    leader = "no leader" if status.leader is None else f"member {status.leader} leads"
    term = max((member.term for member in status.members), default=0)
    return f"{leader}, term {term}, {running} of {len(status.members)} members run"


def plain_line(title: str, looked: Mapping[str, Looked], seconds: float) -> str:
    """All operations in one line; the rate is of the last `seconds`."""
    parts = [title]
    for op, seen in looked.items():
        latency = "" if seen.recent_median_ms is None else f", p50 {seen.recent_median_ms:.1f} ms"
        bad = {"unknown": seen.unknown, "not done": seen.not_done}
        trouble = "".join(f", {count} {outcome}" for outcome, count in bad.items() if count)
        parts.append(f"{op} {seen.ok} ok ({seen.recent / seconds:.0f}/s{latency}{trouble})")
    return "   ".join(parts)


def _table(title: str, looked: Mapping[str, Looked], seconds: float) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("operation")
    for name in ("ok", "not done", "unknown", "per second", "p50 ms"):
        table.add_column(name, justify="right", min_width=8)
    for op, seen in looked.items():
        latency = "-" if seen.recent_median_ms is None else f"{seen.recent_median_ms:.1f}"
        counts = (seen.ok, seen.not_done, seen.unknown, round(seen.recent / seconds))
        table.add_row(op, *(f"{count:,}" for count in counts), latency)
    return table
