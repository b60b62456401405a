"""A check that failed.

Here:   `Found`, which every check of these campaigns raises; `expect`; `trace` of an exception that was not expected.
Never:  what is checked.
"""

from __future__ import annotations

import traceback


class Found(Exception):
    """Something is not as it must be. No AssertionError: those are the product's own, and finds themselves."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


def expect(holds: bool, rule: str, text: str) -> None:
    """Raise `Found` unless it holds."""
    if not holds:
        raise Found(rule, text)


def trace(failure: BaseException) -> str:
    """Where an exception came from, its last calls only."""
    return "".join(traceback.format_exception(failure)[-6:])
