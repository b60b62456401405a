"""One peer's engine and snapshots: who attaches is told where to go on, and what becomes of what arrives."""

from __future__ import annotations

import random

import pytest

from raft_actors.application.exchange import Attach, Attached, Checkpoint, ClusterId, Epoch, Provenance, Restore
from raft_actors.application.slices import SLICE, describe
from raft_actors.core.effects import Persist
from raft_actors.core.entries import Genesis
from raft_actors.core.events import RequestReceived
from raft_actors.core.messages import Envelope
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId, RequestId, RpcId
from raft_actors.peer.chains import ChainReport
from raft_actors.peer.engine import Engine
from raft_actors.peer.feed import ApplyCall
from raft_actors.peer.filing import Filed, Step
from raft_actors.peer.links import Fetched, Lost
from raft_actors.peer.perform import _fetched
from raft_actors.peer.snapshots import NotSaved, Saved
from tests.core.builders import (
    CLUSTER_ID,
    Peer,
    append,
    configuration,
    directory,
    incarnation,
    leader_of_all,
    offer,
    restored,
    snapshot,
)
from tests.peer import desk
from tests.peer.desk import CONFIG, DUE, TEN

OURS = ClusterId(CLUSTER_ID)
OTHERS = ClusterId(b"another cluster.")
COPIED = Provenance(computed_by=directory(2), agreed=None)


class Ports(desk.Ports):
    """Takes note of the rest, too."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Persist] = []
        self.compactions: list[int] = []
        self.applies: list[ApplyCall] = []
        self.cuts = 0
        self.reports: list[ChainReport] = []
        self.invited: list[tuple[MemberId, DirectoryId]] = []
        self.others: tuple[MemberId, ...] = ()

    def write(self, persist: Persist) -> None:
        self.writes.append(persist)

    def compact(self, to: LogIndex) -> None:
        self.compactions.append(to)

    def apply(self, call: ApplyCall) -> None:
        self.applies.append(call)

    def cut_application(self) -> None:
        self.cuts += 1

    def report_chains(self, to: MemberId, report: ChainReport) -> None:
        self.reports.append(report)

    def failed(self, why: str) -> None:
        raise AssertionError(why)

    def call(self, rpc_id: RpcId, envelope: Envelope) -> None: ...

    def answer(self, request_id: RequestId, envelope: Envelope | None) -> None: ...

    def invite(self, to: MemberId, directory_id: DirectoryId) -> None:
        self.invited.append((to, directory_id))

    def others_changed(self, others: tuple[MemberId, ...]) -> None:
        self.others = others

    def timers_changed(self) -> None: ...


class Bench:
    """An engine on the state of a peer that has just started, and its clock."""

    def __init__(self, peer: Peer | None = None, *, wary: bool = False) -> None:
        self.at_ms = 1_000
        self.ports = Ports()
        self.engine = Engine(
            state=(peer or compacted()).state,
            genesis=Genesis(
                cluster_id=CLUSTER_ID, group="test", configuration=configuration(range(3)), settings=b"settings"
            ),
            config=CONFIG,
            clock=self,
            dice=random.Random(1),
            ports=self.ports,
            wary=wary,
        )

    def now_ms(self) -> int:
        return self.at_ms

    def receive(self, message: object, sender: int = 1) -> None:
        envelope = Envelope(
            cluster_id=CLUSTER_ID,
            sender=MemberId(sender),
            incarnation=incarnation(sender),
            to=MemberId(0),
            message=message,  # type: ignore[arg-type]
        )
        self.engine.handle(RequestReceived(now_ms=self.at_ms, request_id=RequestId(1), envelope=envelope))

    def commit(self, index: int) -> None:
        self.receive(append(1, self.engine.state.log.last, commit=index))

    def attach(
        self, applied: int = 0, *, cluster: ClusterId | None = OURS, provenance: Provenance | None = None
    ) -> Attached | Restore:
        return self.engine.attach(
            Attach(
                epoch=Epoch(bytes(16)),
                cluster_id=cluster,
                applied_index=LogIndex(applied),
                checkpoints=(),
                provenance=provenance,
            )
        )

    def fetched(self, last: EntryId, fetched: Fetched | None = None) -> None:
        """The whole state comes, or what is given instead."""
        _, job, _ = self.ports.fetched[-1]
        _fetched(
            job, fetched or (SLICE.encode(describe(last, 0, b"state", ends=True)), memoryview(b"state")), self.engine
        )

    def install(self, term: int, index: int) -> None:
        """A leader offers a snapshot, which is fetched and written."""
        self.receive(offer(1, snapshot(term, index)))
        self.fetched(EntryId(term, index))
        _, job, _ = self.ports.fetched[-1]
        for step in (Step.WRITTEN, Step.NAMED):
            self.engine.filed(Filed(job=job, step=step))


def compacted() -> Peer:
    """Its log begins behind 4, its newest snapshot is of 8, it ends with 10."""
    return restored(log=TEN[4:], base=EntryId(1, 4), taken=snapshot(1, 8))


def chains_of(member: int, checkpoint: Checkpoint, *, agreed: bool) -> ChainReport:
    """Of what this member computed itself, or that this is agreed."""
    return ChainReport(
        cluster_id=OURS,
        directory_id=directory(member),
        computed_by=directory(member),
        agreed=agreed,
        checkpoints=(checkpoint,),
    )


@pytest.mark.parametrize("wary", [True, False])
def test_in_a_group_with_faults_the_whole_state_is_looked_at_after_every_event(wary: bool) -> None:
    """Elsewhere once a second: a state that went wrong would have a second to spread."""
    bench = Bench(wary=wary)
    bench.engine.state.votes.add(directory(2))
    if wary:
        with pytest.raises(AssertionError, match="a follower holds votes"):
            bench.engine.abandon_read(1)
    else:
        bench.engine.abandon_read(1)


class TestWhoAttaches:
    @pytest.mark.parametrize("applied", [4, 5, 8, 12])
    def test_goes_on_where_the_log_reaches_back_to_it(self, applied: int) -> None:
        bench = Bench()
        answer = bench.attach(applied)
        assert isinstance(answer, Attached)
        assert (answer.first_index, bench.engine.feed.next_index) == (applied + 1, applied + 1)

    @pytest.mark.parametrize(("applied", "cluster"), [(0, OURS), (0, None), (1, OURS), (3, OURS), (9, OTHERS)])
    def test_has_to_go_on_from_the_newest_snapshot_otherwise(self, applied: int, cluster: ClusterId | None) -> None:
        """Without a state, with one from below the log's base, or with that of another cluster."""
        bench = Bench()
        expected = Restore(cluster_id=OURS, settings=b"settings", term=1, index=8)
        assert bench.attach(applied, cluster=cluster) == expected
        assert bench.engine.feed.epoch is None
        bench.engine.tick()
        assert bench.ports.applies == []

    @pytest.mark.parametrize(("applied", "cluster", "first"), [(0, None, 1), (7, OURS, 8), (7, OTHERS, 1)])
    def test_begins_at_the_first_entry_where_there_is_no_snapshot(
        self, applied: int, cluster: ClusterId | None, first: int
    ) -> None:
        answer = Bench(restored(log=TEN)).attach(applied, cluster=cluster)
        assert isinstance(answer, Attached)
        assert answer.first_index == first

    def test_without_a_state_it_need_not_apply_everything_where_there_is_a_snapshot(self) -> None:
        """Also where the log still has every entry: a start is as quick as the snapshot is new."""
        assert isinstance(Bench(restored(log=TEN, taken=snapshot(1, 8))).attach(0), Restore)


class TestAnApplicationThatFellBehind:
    """Contracts 10 b: what it needs next is below the log's base, so its epoch ends, and it attaches again."""

    def test_it_is_cut_off(self) -> None:
        bench = Bench(restored(log=TEN[:5], term=1))
        bench.attach(3)
        bench.install(1, 20)
        assert bench.engine.state.log.base == EntryId(1, 20)
        bench.engine.tick()
        assert (bench.ports.cuts, bench.engine.feed.epoch, bench.ports.applies) == (1, None, [])
        bench.engine.tick()
        assert bench.ports.cuts == 1
        assert bench.attach(3) == Restore(cluster_id=OURS, settings=b"settings", term=1, index=20)

    def test_one_that_the_log_still_reaches_is_not(self) -> None:
        bench = Bench()
        bench.attach(4)
        bench.commit(10)
        bench.engine.tick()
        assert bench.ports.cuts == 0
        assert bench.ports.applies[0].request.first_index == 5

    def test_what_is_taken_of_its_state_is_of_no_use_any_more(self) -> None:
        bench = Bench()
        bench.attach(8)
        bench.commit(10)
        bench.engine.feed.applied_index = LogIndex(10)
        bench.engine.save_snapshot(1)
        bench.engine.tick()
        assert len(bench.ports.asked) == 1
        bench.engine.application_gone()
        assert bench.ports.ended == [(1, NotSaved(why="the application went away"))]


class TestTaking:
    def test_it_is_asked_for_as_the_log_grows(self) -> None:
        bench = Bench()
        bench.attach(9)
        bench.commit(10)
        bench.engine.log_bytes = 2 * DUE
        bench.engine.tick()
        assert len(bench.ports.asked) == 1

    def test_not_without_an_application(self) -> None:
        bench = Bench()
        bench.attach(9)
        bench.engine.application_gone()
        bench.commit(10)
        bench.engine.log_bytes = 10 * DUE
        bench.engine.tick()
        assert bench.ports.asked == []
        bench.engine.save_snapshot(1)
        assert [type(answer) for _, answer in bench.ports.ended] == [NotSaved]

    def test_not_while_members_computed_different_things(self) -> None:
        """Contracts 8: nobody knows yet whose state is the right one."""
        bench = Bench(leader_of_all(log=TEN))
        bench.attach(9)
        for member in (0, 1):
            checkpoint = Checkpoint(index=LogIndex(9), chain=bytes([member] * 16))
            bench.engine.chains_reported(chains_of(member, checkpoint, agreed=False))
        assert bench.engine.chains.in_doubt
        bench.engine.log_bytes = 10 * DUE
        bench.engine.save_snapshot(1)
        bench.engine.tick()
        assert bench.ports.asked == []
        assert [type(answer) for _, answer in bench.ports.ended] == [NotSaved]

    def test_who_wants_one_of_what_is_covered_has_it(self) -> None:
        bench = Bench()
        bench.attach(8)
        bench.engine.save_snapshot(1)
        assert bench.ports.ended == [(1, Saved(index=LogIndex(8)))]

    def test_the_log_is_cut_behind_the_one_before(self) -> None:
        bench = Bench()
        bench.attach(9)
        bench.commit(10)
        bench.engine.save_snapshot(1)
        bench.engine.tick()
        job = bench.ports.asked[0].job
        slice_ = describe(EntryId(1, 9), 0, b"state", ends=True)
        bench.engine.snapshots.slice_arrived(job, slice_, memoryview(b"state"), bench.at_ms)
        bench.engine.written(bench.engine.state.write_seq, 0)
        bench.engine.filed(Filed(job=job, step=Step.WRITTEN))
        assert bench.ports.compactions == [], "not before it is durable (C5)"
        bench.engine.filed(Filed(job=job, step=Step.NAMED))
        assert bench.ports.compactions == [8]
        assert bench.engine.state.snapshot == snapshot(1, 9)

    def test_a_compaction_makes_the_log_smaller(self) -> None:
        bench = Bench()
        bench.engine.log_bytes = 500
        bench.engine.compacted(200)
        assert bench.engine.log_bytes == 200


class TestFetching:
    def test_a_snapshot_that_is_offered_is_fetched_and_taken_over(self) -> None:
        bench = Bench(restored(log=TEN[:5], term=1))
        bench.install(1, 20)
        state = bench.engine.state
        assert (state.log.base, state.snapshot, state.commit_index) == (EntryId(1, 20), snapshot(1, 20), 20)
        assert bench.ports.compactions == [20]
        bench.receive(offer(1, snapshot(1, 20)))
        assert len(bench.ports.fetched) == 1

    def test_one_that_is_gone_there_is_given_up(self) -> None:
        bench = Bench(restored(log=TEN[:5], term=1))
        bench.receive(offer(1, snapshot(1, 20)))
        bench.fetched(EntryId(1, 20), Lost.GONE)
        assert bench.engine.snapshots.error == "the snapshot is gone, a newer one is offered"

    @pytest.mark.parametrize("what", [Lost.LOST, (b"no slice", memoryview(b""))])
    def test_what_is_lost_or_no_slice_is_asked_for_again(self, what: Fetched) -> None:
        bench = Bench(restored(log=TEN[:5], term=1))
        bench.receive(offer(1, snapshot(1, 20)))
        bench.fetched(EntryId(1, 20), what)
        bench.at_ms += 200
        bench.engine.tick()
        assert [request.by_reference for _, _, request in bench.ports.fetched] == [True, False]
        assert bench.engine.dropped["malformed"] == (what is not Lost.LOST)


class TestProvenance:
    """Contracts 8: a state that came with a snapshot was computed by whoever took it, until the next agreed point."""

    def follower(self, provenance: Provenance | None) -> Bench:
        bench = Bench(restored(log=TEN, term=1))
        bench.commit(10)
        bench.attach(8, provenance=provenance)
        return bench

    def computed(self, bench: Bench) -> Checkpoint:
        checkpoint = Checkpoint(index=LogIndex(9), chain=b"c" * 16)
        bench.engine.chains.computed([checkpoint])
        return checkpoint

    def agreed(self, bench: Bench, checkpoint: Checkpoint) -> None:
        bench.engine.chains_reported(chains_of(1, checkpoint, agreed=True))

    @pytest.mark.parametrize(("provenance", "by"), [(None, 0), (COPIED, 2)])
    def test_it_is_reported_under_the_one_who_computed_it(self, provenance: Provenance | None, by: int) -> None:
        bench = self.follower(provenance)
        self.computed(bench)
        assert [(each.directory_id, each.computed_by) for each in bench.ports.reports] == [
            (directory(0), directory(by))
        ]

    def test_and_so_is_it_written_into_a_snapshot_of_it(self) -> None:
        bench = self.follower(COPIED)
        bench.engine.save_snapshot(1)
        bench.engine.tick()
        assert bench.ports.asked[0].provenance == COPIED

    def test_from_the_next_agreed_point_on_it_is_our_own(self) -> None:
        bench = self.follower(COPIED)
        checkpoint = self.computed(bench)
        self.agreed(bench, checkpoint)
        assert bench.engine.chains.provenance() == Provenance(computed_by=directory(0), agreed=checkpoint)

    def test_an_agreed_point_that_we_have_not_computed_says_nothing_of_ours(self) -> None:
        bench = self.follower(COPIED)
        self.agreed(bench, Checkpoint(index=LogIndex(9), chain=b"d" * 16))
        assert bench.engine.chains.provenance() == COPIED

    def test_an_application_that_begins_anew_computes_it_itself(self) -> None:
        bench = self.follower(COPIED)
        bench.attach(8)
        assert bench.engine.chains.provenance().computed_by == directory(0)
