"""A place in the group: its disk, its clock, and the processes that come and go there.

Here:   `Member`: starts and ends of the peer and of the application beside it, and what reaches nobody.
Never:  when they start or end (nemesis.py), what they do (peer.py, server.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from raft_actors.application.host import ApplicationHost
from raft_actors.core.types import DirectoryId, MemberId, RpcId
from raft_actors.errors import LogDamaged, StorageFailed
from raft_actors.peer.engine import Engine
from raft_actors.storage.interface import Storage
from tests.sim.batches import Copies, Reply
from tests.sim.disks import Disk
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

    def __init__(self, world: World, member_id: MemberId, disk: Disk) -> None:
        self.world = world
        self.member_id = member_id
        self.disk = disk
        options = world.options
        self.clock = SkewedClock(
            world.timeline, start_ms=world.dice.randint(0, 10_000), rate=options.rates[member_id % len(options.rates)]
        )
        self.peer: PeerProcess | None = None
        self.server: ServerProcess | None = None
        self.directory_id: DirectoryId | None = None
        self.failed = False
        """Its log is damaged: it stays down."""
        self.wiped = False
        """Its disk is not the one that the configuration names."""
        self.stalled = False
        self._held: list[Callable[[PeerProcess], object]] = []

    @property
    def engine(self) -> Engine | None:
        """The running peer's."""
        return None if self.peer is None else self.peer.engine

    @property
    def host(self) -> ApplicationHost | None:
        """The running application's."""
        return None if self.server is None else self.server.host

    # -- the peer -----------------------------------------------------------------------------------------------------

    def start_peer(self, storage: Storage | None = None) -> None:
        """A new process on the disk, unless one runs or the disk is beyond use."""
        if self.peer is not None or self.failed:
            return
        storage = storage or self._open()
        if storage is None:
            return
        world, found = self.world, storage.recovered
        directory_id = found.incarnation.directory_id
        if found.genesis is None:
            try:
                storage.write_genesis(world.genesis)  # as `bootstrap` does, or `join` after a wipe
            except StorageFailed:
                self.disk_failed()
                return
        if found.torn_bytes:
            world.watch.count("torn tail dropped")
        if found.snapshot is not None:
            world.watch.count("snapshot found at a start")
        if found.damaged_snapshots:
            world.watch.count("damaged snapshot passed over")
        self.directory_id = directory_id
        if not self.wiped:
            world.lost.discard(self.member_id)  # what was damaged was of no use any more, or is as good as before
        world.tell(
            str(self.member_id),
            f"starts, {len(found.entries)} entries behind {found.base.index}, term {found.hard_state.term}",
        )
        world.checks.recovered(directory_id, found, found.snapshot)
        self.peer = PeerProcess(self, storage)
        world.checks.started(self)
        self.peer.say_hello()
        held, self._held = self._held, []
        for act in held:
            act(self.peer)

    def _open(self) -> Storage | None:
        world = self.world
        try:
            return self.disk.open()
        except MachineStopped:
            self.disk.end((), power_cut=world.dice.random() < 0.5)
            world.tell(str(self.member_id), "ends while it starts")
        except StorageFailed:
            self.disk.end((), power_cut=False)
            world.tell(str(self.member_id), "cannot open its log")
        except LogDamaged as damage:
            world.tell(str(self.member_id), f"fails: {damage}")
            world.watch.count("damaged log met")
            self.disk.end((), power_cut=False)
            self.failed = True
            world.lost_disk(self)
            return None
        world.timeline.after(world.dice.randint(1000, 200_000), None, self.start_peer)
        return None

    def end_peer(self, how: str, *, power_cut: bool = False) -> None:
        """The process is gone with all it held; who waits for it will learn so."""
        peer, self.peer = self.peer, None
        if peer is None:
            if power_cut:
                self.disk.end((), power_cut=True)
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
        self.failed, self.wiped = False, True

    # -- the application ----------------------------------------------------------------------------------------------

    def start_server(self) -> None:
        """A new application process, without state."""
        if self.server is None:
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

    def arrives(self, caller: PeerProcess, rpc_id: RpcId, content: Any) -> None:
        """Another peer's request: for the process that is here now."""
        peer = self.peer
        if peer is None:
            if self.world.options.held_calls and len(self._held) < HELD_MAX and not self.failed:
                self._held.append(lambda peer: peer.receive(caller, rpc_id, content))
            else:
                caller.fail_call(rpc_id, self.world.dead_call_us())
        elif peer.paused:
            peer.backlog.append((peer.receive, (caller, rpc_id, content)))
        else:
            peer.receive(caller, rpc_id, content)

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
