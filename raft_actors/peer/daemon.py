"""Threads with a name and one duty that cannot die in silence (Ruaft's DaemonWatch).

Here:   `Daemon`.
Never:  what a daemon does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from raft_actors.errors import DaemonFailed


class Daemon:
    """A named thread that runs `body(stop)` until told to stop. Its failure is ours: `stop()` raises it.

    `on_failure` is called once, in the dying thread, with the daemon's name and what it raised: the peer then stops
    as a whole, because half a peer is worse than none.
    """

    def __init__(
        self,
        name: str,
        body: Callable[[threading.Event], None],
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self.name = name
        self._body = body
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Set the stop event and return at once."""
        self._stop.set()

    def stop(self, timeout_s: float) -> None:
        """Ask, wait at most `timeout_s`, and raise `DaemonFailed` if it died of something or is still alive."""
        self._stop.set()
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_s))
            if self._thread.is_alive():
                raise DaemonFailed(f"{self.name}: did not end within {timeout_s:.1f} s")
        if self._failure is not None:
            raise DaemonFailed(f"{self.name}: {type(self._failure).__name__}: {self._failure}") from self._failure

    def _run(self) -> None:
        try:
            self._body(self._stop)
        except BaseException as failure:  # kept, told, and raised again by stop()
            self._failure = failure
            self._on_failure(self.name, failure)
