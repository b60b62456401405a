"""What a user's state machine is to us: four methods, and how one is made.

Here:   the `StateMachine` protocol and its promises; `create_machine`.
Never:  sessions, epochs, waiting (the host does all that for every machine alike).

The promises. `apply` is a function of the state and the command alone: no clock, no dice, no iteration over sets, no
knob of this process. It checks before it changes anything; a refusal is a result, in bytes, like any other. If it
raises all the same, this replica stops, because nobody knows how much of the change it made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from raft_actors.errors import ConfigError


class StateMachine(Protocol):
    """A replicated state machine (Raft §2). Used by one thread at a time."""

    def apply(self, index: int, command: bytes) -> bytes:
        """Change the state by one command, of the log entry at `index` (several commands may share one index)."""
        ...

    def query(self, request: bytes) -> bytes:
        """Answer from the state without changing it. An exception answers this one query and stops nothing."""
        ...

    def snapshot(self) -> Iterator[bytes]:
        """The whole state as it is when the first piece is asked for, in pieces of any size.

        The first one is asked for at once; what `apply` does between two of them must not show in those that follow.
        A piece that takes long to make holds up everybody who asks this member meanwhile.
        """
        ...

    def restore(self, chunks: Iterator[memoryview]) -> None:
        """Replace the state by the one that `snapshot` gave; its bytes come cut in other places."""
        ...


MachineSource: TypeAlias = type[StateMachine] | Callable[[bytes], StateMachine]
"""A class, called without arguments; or a factory, called with the machine's settings from the genesis record."""


def create_machine(source: MachineSource, settings: bytes) -> StateMachine:
    """A fresh machine. `settings` are replicated (core's `Genesis.settings`), so all members make the same one.

    A factory that does not know the settings' version refuses by raising. Raises `ConfigError` when what comes out
    lacks one of the four methods.
    """
    machine: StateMachine = source() if isinstance(source, type) else source(settings)
    missing = [name for name in ("apply", "query", "snapshot", "restore") if not callable(getattr(machine, name, None))]
    if missing:
        raise ConfigError(f"{type(machine).__name__} is no state machine: give it the methods {', '.join(missing)}")
    return machine
