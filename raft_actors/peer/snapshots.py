"""One snapshot at a time on its way into a file: when it is taken, fetched, given up (Ruaft's snapshot daemon).

Here:   `SnapshotDesk`: what to ask for next, what to order of the one who writes files; no thread, no clock, no bytes.
Never:  what a durable snapshot means (core/snapshotting.py), the file (filing.py), the bytes' way (perform.py).

A member takes a snapshot of its own application when its log has grown enough, whoever leads; it fetches one when a
leader offers it (Raft §7). Both are the same from here on: ask for one slice after the other, have each written, ask
for the name once all are, tell the core. The storage writes one file at a time, so there is one job at a time.

The argument.

- A snapshot of ours stands for a prefix of the log: its first slice says after which entry the state was, and only if
  that entry is committed here, held by our log and above every snapshot we have, does it get a `SnapshotMeta`.
- A file gets its name only when the newest write issued at that moment is durable (ADR 10): the term in which its
  entries were committed is among them. For an offered one the core says which write that is.
- What comes late or twice changes nothing: a slice must be the one asked for, of the job under way; a report of a job
  that is over is not read.
- Everything ends. A job for which nothing came for PATIENCE_MS is given up, whatever the application or the other peer
  does (the disk is waited for); the next one waits, longer after each failure; and none begins before the end of the
  last one's file was reported. What is offered goes before what is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from raft_actors.application.exchange import AskSlice, Provenance
from raft_actors.application.slices import Slice, SliceRequest
from raft_actors.config import RaftConfig
from raft_actors.core import State
from raft_actors.core.effects import FetchSnapshot
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.snapshotting import snapshot_of
from raft_actors.core.types import LogIndex, MemberId
from raft_actors.peer.filing import AbandonSnapshot, Filed, FilingOrder, NameSnapshot, Step, StoreSlice
from raft_actors.peer.snapshot_job import BackOff, Job

PATIENCE_MS: Final = 10_000
"""How long a snapshot may make no progress."""
ASK_AGAIN_MS: Final = 200
"""After a slice that was lost."""
SLICES_AHEAD_MAX: Final = 2
"""Slices here that are not in the file yet: one is written while the next one travels."""
OFFERS_APART: Final = 4
"""Heartbeats after which an offer that does not come again is not meant any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """There is a snapshot that holds everything that was applied when it was asked for."""

    index: LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSaved:
    """There is none, for this reason."""

    why: str


SaveAnswer: TypeAlias = Saved | NotSaved


class SnapshotPorts(Protocol):
    """The part of the engine's world that snapshots need."""

    def ask_application(self, asked: AskSlice) -> None:
        """Ask for a slice of its state; later `slice_arrived`, `slice_lost` or `slice_refused`, or nothing."""

    def ask_peer(self, to: MemberId, job: int, request: SliceRequest) -> None:
        """Ask for a slice of its file; later the same."""

    def file(self, order: FilingOrder) -> None:
        """For the snapshot daemon; later, once: `filed`."""

    def save_ended(self, number: int, answer: SaveAnswer) -> None:
        """Whoever asked for a snapshot waits for this."""

    def note(self, kind: str, details: dict[str, object]) -> None:
        """Something worth a line in the log and a row in the run's events."""


class SnapshotDesk:
    """Of one running peer. `state` is read, never written to."""

    def __init__(
        self,
        state: State,
        config: RaftConfig,
        ports: SnapshotPorts,
        *,
        provenance: Callable[[], Provenance],
        log_bytes: int,
    ) -> None:
        """`provenance`: of our application's state, to be written into its snapshots."""
        self._provenance = provenance
        self._state = state
        self._config = config
        self._ports = ports
        self._stored = state.snapshot
        """The newest that has a file; the core may have no use for it."""
        held = state.log.last.index - self._stored_index
        self._covered_bytes = 0
        """How much of the log's size lies before the newest snapshot, about."""
        if self._stored is not None:
            self._covered_bytes = max(0, log_bytes - state.log.size_of_last(held))
        self._state_bytes = 0
        """Size of the newest snapshot, as far as it was written since the start."""
        self._job: Job | None = None
        self._jobs = state.incarnation.start_count << 32
        """Never a number of an earlier process: what the application still sends to that one is late."""
        self._taking, self._fetching = BackOff(), BackOff()
        """Apart: an application that cannot be written down must not keep this member from what it lacks."""
        self._fetching_from: MemberId | None = None
        self._lacking_ms: int | None = None
        """When a leader last offered a snapshot above all that we have."""
        self._wanted: dict[int, LogIndex] = {}
        self.error: str | None = None
        """Why the last one failed; None since one succeeded."""

    @property
    def _stored_index(self) -> LogIndex:
        return LogIndex(0) if self._stored is None else self._stored.last.index

    @property
    def stored(self) -> SnapshotMeta | None:
        """The newest that has a file; read by any thread."""
        return self._stored

    def progress(self) -> str | None:
        """What is under way, for a reader; None: nothing."""
        job = self._job
        if job is None or job.over:
            return None
        what = "taking one" if job.source is None else f"fetching one from member {job.source}"
        at = "" if job.meta is None else f" at {job.meta.last.index}"
        return f"{what}{at}, {job.received / 2**20:.1f} MiB"

    # -- what begins one ----------------------------------------------------------------------------------------------

    def offered(self, offer: FetchSnapshot, now_ms: int) -> SnapshotMeta | None:
        """A leader offers one, with each heartbeat. Returns the one that is there already, for the core to decide on.

        That may be a newer one: the core had no use for it while we led.
        """
        if self._stored is not None and self._stored.last.index >= offer.snapshot.last.index:
            return self._stored
        self._lacking_ms = now_ms
        if offer.source != self._fetching_from:
            self._fetching_from, self._fetching = offer.source, BackOff()  # another one's failures say nothing of it
        if self._job is not None and self._is_in_the_way(self._job, offer.source, now_ms):
            self._give_up(self._job, "", now_ms)  # else a member that is needed would wait for it until PATIENCE_MS
        if self._job is None and now_ms >= self._fetching.not_before_ms:
            job = self._begin(offer.source, now_ms)
            job.meta, job.after = offer.snapshot, offer.after
            self._ask(job, now_ms)
        return None

    def _is_in_the_way(self, job: Job, leader: MemberId, now_ms: int) -> bool:
        """Whether it is of our own application, of which we lack entries, or its source neither leads nor sends."""
        if job.over or job.complete or job.source == leader:
            return False
        silent_ms = now_ms - job.progress_ms
        return job.source is None or (job.in_hand == 0 and silent_ms >= 2 * self._config.rpc_deadline_ms)

    def want(self, number: int, applied_index: LogIndex) -> None:
        """Somebody wants one, however small the log. Ends in `save_ended`."""
        if applied_index <= self._stored_index:
            self._ports.save_ended(number, Saved(index=self._stored_index))
        else:
            self._wanted[number] = applied_index
            self._taking.not_before_ms = 0  # who asks by hand has seen to the cause of the last failure

    def look(self, now_ms: int, *, applied_index: LogIndex | None, log_bytes: int) -> None:
        """To be called every few tens of milliseconds. `applied_index`: None if no application may be asked."""
        job = self._job
        if job is not None:
            self._look_after(job, now_ms)
        elif applied_index is None:
            if self._wanted:
                self._not_saved("this member's application is away, or states are being compared; ask again")
        elif not self._is_lacking(now_ms) and self._is_due(applied_index, log_bytes, now_ms):
            job = self._begin(None, now_ms)
            job.log_bytes = log_bytes
            self._ask(job, now_ms)

    def _is_lacking(self, now_ms: int) -> bool:
        """A leader offers what we lack: one of ours would be in the way of the next offer, again and again."""
        apart_ms = OFFERS_APART * self._config.heartbeat_interval_ms
        return self._lacking_ms is not None and now_ms - self._lacking_ms < apart_ms

    def _is_due(self, applied_index: LogIndex, log_bytes: int, now_ms: int) -> bool:
        if now_ms < self._taking.not_before_ms or not self._stored_index < applied_index <= self._state.commit_index:
            return False
        return bool(self._wanted) or log_bytes - self._covered_bytes >= self._growth_bytes()

    def _growth_bytes(self) -> int:
        """How much the log grows between two snapshots: half the size that it shall keep near, because it begins at
        the snapshot before the newest. Where the state is larger than that, half of the state's size: a snapshot writes
        all of it, so what snapshots write stays within twice what the log does. Never so much that the log gets full.
        """
        keep_near = max(self._config.snapshot_log_bytes, self._state_bytes)
        return min(keep_near // 2, self._config.log_bytes_max // 4)

    def _begin(self, source: MemberId | None, now_ms: int) -> Job:
        self._jobs += 1
        self._job = Job(number=self._jobs, source=source, began_ms=now_ms, progress_ms=now_ms)
        self._ports.note("snapshot_begun", {"source": source})
        return self._job

    # -- slices -------------------------------------------------------------------------------------------------------

    def slice_arrived(self, number: int, slice_: Slice, data: memoryview, now_ms: int) -> None:
        """Bytes that were asked for, or late ones."""
        job = self._job
        if job is None or job.number != number or job.over or job.complete or slice_.offset != job.received:
            return
        if job.meta is None and slice_.last.index > self._stored_index:
            job.meta, job.after = snapshot_of(self._state, slice_.last), self._state.write_seq
        if job.meta is None or slice_.last != job.meta.last or slice_.last.index <= self._stored_index:
            self._give_up(job, f"the state after {slice_.last} is of no use here", now_ms)
            return
        if len(data) != slice_.size or (slice_.size == 0 and not slice_.ends):
            self._give_up(job, "a slice that is not what it says", now_ms)
            return
        job.received, job.complete = slice_.behind, slice_.ends
        job.asked_ms, job.progress_ms = None, now_ms
        job.way.arrived()
        job.in_hand += 1
        self._ports.file(StoreSlice(job=number, meta=job.meta, slice_=slice_, data=data))
        self._ask(job, now_ms)

    def slice_lost(self, number: int, now_ms: int) -> None:
        """Its bytes were lost on the way: the object's owner is dead, the object was evicted, the call failed."""
        job = self._job
        if job is not None and job.number == number and job.asked_ms is not None:
            job.asked_ms, job.lost_ms = None, now_ms
            job.way.lost()

    def slice_refused(self, number: int, why: str, now_ms: int) -> None:
        """There will be no more of it: the application cannot, or the file is gone."""
        job = self._job
        if job is not None and job.number == number and not job.complete:
            self._give_up(job, why, now_ms)

    def application_changed(self, now_ms: int) -> None:
        """It is gone, or another one: what it has sent so far is of no use."""
        job = self._job
        if job is not None and job.source is None and not job.complete:
            self._give_up(job, "the application went away", now_ms)

    def _ask(self, job: Job, now_ms: int) -> None:
        """For the next slice, if there is room for one."""
        if job.over or job.complete or job.asked_ms is not None or job.in_hand >= SLICES_AHEAD_MAX:
            return
        job.asked_ms, job.lost_ms = now_ms, None
        by_reference, bytes_max = job.way.by_reference, job.way.bytes_max(self._config.snapshot_slice_bytes_max)
        if job.source is None:
            self._ports.ask_application(
                AskSlice(
                    job=job.number,
                    offset=job.received,
                    bytes_max=bytes_max,
                    by_reference=by_reference,
                    provenance=self._provenance(),
                )
            )
        else:
            assert job.meta is not None, "an offer says what it is"
            request = SliceRequest(
                cluster_id=self._state.cluster_id,
                asker=self._state.directory_id,
                term=job.meta.last.term,
                index=job.meta.last.index,
                offset=job.received,
                bytes_max=bytes_max,
                by_reference=by_reference,
            )
            self._ports.ask_peer(job.source, job.number, request)

    def _look_after(self, job: Job, now_ms: int) -> None:
        if job.over or job.complete or job.in_hand >= SLICES_AHEAD_MAX:
            return  # the disk's time
        if job.source is not None and job.meta is not None and job.meta.last.index <= self._state.commit_index:
            self._give_up(job, "", now_ms)  # entries were quicker
        elif now_ms - job.progress_ms >= PATIENCE_MS:
            self._give_up(job, f"nothing came for {PATIENCE_MS // 1000} s", now_ms)
        elif job.lost_ms is not None and now_ms - job.lost_ms >= ASK_AGAIN_MS:
            self._ask(job, now_ms)
        elif job.asked_ms is not None and now_ms - job.asked_ms >= 2 * self._config.rpc_deadline_ms:
            job.asked_ms = None  # an answer that still comes is welcome
            job.way.lost()
            self._ask(job, now_ms)

    # -- the file -----------------------------------------------------------------------------------------------------

    def filed(self, filed: Filed, log_bytes: int, now_ms: int) -> SnapshotMeta | None:
        """What became of an order. Returns the snapshot that is durable now, for the core."""
        job = self._job
        if job is None or job.number != filed.job:
            return None
        match filed.step:
            case Step.WRITTEN:
                job.in_hand -= 1
                job.progress_ms = now_ms
                self._ask(job, now_ms)
                self.durable()
            case Step.ENDED:
                if not job.over:
                    self._failed(job, filed.why or "its file is gone", now_ms)
                self._job = None
            case Step.NAMED:
                self._job = None
                return self._finish(job, log_bytes, now_ms)
        return None

    def durable(self) -> None:
        """A write, or a slice, is on the disk: perhaps the file may get its name."""
        job = self._job
        if job is None or not job.complete or job.over or job.naming or job.in_hand:
            return
        if self._state.durable_seq >= job.after:
            job.naming = True
            self._ports.file(NameSnapshot(job=job.number))

    def compacted(self, removed_bytes: int) -> None:
        """The log's files became smaller by this much."""
        self._covered_bytes = max(0, self._covered_bytes - removed_bytes)
        if self._job is not None:
            self._job.log_bytes = max(0, self._job.log_bytes - removed_bytes)

    def _finish(self, job: Job, log_bytes: int, now_ms: int) -> SnapshotMeta:
        assert job.meta is not None, "a snapshot without a place in the log has got a name"
        self._stored, self._lacking_ms, self.error = job.meta, None, None
        self._taking, self._fetching = BackOff(), BackOff()
        self._state_bytes = job.received
        self._covered_bytes = log_bytes if job.source is not None else job.log_bytes
        index = job.meta.last.index
        self._ports.note(
            "snapshot",
            {
                "how": "taken" if job.source is None else "fetched",
                "index": index,
                "bytes": job.received,
                "ms": now_ms - job.began_ms,
            },
        )
        for number in [number for number, wanted in self._wanted.items() if wanted <= index]:
            del self._wanted[number]
            self._ports.save_ended(number, Saved(index=index))
        return job.meta

    def _give_up(self, job: Job, why: str, now_ms: int) -> None:
        """`why` empty: for no fault."""
        if job.over:
            return
        job.over = True
        self._ports.file(AbandonSnapshot(job=job.number))
        if why:
            self._failed(job, why, now_ms)

    def _failed(self, job: Job, why: str, now_ms: int) -> None:
        self.error = why
        (self._taking if job.source is None else self._fetching).failed(now_ms)
        self._ports.note("snapshot_failed", {"why": why, "source": job.source})
        if job.source is None:
            self._not_saved(why)

    def _not_saved(self, why: str) -> None:
        wanted, self._wanted = self._wanted, {}
        for number in wanted:
            self._ports.save_ended(number, NotSaved(why=why))
