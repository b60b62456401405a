"""The drivers of a segment: processes of their own, with clients that begin and end when they are told.

Here:   `Driver`.
Never:  what clients do (driver.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Final, Self

from tests.campaigns.outcome import ROOT

END_S: Final = 60.0


class Driver:
    """One of them, connected to Ray. A context manager: it is gone in the end."""

    def __init__(
        self, address: str, group: str, seed: int, labels: Sequence[str], *, prefix: Sequence[str] = ()
    ) -> None:
        """`prefix`: of its command, for one that runs on another host."""
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.chaos.driver", address, group, str(seed), *labels],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        if _pipe(self._process.stdout).readline() != "connected\n":
            self._process.kill()
            raise RuntimeError(f"a driver did not connect: {_pipe(self._process.stderr).read()[-3000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def go(self) -> None:
        """Its clients begin."""
        _pipe(self._process.stdin).write("go\n")
        _pipe(self._process.stdin).flush()

    def end(self) -> str:
        """Its clients end what is under way. Why it did not end well; empty where it did."""
        try:
            _, said = self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            return f"it did not end within {END_S:.0f} s"
        return "" if self._process.returncode == 0 else f"{self._process.returncode}: {said[-3000:]}"


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None, "made with pipes"
    return stream
