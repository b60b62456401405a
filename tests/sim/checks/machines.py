"""What the state machines did: the same everywhere, once, and never what is not committed.

Here:   `Machines`: applied never falls and never passes what is committed; one hash chain per applied index; each
        command of the log ran at one place with one result, in every machine; a unique command ran at most once.
Never:  what clients were told (clients.py), whether a result is right (analysis/linearizability.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from raft_actors.application.exchange import Provenance
from raft_actors.application.host import ApplicationHost
from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, MemberId
from tests.sim.checks import bounds
from tests.sim.checks.commits import Commits
from tests.sim.checks.violation import SimMember, Violation

NOBODY = Provenance(computed_by=DirectoryId(bytes(DIRECTORY_ID_BYTES)), agreed=None)
"""Who computed a state does not count where states are compared."""
LOOK_EVERY = 32
"""Entries applied by one host between two looks at its queues."""


class _Seen:
    """A host after the last look."""

    __slots__ = ("applied_index", "host", "looked_at")

    def __init__(self, host: ApplicationHost) -> None:
        self.host = host
        self.applied_index = 0
        self.looked_at = 0


class _Runs:
    """Where in the log one machine is."""

    __slots__ = ("index", "machine", "position")

    def __init__(self, machine: object) -> None:
        self.machine = machine
        self.index = 0
        self.position = 0


class Machines:
    """All applications there ever were."""

    def __init__(self, commits: Commits) -> None:
        self.known_to_differ: set[MemberId] = set()
        """Members whose machine a test has made wrong on purpose."""
        self._commits = commits
        self._seen: dict[MemberId, _Seen] = {}
        self._runs: dict[MemberId, _Runs] = {}
        self._chains: dict[int, tuple[bytes, str]] = {}
        self._ran: dict[tuple[int, int], tuple[bytes, bytes, str]] = {}
        """By (index, position in the entry): the command, its result, and who ran it first."""
        self._unique: dict[bytes, tuple[int, int] | None] = {}
        """Where each unique command ran; None: nowhere yet."""
        self._never: set[bytes] = set()
        """Unique commands of which a client was told that they did not happen."""

    # -- hosts --------------------------------------------------------------------------------------------------------

    def after_event(self, member_id: MemberId, host: ApplicationHost) -> None:
        """Something happened at this application."""
        seen = self._seen.get(member_id)
        if seen is None or seen.host is not host:
            seen = self._seen[member_id] = _Seen(host)
        applied_index = host.applied_index
        if applied_index == seen.applied_index:
            return
        if applied_index < seen.applied_index:
            raise Violation("monotonic applied", f"application {member_id}: {seen.applied_index}, then {applied_index}")
        if applied_index > len(self._commits):
            raise Violation(
                "applied is committed",
                f"application {member_id} applied {applied_index}, committed is {len(self._commits)}",
            )
        seen.applied_index = applied_index
        if member_id not in self.known_to_differ and host.stopped is None:
            chain, first = self._chains.setdefault(applied_index, (host.chain, f"application {member_id}"))
            if chain != host.chain:
                raise Violation(
                    "state machine safety", f"application {member_id} differs at {applied_index} from {first}"
                )
        if applied_index >= seen.looked_at + LOOK_EVERY:
            seen.looked_at = applied_index
            bounds.check_host(host, f"application {member_id}")

    def restored(self, member_id: MemberId, host: ApplicationHost) -> None:
        """This application goes on from a snapshot: where another one has been, and with the same state chain."""
        known = self._chains.get(host.applied_index)
        if member_id not in self.known_to_differ and (known is None or known[0] != host.chain):
            raise Violation(
                "state machine safety",
                f"application {member_id} was restored at {host.applied_index} and differs from "
                f"{known[1] if known else 'nobody: no one has been there'}",
            )
        self.after_event(member_id, host)

    def chain_at(self, index: int) -> bytes | None:
        """The state chain of whoever was at this index."""
        known = self._chains.get(index)
        return None if known is None else known[0]

    def equal(self, members: Iterable[SimMember]) -> None:
        """All these members' machines hold the same."""
        first: tuple[MemberId, ApplicationHost] | None = None
        for member in members:
            host = member.host
            if host is None:
                raise Violation("equal machines", f"member {member.member_id} has no application")
            bounds.check_host(host, f"application {member.member_id}")
            if first is None:
                first = (member.member_id, host)
                continue
            for what, value, expected in (
                ("applied", host.applied_index, first[1].applied_index),
                ("a hash chain", host.chain, first[1].chain),
                ("a snapshot", _snapshot(host), _snapshot(first[1])),
            ):
                if value != expected:
                    raise Violation(
                        "equal machines",
                        f"member {member.member_id} has {what} of {value!r:.200}, member {first[0]} {expected!r:.200}",
                    )

    # -- commands -----------------------------------------------------------------------------------------------------

    def unique(self, command: bytes) -> None:
        """A client asks for this, and nobody ever asks for the same."""
        self._unique[command] = None

    def result_of(self, command: bytes) -> bytes | None:
        """What the machines made of this unique command; None: none has run it."""
        place = self._unique.get(command)
        return None if place is None else self._ran[place][1]

    def ran(self, member_id: MemberId, machine: object, index: int, command: bytes, result: bytes) -> None:
        """A machine ran the next command of the entry at `index`."""
        runs = self._runs.get(member_id)
        if runs is None or runs.machine is not machine:
            runs = self._runs[member_id] = _Runs(machine)
        if runs.index == index:
            runs.position += 1
        else:
            runs.index, runs.position = index, 0
        place = (index, runs.position)
        known = self._ran.get(place)
        if known is None:
            self._ran[place] = (command, result, f"application {member_id}")
        elif known[0] != command or known[1] != result:
            raise Violation(
                "state machine safety",
                f"application {member_id} ran {command!r:.200} with result {result!r:.80} as command {place[1]} of "
                f"entry {index}, {known[2]} ran {known[0]!r:.200} with {known[1]!r:.80}",
            )
        if command in self._unique:
            before = self._unique[command]
            if before is None:
                self._unique[command] = place
                if command in self._never:
                    self._happened(command)
            elif before != place:
                raise Violation(
                    "exactly once",
                    f"application {member_id} ran {command!r:.200} in entry {index}, it was run in entry {before[0]}",
                )

    def done(self, command: bytes, result: bytes | None) -> None:
        """A client was told that its unique command was done, with this result."""
        place = self._unique.get(command)
        if place is None:
            raise Violation("acknowledged writes stay", f"{command!r:.200} was acknowledged, and no machine ran it")
        if result is not None and self._ran[place][1] != result:
            raise Violation(
                "exactly once",
                f"{command!r:.200} was answered with {result!r:.80}, the machines computed {self._ran[place][1]!r:.80}",
            )

    def not_done(self, command: bytes) -> None:
        """A client was told that its unique command did not and will not happen."""
        self._never.add(command)
        if self._unique.get(command) is not None:
            self._happened(command)

    def _happened(self, command: bytes) -> None:
        raise Violation("not done is definite", f"a client was told that {command!r:.200} did not happen, and it did")


def _snapshot(host: ApplicationHost) -> bytes:
    """The whole state, sessions too."""
    return b"".join(host.snapshot(NOBODY))
