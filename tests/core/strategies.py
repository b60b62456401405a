"""Random input that is possible: logs as a real group could have left them.

Here:   hypothesis strategies shared by several files.
Never:  random lists of terms in two logs of one group: equal (term, index) with unequal prefixes cannot happen.
"""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def two_logs(draw: st.DrawFn, terms_max: int = 6, run_max: int = 12) -> tuple[list[int], list[int]]:
    """The terms along two logs of one group. Each term's one leader started from a part of some earlier log and
    appended a run of its own; whatever is a prefix of such a log can be found on a disk."""
    logs: list[list[int]] = [[]]
    for term in range(1, draw(st.integers(1, terms_max)) + 1):
        before = draw(st.sampled_from(logs))
        kept = draw(st.integers(0, len(before)))
        logs.append(before[:kept] + [term] * draw(st.integers(1, run_max)))
    one, other = draw(st.sampled_from(logs)), draw(st.sampled_from(logs))
    return one[: draw(st.integers(0, len(one)))], other[: draw(st.integers(0, len(other)))]
