"""One call from a process of ours to another one, as its caller sees it: begun, and ended at most once.

Here:   `Wire`, and `DIRECT`: Ray as it is.
Never:  who is called and what for (peer/transport.py, client/ray_servers.py), faults (faults/wire.py).

This is the seam where a group that was started with `faults=True` loses, delays and holds calls. In all others `DIRECT`
is there, and nothing that could do so.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeAlias

from raft_actors.faults.rules import Node

Begin: TypeAlias = Callable[[], Future[Any]]
"""Makes the call. May raise what Ray raises when it takes no more calls for that actor."""
Ended: TypeAlias = Callable[[Future[Any]], None]
"""Called once with the future that is done, in any thread. Must only take note."""


class CallLost(Exception):
    """A call that got lost on its way, or its answer."""


class Wire(Protocol):
    """How calls leave a process."""

    def send(self, dst: Node, method: str, size_bytes: int, begin: Begin, ended: Ended) -> None:
        """Make a call whose arguments have this size. Raises what `begin` raises, if it is called here and now."""
        ...

    def close(self) -> None:
        """Carry nothing any more; `ended` of calls that are under way may never be called."""
        ...


class _Direct:
    """Nothing between the caller and Ray."""

    def send(self, dst: Node, method: str, size_bytes: int, begin: Begin, ended: Ended) -> None:
        """As `Wire.send`."""
        begin().add_done_callback(ended)

    def close(self) -> None:
        """As `Wire.close`: there is nothing to end."""


DIRECT: Final[Wire] = _Direct()
