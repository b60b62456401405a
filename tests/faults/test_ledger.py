"""What became of the messages of all processes, and whether the faults of a run bit."""

from __future__ import annotations

from random import Random

import pytest

from raft_actors.faults.ledger import CALLS_ENOUGH, FAULTS_MAX, PROCESSES_MAX, Counts, Fault, Ledger, Totals, touches
from raft_actors.faults.orders import Report
from raft_actors.faults.plan import LINKS_MAX, Plan
from raft_actors.faults.rules import (
    Cut,
    Delay,
    Drop,
    Duplicate,
    Isolate,
    Message,
    Node,
    Part,
    Partition,
    Reorder,
    Rule,
    Unavailable,
)
from raft_actors.recording import FRAMES, row_fault

CUT_1 = Cut(src=0, dst=1)
MANY = CALLS_ENOUGH


def request(src: Node, dst: Node, method: str = "append_entries") -> Message:
    return Message(src, dst, method, Part.REQUEST)


class Process:
    """One process that obeys a plan, and reports what became of its messages."""

    def __init__(self, name: str, node: Node = 0) -> None:
        self.name = name
        self.node = node
        self.plan = Plan()
        self._dice = Random(name)

    def send(self, message: Message, count: int = 1, size_bytes: int = 10) -> None:
        for _ in range(count):
            self.plan.fate(message, 0, self._dice, size_bytes)

    def report(self) -> Report:
        counts = tuple(self.plan.counts())
        return Report(node=self.node, process=self.name, pid=1, node_id="n", version=1, counts=counts)


class Run:
    """A ledger, and one process that obeys what is in force."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.process = Process("p")
        self._totals = Totals()
        self.now_ns = 1000

    def counts(self) -> Counts:
        self._totals.take(self.process.report())
        return self._totals.counts()

    def begin(self, *rules: Rule, beside: tuple[Rule, ...] = ()) -> Fault:
        """A fault of these rules, `beside` those that stay in force."""
        self.now_ns += 1
        counts = self.counts()
        fault = self.ledger.begin("word", "0->1", {"ms": "5"}, self.now_ns, rules=rules, counts=counts)
        self.process.plan.obey((*beside, *rules))
        return fault

    def look(self) -> list[Fault]:
        self.now_ns += 1
        open_before = [fault for fault in self.ledger.faults if fault.ended_ns is None]
        self.ledger.look(self.process.plan.rules, self.counts(), self.now_ns)
        return [fault for fault in open_before if fault.ended_ns is not None]


class TestTotals:
    """Counts of all processes, added up; a process that is gone did what it did."""

    def test_the_newest_report_of_a_process_takes_the_place_of_the_one_before(self) -> None:
        totals, process = Totals(), Process("p")
        for sent in (1, 2, 3):
            process.send(request(0, 1))
            totals.take(process.report())
            assert totals.counts()[request(0, 1)]["offered"] == sent

    def test_processes_of_one_node_and_of_others_are_added_up_link_by_link(self) -> None:
        totals = Totals()
        for name, node, message in (
            ("first life", 0, request(0, 1)),
            ("second life", 0, request(0, 1)),
            ("other", 1, request(1, 0)),
            ("other leg", 1, request(0, 1)._replace(part=Part.REPLY)),
        ):
            process = Process(name, node)
            process.plan.cut(0, 1)
            process.send(message, 3)
            totals.take(process.report())
        counts = totals.counts()
        assert {message: (columns["offered"], columns["cut"]) for message, columns in counts.items()} == {
            request(0, 1): (6, 6),
            request(1, 0): (3, 0),
            request(0, 1)._replace(part=Part.REPLY): (3, 3),
        }
        assert counts[request(0, 1)]["size_bytes"] == 60

    def test_beyond_the_bound_those_that_were_silent_longest_are_added_together_and_still_count(self) -> None:
        totals, talker, silent = Totals(), Process("talker"), Process("silent")
        for process in (silent, talker):
            process.send(request(0, 1), 5)
            totals.take(process.report())
        for number in range(PROCESSES_MAX):
            if number == PROCESSES_MAX // 2:
                talker.send(request(0, 1))
                totals.take(talker.report())
            totals.take(Report(node=2, process=f"p{number}", pid=1, node_id="n", version=1))
        talker.send(request(0, 1))
        totals.take(talker.report())
        assert totals.counts()[request(0, 1)]["offered"] == 5 + 7

    def test_what_the_lives_of_many_processes_did_adds_up_beyond_the_bound(self) -> None:
        totals = Totals()
        process = Process("p")
        process.plan.cut(0, 1)
        process.send(request(0, 1), 2)
        rows = process.report().counts
        for number in range(PROCESSES_MAX + 500):
            totals.take(Report(node=0, process=f"life {number}", pid=1, node_id="n", version=1, counts=rows))
        columns = totals.counts()[request(0, 1)]
        assert (columns["offered"], columns["cut"]) == (2 * (PROCESSES_MAX + 500),) * 2

    def test_who_asks_twice_gets_the_same(self) -> None:
        totals = Totals()
        for name in ("a", "b"):
            process = Process(name)
            process.send(request(0, 1))
            totals.take(process.report())
        assert totals.counts() == totals.counts()
        assert totals.rows() == totals.rows()

    def test_links_beyond_the_bound_of_a_plan_are_left_out(self) -> None:
        totals, process = Totals(), Process("p")
        for number in range(LINKS_MAX + 1):
            process.send(request(f"c{number}", 0))
        totals.take(process.report())
        assert process.plan.counts()[-1]["src"] == "*"
        assert set(totals.counts()) == {request(f"c{number}", 0) for number in range(LINKS_MAX)}

    def test_rows_are_those_of_a_plan(self) -> None:
        totals, process = Totals(), Process("p")
        process.plan.delay((5, 5), dst=1)
        process.send(request(0, 1), 2)
        process.send(Message("c1", "s0", "submit", Part.REPLY))
        totals.take(process.report())
        assert totals.rows() == process.plan.counts()


class TestBite:
    """A fault bit when something happened to a message that its rules say."""

    def test_it_bit_when_one_message_was_touched(self) -> None:
        run = Run()
        fault = run.begin(CUT_1)
        run.process.send(request(0, 2), MANY)
        run.process.send(request(0, 1))
        run.look()
        assert (fault.offered, fault.touched, fault.bit) == (1, 1, True)

    @pytest.mark.parametrize(("count", "bit"), [(MANY - 1, None), (MANY, False)])
    def test_it_did_not_when_so_many_passed_untouched_and_of_fewer_nobody_knows(
        self, count: int, bit: bool | None
    ) -> None:
        run = Run()
        fault = run.begin(Drop(dst=1, probability=0.0))
        run.process.send(request(0, 1), count)
        run.process.send(request(0, 2), MANY)
        run.look()
        assert (fault.offered, fault.touched, fault.bit) == (count, 0, bit)

    def test_before_anybody_looked_nobody_knows(self) -> None:
        run = Run()
        fault = run.begin(CUT_1)
        run.process.send(request(0, 1), MANY)
        assert fault.bit is None

    def test_who_seemed_toothless_may_bite_later(self) -> None:
        run = Run()
        fault = run.begin(Drop(dst=1, probability=0.0), CUT_1)
        run.process.plan.obey(fault.rules[:1])
        run.process.send(request(0, 1), MANY)
        run.look()
        assert fault.bit is False
        run.process.plan.obey(fault.rules)
        run.process.send(request(0, 1))
        run.look()
        assert fault.bit is True

    @pytest.mark.parametrize(
        "rule",
        [
            CUT_1,
            Cut(src=0, dst=1, held=True),
            Isolate(node=1),
            Isolate(node=1, held=True),
            Partition(sides=((0,), (1,))),
            Drop(probability=1.0),
            Delay(ms=(5, 5)),
            Reorder(probability=1.0, late_ms=(5, 5)),
            Duplicate(probability=1.0, late_ms=(5, 5)),
        ],
        ids=lambda rule: f"{rule.row()['kind']}{' held' * getattr(rule, 'held', False)}",
    )
    def test_each_kind_of_rule_is_known_by_what_it_does(self, rule: Rule) -> None:
        run = Run()
        fault = run.begin(rule)
        run.process.send(request(0, 1))
        run.look()
        assert fault.bit is True
        others = Run()
        fault = others.begin(rule)
        others.process.plan.obey([_of_another_kind(rule)])
        others.process.send(request(0, 1), MANY)
        others.look()
        assert (fault.bit, fault.offered) == (False, MANY), "what another kind does is no bite of this one"

    def test_a_message_that_two_rules_of_a_fault_are_for_counts_once(self) -> None:
        run = Run()
        fault = run.begin(CUT_1, Isolate(node=1))
        run.process.send(request(0, 1), 3)
        run.look()
        assert (fault.offered, fault.touched) == (3, 3)

    def test_only_what_happened_after_it_began_counts(self) -> None:
        run = Run()
        run.process.plan.obey([CUT_1])
        run.process.send(request(0, 1), MANY)
        fault = run.begin(CUT_1)
        run.look()
        assert (fault.offered, fault.touched, fault.bit) == (0, 0, None)
        run.process.send(request(0, 1), 2)
        run.process.send(request("c1", "s1", "submit"), 2)
        run.look()
        assert (fault.offered, fault.touched, fault.bit) == (2, 2, True)

    def test_when_callers_learn_of_a_cut_touches_no_message_and_is_never_toothless(self) -> None:
        run = Run()
        fault = run.begin(Unavailable(told_ms=(0, 6999)))
        run.process.send(request(0, 1), MANY)
        run.look()
        assert fault.offered == MANY
        assert fault.bit is None
        assert run.ledger.toothless() == []

    def test_the_profiles_of_labrpc_bite_or_are_not_known(self) -> None:
        for word, bit in (("unreliable", True), ("long_reordering", True), ("long_delays", None)):
            rules = getattr(Plan(), word)()
            run = Run()
            fault = run.begin(*rules)
            for part in Part:
                run.process.send(Message(0, 1, "append_entries", part), MANY)
            run.look()
            assert fault.bit is bit, word


class TestEnd:
    """A fault of rules ends when none of them is in force any more."""

    def test_it_ends_when_its_rules_are_gone(self) -> None:
        run = Run()
        fault = run.begin(CUT_1)
        assert run.look() == []
        run.process.plan.heal()
        assert run.look() == [fault]
        assert fault.ended_ns == run.now_ns
        assert run.look() == [], "once"
        assert fault.ended_ns == run.now_ns - 1

    def test_it_lasts_while_one_of_its_rules_does(self) -> None:
        run = Run()
        fault = run.begin(CUT_1, Delay(ms=(5, 5)))
        run.process.plan.remove(CUT_1)
        assert run.look() == []
        run.process.plan.heal()
        assert run.look() == [fault]

    def test_a_rule_that_took_its_place_ends_it(self) -> None:
        run = Run()
        first = run.begin(*run.process.plan.delay((5, 5), dst=1))
        second = run.ledger.begin("delay", "*->1", {}, 5, rules=run.process.plan.delay((9, 9), dst=1), counts={})
        assert run.look() == [first]
        assert second.ended_ns is None

    def test_what_happened_until_then_is_counted_and_nothing_afterwards(self) -> None:
        run = Run()
        fault = run.begin(CUT_1)
        run.process.send(request(0, 1), 4)
        run.process.plan.heal()
        run.look()
        assert (fault.offered, fault.touched, fault.bit) == (4, 4, True)
        run.begin(CUT_1)
        run.process.send(request(0, 1), 4)
        run.look()
        assert (fault.offered, fault.touched) == (4, 4)

    def test_faults_that_overlap_are_measured_each_in_its_own_scope_and_time(self) -> None:
        run = Run()
        isolated = run.begin(Isolate(node=1))
        run.process.send(request(0, 1), 3)
        late = run.begin(Delay(ms=(5, 5), dst=2), beside=isolated.rules)
        run.process.send(request(0, 1), 4)
        run.process.send(request(0, 2), 5)
        run.process.plan.remove(*isolated.rules)
        assert run.look() == [isolated]
        run.process.send(request(0, 1), 7)
        run.process.send(request(0, 2), 6)
        run.look()
        assert (isolated.offered, isolated.touched, isolated.bit) == (7, 7, True)
        assert (late.offered, late.touched, late.bit) == (11, 11, True)

    def test_a_fault_without_rules_is_ended_by_who_did_it(self) -> None:
        run = Run()
        kill = run.ledger.begin("kill", "2", {"only": "peer"}, 7)
        run.process.send(request(0, 2), MANY)
        assert run.look() == []
        assert (kill.ended_ns, kill.bit, kill.offered) == (None, None, 0)


class TestRows:
    """Faults as rows of a run's frame."""

    def test_rows_fit_the_frame_of_a_run(self) -> None:
        run = Run()
        run.begin(CUT_1)
        run.process.send(request(0, 1), 3)
        run.process.plan.heal()
        run.look()
        kill = run.ledger.begin("kill", "2", {"only": "peer"}, 7)
        kill.bit = False
        run.begin(Delay(ms=(5, 5)))
        rows = run.ledger.rows()
        frame = FRAMES["faults"]
        for row in rows:
            assert row_fault(frame, row) is None
            assert set(row) == {column.key for column in frame.columns}
        assert [row["fault_id"] for row in rows] == ["f1", "f2", "f3"]
        assert rows[0] == {
            "fault_id": "f1",
            "kind": "word",
            "target": "0->1",
            "t_start": 1001,
            "t_end": 1002,
            "params": {"ms": "5", "bit": True, "offered": 3, "touched": 3},
        }
        assert rows[1]["params"] == {"only": "peer", "bit": False}, "of messages it says nothing"
        assert [row["t_end"] for row in rows[1:]] == [None, None]

    def test_what_was_said_stays_as_it_was(self) -> None:
        ledger, params = Ledger(), {"ms": "5"}
        ledger.begin("delay", "*", params, 1)
        params["ms"] = "9"
        ledger.rows()[0]["params"] = None
        assert ledger.rows()[0]["params"] == {"ms": "5", "bit": None}

    def test_toothless_are_those_that_certainly_did_nothing(self) -> None:
        run = Run()
        never = Drop(dst=1, probability=0.0)
        toothless, unknown, bit = run.begin(never), run.begin(Delay(ms=(5, 5), dst=3)), run.begin(CUT_1)
        seen = run.ledger.begin("kill", "2", {}, 7)
        seen.bit = True
        unseen = run.ledger.begin("fail_disk", "2", {}, 8)
        unseen.bit = False
        run.process.plan.obey([*toothless.rules, *unknown.rules])
        run.process.send(request(0, 1), MANY)
        run.process.plan.obey([*toothless.rules, *unknown.rules, *bit.rules])
        run.process.send(request(0, 1))
        run.look()
        assert (toothless.bit, unknown.bit, bit.bit) == (False, None, True)
        assert run.ledger.toothless() == [toothless, unseen]

    def test_the_number_of_faults_is_bounded(self) -> None:
        ledger = Ledger()
        fault = ledger.begin("kill", "1", {}, 1)
        ledger.faults = [fault] * FAULTS_MAX
        with pytest.raises(ValueError, match="faults in one run"):
            ledger.begin("kill", "1", {}, 1)
        assert len(ledger.faults) == FAULTS_MAX


def _of_another_kind(rule: Rule) -> Rule:
    """One that does something else to the same message."""
    return CUT_1 if touches(rule) != touches(CUT_1) else Delay(ms=(5, 5))
