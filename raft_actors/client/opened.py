"""A future whose result is decoded by whoever takes it.

Here:   `Opened`.
Never:  decoders.

Decoding may take long, and may run the code of whoever wrote a pickled value. So it happens in the thread that asks for
the result, never in the sender's, which everybody shares.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar, cast

from raft_actors.errors import OperationError

T = TypeVar("T")


class Opened(Future[T], Generic[T]):
    """What a future of bytes means. It ends when that one does; `result()` decodes, once."""

    def __init__(self, raw: Future[bytes], decode: Callable[[bytes], T]) -> None:
        """`decode` may raise `OperationError`, which is then the future's exception."""
        super().__init__()
        self._raw = raw
        self._decode = decode
        self._decoded: tuple[T] | OperationError | None = None
        self.set_running_or_notify_cancel()
        raw.add_done_callback(self._raw_ended)

    def result(self, timeout: float | None = None) -> T:
        """As `Future.result`."""
        super().result(timeout)
        decoded = self._open()
        if isinstance(decoded, OperationError):
            raise decoded
        return decoded[0]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `Future.exception`."""
        failure = super().exception(timeout)
        if failure is not None:
            return failure
        decoded = self._open()
        return decoded if isinstance(decoded, OperationError) else None

    def _raw_ended(self, raw: Future[bytes]) -> None:
        failure = raw.exception()
        if failure is not None:
            self.set_exception(failure)
        else:
            # Only says that there is a result; `result()` gives it.
            self.set_result(cast(T, None))

    def _open(self) -> tuple[T] | OperationError:
        if self._decoded is None:  # two threads may both decode: the same bytes, the same value
            try:
                self._decoded = (self._decode(self._raw.result()),)
            except OperationError as refusal:
                self._decoded = refusal
        return self._decoded
