"""A call in a few words, and why some calls cannot all have happened, where that is plain.

Here:   `asked`, `told`, `short_value`; `why`, with the call that has no place and the one that contradicts it.
Never:  pictures (timeline.py), verdicts (linearizability.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from analysis.history import (
    UNSEEN,
    Call,
    Deleted,
    Found,
    Mismatch,
    Op,
    Outcome,
    Result,
    Written,
    WrongType,
    fits,
    version_seen,
)

VALUE_SHOWN: Final = 16
"""Characters of a value; of a longer one its beginning and its end."""
NAME_SHOWN: Final = 18


# -- texts -----------------------------------------------------------------------------------------------------------


def asked(call: Call, *, with_key: bool = False) -> str:
    """What a client asked for, shortly."""
    words = [call.op.value]
    if with_key:
        words.append(shortened(plain(call.key), NAME_SHOWN))
    if call.value is not UNSEEN:
        words.append(short_value(call.value))
    if call.if_version is not None:
        words.append(f"if v{call.if_version}" if call.if_version else "if missing")
    return " ".join(words)


def told(call: Call) -> str:
    """What it was told, shortly."""
    match call.outcome, call.result:
        case Outcome.UNKNOWN, _:
            return "→ ?"
        case Outcome.NOT_DONE, _:
            return "→ not done"
        case _, result:
            return f"→ {_told(result)}"


def _told(result: Result | None) -> str:
    match result:
        case Found(version=0):
            return "missing"
        case Found(value=value, version=version):
            return f"v{version}" if value is UNSEEN else f"v{version} {short_value(value)}"
        case Written(version=version):
            return f"v{version}"
        case Deleted(found=None):
            return "deleted"
        case Deleted(found=found):
            return "deleted" if found else "nothing there"
        case Mismatch(current=None):
            return "refused"
        case Mismatch(current=current):
            return f"refused: is v{current}" if current else "refused: missing"
        case WrongType():
            return "refused: type"
        case None:
            return "ok"


def short_value(value: Hashable) -> str:
    """As Python writes it, in ASCII; of a long one the beginning and the end, where appends differ."""
    return "?" if value is UNSEEN else shortened(ascii(value), VALUE_SHOWN)


def shortened(text: str, count_max: int) -> str:
    if len(text) <= count_max:
        return text
    tail = count_max // 2 - 1
    return f"{text[: count_max - tail - 1]}…{text[-tail:]}"


def plain(text: str) -> str:
    """Without what a font may not have."""
    return text.encode("ascii", "backslashreplace").decode()


# -- why -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why there is no order."""

    text: str
    calls: tuple[Call, ...]
    """Those it speaks of: first one that has no place, then one that contradicts it, if two are enough to see it."""


def last_returned(calls: Sequence[Call]) -> list[Call]:
    """Those with the last return of all whose outcome is known; several, if they returned at one moment."""
    known = [call for call in calls if call.outcome is Outcome.OK and call.returned is not None]
    end = max((call.returned or 0 for call in known), default=0)
    return [call for call in known if call.returned == end]


def why(calls: Sequence[Call], *, is_smallest: bool = True) -> Reason:
    """Why a failing prefix has no order, as far as two calls show it; what they show is a proof."""
    last = last_returned(calls)
    others = [call for call in calls if call.outcome is Outcome.OK]
    others.sort(key=lambda call: (isinstance(call.result, Written), call.returned or 0, _version(call.result) or 0))
    for call in last:
        for other in reversed(others):
            text = _contradiction(call, other, calls) if other is not call and other.key == call.key else None
            if text is not None:
                return Reason(text=text, calls=(call, other))
    framed = "framed call" if len(last) == 1 else "framed calls"
    if is_smallest:
        text = f"Without what the {framed} returned there is an order of all others; with it there is none."
    else:
        text = f"No order explains all answers up to the return of the {framed}."
    return Reason(text=text, calls=tuple(last[-1:]))


def _contradiction(last: Call, other: Call, calls: Sequence[Call]) -> str | None:
    """Versions of a key rise, a version has one value, and what was written stays until it is deleted."""
    this, that = f"{_name(last)} {_heard(last)}", f"{_name(other)} {_heard(other)}"
    version, other_version = _version(last.result), _version(other.result)
    if version and version == other_version and isinstance(last.result, Found):
        value, other_value = last.result.value, _value(other)
        if not fits(value, other_value):
            look_same = short_value(value) == short_value(other_value)
            hint = " The two differ where they are cut short here." if look_same else ""
            return f"{this}, but {that}. A version has one value.{hint}"
    if other.returned is None or other.returned >= last.invoked or not other_version:
        return None
    before = f"{this}, but {that} and returned before the framed {last.op.value} began."
    if version and version < other_version:
        return f"{before} Versions only rise."
    if version == other_version and isinstance(last.result, Written):
        return f"{before} Each write makes a new version."
    if version == 0 and isinstance(last.result, Found) and not _is_deleted(last.key, calls):
        return f"{before} Nobody deletes the key."
    return None


def _is_deleted(key: str, calls: Sequence[Call]) -> bool:
    return any(call.op is Op.DELETE and call.key == key for call in calls)


def _name(call: Call) -> str:
    return f"{call.op.value} of {shortened(plain(call.client), NAME_SHOWN)}"


def _heard(call: Call) -> str:
    version = _version(call.result)
    value = "" if _value(call) is UNSEEN else f" {short_value(_value(call))}"
    match call.result:
        case Found():
            return f"saw v{version}{value}" if version else "found nothing"
        case Written():
            return f"made v{version}{value}"
        case _:
            return f"was {_told(call.result)}"


def _version(result: Result | None) -> int | None:
    """That the key had when the call took effect; 0: missing. None: not told."""
    return result.version if isinstance(result, Written) else version_seen(result)


def _value(call: Call) -> Hashable:
    """That its version has, as far as the call alone tells."""
    match call.result:
        case Found(value=value):
            return value
        case Written() if call.op is Op.PUT:
            return call.value
        case _:
            return UNSEEN
