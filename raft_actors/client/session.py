"""One session: which command is which, so that each is applied once (Raft §8, dissertation §6.3).

Here:   `Session`: sequences, `acked_below`, what it opens with.
Never:  dice (the id is drawn by the caller), attempts, servers.

The rules on the other side of the wire stand in application/sessions.py. Ours, and what goes wrong without each:

1. `opens` is learned once and then fixed. The session is opened at an index above it; so once the session is dropped,
   `dropped_to` is above every `opens` that was ever sent, and no late copy opens it again. An index that was learned
   later could.
2. `acked_below` passes what was answered and what was given up as unknown. Otherwise one command given up would fill
   the window for ever; and passing it fences its late copies.
3. An expired id is never used again: the group no longer knows what it applied under it.
"""

from __future__ import annotations

from raft_actors.application.frames import ClientId, Frame


class Session:
    """Sequences of one `client_id`. Used by one thread at a time."""

    def __init__(self, client_id: ClientId, opens: int | None = None) -> None:
        """`opens`: an applied index, when one was learned already; without one, nothing can be sent."""
        self.client_id = client_id
        self._opens = opens
        self._opened = False
        self._next_sequence = 0
        self._acked_below = 0
        self._unfinished: set[int] = set()

    @property
    def opens(self) -> int | None:
        """The applied index that this session is opened with; None while none is known."""
        return self._opens

    @property
    def acked_below(self) -> int:
        """No sequence below this one is waited for."""
        return self._acked_below

    @property
    def unfinished_count(self) -> int:
        """Sequences that were drawn and did not end."""
        return len(self._unfinished)

    def learn(self, applied_index: int) -> None:
        """Some server has applied this index. Only the first one counts (rule 1)."""
        if self._opens is None:
            self._opens = applied_index

    def has_room(self, window: int) -> bool:
        """Whether another sequence stays within `window` of what is acknowledged."""
        return self._next_sequence - self._acked_below < window

    def begin(self) -> int:
        """The next sequence. It is unfinished until `end`."""
        assert self._opens is not None, "nothing may be sent before an applied index is known"
        sequence = self._next_sequence
        self._next_sequence += 1
        self._unfinished.add(sequence)
        return sequence

    def frame(self, sequence: int, command: bytes) -> Frame:
        """What one attempt at this sequence carries, as of now."""
        assert sequence in self._unfinished, f"sequence {sequence} has ended; its copies are fenced"
        return Frame(
            client_id=self.client_id,
            sequence=sequence,
            acked_below=self._acked_below,
            opens=None if self._opened else self._opens,
            command=command,
        )

    def answered(self) -> None:
        """A command of this session was applied, so the group knows the session."""
        self._opened = True

    def end(self, sequence: int) -> None:
        """Nobody waits for this sequence any more, whatever became of it."""
        self._unfinished.remove(sequence)
        while self._acked_below < self._next_sequence and self._acked_below not in self._unfinished:
            self._acked_below += 1
