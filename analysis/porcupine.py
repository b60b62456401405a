"""A history for Porcupine, the checker of others (github.com/anishathalye/porcupine), to judge it a second time.

Here:   `write_porcupine`: one JSON object a line, with the fields of Porcupine's `Operation`, named as Go names them.
Never:  a model in Go, a verdict; what was not done, which no checker needs.

A line, which `json.Unmarshal` reads into an `Operation` (`Client` is ours and is passed over):

    {"ClientId": 0, "Client": "c1", "Input": {"op": "put", "key": "k", "value": "a", "if_version": 3},
     "Call": 17, "Output": {"status": "ok", "version": 4}, "Return": 29}

- `ClientId` numbers lanes, not clients: a client of Porcupine waits for its answer before it asks again, ours need not.
  Nothing follows a call of unknown outcome on its number.
- `Input`: `value` of put and append only. `if_version` where there was a condition.
- `Output` by what happened. get: `found`, `version`, and `value` if found. put, append: `version`. delete: `found`,
  null where it was not written down. A refusal has the status `version_mismatch`, with `current` (0: missing; null: not
  written down), or `wrong_type`. A call of unknown outcome has the status `unknown` and nothing else, and its `Return`
  is later than anything in the history; a model must let it change the state or not.
- A value: a text as it is; null, where it was not written down; all else as {"type": ..., "text": ...} or, for what is
  made of values, {"type": ..., "items": [...]}, so that 1, 1.0, true, "1" and b"1" stay apart.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from typing import Any, TextIO

from analysis.history import UNSEEN, Call, Deleted, Found, Mismatch, Op, Outcome, Result, Written, WrongType
from analysis.lanes import lanes, occupied_until


def write_porcupine(calls: Iterable[Call], file: TextIO) -> int:
    """Write the calls, by invocation, and return how many lines that were. The times are to be nanoseconds."""
    written = sorted((call for call in calls if call.outcome is not Outcome.NOT_DONE), key=lambda call: call.invoked)
    moments = [moment for call in written for moment in (call.invoked, call.returned) if moment is not None]
    after_all = max(moments, default=0) + 1
    numbers: dict[tuple[str, int], int] = {}
    for call, lane in zip(written, lanes(written), strict=True):
        end = occupied_until(call)
        line = {
            "ClientId": numbers.setdefault((call.client, lane), len(numbers)),
            "Client": call.client,
            "Input": _input(call),
            "Call": call.invoked,
            "Output": {"status": "unknown"} if call.outcome is Outcome.UNKNOWN else _output(call.result),
            "Return": after_all if end is None else end,
        }
        file.write(json.dumps(line) + "\n")
    return len(written)


def _input(call: Call) -> dict[str, Any]:
    asked: dict[str, Any] = {"op": call.op.value, "key": call.key}
    if call.op in (Op.PUT, Op.APPEND):
        asked["value"] = _value(call.value)
    if call.if_version is not None:
        asked["if_version"] = call.if_version
    return asked


def _output(result: Result | None) -> dict[str, Any]:
    match result:
        case Found(version=0):
            return {"status": "ok", "found": False, "version": 0}
        case Found(value=value, version=version):
            return {"status": "ok", "found": True, "version": version, "value": _value(value)}
        case Written(version=version):
            return {"status": "ok", "version": version}
        case Deleted(found=found):
            return {"status": "ok", "found": found}
        case Mismatch(current=current):
            return {"status": "version_mismatch", "current": current}
        case WrongType():
            return {"status": "wrong_type"}
        case None:
            raise AssertionError("an outcome that is OK, and no result")


def _value(value: Hashable) -> Any:
    if value is UNSEEN:
        return None
    match value:
        case str():
            return value
        case bytes():
            return {"type": "bytes", "text": value.hex()}
        case tuple():
            return {"type": "tuple", "items": [_value(item) for item in value]}
        case frozenset():  # which has no order, and equal ones must look equal
            return {"type": "frozenset", "items": sorted((_value(item) for item in value), key=json.dumps)}
        case _:
            return {"type": type(value).__name__, "text": repr(value)}
