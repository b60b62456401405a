"""Which processes have spoken from each member's place, so that a successor is told from a late message.

Here:   `Incarnations`.
Never:  what follows from a restart (engine.py for calls under way; core for elections).
"""

from __future__ import annotations

from typing import Final

from raft_actors.core.events import Event, HelloReceived, ReplyReceived, RequestReceived
from raft_actors.core.types import DirectoryId, MemberId

DIRECTORIES_REMEMBERED: Final = 16
"""Of one place; a disk is replaced by hand, and the messages of one replaced long ago are gone too."""


class Incarnations:
    """Highest start counter met of each directory that ever spoke from a member's place."""

    def __init__(self, cluster_id: bytes) -> None:
        self._cluster_id = cluster_id
        self._starts: dict[MemberId, dict[DirectoryId, int]] = {}

    def met(self, event: Event) -> MemberId | None:
        """The member whose process is another one than before, if this event says so.

        A process is new at its place by its start counter, or by a directory never met there. A late message of an
        earlier one says nothing, even of a directory that is gone.
        """
        match event:
            case RequestReceived(envelope=envelope) | ReplyReceived(envelope=envelope):
                sender, incarnation, cluster_id = envelope.sender, envelope.incarnation, envelope.cluster_id
            case HelloReceived(sender=sender, incarnation=incarnation, cluster_id=cluster_id):
                pass
            case _:
                return None
        if cluster_id != self._cluster_id:
            return None
        starts = self._starts.setdefault(sender, {})
        if starts.get(incarnation.directory_id, 0) >= incarnation.start_count:
            return None
        is_first = not starts
        starts[incarnation.directory_id] = incarnation.start_count
        if len(starts) > DIRECTORIES_REMEMBERED:
            del starts[next(iter(starts))]
        return None if is_first else sender
