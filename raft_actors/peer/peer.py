"""The life of one member's peer: bring-up, states, bootstrap, failure, kill. A plain class; actor.py shows it to Ray.

Here:   `Peer`: when its state changes, and what it does for others in each.
Never:  Raft (core), threads of a running peer (runtime.py), what a peer says of itself (standing.py).

    starting -> uninitialised -> running   ("recovering" while its own log does not list its directory)
        any  -> failed     broken invariant, damage, a dead daemon: says why, answers questions, runs again only when
                           restarted by hand (a STOPPED file keeps it so)
        any  -> killed     asked to

The constructor stores its arguments and starts a thread; it cannot fail, because an actor whose constructor raises on
a restart is dead for good and its name is gone. A write that fails ends the process: what is on the disk is not known
any more, only a fresh recovery can tell; then bring-up waits 1, 2, 4 ... 60 s between its attempts.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any, Final

from raft_actors.application import exchange
from raft_actors.application.slices import Slice
from raft_actors.codec import CodecError, decode_genesis
from raft_actors.core import State
from raft_actors.core.entries import Genesis
from raft_actors.core.types import Role
from raft_actors.envelopes import Hello, decode_join, encode_hello
from raft_actors.errors import (
    DaemonFailed,
    DirectoryLocked,
    LogDamaged,
    MemberStopped,
    PeerFailed,
    StorageError,
    StorageFailed,
)
from raft_actors.peer.clock import Clock, MonotonicClock
from raft_actors.peer.journal import EventJournal
from raft_actors.peer.runtime import Runtime
from raft_actors.peer.snapshots import NotSaved, SaveAnswer
from raft_actors.peer.standing import PeerState, Standing, status_of_running
from raft_actors.peer.surroundings import PeerOptions, Surroundings
from raft_actors.storage.interface import Storage

LOCK_RETRY_S: Final = (0.05, 0.3)
"""First and longest wait between attempts to lock the directory: a zombie of a dead raylet holds it for seconds."""
IO_RETRY_S: Final = (1.0, 60.0)
"""First and longest wait after an I/O error while opening."""
ASK_TIMEOUT_MS: Final = 1000


class Peer:
    """One member's peer. Every method may be called in every state and from any thread."""

    def __init__(
        self,
        options: PeerOptions,
        surroundings: Surroundings,
        *,
        clock: Clock | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self._options = options
        self._surroundings = surroundings
        self._clock = clock or MonotonicClock()
        self._dice = dice or random.Random()
        self.journal = EventJournal(options.group, options.member_id)
        self._standing = Standing(options=options)
        self._failures: list[str] = []
        self._killed: PeerFailed | None = None
        self._storage: Storage | None = None
        self._runtime: Runtime | None = None
        self._lock = threading.RLock()
        """Guards the life (the fields above), never an operation of the running peer."""
        self._leave = threading.Event()
        self._kill_done = threading.Event()
        self._stopping: threading.Thread | None = None
        """Ends what a failure left running."""
        self._bring_up = threading.Thread(target=self._bring_up_run, name="bring-up", daemon=True)
        self._bring_up.start()

    # -- bring-up -----------------------------------------------------------------------------------------------------

    def _bring_up_run(self) -> None:
        lock_wait_s, io_wait_s = LOCK_RETRY_S[0], IO_RETRY_S[0]
        while not self._leave.is_set():
            try:
                self._open()
                return
            except DirectoryLocked as refusal:
                self._say(str(refusal))
                wait_s, lock_wait_s = lock_wait_s, min(lock_wait_s * 2, LOCK_RETRY_S[1])
            except (StorageFailed, OSError) as failure:
                self._say(f"cannot read or write the data directory, tried again in {io_wait_s:.0f} s: {failure}")
                wait_s, io_wait_s = io_wait_s, min(io_wait_s * 2, IO_RETRY_S[1])
            except StorageError as refusal:
                self._standing.unopened = self._surroundings.peek()
                self._fail(str(refusal), refusal)
                return
            except Exception as bug:
                self._fail(f"bring-up: {type(bug).__name__}: {bug}", bug)
                return
            self._leave.wait(wait_s)

    def _open(self) -> None:
        reason = self._surroundings.stopped_reason()
        if reason is not None:
            raise MemberStopped(
                f"member {self._options.member_id} stopped before ({reason}); when the cause is gone run "
                f"raft-kv restart-member {self._options.member_id}"
            )
        storage = self._surroundings.open_storage()
        with self._lock:
            if self._leave.is_set():
                storage.close()
                return
            self._storage = storage
            self._standing.error = None
            self._standing.incarnation = storage.recovered.incarnation
            self._standing.genesis = storage.recovered.genesis
            if storage.recovered.torn_bytes:
                self.journal.note("torn_tail", {"bytes": storage.recovered.torn_bytes})
            for damaged in storage.recovered.damaged_snapshots:
                self.journal.note("snapshot_damaged", {"why": damaged}, level=logging.WARNING)
            if self._standing.genesis is None:
                self._enter(PeerState.UNINITIALISED)
            else:
                self._run(storage, self._standing.genesis)

    def _run(self, storage: Storage, genesis: Genesis) -> None:
        recovered = storage.recovered
        state = State.restore(
            settings=self._options.config.core(),
            member_id=self._options.member_id,
            incarnation=recovered.incarnation,
            genesis=genesis,
            hard_state=recovered.hard_state,
            entries=recovered.entries,
            base=recovered.base,
            snapshot=recovered.snapshot,
        )
        others = tuple(member.member_id for member in state.configurations.others(self._options.member_id))
        hello = Hello(cluster_id=genesis.cluster_id, sender=self._options.member_id, incarnation=recovered.incarnation)
        self._runtime = Runtime(
            state=state,
            genesis=genesis,
            config=self._options.config,
            clock=self._clock,
            dice=self._dice,
            storage=storage,
            transport=self._surroundings.open_transport(others, encode_hello(hello)),
            note=self.journal.note,
            failed=self._fail,
            story=self.journal.story if self.journal.tells_all else None,
            wary=self._options.faults,
        )
        self._enter(PeerState.RUNNING)
        self._runtime.start()

    def bootstrap(self, data: bytes) -> str | None:
        """Take the genesis record, once; None: it is ours now (or was). Otherwise why not, and nothing changed.

        Contracts rule 6: taken only if this directory is empty and named in the record for this member.
        """
        try:
            genesis = decode_genesis(data)
        except CodecError as malformed:
            return f"no genesis record: {malformed}"
        standing = self._standing
        with self._lock:
            if standing.genesis is not None:
                same = standing.genesis == genesis
                return None if same else f"member {self._options.member_id} belongs to another cluster already"
            if standing.state is not PeerState.UNINITIALISED or self._storage is None or standing.incarnation is None:
                return f"member {self._options.member_id} is {standing.state.value}"
            if self._leave.is_set():
                return f"member {self._options.member_id} is being killed"
            line = genesis.configuration.find(self._options.member_id)
            if genesis.group != self._options.group or line is None:
                return f"the record is of group {genesis.group!r} and does not name member {self._options.member_id}"
            if line.directory_id != standing.incarnation.directory_id:
                return f"the record names another data directory for member {self._options.member_id}"
            return self._begin(self._storage, genesis)

    def join(self, data: bytes) -> None:
        """A leader of the group lists this directory (contracts 10 a). Obeyed while it is empty, otherwise no news.

        What the genesis says of this member's place is of no interest: a directory that was never listed when it was
        written is a stranger to it, and counts nowhere until the log says otherwise (contracts 7).
        """
        try:
            join = decode_join(data)
        except CodecError:
            return
        standing = self._standing
        with self._lock:
            mine = standing.incarnation is not None and standing.incarnation.directory_id == join.directory_id
            empty = standing.state is PeerState.UNINITIALISED and not self._leave.is_set()
            if mine and empty and self._storage is not None and join.genesis.group == self._options.group:
                self._begin(self._storage, join.genesis)

    def _begin(self, storage: Storage, genesis: Genesis) -> str | None:
        """An empty directory becomes a member's; under the lock of the life."""
        try:
            storage.write_genesis(genesis)
        except StorageFailed as failure:
            self._fail(str(failure), failure)
            return str(failure)
        self._standing.genesis = genesis
        self._run(storage, genesis)
        return None

    # -- end ----------------------------------------------------------------------------------------------------------

    def _fail(self, why: str, cause: BaseException | None) -> None:
        """This member must stop. Called from any thread, the dying daemon's too, so the work is another thread's."""
        with self._lock:
            if why not in self._failures:  # a daemon and whoever did its work may say the same
                self._failures.append(why)
            if self._standing.state in (PeerState.FAILED, PeerState.KILLED):
                return
            self._standing.error = why
            self._enter(PeerState.FAILED)
            self.journal.note("error", {"why": why}, level=logging.ERROR)
            self._stopping = threading.Thread(
                target=self._stop_after_failure, args=(why, cause), name="stop", daemon=True
            )
            self._stopping.start()

    def _stop_after_failure(self, why: str, cause: BaseException | None) -> None:
        if isinstance(cause, StorageFailed):
            self._surroundings.end_process(why)
            return
        ran = self._runtime is not None
        self._stop_runtime(5.0)
        if ran or isinstance(cause, LogDamaged):
            try:
                self._surroundings.write_stopped(why)
            except (StorageError, OSError) as failure:
                self._failures.append(f"STOPPED file: {failure}")
        self._close_storage()

    def kill(self, timeout_s: float = 10.0) -> None:
        """Refuse new work, end the waiting, drain the disk, join the daemons, release the lock (Ruaft's `kill`).

        Raises `PeerFailed` with every failure recorded on the way, each with its daemon's name. A second call waits
        for the first and says the same.
        """
        with self._lock:
            first = not self._leave.is_set()
            self._leave.set()
        if not first:
            if not self._kill_done.wait(timeout_s):
                late = f"member {self._options.member_id}: kill: did not end within {timeout_s:.1f} s; call it again"
                raise PeerFailed(late, failures=[late])
        else:
            deadline_s = time.monotonic() + timeout_s
            self._stop_runtime(timeout_s)
            self._bring_up.join(max(0.1, deadline_s - time.monotonic()))
            if self._stopping is not None:  # it may be at work, and uses the storage
                self._stopping.join(max(0.1, deadline_s - time.monotonic()))
            self._close_storage()
            with self._lock:
                self._enter(PeerState.KILLED)
                if self._failures:
                    self._killed = PeerFailed(
                        f"member {self._options.member_id}: {'; '.join(self._failures)}", failures=list(self._failures)
                    )
            self._kill_done.set()
        if self._killed is not None:
            raise self._killed

    def _stop_runtime(self, timeout_s: float) -> None:
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is not None:
            failures: list[DaemonFailed] = runtime.stop(timeout_s)
            self._failures.extend(str(failure) for failure in failures if str(failure) not in self._failures)

    def _close_storage(self) -> None:
        with self._lock:
            storage, self._storage = self._storage, None
        if storage is not None:
            try:
                storage.close()
            except (StorageError, OSError) as failure:
                self._failures.append(f"closing the log: {failure}")

    def restart(self) -> None:
        """Forget why this member stopped; the process then ends and is started again (raft-kv restart-member)."""
        self._surroundings.clear_stopped()
        self._surroundings.end_process("restarted by hand")

    # -- requests of other peers --------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> bytes | None:
        """RequestVote, PreVote or AppendEntries of another peer; its reply, or None."""
        runtime = self._runtime
        return None if runtime is None else runtime.receive(data)

    def hello(self, data: bytes) -> None:
        """Another peer (re)started."""
        runtime = self._runtime
        if runtime is not None:
            runtime.hello(data)

    def report_chains(self, data: bytes) -> None:
        """Another peer compares state chains."""
        runtime = self._runtime
        if runtime is not None:
            runtime.chains_reported(data)

    # -- people, and the application (beside.py) ----------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime | None:
        """What runs, if anything does; it may be about to end."""
        return self._runtime

    def why_not_running(self) -> str:
        """For the application, which asks again."""
        with self._lock:
            return self._standing.why_not_running()

    def propose(self, data: bytes, timeout_ms: int = ASK_TIMEOUT_MS) -> exchange.ProposeAnswer | None:
        """Put one entry into the log (Ruaft's `start`). None: nobody knows."""
        runtime = self._runtime
        if runtime is None:
            return exchange.NotLeader(leader=None)
        if len(data) > self._options.config.proposal_bytes_max:
            return exchange.Overloaded()
        return runtime.propose(data, timeout_ms)

    def read(self, timeout_ms: int = ASK_TIMEOUT_MS) -> exchange.ReadAnswer | None:
        """Verify authority (dissertation §6.4). None: not confirmed in time."""
        runtime = self._runtime
        return exchange.NotLeader(leader=None) if runtime is None else runtime.read(timeout_ms)

    def save_snapshot(self, timeout_ms: int) -> SaveAnswer | None:
        """Have a snapshot of what is applied now (Ruaft's `save_snapshot`). None: not there in time."""
        runtime = self._runtime
        return NotSaved(why="this peer does not run") if runtime is None else runtime.save_snapshot(timeout_ms)

    def read_snapshot(self, data: bytes) -> tuple[Slice, bytes] | None:
        """A slice of a snapshot, for another peer or the application. None: there is no such snapshot."""
        runtime = self._runtime
        return None if runtime is None else runtime.read_snapshot(data)

    def snapshot_header(self) -> bytes | None:
        """The first record of this member's newest snapshot file: what it stands for. None: it has none, or not now."""
        runtime = self._runtime
        meta = None if runtime is None else runtime.engine.snapshots.stored
        return None if meta is None else self._standing.snapshot_header(meta)

    # -- questions ----------------------------------------------------------------------------------------------------

    def get_state(self) -> tuple[int, bool]:
        """(term, is leader), stale at once (Ruaft's `get_state`); (0, False) when not running."""
        runtime = self._runtime
        if runtime is None:
            return 0, False
        state = runtime.engine.state
        return state.current_term, state.role is Role.LEADER

    def describe(self) -> dict[str, Any]:
        """Who this is and what it holds; answers in every state."""
        runtime = self._runtime
        with self._lock:
            return self._standing.describe(None if runtime is None else runtime.engine.state)

    def status(self) -> dict[str, Any]:
        """One row for `kv.status`; answers in every state."""
        runtime = self._runtime
        with self._lock:
            row = self._standing.status(None if runtime is None else runtime.engine.state)
        return row if runtime is None else {**row, **status_of_running(runtime)}

    # -- inside -------------------------------------------------------------------------------------------------------

    def _enter(self, state: PeerState) -> None:
        if self._standing.state is not state:
            self._standing.state = state
            self.journal.note("state", {"state": state.value})

    def _say(self, error: str) -> None:
        with self._lock:
            changed, self._standing.error = self._standing.error != error, error
        if changed:
            self.journal.note("waiting", {"why": error}, level=logging.WARNING)
