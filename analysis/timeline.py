"""A picture of a history that has no order: who asked for what, when, and what they were told.

Here:   the bars and their places, without pixels; the figure.
Never:  verdicts (linearizability.py), words (explained.py), pyplot and its global state, runs.

How to read it. One lane per client, more where its calls overlap. A bar reaches from a call's invocation to its return;
one that ends in a tip is of unknown outcome and may take effect at any later time, or never. The red frame marks the
call that has no place: without its answer there is an order, with it there is none. The black frame marks one that
contradicts it, where two calls are enough to see it. Time is not to scale: each bar has room for its text, and long
waits are cut short; which moment comes before which is exact, and ticks tell the times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle

from analysis.explained import NAME_SHOWN, asked, last_returned, plain, shortened, told, why
from analysis.history import Call, Op
from analysis.lanes import lanes, occupied_until
from analysis.linearizability import Verdict

COLORS: Final = {Op.GET: "#8CCBF0", Op.PUT: "#F2B84B", Op.APPEND: "#4DBB97", Op.DELETE: "#DDA0C3"}
"""Okabe and Ito's, made lighter: they differ for all eyes, and black text can be read on them."""
FRAME: Final = "#B00020"
FONT_SIZE: Final = 8.0

# inches
CHARACTER: Final = 0.602 * FONT_SIZE / 72
PADDING: Final = 0.14
TIP: Final = 0.14
LANE: Final = 0.44
BAR: Final = 0.34
MOMENT_GAP: Final = 0.10
"""Between two moments, at least."""
WAIT_MAX: Final = 1.2
"""Of a wait in which nothing begins or ends."""
SCALED_WIDTH: Final = 7.0
"""Of all the time shown, where nothing is stretched or cut."""
TICK_GAP: Final = 0.5
WIDTH_MIN: Final = 7.5
HEADER_LINE: Final = 0.19


# -- the layout ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One call of the picture."""

    client: str
    lane: int
    """From the top, over all clients."""
    op: Op
    begin: int
    end: int | None
    """None: it reaches to the right edge."""
    asked: str
    told: str
    is_last: bool
    """Returned last of all: it has no place any more."""
    contradicts: bool
    """With the answer of this one, that one's cannot be."""

    @property
    def width(self) -> float:
        """That its text needs, in inches."""
        tip = TIP if self.end is None else 0.0
        return max(len(self.asked), len(self.told)) * CHARACTER + PADDING + tip


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All that is drawn, but for colours."""

    bars: tuple[Bar, ...]
    """By lane, then by time."""
    clients: Mapping[str, range]
    """The lanes of each, from the top."""
    x: Mapping[int, float]
    """Inches from the left edge, by moment."""
    width: float
    reason: str
    is_smallest: bool
    """False: an earlier end may fail too, so it is not known that the call with the last return has no place."""
    hidden_count: int
    """Calls that are left out."""


def layout(calls: Sequence[Call], *, calls_max: int = 30, is_smallest: bool = True) -> Layout:
    """Where everything goes. The last calls by invocation are shown, and those that say why there is no order."""
    assert calls, "a picture of nothing: the caller should have skipped it"
    assert calls_max >= 2, "a call, and what contradicts it"
    by_time = sorted(calls, key=lambda call: call.invoked)
    last = last_returned(by_time)
    reason = why(by_time, is_smallest=is_smallest)
    needed = {id(call) for call in reason.calls}
    room = max(calls_max - len(needed), 0)
    others = [call for call in by_time if id(call) not in needed]
    needed |= {id(call) for call in others[len(others) - min(room, len(others)) :]}
    shown = [call for call in by_time if id(call) in needed]

    with_key = len({call.key for call in shown}) > 1
    sub_lanes = lanes(shown)
    clients: dict[str, range] = {}
    for client in dict.fromkeys(call.client for call in shown):
        top = max((of_client.stop for of_client in clients.values()), default=0)
        count = 1 + max(lane for call, lane in zip(shown, sub_lanes, strict=True) if call.client == client)
        clients[client] = range(top, top + count)
    bars = [
        Bar(
            client=call.client,
            lane=clients[call.client][lane],
            op=call.op,
            begin=call.invoked,
            end=occupied_until(call),
            asked=asked(call, with_key=with_key),
            told=told(call),
            is_last=any(call is one for one in last),
            contradicts=any(call is one for one in reason.calls[1:]),
        )
        for call, lane in zip(shown, sub_lanes, strict=True)
    ]
    x, width = places(bars)
    return Layout(
        bars=tuple(sorted(bars, key=lambda bar: (bar.lane, bar.begin))),
        clients=clients,
        x=x,
        width=width,
        reason=reason.text,
        is_smallest=is_smallest,
        hidden_count=len(calls) - len(shown),
    )


def places(bars: Sequence[Bar]) -> tuple[dict[int, float], float]:
    """Inches by moment, and the whole width: in the order of time, each bar as wide as its text, some time to scale."""
    moments = sorted({bar.begin for bar in bars} | {bar.end for bar in bars if bar.end is not None})
    scale = SCALED_WIDTH / max(moments[-1] - moments[0], 1)
    x: dict[int, float] = {}
    before: int | None = None
    for moment in moments:
        place = PADDING
        if before is not None:
            place = x[before] + min(max(MOMENT_GAP, (moment - before) * scale), WAIT_MAX)
        for bar in bars:
            if bar.end == moment and bar.begin < moment:
                place = max(place, x[bar.begin] + bar.width)
        x[moment] = place
        before = moment
    edge = x[moments[-1]] + 2 * MOMENT_GAP
    edge = max([edge, *(x[bar.begin] + bar.width for bar in bars if bar.end is None or bar.end == bar.begin)])
    return x, edge + MOMENT_GAP


def unit_of(span_ns: int) -> tuple[str, int]:
    """In which unit to tell times up to this: its name, and how many nanoseconds it has."""
    for name, size, least in (("s", 10**9, 10**10), ("ms", 10**6, 10**6), ("µs", 10**3, 10**3)):
        if span_ns >= least:
            return name, size
    return "ns", 1


# -- the figure ------------------------------------------------------------------------------------------------------


def timeline(calls: Sequence[Call], *, title: str = "", calls_max: int = 30, is_smallest: bool = True) -> Figure:
    """The last calls of a failing prefix (`Verdict.failing`), at most `calls_max`. The times are to be nanoseconds."""
    made = layout(calls, calls_max=calls_max, is_smallest=is_smallest)
    lane_count = max(lanes_of.stop for lanes_of in made.clients.values())
    left = max(len(shortened(plain(client), NAME_SHOWN)) for client in made.clients) * CHARACTER + 0.35
    plot_width = max(made.width, WIDTH_MIN - left)
    header = [
        (line, weight) for text, weight in _header(made, title) for line in _wrapped(text, left + plot_width, weight)
    ]
    top, bottom = 0.25 + HEADER_LINE * len(header) + 0.15, 0.95
    width, height = left + plot_width + 0.2, top + LANE * lane_count + bottom
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white")
    for number, (line, weight) in enumerate(header):
        place = 1 - (0.2 + HEADER_LINE * number) / height
        figure.text(0.15 / width, place, line, fontsize=9.5, fontweight=weight, va="top", parse_math=False)
    axes = figure.add_axes((left / width, bottom / height, plot_width / width, LANE * lane_count / height))
    axes.set_xlim(0, plot_width)
    axes.set_ylim(lane_count, 0)
    _draw_clients(axes, made, plot_width)
    for bar in made.bars:
        _draw_bar(axes, bar, made, plot_width)
    _draw_time(axes, made)
    _draw_legend(figure, made)
    return figure


def save_timeline(verdict: Verdict, path: Path) -> None:
    """Write the picture of an illegal history; PNG or SVG, by the suffix. Raises ValueError for another, and where no
    prefix fails."""
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"{path}: a timeline is written as .png or .svg")
    if not verdict.failing:
        raise ValueError(f"key {verdict.key} is {verdict.judgement.value}: only an illegal history has a picture")
    title = f"Key {shortened(plain(verdict.key), 60)}: no order of these calls explains all answers"
    if not verdict.is_smallest:
        title += " (nor perhaps of fewer: the budget was spent)"
    metadata: dict[str, Any] | None = {"Date": None} if path.suffix == ".svg" else None
    timeline(verdict.failing, title=title, is_smallest=verdict.is_smallest).savefig(path, metadata=metadata)


def _header(made: Layout, title: str) -> list[tuple[str, str]]:
    hidden = f" {made.hidden_count} other calls are not shown." if made.hidden_count else ""
    return [(title, "bold"), (made.reason + hidden, "normal")] if title else [(made.reason + hidden, "normal")]


def _wrapped(text: str, width: float, weight: str) -> list[str]:
    count_max = int(width / (0.088 if weight == "bold" else 0.077))
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > count_max:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _draw_clients(axes: Axes, made: Layout, width: float) -> None:
    axes.set_yticks(
        [(lanes_of.start + lanes_of.stop) / 2 for lanes_of in made.clients.values()],
        [shortened(plain(client), NAME_SHOWN) for client in made.clients],
        fontsize=FONT_SIZE + 0.5,
        parse_math=False,
    )
    axes.tick_params(axis="y", length=0)
    for number, lanes_of in enumerate(made.clients.values()):
        shade = "#F4F4F4" if number % 2 == 0 else "white"
        axes.add_patch(Rectangle((0, lanes_of.start), width, len(lanes_of), facecolor=shade, zorder=0))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_bar(axes: Axes, bar: Bar, made: Layout, width: float) -> None:
    left, half = made.x[bar.begin], BAR / LANE / 2
    middle = bar.lane + 0.5
    right = width - MOMENT_GAP if bar.end is None else made.x[bar.end]
    if bar.end == bar.begin:
        right = left + MOMENT_GAP
    tip = TIP if bar.end is None else 0.0
    corners = [(left, middle - half), (right - tip, middle - half), (right, middle)]
    corners += [(right - tip, middle + half), (left, middle + half)]
    edge, line = ("#555555", 0.7)
    if bar.is_last:
        edge, line = (FRAME, 3.0)
    elif bar.contradicts:
        edge, line = ("black", 2.0)
    axes.add_patch(
        Polygon(
            corners,
            closed=True,
            facecolor=COLORS[bar.op],
            edgecolor=edge,
            linewidth=line,
            linestyle="--" if bar.end is None else "-",
            zorder=2 + line,
        )
    )
    axes.text(
        left + PADDING / 2,
        middle,
        f"{bar.asked}\n{bar.told}",
        family="monospace",
        fontsize=FONT_SIZE,
        va="center",
        linespacing=1.05,
        parse_math=False,
        zorder=6,
    )


def _draw_time(axes: Axes, made: Layout) -> None:
    """Ticks at moments, as many as there is room for; and the line after which there is no order."""
    moments = sorted(made.x)
    first, last = moments[0], moments[-1]
    unit, size = unit_of(last - first)
    end = max((bar.end for bar in made.bars if bar.is_last and bar.end is not None), default=None)
    ticks = [] if end is None else [end]
    for moment in moments:
        if all(abs(made.x[moment] - made.x[tick]) >= TICK_GAP for tick in ticks):
            ticks.append(moment)
    texts = [f"{(tick - first) / size:.4g}" for tick in ticks]
    axes.set_xticks([made.x[tick] for tick in ticks], texts, fontsize=FONT_SIZE)
    axes.set_xlabel(f"{unit} since the first call shown; the order is exact, distances are not", fontsize=FONT_SIZE)
    if end is not None:
        axes.axvline(made.x[end], color=FRAME, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)


def _draw_legend(figure: Figure, made: Layout) -> None:
    ops = {bar.op for bar in made.bars}
    handles = [
        Patch(facecolor=COLORS[op], edgecolor="#555555", linewidth=0.7, label=op.value) for op in Op if op in ops
    ]
    if any(bar.end is None for bar in made.bars):
        open_label = "outcome unknown: any time after, or never"
        handles.append(Patch(facecolor="white", edgecolor="#555555", linestyle="--", label=open_label))
    if any(bar.is_last for bar in made.bars):
        last_label = "has no place" if made.is_smallest else "last return"
        handles.append(Patch(facecolor="white", edgecolor=FRAME, linewidth=2.5, label=last_label))
    if any(bar.contradicts for bar in made.bars):
        handles.append(Patch(facecolor="white", edgecolor="black", linewidth=2.0, label="contradicts it"))
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize=FONT_SIZE)
