"""A place in the group: its disk, its clock, and the processes that come and go there.

Here:   `Member`: starts and ends of the peer and of the application beside it, and what reaches nobody.
Never:  when they start or end (nemesis.py), what they do (peer.py, server.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from raft_actors.application.host import ApplicationHost
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.envelopes import decode_join
from raft_actors.errors import DirectoryLocked, LogDamaged, StorageFailed
from raft_actors.peer.engine import Engine
from raft_actors.storage.interface import Storage
from tests.rig.disks import GROUP
from tests.sim.batches import Copies, Reply
from tests.sim.disks import Disk
from tests.sim.invitations import CallId, Invitation
from tests.sim.peer import PeerProcess
from tests.sim.server import ServerProcess
from tests.sim.timeline import SkewedClock
from tests.storage.faulty_files import MachineStopped

if TYPE_CHECKING:
    from tests.sim.world import World

HELD_MAX: Final = 64
"""Calls that wait for a process to come back; more than a window lets out."""


class Member:
    """One member. What the checks see of it: `member_id`, `directory_id`, `engine`, `host`."""

    def __init__(
        self, world: World, member_id: MemberId, disk: Disk, *, begins: bool, number: MemberId | None = None
    ) -> None:
        """`begins`: an empty directory gets the group's record at once, as `bootstrap` gives it."""
        self.world = world
        self.member_id = member_id
        """Of this machine; no other one ever has it."""
        self.number = number or member_id
        """Of its place: what the group knows it by."""
        self.name = f"{self.number}" + "'" * (member_id // 10)
        self.disk = disk
        self.empty: Storage | None = None
        """Of a process that waits to be invited."""
        self._begins = begins
        options = world.options
        self.clock = SkewedClock(
            world.timeline, start_ms=world.dice.randint(0, 10_000), rate=options.rates[member_id % len(options.rates)]
        )
        self.peer: PeerProcess | None = None
        self.old: PeerProcess | None = None
        """A process that has a successor, lives on and holds the directory."""
        self.server: ServerProcess | None = None
        self.directory_id: DirectoryId | None = None
        """Of the disk that is there; None: nobody has opened it."""
        self.failed = False
        """Its log is damaged: it stays down."""
        self.damaged = False
        """Its disk does not hold what it promised."""
        self.stalled = False
        self.buried = False
        """Its machine is switched off for good."""
        self._held: list[tuple[PeerProcess, CallId, Any]] = []

    @property
    def is_listed(self) -> bool:
        """Whether the newest committed configuration names its directory."""
        newest = self.world.checks.newest_configuration
        return self.directory_id is not None and newest.find_directory(self.directory_id) is not None

    @property
    def never_listed(self) -> bool:
        """Whether no configuration of the committed log ever named its directory."""
        return self.directory_id is not None and not self.world.checks.was_listed(self.directory_id)

    @property
    def idle(self) -> bool:
        """Whether it waits to be invited."""
        return self.empty is not None

    @property
    def engine(self) -> Engine | None:
        """The running peer's."""
        process = self.peer or self.old
        return None if process is None else process.engine

    @property
    def host(self) -> ApplicationHost | None:
        """The running application's."""
        return None if self.server is None else self.server.host

    # -- the peer -----------------------------------------------------------------------------------------------------

    def start_peer(self, storage: Storage | None = None) -> None:
        """A new process on the disk, unless one runs or the disk is beyond use."""
        if self.peer is not None or self.empty is not None or self.failed or self.buried:
            return
        storage = storage or self._open()
        if storage is None:
            return
        world, found = self.world, storage.recovered
        self.directory_id = found.incarnation.directory_id
        if found.genesis is None and not self._begins:
            self.empty = storage
            world.tell(self.name, "is empty, and waits to be invited")
            held, self._held = self._held, []
            for caller, call_id, content in held:
                self._empty_is_called(caller, call_id, content)
            return
        if found.genesis is None:
            try:
                storage.write_genesis(world.genesis)
            except StorageFailed:
                self.disk_failed()
                return
        self._run(storage)

    def _run(self, storage: Storage) -> None:
        world, found = self.world, storage.recovered
        directory_id = found.incarnation.directory_id
        if found.torn_bytes:
            world.watch.count("torn tail dropped")
        if found.snapshot is not None:
            world.watch.count("snapshot found at a start")
        if found.damaged_snapshots:
            world.watch.count("damaged snapshot passed over")
        self.damaged = False  # what was damaged was of no use any more, or is as good as before
        world.tell(
            self.name,
            f"starts, {len(found.entries)} entries behind {found.base.index}, term {found.hard_state.term}",
        )
        world.checks.recovered(directory_id, found, found.snapshot)
        self.peer = PeerProcess(self, storage)
        world.checks.started(self)
        self.peer.say_hello()
        held, self._held = self._held, []
        for each in held:
            self.peer.receive(*each)

    def _open(self) -> Storage | None:
        world = self.world
        try:
            return self.disk.open()
        except DirectoryLocked:
            world.watch.count("successor met the lock of an old process")
        except MachineStopped:
            self.disk.end((), power_cut=world.dice.random() < 0.5)
            world.tell(self.name, "ends while it starts")
        except StorageFailed:
            self.disk.end((), power_cut=False)
            world.tell(self.name, "cannot open its log")
        except LogDamaged as damage:
            world.tell(self.name, f"fails: {damage}")
            world.watch.count("damaged log met")
            self.disk.end((), power_cut=False)
            self.failed = self.damaged = True
            return None
        world.timeline.after(world.dice.randint(1000, 200_000), None, self.start_peer)
        return None

    def end_peer(self, how: str, *, power_cut: bool = False) -> None:
        """The process is gone with all it held; who waits for it will learn so."""
        peer, self.peer, self.old = self.peer or self.old, None, None
        if peer is None:
            if power_cut or self.empty is not None:
                self.empty = None
                self.disk.end((), power_cut=power_cut)
            return
        self.world.tell(peer.name, how)
        peer.alive = False
        naming = peer.naming
        self.disk.end(peer.works(), power_cut=power_cut)
        for asked in peer.asked.values():
            asked.caller.fail_call(asked.rpc_id, self.world.dead_call_us())
        for act, arguments in peer.backlog:  # what a stopped process had not looked at
            _fail_if_call(act, arguments, self.world)
        for link in peer.links:
            link.close()
        self.world.checks.stopped(self, peer.writing)
        if naming is not None:
            self.world.checks.maybe_named(peer.engine.state.directory_id, naming)

    def disk_failed(self) -> None:
        """A write was refused: the process ends, only a fresh start can tell what is on the disk."""
        self.end_peer("ends: its disk refused a write")
        self.world.timeline.after(self.world.dice.randint(10_000, 1_000_000), None, self.start_peer)

    def wipe(self) -> None:
        """The disk is gone; a new one is put in its place, and the group is not told."""
        self.end_peer("is wiped")
        if self.directory_id is not None:
            self.world.checks.wiped(self)
        self.disk.wipe()
        self.directory_id = None
        self.failed = self.damaged = False
        self._begins = self.world.options.strangers

    def supersede(self) -> None:
        """Its process is taken for dead, as with its raylet: the name leads to another one, which begins on the same
        directory and finds it locked, until the old one has ended."""
        self.is_given_up()
        self.old, self.peer = self.peer, None
        self.start_peer()

    def bury(self) -> None:
        """Whatever was about to start it again."""
        self.buried = True
        self.end_peer("is buried")
        self.end_server("is buried")

    def is_given_up(self) -> None:
        """There is a successor: whoever looks the name up learns that this process is dead. It may be not."""
        peer = self.peer
        calls = [] if peer is None else [(asked.caller, asked.rpc_id) for asked in peer.asked.values()]
        for act, arguments in () if peer is None else peer.backlog:
            if getattr(act, "__func__", None) is PeerProcess.receive:
                calls.append(arguments[:2])
        for caller, call_id in calls:
            if caller.handles.get(self.number) is not self:
                caller.fail_call(call_id, self.world.dead_call_us())

    # -- the application ----------------------------------------------------------------------------------------------

    def start_server(self) -> None:
        """A new application process, without state."""
        if self.server is None and not self.buried:
            self.server = ServerProcess(self)

    def end_server(self, how: str) -> None:
        """It is gone with its state; its peer and its callers will learn so."""
        server, self.server = self.server, None
        if server is None:
            return
        self.world.tell(server.name, how)
        server.alive = False
        server.end()

    # -- what arrives -------------------------------------------------------------------------------------------------

    def arrives(self, caller: PeerProcess, rpc_id: CallId, content: Any) -> None:
        """Another peer's request: for the process that is here now."""
        peer = self.peer
        if peer is None:
            if self.empty is not None:
                self._empty_is_called(caller, rpc_id, content)
            elif self.world.options.held_calls and len(self._held) < HELD_MAX and not self.failed:
                self._held.append((caller, rpc_id, content))
            else:
                caller.fail_call(rpc_id, self.world.dead_call_us())
        elif peer.paused:
            peer.backlog.append((peer.receive, (caller, rpc_id, content)))
        else:
            peer.receive(caller, rpc_id, content)

    def _empty_is_called(self, caller: PeerProcess, call_id: CallId, content: Any) -> None:
        """A peer that belongs to no group answers nothing, and takes an invitation for its very directory."""
        caller.fail_call(call_id, self.world.network.latency_us())
        storage = self.empty
        if not isinstance(call_id, Invitation) or storage is None:
            return
        join = decode_join(content)
        if join.directory_id != self.directory_id or join.genesis.group != GROUP:
            self.world.watch.count("invitation for another directory ignored")
            return
        self.world.watch.count("directory joined")
        self.empty = None
        try:
            storage.write_genesis(join.genesis)
        except StorageFailed:
            self.disk_failed()
            return
        self._run(storage)

    def is_told(self, act: Any) -> None:
        """A notice of another peer, which nobody waits for."""
        peer = self.peer
        if peer is None:
            return
        if peer.paused:
            peer.backlog.append((act, (peer,)))
        else:
            act(peer)

    def client_calls(self, method: str, data: Any, copies: Copies, reply: Reply, fail: Callable[[], object]) -> None:
        """A client's call."""
        work_us = self.world.socket_us(work=True)
        if self.server is not None and work_us > 1000:
            self.world.timeline.after(work_us, None, self._server_takes, self.server, method, data, copies, reply, fail)
        else:
            self._server_takes(self.server, method, data, copies, reply, fail)

    def _server_takes(
        self,
        server: ServerProcess | None,
        method: str,
        data: Any,
        copies: Copies,
        reply: Reply,
        fail: Callable[[], object],
    ) -> None:
        """The call has come to the front of this process's queue; if the process is gone, its caller learns so."""
        if server is None or not server.alive:
            fail()
            return
        if not copies.may_run(server.host):
            return
        act = server.submit if method == "submit" else server.query
        if server.paused:
            server.backlog.append((act, (data, reply, fail)))
        else:
            act(data, reply, fail)


def _fail_if_call(act: Any, arguments: tuple[Any, ...], world: World) -> None:
    if getattr(act, "__func__", None) is PeerProcess.receive:
        caller, rpc_id, _ = arguments
        caller.fail_call(rpc_id, world.dead_call_us())
